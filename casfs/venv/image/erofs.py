"""EROFS on disk, as far as an image of metadata needs it (Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h of Linux).

Every number is little-endian. A *slot* of 32 bytes is the unit in which inodes are numbered: the number of an inode (nid) is its place.

    superblock     at byte 1,024 of block 0
    inode          64 bytes, the extended form, since the compact one has no time; its attributes follow, and may cross a block
    attributes     a header of 12 bytes, the numbers of shared ones, then those of the inode itself (struct erofs_xattr_ibody_header)
    content        of a directory or a link: right after its inode if both lie within one block, else in blocks of its own
    directory      sorted by bytes, "." and ".." among them; in each block first the entries and then their names
    hole           a chunk at block 0xffffffff reads as zeros; a chunk may have 8 TiB, so that each file has one

A file has no bytes here. Overlayfs takes them from the blob that `overlay.redirect` names ("Data-only lower layers" in overlayfs.rst).
"""

from __future__ import annotations

import functools
import stat
import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, repeat
from typing import NamedTuple

from casfs.errors import InvalidValue
from casfs.paths import MAX_COMPONENT
from casfs.store.manifests import Kind, Manifest
from casfs.venv.tree import DIRECTORY_MODE, FILE_MODES

BLOCK, SLOT, WORD = 4096, 32, 4

_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQB23x")  # struct erofs_super_block
SUPERBLOCK_AT, _MAGIC, _BLOCK_BITS, _VOLUME = 1024, 0xE0F5E1E2, 12, b"casfs"
_HAS_MTIME, _HAS_CHUNKS = 2, 4  # EROFS_FEATURE_COMPAT_MTIME, EROFS_FEATURE_INCOMPAT_CHUNKED_FILE
ROOT_SLOT = (SUPERBLOCK_AT + _SUPERBLOCK.size) // SLOT  # 16 bits in the superblock, so it comes first

_INODE = struct.Struct("<HHHHQIIIIQII16x")  # struct erofs_inode_extended
INODE_SIZE = _INODE.size
INODE_BLOCK_AT = 16  # where in an inode the address of its content's first block stands
PLAIN, INLINE, _CHUNKED = (1 | layout << 1 for layout in (0, 2, 4))  # EROFS_INODE_FLAT_PLAIN, FLAT_INLINE, CHUNK_BASED; all extended
_CHUNK_OF_8_TIB, _MAX_SIZE, _HOLE = 31, 1 << 43, b"\xff\xff\xff\xff"

REGULAR, DIRECTORY, LINK = 1, 2, 7  # types of entries (FT_* in linux/fs_types.h)

USER, TRUSTED = "user", "trusted"
"""Namespaces of the attributes that overlayfs reads: `user` with the option `userxattr`, `trusted` without it. Files read as zeros if the
image has one and the overlay expects the other."""

_NAMESPACES = {USER: 1, TRUSTED: 4}  # EROFS_XATTR_INDEX_*
_ATTRIBUTE, _VALUE_SIZE_AT = struct.Struct("<BBH"), 2  # struct erofs_xattr_entry
_HEADER, _SHARED_AT = struct.Struct("<IB7x"), INODE_SIZE + 12

_DIRECTORY_MODE, _LINK_MODE = stat.S_IFDIR | DIRECTORY_MODE, stat.S_IFLNK | 0o777
_FILE_MODES = {str(int(kind)): stat.S_IFREG | mode for kind, mode in FILE_MODES.items()} | {str(int(Kind.SYMLINK)): 0}
LINK_KIND = str(int(Kind.SYMLINK))
_SECOND = 1_000_000_000

METACOPY, METACOPY_VALUE = "overlay.metacopy", bytes([0, 4, 0, 0])  # struct ovl_metacopy: version, length, flags, no digest
REDIRECT = "overlay.redirect"  # path of the blob below a pool
TOO_SMALL = 1  # a value of so many bytes makes a file an error (EIO) for whoever looks it up: ovl_check_metacopy_xattr in fs/overlayfs

ORIGINAL_DIGEST, DISTRIBUTION, VERSION = "casfs.orig.digest", "casfs.distribution", "casfs.version"
"""Attributes for people, in `user`. An edit copies a file's attributes up with it, so the digest is said to be of the original."""

Entry = tuple[bytes, int, int]
"""(name, slot of the inode, type) in a directory."""

DOTS: tuple[Entry, Entry] = ((b".", 0, DIRECTORY), (b"..", 0, DIRECTORY))


