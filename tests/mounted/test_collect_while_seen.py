"""Collecting while environments are seen, also by those of whom no mount tells any more."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.mounted.daemons import ask, wait_until
from tests.mounted.harness import Casfs, site_packages

COLLECT = ("collect", "--unused-wheels", "--keep", "1")

SEEN = "environment 'default' is mounted, or may still be seen, so it keeps all its generations\n"


def wheel(casfs: Casfs, version: str) -> Path:
    """Each version has another data.txt, and the same same.py."""
    return casfs.wheel("demo", version, files={"demo/same.py": b"SAME = 1\n", "demo/data.txt": version.encode()})


def upgrade_and_collect(casfs: Casfs) -> None:
    casfs.add(wheel(casfs, "2.0"))
    casfs.add(wheel(casfs, "3.0"))
    assert casfs.run(*COLLECT).stderr == SEEN


@pytest.mark.parametrize("data_path", ["fuse", ""])
def test_process_goes_on_with_a_generation_that_its_mount_shows_no_more(casfs: Casfs, data_path: str) -> None:
    casfs.add(wheel(casfs, "1.0"))
    mountpoint = casfs.mount(data_path=data_path)
    with (site_packages(mountpoint) / "demo/data.txt").open("rb", buffering=0) as file:
        upgrade_and_collect(casfs)
        assert file.read() == b"1.0"
        assert (site_packages(mountpoint) / "demo/data.txt").read_bytes() == b"3.0"


def test_file_is_read_of_a_mount_that_was_ended_lazily_while_the_daemon_lives_for_others(casfs: Casfs) -> None:
    casfs.add(wheel(casfs, "1.0"))
    mountpoint = casfs.mount()
    casfs.run("--env", "other", "add", casfs.wheel("other"))
    (casfs.directory / "other").mkdir()
    casfs.run("--env", "other", "mount", "--data-path", "fuse", casfs.directory / "other")
    with (site_packages(mountpoint) / "demo/data.txt").open("rb", buffering=0) as file:
        casfs.umount(mountpoint, "--lazy")
        upgrade_and_collect(casfs)
        assert file.read() == b"1.0"


def test_directory_is_read_whose_upper_layer_is_not_current_any_more(casfs: Casfs) -> None:
    """The overlay was replaced, and the mount ended lazily: only the kernel knows that somebody is in it."""
    casfs.add(wheel(casfs, "1.0"))
    mountpoint = casfs.mount(data_path="")
    directory = os.open(site_packages(mountpoint) / "demo", os.O_RDONLY | os.O_DIRECTORY)
    try:
        (mountpoint / "written").write_bytes(b"by a tool")
        casfs.run("reset", "--yes")
        casfs.umount(mountpoint, "--lazy")
        upgrade_and_collect(casfs)
        with open(os.open("data.txt", os.O_RDONLY, dir_fd=directory), "rb") as file:
            assert file.read() == b"1.0"
    finally:
        os.close(directory)


def test_what_came_back_is_read_by_its_number_when_the_worker_was_killed(casfs: Casfs) -> None:
    """Its files had numbers of a version that was collected with it, and that did not come back."""
    for version in ("1.0", "2.0"):
        casfs.add(wheel(casfs, version))
    casfs.run("env", "remove", "default")
    assert "2 wheels" in casfs.run(*COLLECT).stdout
    casfs.add(wheel(casfs, "2.0"))
    mountpoint = casfs.mount()
    with (site_packages(mountpoint) / "demo/same.py").open("rb", buffering=0) as file:
        before = ask(casfs).worker
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: ask(casfs).worker != before)
        assert file.read() == b"SAME = 1\n"


def test_command_that_runs_keeps_the_generation_that_it_alone_sees(casfs: Casfs) -> None:
    casfs.add(wheel(casfs, "1.0"))
    source = "import sys, demo; data = demo.__path__[0] + '/data.txt'; print(flush=True); sys.stdin.read(); print(open(data).read())"
    command = casfs.command("run", "--", "python", "-c", source)
    with subprocess.Popen(command, env=casfs.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "\n"
        upgrade_and_collect(casfs)
        assert running.communicate()[0] == "1.0\n"
    assert "3 generations" in casfs.run(*COLLECT).stdout
