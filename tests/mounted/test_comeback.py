"""When a daemon has died with all its processes, whatever command comes next brings back what it showed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.make_wheels import make_wheel
from tests.mounted.harness import Casfs, iter_mountpoints, kill_daemon, run_python, wait_for_end
from tests.mounted.plain_user import HOME, PlainUser

ASK = "import demo; print(demo.VALUE)"


def kill(casfs: Casfs) -> dict[str, object]:
    """Kill the host; what `status` had said of one of its mounts."""
    mount = casfs.status()[0]
    kill_daemon(mount)
    return mount


COMMANDS = {
    "list": ["list"],
    "show": ["show", "demo"],
    "generations": ["generations"],
    "status": ["status"],
    "metrics": ["metrics"],
    "fsck": ["fsck", "--fast"],
    "pool list": ["pool", "list"],
    "rollback": ["rollback"],
    "remove": ["remove", "other"],
    "logs": ["daemon", "logs"],
    "upgrade": ["daemon", "upgrade"],
    "start": ["daemon", "start"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_brings_mounts_back(casfs: Casfs, mounted: Path, name: str) -> None:
    casfs.add(casfs.wheel("other"))
    other = casfs.mount()
    dead = kill(casfs)
    casfs.run(*COMMANDS[name])
    assert [run_python(path, ASK) for path in (mounted, other)] == ["1", "1"]
    [lease] = casfs.leases()
    assert lease["id"] != dead["id"]
    assert len([*iter_mountpoints(casfs.directory)]) == 2


def test_add_shows_its_change_on_the_mounts_that_it_brought_back(casfs: Casfs, mounted: Path) -> None:
    kill(casfs)
    done = casfs.add(casfs.wheel("demo", "2.0", {"demo/__init__.py": b"VALUE = 2\n"}))
    assert "the daemon had died; 1 mount came back" in done.stderr
    assert run_python(mounted, ASK) == "2"


def test_umount_brings_back_the_others(casfs: Casfs, mounted: Path) -> None:
    other = casfs.mount()
    kill(casfs)
    casfs.umount(mounted)
    assert run_python(other, ASK) == "1"
    assert [*iter_mountpoints(casfs.directory)] == [other]


@pytest.mark.parametrize("words", [("umount", "--all"), ("daemon", "stop")])
def test_end_of_all_mounts_brings_none_back(casfs: Casfs, mounted: Path, words: tuple[str, str]) -> None:
    dead = kill(casfs)
    done = casfs.run(*words)
    assert "came back" not in done.stderr
    assert [*iter_mountpoints(casfs.directory)] == []
    assert os.listdir(casfs.store / "run") == ["dead.log"]
    assert not Path(f"/run/casfs/{dead['id']}").exists()


def test_nothing_piles_up_over_many_deaths(casfs: Casfs, mounted: Path) -> None:
    private = set()
    for _ in range(3):
        private |= {lease["mountpoint"] for lease in casfs.leases()}
        kill(casfs)
        casfs.run("list")
    assert run_python(mounted, ASK) == "1"
    assert [path for path in private if os.path.lexists(path)] == []
    [lease] = casfs.leases()
    ours = {name for name in os.listdir(casfs.store / "run") if not name.startswith(lease["id"])}
    assert len(ours) == 2  # the place, and the log of the last one that died
    assert "dead.log" in ours


def test_commands_at_once_bring_mounts_back_once(casfs: Casfs, mounted: Path) -> None:
    other = casfs.mount()
    kill(casfs)
    commands = [subprocess.Popen(casfs.command("list"), env=casfs.environ, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [command.wait(60) for command in commands] == [0] * 4
    assert [run_python(path, ASK) for path in (mounted, other)] == ["1", "1"]
    assert len(casfs.leases()) == 1
    assert len([*iter_mountpoints(casfs.directory)]) == 2


def test_log_of_the_daemon_that_died_can_be_read(casfs: Casfs, mounted: Path) -> None:
    first = casfs.status()[0]
    os.kill(first["worker"], 9)
    second = casfs.status()[0]
    assert second["worker"] != first["worker"]
    kill_daemon(second)
    told = casfs.run("daemon", "logs").stdout
    assert f"the worker is replaced: process {first['worker']} ended with -9" in told
    assert f"the daemon had died with all its processes (it began as process {second['pid']})" in told


def test_command_of_another_mount_namespace_leaves_mounts_to_those_who_see_them(casfs: Casfs, mounted: Path) -> None:
    apart = ["unshare", "--mount", "--propagation", "private"]
    casfs.run("list", prefix=apart)
    kill(casfs)
    casfs.run("list", prefix=apart)
    casfs.run("list", prefix=[*apart, "sh", "-c", 'umount -l "$0"; exec "$@"', str(mounted)])
    casfs.run("list")
    assert run_python(mounted, ASK) == "1"


def test_foreground_daemon_that_died_comes_back(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo/__init__.py": b"VALUE = 1\n"}))
    path = casfs.directory / "foreground"
    with subprocess.Popen(casfs.command("mount", "--foreground", path), env=casfs.environ, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr
        assert "Ctrl-C ends it" in daemon.stderr.readline()
        [mount] = casfs.status()
        os.kill(mount["worker"], 19)
        for pid in (mount["supervisor"], mount["worker"]):
            os.kill(pid, 9)
        daemon.wait()
    casfs.run("list")
    assert run_python(path, ASK) == "1"


def test_place_that_somebody_else_unmounted_is_forgotten_and_the_host_ends(casfs: Casfs, mounted: Path) -> None:
    other = casfs.mount()
    host = casfs.status()[0]
    subprocess.run(["umount", mounted], check=True)
    assert [one["mountpoint"] for one in casfs.status()] == [str(other)]
    subprocess.run(["umount", other], check=True)
    casfs.run("list")
    assert casfs.status() == []
    for pid in (host["supervisor"], host["worker"]):
        wait_for_end(pid)
    assert os.listdir(casfs.store / "run") == []


def test_place_that_another_namespace_does_not_see_is_kept(casfs: Casfs, mounted: Path) -> None:
    apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'umount -l "$0"; exec "$@"', str(mounted)]
    for command in ("status", "list"):
        casfs.run(command, prefix=apart)
    assert [one["mountpoint"] for one in casfs.status()] == [str(mounted)]
    assert run_python(mounted, ASK) == "1"


@pytest.fixture(scope="module")
def plain_user() -> Iterator[PlainUser]:
    with PlainUser() as one:
        make_wheel({"demo.py": b"VALUE = 1\n"}, "demo").write_to(one.path(""))
        one.casfs("add", "--python", sys.executable, "demo-1.0-py3-none-any.whl")
        yield one


@pytest.mark.parametrize("words", [["list"], ["status"], ["rollback", "1"], ["metrics"]])
def test_mounts_of_a_plain_user_come_back(plain_user: PlainUser, words: list[str]) -> None:
    for name in ("one", "two"):
        plain_user.casfs("mount", name)
    for mount in json.loads(plain_user.casfs("status", "--json").stdout)["mounts"]:
        kill_daemon(mount)
    done = plain_user.casfs(*words)
    assert "2 mounts came back" in done.stderr
    for name in ("one", "two"):
        assert plain_user.run("cat", f"{HOME}/{name}/pyvenv.cfg").stdout.startswith("home = ")
    assert len(json.loads(plain_user.casfs("status", "--json").stdout)["mounts"]) == 2


def test_umount_of_all_clears_dead_mounts_of_a_plain_user(plain_user: PlainUser) -> None:
    plain_user.casfs("mount", "one")
    for mount in json.loads(plain_user.casfs("status", "--json").stdout)["mounts"]:
        kill_daemon(mount)
    plain_user.casfs("umount", "--all")
    assert os.listdir(plain_user.path("one")) == []
    assert os.listdir(plain_user.path(".local/share/casfs/run")) == ["dead.log"]