class FileLayout:
    """What the inodes of files have after their first 64 bytes: attributes, and the hole."""

    def __init__(self, namespace: str, *, has_distribution: bool) -> None:
        """`namespace` is that of what overlayfs reads. Files of a distribution refer to its name and version, which an image has once."""
        redirect, digest = b"/" + b"\1" * 65, b"\2" * 64
        attributes = pack_attribute(namespace, METACOPY, METACOPY_VALUE) + pack_attribute(namespace, REDIRECT, redirect)
        attributes += pack_attribute(USER, ORIGINAL_DIGEST, digest)
        shared = 2 if has_distribution else 0
        self._words = 1 + shared + len(attributes) // WORD  # i_xattr_icount: the header, which has 12 bytes, counts as one
        rest = _HEADER.pack(0, shared) + bytes(WORD * shared) + attributes + _HOLE
        rest += bytes(-(INODE_SIZE + len(rest)) % SLOT)
        self.has_distribution = has_distribution
        self.slots = (INODE_SIZE + len(rest)) // SLOT
        self._before, rest = rest.split(redirect)
        self._between, self._after = rest.split(digest)

    def pack(self, manifest: Manifest, times_ns: Sequence[int]) -> bytes:
        """The inodes of a manifest's files, in the order of its rows; nothing leads to those of links. Raises InvalidValue."""
        if not 0 <= min(manifest.sizes, default=0) <= max(manifest.sizes, default=0) <= _MAX_SIZE:
            raise InvalidValue(manifest.description.name, "has a file of more than 8 TiB")
        pack, words = _INODE.pack, self._words
        digests, before, between, after = manifest.digests.encode("ascii"), self._before, self._between, self._after
        pieces: list[bytes] = []
        for row, (size, kind, time_ns) in enumerate(zip(manifest.sizes, manifest.kinds, times_ns, strict=True)):
            digest = digests[64 * row : 64 * row + 64]
            inode = pack(_CHUNKED, words, _FILE_MODES[kind], 0, size, _CHUNK_OF_8_TIB, 0, 0, 0, *divmod(time_ns, _SECOND), 1)
            pieces += inode, before, b"/", digest[:2], b"/", digest[2:], between, digest, after
        return b"".join(pieces)


def pack_attribute(namespace: str, name: str, value: bytes) -> bytes:
    """An attribute in whole words (struct erofs_xattr_entry)."""
    body = _ATTRIBUTE.pack(len(name), _NAMESPACES[namespace], len(value)) + name.encode() + value
    return body + bytes(-len(body) % WORD)


