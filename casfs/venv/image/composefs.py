"""What composefs asks of an image beside what casfs does (composefs, libcomposefs/lcfs-erofs.h): a header before the superblock.

Its own tools write other things in the same form: `mount.composefs -o basedir=STORE/blobs IMAGE DIR` mounts this one. The attributes must
be those in `trusted`, and the root has none of the whiteouts that hide a base directory, since the pool is a data-only layer.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_HEADER = struct.Struct("<IIII4I")  # struct lcfs_erofs_header_s: magic, version, flags, composefs_version, unused
_MAGIC, _VERSION = 0xD078629A, 1


def add_composefs_header(pieces: Sequence[memoryview]) -> list[memoryview]:
    """The pieces of an image, the first of them with a header."""
    first, *others = pieces
    return [memoryview(_HEADER.pack(_MAGIC, _VERSION, 0, 0, 0, 0, 0, 0) + bytes(first[_HEADER.size :])), *others]
