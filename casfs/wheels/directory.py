"""The central directory of a ZIP: its entries, one by one, each checked for itself. (APPNOTE.TXT 4.3.12.)"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass

from casfs.wheels.endrecord import Extent
from casfs.wheels.extra import BadExtra, widen
from casfs.wheels.problems import Problems
from casfs.wheels.source import WheelSource

STORED = 0
DEFLATED = 8

HAS_DESCRIPTOR = 0x0008
_UTF8_NAME = 0x0800
# Bits 1 and 2 say how hard deflate tried. All other bits mean encryption, patches or things to come.
_KNOWN_FLAGS = HAS_DESCRIPTOR | _UTF8_NAME | 0x0006

_HEADER = struct.Struct("<4sBBHHHHHLLLHHHHHLL")
_SIGNATURE = b"PK\1\2"
_DOS_DIRECTORY = 0x10

# APPNOTE.TXT 6.3; the later ones are about other ways of packing. A byte of its own, in tenths.
_MAX_VERSION = 63

# tensorflow has 15,632 members, torch 13,187. A bomb of members costs memory before one byte of content is read.
MAX_MEMBERS = 100_000
# tensorflow's directory has 1.8 MB, 114 bytes a member; 32 MiB is three times that for each of MAX_MEMBERS.
_MAX_DIRECTORY = 32 << 20
# No deflate stream gives more than 1,032 bytes for one (a block of length-258 matches at two bits each).
_DEFLATE_LIMIT = 1032


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the central directory."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    mode: int
    local_offset: int

    @property
    def is_directory(self) -> bool:
        """Only the name tells: that is what unpackers go by."""
        return self.name.endswith("/")


def read_directory(source: WheelSource, extent: Extent, problems: Problems) -> list[Entry]:
    """The entries whose name can be told. What is wrong with them goes to `problems`; raises WheelRefused if reading can't go on."""
    if extent.size > _MAX_DIRECTORY or extent.count > MAX_MEMBERS:
        found, limits = f"{extent.count} members in a directory of {extent.size} bytes", f"{MAX_MEMBERS} and {_MAX_DIRECTORY}"
        problems.refuse(f"has {found}; the limits are {limits}")
    directory = source.read_at(extent.offset, extent.size)
    entries = []
    position = count = 0
    while position < len(directory):
        entry, position = _read_entry(directory, position, problems)
        count += 1
        if entry:
            entries.append(entry)
    if count != extent.count:
        problems.add_wheel(f"has {count} members, but its end record says {extent.count}")
    return entries


def _read_entry(directory: bytes, position: int, problems: Problems) -> tuple[Entry | None, int]:
    """The entry at `position` and the position of the next."""
    if position + _HEADER.size > len(directory) or not directory.startswith(_SIGNATURE, position):
        problems.refuse(f"its central directory has no entry at byte {position}")
    header = _HEADER.unpack_from(directory, position)
    _, _, _, needed, flags, method, _, _, crc, compressed, size, *lengths, disk, _, attributes, local = header
    name_length, extra_length, comment_length = lengths
    name_end = position + _HEADER.size + name_length
    extra_end = name_end + extra_length
    if extra_end + comment_length > len(directory):
        problems.refuse(f"the entry at byte {position} of its central directory is cut off")
    raw_name = directory[name_end - name_length : name_end]
    try:
        name = raw_name.decode("utf-8" if flags & _UTF8_NAME else "ascii")
    except UnicodeDecodeError:
        problems.add(raw_name.decode("latin-1"), "has a name that is neither ASCII nor marked as UTF-8 and valid")
        return None, extra_end + comment_length
    try:
        size, compressed, local = widen((size, compressed, local), directory[name_end:extra_end])
    except BadExtra as error:
        problems.add(name, str(error))
    entry = Entry(name, raw_name, flags, method, crc, compressed, size, attributes >> 16, local)
    if comment_length:
        problems.add(name, "has a comment")
    if disk:
        problems.add(name, "is on another disk")
    if attributes & _DOS_DIRECTORY and not entry.is_directory:
        problems.add(name, "is a directory by its attributes and a file by its name")
    if needed & 0xFF > _MAX_VERSION:
        problems.add(name, f"needs version {(needed & 0xFF) / 10} of the ZIP format")
    _check_kind(entry, problems)
    _check_packing(entry, problems)
    return entry, extra_end + comment_length


def _check_kind(entry: Entry, problems: Problems) -> None:
    """Only regular files and directories: a link or a device would be a way out, and a setuid bit a way up."""
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFLNK and not entry.size and not entry.is_directory:
        problems.remark("symbolic links without a target become empty files")
    elif kind not in (0, stat.S_IFREG) and not (entry.is_directory and kind == stat.S_IFDIR):
        problems.add(entry.name, f"is {_KINDS.get(kind, 'of an unknown kind')}, not a regular file")
    if entry.mode & (stat.S_ISUID | stat.S_ISGID) and not entry.is_directory:
        problems.add(entry.name, "has a setuid or setgid bit")


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory by its mode",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


def _check_packing(entry: Entry, problems: Problems) -> None:
    """Method, flags, and sizes that can be true."""
    if entry.flags & ~_KNOWN_FLAGS:
        what = "is encrypted" if entry.flags & 1 else f"has flags {entry.flags:#06x} that are not known"
        problems.add(entry.name, what)
    if entry.is_directory:
        # An empty deflate stream has two bytes: more would be hidden content.
        if entry.size or entry.compressed_size > 2:
            problems.add(entry.name, "is a directory with content")
    elif entry.method == STORED:
        if entry.size != entry.compressed_size:
            problems.add(entry.name, f"is stored in {entry.compressed_size} bytes but claims to have {entry.size}")
    elif entry.method != DEFLATED:
        problems.add(entry.name, f"is packed with method {entry.method}; only 0 (stored) and 8 (deflate) are known")
    elif entry.size > entry.compressed_size * _DEFLATE_LIMIT:
        problems.add(entry.name, f"claims {entry.size} bytes, more than its {entry.compressed_size} packed bytes can give")