def refer(words: array[int], files: int, slots: int, name: int, version: int) -> None:
    """Let inodes of files, the first ones in a part of an image, refer to two shared attributes."""
    stride = slots * SLOT // WORD
    for place, number in enumerate((name, version), _SHARED_AT // WORD):
        words[place : stride * files : stride] = array("I", [number]) * files


def spoil(data: bytearray, inode_at: int, *, has_distribution: bool) -> None:
    """Let whoever looks up a file get an error."""
    header = _SHARED_AT + (2 * WORD if has_distribution else 0)
    data[inode_at + header + _VALUE_SIZE_AT] = TOO_SMALL


def pack_inode(layout: int, mode: int, size: int, block: int, mtime_ns: int, *, links: int = 1) -> bytes:
    """The inode of a directory or a link; its content is in blocks of its own (PLAIN), or right after it (INLINE)."""
    return _INODE.pack(layout, 0, mode, 0, size, block, 0, 0, 0, *divmod(mtime_ns, _SECOND), links)


def pack_superblock(inodes: int, size: int, attributes_block: int, uuid: bytes) -> bytes:
    """The superblock of an image of `size` bytes."""
    facts = (_MAGIC, 0, _HAS_MTIME, _BLOCK_BITS, 0, ROOT_SLOT, inodes, 0, 0, size // BLOCK, 0, attributes_block, uuid, _VOLUME, _HAS_CHUNKS)
    return _SUPERBLOCK.pack(*facts, *(0,) * 8)


def write_slot(data: bytearray, place: int, slot: int) -> None:
    """Let the entry at a place lead to an inode."""
    struct.pack_into("<Q", data, place, slot)


class Content(NamedTuple):
    """What a directory holds, packed."""

    data: bytes
    places: list[int]  # of its entries, in each of which the slot of an inode stands first
    own_at: int  # of the entry "."
    parent_at: int  # of the entry ".."
    links: int  # of the directory: one for each directory among its entries


def pack_directory(entries: Sequence[Entry]) -> Content:
    """The content of a directory, in which "." and ".." lead nowhere yet.

    Raises InvalidValue for names that no directory can have: a shared pool may hold manifests that nobody here has checked.
    """
    ordered = sorted([*entries, *DOTS])
    names, slots, kinds = zip(*ordered, strict=True)
    sizes = list(map(len, names))
    text = b"".join(names)
    if len(set(names)) < len(names) or not 0 < min(sizes) <= max(sizes) <= MAX_COMPONENT or b"/" in text or b"\0" in text:
        raise InvalidValue(repr(names), "can't be the names of the files in one directory")
    data, places = bytearray(), list[int]()
    for first, end in _cut(sizes):
        data += bytes(-len(data) % BLOCK)
        form = _entries_form(end - first)
        places += range(len(data), len(data) + form.size, _ENTRY_SIZE)
        names_at = accumulate(sizes[first:end], initial=form.size)
        data += form.pack(*chain.from_iterable(zip(slots[first:end], names_at, kinds[first:end], repeat(0), strict=False)))
        data += b"".join(names[first:end])
    own, parent = (places[names.index(name)] for name, _, _ in DOTS)
    return Content(bytes(data), places, own, parent, kinds.count(DIRECTORY))


@functools.cache
def _entries_form(count: int) -> struct.Struct:
    """So many of struct erofs_dirent."""
    return struct.Struct("<" + "QHBB" * count)


_ENTRY_SIZE = _entries_form(1).size


def _cut(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Which entries lie in each block: (the first, the one after the last), by the sizes of names."""
    first = used = 0
    for index, size in enumerate(sizes):
        used += _ENTRY_SIZE + size
        if used > BLOCK:
            yield first, index
            first, used = index, _ENTRY_SIZE + size
    yield first, len(sizes)


class Area:
    """Inodes that have content, one after the other, and where in them slots and blocks stand. It begins with a block.

    What is packed once is used in many images: there each slot and each block is as much higher as the area begins later.
    """

    def __init__(self, first_slot: int, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.slot_words = array("I")  # words of `data` in which slots stand
        self.block_words = array("I")  # words in which addresses of blocks stand
        self._first_slot = first_slot

    def add_link(self, target: bytes, mtime_ns: int) -> int:
        """Slot of a new symbolic link. Raises InvalidValue for a target that no link can have (symlink(2))."""
        if not 0 < len(target) < BLOCK or b"\0" in target:
            raise InvalidValue(repr(target), "can't be the target of a symbolic link")
        return self._add(_LINK_MODE, target, mtime_ns, 1)[0]

    def add_directory(self, entries: Sequence[Entry], mtime_ns: int) -> tuple[int, int]:
        """(slot, place of its entry "..") of a new directory; the slot of its parent, which comes later, is to be written there."""
        content = pack_directory(entries)
        slot, at = self._add(_DIRECTORY_MODE, content.data, mtime_ns, content.links)
        self.slot_words.extend([(at + place) // WORD for place in content.places])
        write_slot(self.data, at + content.own_at, slot)
        return slot, at + content.parent_at

    def add_root(self, entries: Sequence[Entry], mtime_ns: int) -> bytes:
        """The root's inode, which has a place of its own; what it holds comes into the area."""
        content = pack_directory(entries)
        block, at = self._add_blocks(content.data)
        for place in (content.own_at, content.parent_at):
            write_slot(self.data, at + place, ROOT_SLOT)
        return pack_inode(PLAIN, _DIRECTORY_MODE, len(content.data), block, mtime_ns, links=content.links)

    def _add(self, mode: int, content: bytes, mtime_ns: int, links: int) -> tuple[int, int]:
        """(slot, place of its content) of a new inode."""
        if (size := INODE_SIZE + len(content)) > BLOCK:
            block, content_at = self._add_blocks(content)
            at = len(self.data)
            self.block_words.append((at + INODE_BLOCK_AT) // WORD)
            self.data += pack_inode(PLAIN, mode, len(content), block, mtime_ns, links=links)
        else:
            if len(self.data) % BLOCK + size > BLOCK:
                self._align(BLOCK)
            at = len(self.data)
            content_at = at + INODE_SIZE
            self.data += pack_inode(INLINE, mode, len(content), 0, mtime_ns, links=links) + content
        self._align(SLOT)
        return self._first_slot + at // SLOT, content_at

    def _add_blocks(self, content: bytes) -> tuple[int, int]:
        """(address of the first block, its place) of a content that has blocks of its own."""
        self._align(BLOCK)
        at = len(self.data)
        self.data += content
        self._align(BLOCK)
        return (self._first_slot * SLOT + at) // BLOCK, at

    def _align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)
