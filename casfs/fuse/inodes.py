"""Inode numbers: 64 bits from which a freshly started daemon finds the node, without any table that look-ups filled.

    bit 63        0: some programs take st_ino for a signed number
    bit 62        1: a directory, 0: a file
    bit 61        1: a directory reached through one that a change has taken out of the tree (see view.is_current)
    bits 60..44   the slot, where one mount shows many environments (see host); 0 where it shows one
    bits 43..20   number of a manifest (see casfs.store.numbers)
    bits 19..0    row: of a file among the manifest's files, of a directory among its directories

The root is 1, as FUSE demands; the root of a slot is a directory with number 0 and row 1. A manifest's number is never 0, so no other node
has a number below 2^20. Both numbers are given once and a manifest never changes, hence an inode number never means other bytes. A file
handle is the inode number of what was opened.
"""

from __future__ import annotations

from casfs.digest import digest_bytes
from casfs.venv.tree import Identity

ROOT = 1

ROW_BITS = 20
_NUMBER_BITS = 24
_DIRECTORY = 1 << 62
_DETACHED = 1 << 61


def encode_file(identity: Identity) -> int:
    """Inode number of a file."""
    number, row = identity
    return number << ROW_BITS | row


def encode_directory(identity: Identity) -> int:
    """Inode number of a directory that is not the root."""
    return _DIRECTORY | encode_file(identity)


def detach_directory(ino: int) -> int:
    """The number that a directory has for those who reach it through one that is not in the tree any more."""
    return ino | _DETACHED


def is_directory(ino: int) -> bool:
    """Whether a number is a directory's."""
    return ino == ROOT or bool(ino & _DIRECTORY)


def decode(ino: int) -> Identity:
    """The identity that a number other than the root's was made of."""
    return ino >> ROW_BITS & (1 << _NUMBER_BITS) - 1, ino & (1 << ROW_BITS) - 1


_SLOT_SHIFT = 44
_SLOT_BITS = 17
MAX_SLOTS = (1 << _SLOT_BITS) - 1
_SLOT_MASK = MAX_SLOTS << _SLOT_SHIFT


def slot_number(ino: int) -> int:
    """The slot that a host's number belongs to."""
    return (ino & _SLOT_MASK) >> _SLOT_SHIFT


def host_number(slot: int, ino: int) -> int:
    """The number by which a host knows what a view calls `ino`."""
    return ino | slot << _SLOT_SHIFT | (_DIRECTORY if ino == ROOT else 0)


def view_number(ino: int) -> int:
    """The number by which the view of its slot knows what a host calls `ino`."""
    bare = ino & ~_SLOT_MASK
    return ROOT if bare == _DIRECTORY | ROOT else bare


FIRST_POSITION = 3
"""Below are those of "." and ".."."""


def position_of(name: bytes) -> int:
    """Position of an entry in any listing: 60 bits of its name's digest."""
    return FIRST_POSITION + int(digest_bytes(name)[:15], 16)
