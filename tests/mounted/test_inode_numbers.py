"""An inode number means one content for ever: across generations, upgrades and daemons."""

from __future__ import annotations

import os
from pathlib import Path

from tests.mounted.harness import Casfs, site_packages


def numbers_below(directory: Path) -> dict[str, int]:
    """st_ino of everything below a directory."""
    found = {".": directory.stat().st_ino}
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(parent, name)
            found[str(path.relative_to(directory))] = path.lstat().st_ino
    return found


def test_unchanged_file_keeps_its_number_when_others_come_and_go(casfs: Casfs, mounted: Path) -> None:
    before = numbers_below(mounted)
    casfs.add(casfs.wheel("other"))
    with_other = numbers_below(mounted)
    casfs.run("remove", "other")
    after = numbers_below(mounted)
    assert {path: with_other.get(path) for path in before} == before
    assert after == before
    assert not {*with_other.values()} - {*before.values()} & {*before.values()}


def test_upgrade_gives_its_files_numbers_that_rollback_takes_back(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", "1.0", {"demo/same.py": b"same\n", "demo/changed.py": b"one\n"}))
    site = site_packages(casfs.mount())
    before = numbers_below(site)
    casfs.add(casfs.wheel("demo", "2.0", {"demo/same.py": b"same\n", "demo/changed.py": b"two\n"}))
    after = numbers_below(site)
    assert after["demo/changed.py"] != before["demo/changed.py"]
    casfs.run("rollback")
    assert numbers_below(site) == before


def test_executable_bit_is_part_of_what_a_number_means(casfs: Casfs) -> None:
    files = {"demo/tool.sh": b"#!/bin/sh\necho run\n"}
    casfs.add(casfs.wheel("demo", "1.0", files))
    path = site_packages(casfs.mount()) / "demo/tool.sh"
    plain = path.stat()
    casfs.add(casfs.wheel("demo", "2.0", files, executable=files))
    executable = path.stat()
    assert (plain.st_mode, executable.st_mode) == (0o100644, 0o100755)
    assert plain.st_ino != executable.st_ino
    casfs.run("rollback")
    assert (path.stat().st_ino, path.stat().st_mode) == (plain.st_ino, plain.st_mode)


def test_equal_bytes_at_two_paths_are_two_files(casfs: Casfs) -> None:
    files = {"demo/a": b"x", "demo/b": b"x", "demo/c": b"x"}
    casfs.add(casfs.wheel("demo", files=files, executable=["demo/c"]))
    found = [os.stat(site_packages(casfs.mount()) / path) for path in files]
    assert len({one.st_ino for one in found}) == 3
    assert [one.st_mode & 0o777 for one in found] == [0o644, 0o644, 0o755]
    assert {one.st_nlink for one in found} == {1}


def test_numbers_are_the_same_in_every_mount_and_after_a_new_mount(casfs: Casfs, mounted: Path) -> None:
    before = numbers_below(mounted)
    other = casfs.mount()
    assert numbers_below(other) == before
    casfs.umount(mounted)
    casfs.run("mount", "--data-path", "fuse", mounted)
    assert numbers_below(mounted) == before


def test_every_number_is_its_own(mounted: Path) -> None:
    numbers = numbers_below(mounted)
    assert len({*numbers.values()}) == len(numbers)
    assert mounted.stat().st_ino == numbers["."] < 1 << 63  # some programs take it for a signed number


def read_until_kept(casfs: Casfs, mountpoint: Path, path: Path, content: bytes) -> int:
    """How many reads there were when the kernel had all of the file.

    On a busy machine Linux 6.18 forgets now and then that it has read a part, and reads that once more.
    """
    before, reads = -1, 0
    while reads > before:
        assert path.read_bytes() == content
        before, reads = reads, casfs.requests(mountpoint)["read"]
    return reads


def test_pages_stay_in_memory_when_others_come_and_go(casfs: Casfs) -> None:
    content = os.urandom(300_000)
    casfs.add(casfs.wheel("demo", "1.0", {"demo/data.bin": content, "demo/other.py": b"1"}))
    mountpoint = casfs.mount()
    path = site_packages(mountpoint) / "demo/data.bin"
    reads = read_until_kept(casfs, mountpoint, path, content)
    casfs.add(casfs.wheel("more"))
    casfs.run("remove", "more")
    assert path.read_bytes() == content
    assert casfs.requests(mountpoint)["read"] == reads
