"""Local headers: each must say what the central directory says, and the members must fill the file without gap or overlap.

A reader that goes through the file from its start, and one that goes by the central directory, then see the same members and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from casfs.wheels.directory import HAS_DESCRIPTOR, Entry
from casfs.wheels.extra import BadExtra, widen
from casfs.wheels.problems import Problems
from casfs.wheels.source import WheelSource

_HEADER = struct.Struct("<4sHHHHHLLLHH")
_SIGNATURE = b"PK\3\4"
_DESCRIPTOR_SIGNATURE = b"PK\7\x08"


def read_layout(source: WheelSource, entries: Sequence[Entry], directory_offset: int, problems: Problems) -> list[int]:
    """Where the content of each entry begins. What is wrong goes to `problems`; then the places are worth nothing."""
    order = sorted(range(len(entries)), key=lambda i: entries[i].local_offset)
    offsets = [0] * len(entries)
    start = entries[order[0]].local_offset if order else directory_offset
    if start:
        problems.add_wheel(f"has {start} bytes before its first member")
    for place, i in enumerate(order):
        entry = entries[i]
        following = entries[order[place + 1]].local_offset if place + 1 < len(order) else directory_offset
        end = min(following, directory_offset)
        if entry.local_offset + _HEADER.size + len(entry.raw_name) > end:
            problems.add(entry.name, "overlaps what follows it")
            continue
        offsets[i] = _read_local(source, entry, problems)
        _check_end(source, entry, offsets[i] + entry.compressed_size, end, problems)
    return offsets


def _read_local(source: WheelSource, entry: Entry, problems: Problems) -> int:
    """Where the content of `entry` begins, its local header checked."""
    head = source.read_at(entry.local_offset, _HEADER.size + len(entry.raw_name))
    signature, _, flags, method, _, _, crc, compressed, size, name_length, extra_length = _HEADER.unpack_from(head)
    data_offset: int = entry.local_offset + _HEADER.size + name_length + extra_length
    if signature != _SIGNATURE:
        problems.add(entry.name, "has no local header where the central directory says")
    elif name_length != len(entry.raw_name) or head[_HEADER.size :] != entry.raw_name:
        problems.add(entry.name, "has another name in its local header")
    elif flags != entry.flags or method != entry.method:
        problems.add(entry.name, "has other flags or another method in its local header")
    elif data_offset > source.size:
        problems.add(entry.name, "overlaps what follows it")
    else:
        extra = source.read_at(data_offset - extra_length, extra_length) if extra_length else b""
        _check_sizes(entry, crc, (size, compressed), extra, problems)
    return data_offset


def _check_sizes(entry: Entry, crc: int, sizes: tuple[int, int], extra: bytes, problems: Problems) -> None:
    try:
        local = (crc, *widen(sizes, extra))
    except BadExtra as error:
        problems.add(entry.name, f"{error} (local header)")
        return
    central = (entry.crc, entry.size, entry.compressed_size)
    if local != central and not (entry.flags & HAS_DESCRIPTOR and local == (0, 0, 0)):
        problems.add(entry.name, "has other sizes or another CRC in its local header")


def _check_end(source: WheelSource, entry: Entry, data_end: int, end: int, problems: Problems) -> None:
    """The content must end where the next thing begins, apart from a data descriptor that says what the central directory says."""
    gap = end - data_end
    if gap < 0:
        problems.add(entry.name, "overlaps what follows it")
    elif not entry.flags & HAS_DESCRIPTOR:
        if gap:
            problems.add(entry.name, f"is followed by {gap} bytes that belong to no member")
    elif gap not in _DESCRIPTORS or source.read_at(data_end, gap) != _format_descriptor(entry, gap):
        problems.add(entry.name, "has no data descriptor, or one that contradicts the central directory")


# Signature and width of the sizes are free (APPNOTE.TXT 4.3.9), but the length tells which it must be.
_DESCRIPTORS = {12: "<LLL", 16: "<4sLLL", 20: "<LQQ", 24: "<4sLQQ"}


def _format_descriptor(entry: Entry, length: int) -> bytes | None:
    values = (entry.crc, entry.compressed_size, entry.size)
    if length < 20 and max(values) > 0xFFFFFFFF:
        return None
    if length in (16, 24):
        return struct.pack(_DESCRIPTORS[length], _DESCRIPTOR_SIGNATURE, *values)
    return struct.pack(_DESCRIPTORS[length], *values)
