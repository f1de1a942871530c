"""The records at the end of a ZIP, which say where its central directory lies. (APPNOTE.TXT 4.3.14 to 4.3.16.)

Readers differ in how they search for these records, and so in what they unpack. Here there is nothing to search for: the end record is
the last 22 bytes of the file, and the central directory ends where the end records begin.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from casfs.wheels.extra import IN_EXTRA
from casfs.wheels.problems import Problems
from casfs.wheels.source import WheelSource

_END = struct.Struct("<4sHHHHLLH")
_END_SIGNATURE = b"PK\5\6"
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_SIGNATURE = b"PK\6\7"
_END64 = struct.Struct("<4sQHHLLQQQQ")
_END64_SIGNATURE = b"PK\6\6"

# Longest comment that an archive can have, and so how far back a misplaced end record can be.
_MAX_COMMENT = 65535


@dataclass(frozen=True, slots=True)
class Extent:
    """The place of the central directory: bytes from the start of the file, and how many entries it should have."""

    offset: int
    size: int
    count: int


def find_directory(source: WheelSource, problems: Problems) -> Extent:
    """Where the central directory lies; it ends where the end records begin. Raises WheelRefused."""
    if source.size < _END.size:
        problems.refuse("is not a ZIP archive: too short")
    end_offset = source.size - _END.size
    signature, disk, first_disk, here, count, size, offset, comment = _END.unpack(source.read_at(end_offset, _END.size))
    if signature != _END_SIGNATURE:
        problems.refuse(_why_no_end(source))
    if comment:
        problems.refuse("is cut off within its comment")
    if disk or first_disk or here != count:
        problems.refuse("is one part of a ZIP archive of several disks")
    extent = Extent(offset, size, count)
    if end_offset >= _LOCATOR.size:
        locator = source.read_at(end_offset - _LOCATOR.size, _LOCATOR.size)
        if locator.startswith(_LOCATOR_SIGNATURE):
            end_offset, extent = _read_end64(source, end_offset - _LOCATOR.size, locator, extent, problems)
    if extent.offset + extent.size != end_offset:
        where = f"ends at byte {extent.offset + extent.size}, but its end record begins at {end_offset}"
        problems.refuse(f"its central directory {where}: bytes stand before the archive, or between the two")
    return extent


def _why_no_end(source: WheelSource) -> str:
    length = min(source.size, _MAX_COMMENT + _END.size)
    tail = source.read_at(source.size - length, length)
    found = tail.rfind(_END_SIGNATURE)
    if found < 0:
        return "is not a ZIP archive, or is cut off: no end record"
    return f"has {max(length - found - _END.size, 0)} bytes (a comment or something else) after its end record"


def _read_end64(source: WheelSource, at: int, locator: bytes, short: Extent, problems: Problems) -> tuple[int, Extent]:
    """Start of the ZIP64 end record and the extent that it gives; it must touch its locator at `at` and agree with the short record."""
    _, locator_disk, end64_offset, disks = _LOCATOR.unpack(locator)
    if locator_disk or disks > 1:
        problems.refuse("is one part of a ZIP archive of several disks")
    if end64_offset + _END64.size != at:
        problems.refuse("its ZIP64 locator points elsewhere than to the record before it")
    record = _END64.unpack(source.read_at(end64_offset, _END64.size))
    signature, length, _, _, disk, first_disk, here, count, size, offset = record
    if signature != _END64_SIGNATURE or length != _END64.size - 12:  # the length leaves out the signature and itself
        problems.refuse("has no ZIP64 end record where its locator points")
    if disk or first_disk or here != count:
        problems.refuse("is one part of a ZIP archive of several disks")
    agrees = short.count in (count, 0xFFFF) and short.size in (size, IN_EXTRA) and short.offset in (offset, IN_EXTRA)
    if not agrees:
        problems.refuse("its two end records disagree")
    return end64_offset, Extent(offset, size, count)
