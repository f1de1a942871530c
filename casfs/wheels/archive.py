"""A ZIP archive that every reader sees alike, or none.

`zipfile` is not asked: it searches for the end record, takes the last of two members with one name, and before 3.11.8 does not see members
that overlap (CVE-2024-0450).
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

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
# tensorflow has 1,600. Without a limit, 10,000 members in directories 1,500 deep would make 15 million.
_MAX_DIRECTORIES = 100_000


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
    seen: set[str] = set()
    good: list[str] = []
    for entry in entries:
        name = entry.name.removesuffix("/")
        if problem := path_problem(name):
            problems.add(entry.name, problem)
        else:
            good.append(entry.name)
        if entry.name in seen:
            problems.add(entry.name, "is in the archive twice")
        seen.add(entry.name)
    for name in find_clashes(good):
        problems.add(name, "is both a file and a directory")
    if (count := count_directories(good)) > _MAX_DIRECTORIES:
        problems.refuse(f"has {count} directories; the limit is {_MAX_DIRECTORIES}")


def find_clashes(paths: Iterable[str]) -> list[str]:
    """The files among `paths` that lie where another path has or (with a slash at its end) is a directory. Paths must be good ones.

    Sorted by components, what lies below a path comes right after it; collecting all parents would cost a hostile wheel's reader gigabytes.
    """
    ordered = sorted({path.replace("/", "\0") for path in paths})
    return [path.replace("\0", "/") for path, following in pairwise(ordered) if following.startswith(f"{path}\0")]


def count_directories(paths: Iterable[str]) -> int:
    """How many directories `paths` need."""
    count = 0
    previous: list[str] = []
    for parent in sorted({path.rpartition("/")[0].replace("/", "\0") for path in paths}):
        components = parent.split("\0") if parent else []
        shared = next((i for i, (one, other) in enumerate(zip(previous, components, strict=False)) if one != other), len(previous))
        count += len(components) - min(shared, len(components))
        previous = components
    return count
