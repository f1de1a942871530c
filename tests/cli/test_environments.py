"""env: environments are listed as they are, and removed whole, but not while somebody sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from casfs.cli.output import local_time
from casfs.interpreters.interpreter import probe_base
from tests.mounted.harness import Casfs, Interpreter, run_python, site_packages


def read_list(casfs: Casfs) -> dict[str, Any]:
    return {one["name"]: one for one in json.loads(casfs.run("env", "list", "--json").stdout)}


def test_list_tells_what_each_environment_is_and_where_it_is_mounted(casfs: Casfs) -> None:
    casfs.run("--env", "other", "add", casfs.wheel("demo"))
    mountpoint = casfs.mount("--env", "other")
    found = read_list(casfs)
    assert {*found} == {"default", "other"}
    assert found["other"]["python"] == sys.version.split()[0]
    assert found["other"]["executable"].startswith("/")
    assert [found[name]["distribution_count"] for name in ("default", "other")] == [0, 1]
    assert [found[name]["mounts"] for name in ("default", "other")] == [[], [str(mountpoint)]]
    assert found["other"]["written_bytes"] == 0
    default, other = casfs.run("--env", "other", "env", "list").stdout.splitlines()[2:]
    assert default.split() == ["default", found["default"]["python"], "0", "0", "B", *local_time(found["default"]["changed"]).split()]
    assert other.split() == [
        "*",
        "other",
        found["other"]["python"],
        "1",
        "0",
        "B",
        *local_time(found["other"]["changed"]).split(),
        str(mountpoint),
    ]


def test_list_of_a_store_without_environments(casfs: Casfs) -> None:
    casfs.run("env", "remove", "default")
    done = casfs.run("env", "list")
    assert (done.stdout, done.stderr) == ("", f"{casfs.store} has no environments yet; `casfs add` makes one\n")
    assert casfs.run("env", "list", "--json").stdout == "[]\n"


def test_removed_environment_is_gone_and_the_others_keep_what_they_share_with_it(casfs: Casfs) -> None:
    for name in ("one", "two"):
        casfs.run("--env", name, "add", casfs.wheel("demo", files={"demo.py": b"VALUE = 1\n"}))
    assert casfs.run("env", "remove", "one").stdout == "- one\n"
    assert {*read_list(casfs)} == {"default", "two"}
    assert os.listdir(casfs.store / "tmp") == []
    assert "no environment of this name" in casfs.run("--env", "one", "list", code=1).stderr
    assert run_python(casfs.mount("--env", "two"), "import demo; print(demo.VALUE)") == "1"
    assert casfs.run("fsck").stdout == "no damage\n"


@pytest.mark.parametrize("name", ["nowhere", "../default"])
def test_environment_that_does_not_exist_is_not_removed(casfs: Casfs, name: str) -> None:
    [line] = casfs.run("env", "remove", name, code=1).stderr.splitlines()
    assert name in line


def test_mounted_environment_is_not_removed(casfs: Casfs) -> None:
    mountpoint = casfs.mount(data_path="")
    said = casfs.run("env", "remove", "default", code=1).stderr
    assert said == f"casfs: default: is in use: {mountpoint}; first `casfs umount {mountpoint}`\n"
    assert run_python(mountpoint, "print(1)") == "1"
    casfs.umount(mountpoint)
    casfs.run("env", "remove", "default")


def test_environment_of_a_running_command_is_not_removed(casfs: Casfs) -> None:
    done = casfs.run("run", "--", "sh", "-c", f"{sys.executable} -m casfs --store {casfs.store} env remove default || true")
    assert "casfs: default: is in use: casfs run (process " in done.stderr
    casfs.run("env", "remove", "default")


def test_what_tools_wrote_is_removed_only_when_told_so(casfs: Casfs) -> None:
    mountpoint = casfs.mount(data_path="")
    (site_packages(mountpoint) / "mine.py").write_bytes(b"mine")
    casfs.umount(mountpoint)
    assert read_list(casfs)["default"]["written_bytes"] == 4
    said = casfs.run("env", "remove", "default", code=1).stderr
    assert said.startswith("casfs: default: what was written into its mounts would be lost (4 B): `casfs diff` shows it, ")
    casfs.run("env", "remove", "--yes", "default")
    assert not (casfs.store / "environments/default").exists()


@pytest.mark.parametrize("data_path", ["kernel", "fuse"])
def test_new_environment_of_a_removed_ones_name_shows_nothing_of_it(casfs: Casfs, data_path: str) -> None:
    keeper = casfs.mount("--env", "keeper", data_path=data_path)  # its daemon lives on
    casfs.run("--env", "again", "add", casfs.wheel("demo", files={"demo.py": b"VALUE = 1\n"}))
    mountpoint = casfs.mount("--env", "again", data_path=data_path)
    assert run_python(mountpoint, "import demo; print(demo.VALUE)") == "1"
    casfs.umount(mountpoint)
    casfs.run("env", "remove", "--yes", "again")
    casfs.run("--env", "again", "add", casfs.wheel("other", files={"other.py": b"VALUE = 2\n"}))
    casfs.run("mount", "--env", "again", "--data-path", data_path, mountpoint)
    assert run_python(mountpoint, "import other; print(other.VALUE)") == "2"
    assert not (site_packages(mountpoint) / "demo.py").exists()
    assert run_python(keeper, "print(1)") == "1"


def test_daemon_that_overlays_ask_forgets_a_removed_environment_for_good(casfs: Casfs) -> None:
    """Also a worker that takes over, and an overlay for which the daemon says what there is."""
    keeper = casfs.mount("--env", "keeper", data_path="")
    mountpoint = keeper.with_name("again")
    for name in ("demo", "other"):
        casfs.run("--env", "again", "add", casfs.wheel(name, files={f"{name}.py": b"VALUE = 1\n"}))
        casfs.force_way("fuse")
        casfs.run("mount", "--env", "again", mountpoint)
        assert [path.name for path in site_packages(mountpoint).glob("*.py")] == [f"{name}.py"]
        casfs.umount(mountpoint)
        casfs.run("env", "remove", "--yes", "again")
        casfs.run("daemon", "upgrade")
    assert run_python(keeper, "print(1)") == "1"
    assert "Traceback" not in casfs.log()


def test_environment_that_somebody_still_uses_after_a_lazy_umount_is_not_removed(casfs: Casfs) -> None:
    mountpoint = casfs.mount(data_path="")
    keeper = casfs.mount("--env", "keeper", data_path="")
    with Interpreter(mountpoint, cwd=site_packages(mountpoint)) as user:
        assert user.ask("1 + 1") == 2
        casfs.umount(mountpoint, "--lazy")
        said = casfs.run("env", "remove", "--yes", "default", code=1).stderr
        assert "is in use: some process is still in a mount of it" in said
        assert user.ask("__import__('os').listdir('.')") == []
    casfs.run("env", "remove", "--yes", "default")
    casfs.umount(keeper)


def test_environment_that_is_damaged_can_be_removed(casfs: Casfs) -> None:
    link = Path(casfs.store / "environments/default/current")
    link.unlink()
    link.symlink_to("generations/77.toml")
    assert "generation 77 of environment 'default' is missing" in casfs.run("env", "list").stderr
    casfs.run("env", "remove", "--yes", "default")
    assert casfs.run("fsck").stdout == "no damage\n"


def test_environment_goes_on_when_the_link_to_its_interpreter_leads_elsewhere(casfs: Casfs) -> None:
    base = probe_base(sys.executable).executable
    place, name = casfs.directory / "versions", os.path.basename(base)
    place.mkdir()
    for link in ("a", "b"):
        (place / link).symlink_to(os.path.dirname(os.path.dirname(base)))
    (place / "current").symlink_to("a")
    casfs.run("--env", "linked", "add", "--python", place / "current/bin/python3", casfs.wheel("demo", files={"demo.py": b"VALUE = 1\n"}))
    mountpoint = casfs.mount("--env", "linked")
    assert os.readlink(mountpoint / "bin/python") == f"{place}/current/bin/{name}"
    (place / "a").unlink()
    (place / "current").unlink()
    (place / "current").symlink_to("b")
    assert run_python(mountpoint, "import demo; print(demo.VALUE)") == "1"
    casfs.run("--env", "linked", "add", "--python", place / "b/bin/python3", casfs.wheel("other"))


def test_environment_whose_interpreter_has_gone_says_so_and_takes_another(casfs: Casfs) -> None:
    base = probe_base(sys.executable).executable
    link = casfs.directory / "gone"
    link.symlink_to(os.path.dirname(os.path.dirname(base)))
    wheel = casfs.wheel("demo", files={"demo.py": b"VALUE = 1\n"})
    casfs.run("--env", "dead", "add", "--python", link / "bin/python3", wheel)
    link.unlink()
    mountpoint = casfs.directory / "mountpoint"
    said = f"dead: its interpreter {link}/bin/{os.path.basename(base)}: no such file or directory; "
    said += "`casfs env set-python dead PYTHON` gives it another\n"
    assert casfs.run("--env", "dead", "mount", mountpoint).stderr.startswith(f"casfs: warning: {said}")
    assert casfs.run("--env", "dead", "add", wheel, code=1).stderr == f"casfs: {said}"
    assert casfs.run("--env", "dead", "remove", "demo").stdout == "- demo 1.0\n"
    casfs.run("--env", "dead", "rollback")
    done = casfs.run("env", "set-python", "dead", base)
    assert done.stdout == f"dead: Python {sys.version.split()[0]}, {base}\n"
    assert run_python(mountpoint, "import demo; print(demo.VALUE)") == "1"
    assert "already" in casfs.run("env", "set-python", "dead", base).stderr


def test_mount_says_once_how_to_install(casfs: Casfs) -> None:
    mountpoint = casfs.directory / "mountpoint"
    first = casfs.run("--env", "new", "mount", mountpoint).stderr
    assert "`casfs add --env new NAME` installs into it" in first
    assert ("`pip install NAME`" in first) == (os.geteuid() == 0)
    casfs.run("--env", "new", "add", casfs.wheel("demo"))
    casfs.umount(mountpoint)
    assert casfs.run("--env", "new", "mount", mountpoint).stderr == ""
    casfs.umount(mountpoint)
    casfs.run("--env", "new", "mount", "--no-pip", mountpoint)
    assert not (mountpoint / "bin/pip").exists()


def test_pip_of_a_mount_that_is_read_only_names_what_can_change_it(casfs: Casfs) -> None:
    mountpoint = casfs.mount()
    done = subprocess.run([mountpoint / "bin/pip", "install", "six"], capture_output=True, text=True, check=False)
    said = f"pip: {mountpoint} is read-only, so pip can't change it; `casfs add` and `casfs remove` can\n"
    assert (done.returncode, done.stderr) == (1, said)
