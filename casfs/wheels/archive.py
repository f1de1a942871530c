"""A ZIP archive that every reader sees alike, or none.

`zipfile` is not asked: it searches for the end record, takes the last of two members with one name, and before 3.11.8 does not see members
that overlap (CVE-2024-0450).
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from casfs.paths import path_problem
from casfs.wheels.directory import Entry, read_directory
from casfs.wheels.endrecord import find_directory
from casfs.wheels.layout import read_layout
from casfs.wheels.problems import Problems
from casfs.wheels.source import WheelSource

# What a wheel may unpack to. The largest known ones give 2 to 4 GB; a real one of 64 GiB would not be uploaded anywhere.
_MAX_CONTENT = 64 << 30
# Real wheels unpack to 3 to 10 times their size, data files of zeros to more. Below 1 GiB nobody is harmed by what deflate can do at most.
_FREE_CONTENT = 1 << 30
_MAX_RATIO = 200


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the archive; its content lies at `data_offset`, and has `size` bytes once unpacked."""

    name: str
    method: int
    data_offset: int
    compressed_size: int
    size: int
    crc: int
    mode: int

    @property
    def is_executable(self) -> bool:
        """As pip sees it: any x bit on what is said to be a regular file."""
        return stat.S_ISREG(self.mode) and bool(self.mode & 0o111)


def read_archive(source: WheelSource, problems: Problems) -> list[Member]:
    """The files in the archive, without its directory entries.

    What is wrong goes to `problems`, and then the members are good for finding more problems and nothing else. Raises WheelRefused when
    reading can't go on.
    """
    extent = find_directory(source, problems)
    entries = read_directory(source, extent, problems)
    _check_content_size(source, entries, problems)
    _check_names(entries, problems)
    offsets = read_layout(source, entries, extent.offset, problems)
    return [
        Member(entry.name, entry.method, offset, entry.compressed_size, entry.size, entry.crc, entry.mode)
        for entry, offset in zip(entries, offsets, strict=True)
        if not entry.is_directory
    ]


def _check_content_size(source: WheelSource, entries: Sequence[Entry], problems: Problems) -> None:
    total = sum(entry.size for entry in entries)
    if total > _MAX_CONTENT:
        problems.refuse(f"claims to unpack to {total} bytes; the limit is {_MAX_CONTENT}")
    if total > _FREE_CONTENT and total > source.size * _MAX_RATIO:
        problems.refuse(f"claims to unpack to {total} bytes, more than {_MAX_RATIO} times its {source.size}")


def _check_names(entries: Sequence[Entry], problems: Problems) -> None:
    files: set[str] = set()
    directories: set[str] = set()
    for entry in entries:
        name = entry.name.removesuffix("/")
        if problem := path_problem(name):
            problems.add(entry.name, problem)
        names = directories if entry.is_directory else files
        if name in names:
            problems.add(entry.name, "is in the archive twice")
        names.add(name)
    for name in find_clashes(files, directories):
        problems.add(name, "is both a file and a directory")


def find_clashes(files: Iterable[str], directories: Iterable[str] = ()) -> list[str]:
    """Paths that are a file and a directory at once: one of `directories`, or above another file."""
    parents: set[str] = set()
    files = set(files)
    for path in (*files, *(f"{directory}/" for directory in directories)):
        end = path.rfind("/")
        while end > 0 and path[:end] not in parents:
            parents.add(path[:end])
            end = path.rfind("/", 0, end)
    return sorted(files & parents)
