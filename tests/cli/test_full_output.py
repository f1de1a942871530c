"""Where output can't be written, a command fails and says which output that is; what it is told to write to keeps its kind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs

FULL = Path("/dev/full")


@pytest.mark.parametrize(
    "words", [("list",), ("list", "--json"), ("lock",), ("status",), ("fsck",), ("--help",), ("--version",)], ids=" ".join
)
def test_output_that_is_full_is_an_error_that_names_it(casfs: Casfs, words: tuple[str, ...]) -> None:
    casfs.add(casfs.wheel("demo"))
    with FULL.open("w") as full:
        done = subprocess.run(casfs.command(*words), env=casfs.environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "casfs: standard output: no space left on device"


def test_messages_that_nobody_can_read_change_no_exit_code(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    for words, code in ((("fsck",), 0), (("show", "nowhere"), 1)):
        with FULL.open("w") as full:
            done = subprocess.run(casfs.command(*words), env=casfs.environ, stdout=subprocess.PIPE, stderr=full, check=False)
        assert done.returncode == code


def test_messages_that_nobody_waits_for_change_no_exit_code(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with open(write_fd, "wb") as left:
        done = subprocess.run(casfs.command("show", "nowhere"), env=casfs.environ, stdout=subprocess.DEVNULL, stderr=left, check=False)
    assert done.returncode == 1


def test_a_lock_is_written_behind_a_link(casfs: Casfs, tmp_path: Path) -> None:
    casfs.add(casfs.wheel("demo"))
    (tmp_path / "pylock.toml").symlink_to("target")
    casfs.run("lock", "-o", tmp_path / "pylock.toml")
    assert (tmp_path / "pylock.toml").is_symlink()
    assert (tmp_path / "target").read_text() == casfs.run("lock").stdout


def test_a_lock_that_can_not_be_written_names_the_file(casfs: Casfs, tmp_path: Path) -> None:
    casfs.add(casfs.wheel("demo"))
    for path, reason in ((tmp_path / "none/pylock.toml", "no such file or directory"), (tmp_path, "is a directory")):
        assert casfs.run("lock", "-o", path, code=1).stderr == f"casfs: {path}: {reason}\n"
