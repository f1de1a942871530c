"""Extra fields of a ZIP's headers: only the one that widens sizes to 64 bits is understood."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_HEAD = struct.Struct("<HH")
_ZIP64 = 0x0001
# Gives the member another name, which some readers use and some don't (APPNOTE.TXT 4.6.9).
_UNICODE_PATH = 0x7075

IN_EXTRA = 0xFFFFFFFF
"""In a 32-bit field of a header: the value stands in the ZIP64 extra field."""


class BadExtra(ValueError):
    """An extra field that can't be trusted; says why."""


def widen(values: Sequence[int], extra: bytes) -> Sequence[int]:
    """`values` (32 bits each, in the ZIP64 field's order), widened by what stands in `extra`. Raises BadExtra. (APPNOTE.TXT 4.5.3.)"""
    if not extra and IN_EXTRA not in values:
        return values
    zip64 = _find_zip64(extra)
    wanted = sum(value == IN_EXTRA for value in values)
    if zip64 is None:
        if wanted:
            raise BadExtra("says that a size is in a ZIP64 field that it does not have")
        return values
    if len(zip64) % 8 or not wanted * 8 <= len(zip64) <= len(values) * 8:
        raise BadExtra("has a ZIP64 field of the wrong length")
    wide = struct.unpack(f"<{len(zip64) // 8}Q", zip64)
    if len(wide) == wanted:
        supply = iter(wide)
        return [next(supply) if value == IN_EXTRA else value for value in values]
    # Some writers (Go's) give more than the header asks for. It must say the same, and readers must not confuse the places.
    if any((value == IN_EXTRA) != (i < wanted) for i, value in enumerate(values)) or tuple(values[wanted : len(wide)]) != wide[wanted:]:
        raise BadExtra("has a ZIP64 field that contradicts its header")
    return [*wide, *values[len(wide) :]]


def _find_zip64(extra: bytes) -> bytes | None:
    """Content of the ZIP64 field, if there is one. Raises BadExtra."""
    found = None
    position = 0
    while position < len(extra):
        if position + _HEAD.size > len(extra):
            raise BadExtra("has an extra field that is cut off")
        identifier, length = _HEAD.unpack_from(extra, position)
        position += _HEAD.size
        if position + length > len(extra):
            raise BadExtra("has an extra field that is cut off")
        if identifier == _UNICODE_PATH:
            raise BadExtra("has a second name in an extra field")
        if identifier == _ZIP64:
            if found is not None:
                raise BadExtra("has two ZIP64 fields")
            found = extra[position : position + length]
        position += length
    return found
