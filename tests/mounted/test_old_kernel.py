"""A kernel that can't repeat requests (Linux before 6.9) loses the mount with its worker, and it is mounted again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.make_wheels import make_wheel
from tests.mounted.daemons import wait_until
from tests.mounted.harness import REPOSITORY, Casfs, is_readable, iter_mountpoints, run_python, wait_for_end
from tests.mounted.plain_user import HOME, PlainUser

ASK = "import demo; print(demo.VALUE)"

OLD_KERNEL = """
import sys
import casfs.daemon.daemon
from casfs.cli.main import main
casfs.daemon.daemon.can_resend = lambda: False
main(sys.argv[1:])
"""


def start(casfs: Casfs, *words: str | Path) -> None:
    """Start a daemon in the background that takes the kernel for an old one."""
    ours, theirs = os.pipe()
    command = [sys.executable, "-c", OLD_KERNEL, *map(str, words[:-1]), "--ready-fd", str(theirs), str(words[-1])]
    daemon = subprocess.Popen(command, env=casfs.environ, cwd=REPOSITORY, pass_fds=[theirs], start_new_session=True)
    daemon.returncode = 0  # it lives on; nobody waits for it
    os.close(theirs)
    for _ in ("mounted", "serving"):
        assert is_readable(ours, 60)
        assert os.read(ours, 1)
    os.close(ours)


@pytest.fixture
def served(casfs: Casfs) -> Casfs:
    """A store with demo 1.0, served by a host that takes the kernel for an old one."""
    casfs.add(casfs.wheel("demo", files={"demo/__init__.py": b"VALUE = 1\n"}))
    start(casfs, "daemon", "start", "--foreground")
    return casfs


def is_back(path: Path) -> bool:
    """Whether a mount is there and answers."""
    try:
        return (path / "pyvenv.cfg").exists()
    except OSError:
        return False


def test_mounts_of_a_host_come_back_by_themselves(served: Casfs) -> None:
    paths = [served.mount(), served.mount()]
    before = served.status()[0]
    os.kill(before["worker"], 9)
    for pid in (before["supervisor"], before["worker"]):
        wait_for_end(pid)
    wait_until(lambda: all(map(is_back, paths)))
    assert [run_python(path, ASK) for path in paths] == ["1", "1"]
    after = served.status()
    assert {one["mountpoint"] for one in after} == set(map(str, paths))
    assert {one["restart_count"] for one in after} == {1}
    assert {one["reason"] for one in after} == {f"process {before['worker']} ended with -9"}
    assert "this kernel can't repeat what was not answered" in served.run("daemon", "logs").stdout
    assert [one["id"] for one in served.leases()] == [after[0]["id"]]
    assert len([*iter_mountpoints(served.directory)]) == 2


def test_daemon_in_the_foreground_ends_with_a_reason(casfs: Casfs) -> None:
    path = casfs.directory / "foreground"
    command = [sys.executable, "-c", OLD_KERNEL, "mount", "--foreground", str(path)]
    with subprocess.Popen(command, env=casfs.environ, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr
        assert "Ctrl-C ends it" in daemon.stderr.readline()
        worker = casfs.status()[0]["worker"]
        os.kill(worker, 9)
        told = daemon.stderr.read()
    assert daemon.returncode == 1
    assert f"{path}: process {worker} ended with -9, and this kernel can't go on with another one" in told
    assert os.listdir(path) == []


def test_mount_of_a_plain_user_comes_back_by_itself() -> None:
    with PlainUser() as user:
        make_wheel({"demo.py": b"VALUE = 1\n"}, "demo").write_to(user.path(""))
        user.casfs("add", "--python", sys.executable, "demo-1.0-py3-none-any.whl")
        start = f'{sys.executable} -c "$0" mount --foreground --ready-fd 9 {HOME}/venv 9>/dev/null >/dev/null 2>&1 &'
        user.run("sh", "-c", start, OLD_KERNEL)
        wait_until(lambda: bool(mounts(user)))
        [before] = mounts(user)
        os.kill(before["worker"], 9)
        for pid in (before["supervisor"], before["worker"]):
            wait_for_end(pid)
        wait_until(lambda: [one["answers"] for one in mounts(user)] == [True])
        [after] = mounts(user)
        assert (after["mountpoint"], after["reason"]) == (f"{HOME}/venv", f"process {before['worker']} ended with -9")
        assert user.run(f"{HOME}/venv/bin/python", "-c", ASK).stdout == "1\n"
        user.casfs("umount", "--all")


def mounts(user: PlainUser) -> list[dict[str, Any]]:
    return list(json.loads(user.casfs("status", "--json").stdout)["mounts"])
