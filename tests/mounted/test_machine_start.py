"""After a start of the machine: its mounts and processes are gone, what casfs had noted of them in run/ is not."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from casfs.overlay.kernel import unmount
from tests.mounted.harness import Casfs, iter_mountpoints, kill_daemon, run_python, site_packages

ASK = "import demo; print(demo.VALUE)"


@pytest.fixture(params=["a /run that is new", "a /run that stays"])
def started_anew(request: pytest.FixtureRequest, casfs: Casfs) -> Path:
    """An environment with demo 1.0 that was mounted, and into which somebody wrote, when the machine went down; where that was."""
    casfs.add(casfs.wheel("demo", files={"demo/__init__.py": b"VALUE = 1\n", "demo/more.py": b""}))
    mountpoint = casfs.mount(data_path="")
    (site_packages(mountpoint) / "mine.py").write_text("VALUE = 'mine'\n")
    notes = casfs.store / "run"
    private = [Path(path.read_text()) for path in notes.glob("anchor-*")]
    private += [Path(lease["mountpoint"]) for lease in casfs.leases()]
    kill_daemon(casfs.status()[0])
    for path in (*iter_mountpoints(casfs.directory), *private):
        with contextlib.suppress(FileNotFoundError):  # another store's daemon has cleared it away
            unmount(str(path), is_lazy=True)
            if path in private and request.param == "a /run that is new":
                path.rmdir()
    assert len([*notes.glob("overlay-*"), *notes.glob("*.mount"), *notes.glob("*.json")]) == 3
    return mountpoint


def is_writable(path: Path) -> bool:
    (path / "probe").write_text("")
    (path / "probe").unlink()
    return True


def test_the_environment_is_mounted_as_it_was(casfs: Casfs, started_anew: Path) -> None:
    assert casfs.run("mount", started_anew).stderr == ""
    assert run_python(started_anew, ASK) == "1"
    assert run_python(started_anew, "import mine; print(mine.VALUE)") == "mine"
    assert is_writable(started_anew)
    [mount] = casfs.status()
    assert (mount["data_path"], mount["writable"]) == ("kernel", True)
    casfs.umount(started_anew)
    assert [name for name in os.listdir(casfs.store / "run") if name != "dead.log"] == []


@pytest.mark.parametrize("words", [("absorb",), ("reset", "--yes"), ("remove", "demo"), ("status",)], ids=" ".join)
def test_any_command_may_come_first_and_touches_nothing_but_the_store(casfs: Casfs, started_anew: Path, words: tuple[str, ...]) -> None:
    assert "read-only" not in casfs.run(*words).stderr
    assert is_writable(casfs.directory)  # the file system beneath what was a mount
    assert is_writable(Path("/run/casfs"))
    assert casfs.status() == []
    casfs.run("mount", started_anew)
    assert (site_packages(started_anew) / "mine.py").exists() == (words[0] != "reset")


def test_a_list_brings_everything_back_as_the_unit_of_the_daemon_does(casfs: Casfs, started_anew: Path) -> None:
    listed = casfs.directory / "list"
    listed.write_text(f"default {started_anew}\nother {casfs.directory / 'other'}\n")
    command = casfs.command("daemon", "start", "--foreground")
    with subprocess.Popen(command, env=casfs.environ, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr
        assert "shows" in daemon.stderr.readline()
        casfs.run("daemon", "start")
        for _ in range(2):  # the unit does so again when the daemon was started again
            casfs.run("mount", "--list", listed)
            assert {one["mountpoint"] for one in casfs.status()} == {str(started_anew), str(casfs.directory / "other")}
            assert run_python(started_anew, ASK) == "1"
        casfs.run("daemon", "stop", "--force")
        daemon.communicate(timeout=240)
