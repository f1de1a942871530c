"""Fragment: what the manifests of one distribution bring to an image, packed once, as it would lie at slot 0.

    stamps/<digest of a manifest>.inodes    checksum (XXH3-128, 16 bytes), the size of a JSON list in 4 bytes, the list, and then the
                                            words of `_ARRAYS` and the inodes; native byte order, as all stamps

A distribution has two manifests, its files and what installing adds to them: the file is named after the later one, and names both. The
skeleton has one. A fragment holds the inodes of their files and those directories that no other distribution is likely to have. The rest it
only names, in `open`: these directories are made with each image. Packing costs some 6 us for each file, and placing a packed one a tenth
of that.

A fragment is derived data. One that is missing, damaged, or of another form is packed again from its manifests; that never fails a mount.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from casfs.descriptors import closing_fd
from casfs.digest import Digest, checksum_bytes
from casfs.store.derived import put_in_place
from casfs.store.generations import SHARED_DIRECTORIES, Names
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.store import Store
from casfs.venv.image.erofs import BLOCK, DIRECTORY, LINK, LINK_KIND, REGULAR, SLOT, WORD, Area, Entry, FileLayout, spoil, write_slot
from casfs.venv.tree import directory_time_ns, file_time_ns

FRAGMENT_SUFFIX = ".inodes"
"""What follows a manifest's digest in the name of the file that has its fragment."""

_FORM = 2  # of all that a fragment says: whoever changes an inode's facts counts on
_CHECKSUM, _LENGTH = 16, struct.Struct("I")
_ARRAYS = ("directories", "parents", "slot_words", "block_words")

_OPEN = {*SHARED_DIRECTORIES, "include/site"}  # every manifest may have them, or shows an interpreter's name in them

ReadBlob = Callable[[Digest, int], bytes]
"""Reads a small blob, by digest and size."""


class Base(NamedTuple):
    """Where the rows of one of a fragment's manifests begin."""

    file: int
    directory: int


Opened = Mapping[int, tuple[Names, Names]]
"""Row of a directory that is not in a fragment -> (directories, files), each name -> row."""


class Fragment(NamedTuple):
    """A distribution's share of an image. Its rows are those of its manifests, one after the other."""

    distribution: tuple[str, str]  # name and version; empty: its files belong to none
    bases: Sequence[Base]  # of each manifest
    files: int  # inodes at the beginning, one for each row
    stride: int  # slots of each
    links: Mapping[int, int]  # row -> slot
    open: Sequence[Opened]  # of each manifest, by its own rows
    directories: array[int]  # by row: slot; 0: it is open
    parents: array[int]  # by row: place of its entry ".."
    slot_words: array[int]  # words of `data` to which the slot where the fragment begins is added
    block_words: array[int]  # words to which the block where it begins is added
    data: memoryview

    @property
    def inodes(self) -> int:
        """How many it holds."""
        return self.files + len(set(self.directories) - {0})

    @property
    def alignment(self) -> int:
        """Where in an image it may begin, in bytes: a content beside its inode must not cross a block."""
        return BLOCK if self.slot_words or self.links else SLOT

    def without(self, lost: frozenset[Digest]) -> bytearray:
        """Its data, in which files whose blobs are lost can't be looked at."""
        data, size = bytearray(self.data), self.stride * SLOT
        for digest in lost:
            at = data.find(digest.encode(), 0, self.files * size)
            while at >= 0:
                spoil(data, at // size * size, has_distribution=any(self.distribution))
                at = data.find(digest.encode(), at + len(digest), self.files * size)
        return data

    def entry(self, name: bytes, row: int, first_slot: int) -> Entry:
        """A file of it in a directory, if it begins at a slot."""
        if (link := self.links.get(row)) is not None:
            return name, first_slot + link, LINK
        return name, first_slot + row * self.stride, REGULAR


def read_fragment(store: Store, digests: Sequence[Digest], namespace: str, *, has_distribution: bool) -> Fragment:
    """The fragment of some manifests, which is packed and kept if it is not there. Raises StoreDamaged, InvalidValue."""
    form = " ".join((f"{_FORM} {namespace} {has_distribution:d}", *digests))
    path = store.path("stamps", digests[-1] + FRAGMENT_SUFFIX)
    with contextlib.suppress(OSError):
        if (fragment := _parse(_read(path), form)) is not None:
            return fragment
    layout = FileLayout(namespace, has_distribution=has_distribution)
    fragment = pack_manifests([(digest, read_manifest(store, digest)) for digest in digests], layout, store.pool.read_blob)
    put_in_place(path, _format(fragment, form))
    return fragment


def _read(path: str) -> bytes:
    """The content of a file, in four system calls: an image is made of thousands."""
    with closing_fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as fd:
        return os.read(fd, os.fstat(fd).st_size)


def _format(fragment: Fragment, form: str) -> bytes:
    arrays: list[array[int]] = [getattr(fragment, name) for name in _ARRAYS]
    opened = [[(row, *names) for row, names in one.items()] for one in fragment.open]
    facts = [form, fragment.distribution, fragment.bases, fragment.files, fragment.stride, list(fragment.links.items()), opened]
    head = json.dumps([*facts, list(map(len, arrays))], separators=(",", ":")).encode()
    body = b"".join([_LENGTH.pack(len(head)), head, *(one.tobytes() for one in arrays), fragment.data])
    return bytes.fromhex(checksum_bytes(body)) + body


def _parse(content: bytes, form: str) -> Fragment | None:
    """The fragment in a file's content; None if it is damaged or of another form. With the right checksum it is what we wrote."""
    body = memoryview(content)[_CHECKSUM:]
    if content[:_CHECKSUM] != bytes.fromhex(checksum_bytes(body)):
        return None
    at = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    found, *facts = json.loads(str(body[_LENGTH.size : at], "utf-8"))
    if found != form:
        return None
    distribution, bases, files, stride, links, opened, lengths = facts
    words = array("I")
    words.frombytes(body[at : at + WORD * sum(lengths)])
    ends = [*accumulate(lengths, initial=0)]
    directories, parents, slot_words, block_words = (words[first:end] for first, end in pairwise(ends))
    tables = [{row: (below, here) for row, below, here in one} for one in opened]
    about = (tuple(distribution), [Base(*one) for one in bases], files, stride, dict(links), tables)
    return Fragment(*about, directories, parents, slot_words, block_words, body[at + WORD * ends[-1] :])


class _Part(NamedTuple):
    """A manifest's share of a directory."""

    manifest: Manifest
    base: Base
    row: int  # of the manifest's own
    digest: Digest


def pack_manifests(manifests: Sequence[tuple[Digest, Manifest]], layout: FileLayout, read_blob: ReadBlob) -> Fragment:
    """The fragment of some manifests, of which the later ones win.

    Raises InvalidValue for what no directory can show, and what `read_blob` raises for a link's target.
    """
    bases, files, directories = list[Base](), 0, 0
    parts: dict[str, list[_Part]] = {}
    inodes, links_to_make = list[bytes](), list[tuple[int, bytes, int]]()
    for digest, manifest in manifests:
        bases.append(base := Base(files, directories))
        times_ns = [file_time_ns(manifest, row) for row in range(len(manifest.names))]
        inodes.append(layout.pack(manifest, times_ns))
        for row, kind in enumerate(manifest.kinds):
            if kind == LINK_KIND:
                links_to_make.append((base.file + row, read_blob(manifest.digest(row), manifest.sizes[row]), times_ns[row]))
        for row, path in enumerate(manifest.directories):
            parts.setdefault(path, []).append(_Part(manifest, base, row, digest))
        files, directories = files + len(manifest.names), directories + len(manifest.directories)
    area = Area(0, b"".join(inodes))
    links = {row: area.add_link(target, time_ns) for row, target, time_ns in links_to_make}
    packer = _Packer(area, layout, links, directories)
    for path in sorted(parts, reverse=True):  # what is in a directory comes before it
        if not _is_open(path):
            packer.add(parts[path])
    opened = [_list_open(manifest) for _, manifest in manifests]
    first = manifests[0][1].description
    about = ((first.name, first.version) if layout.has_distribution else ("", ""), bases, files, layout.slots, links, opened)
    words = (packer.slots, packer.parents, area.slot_words, area.block_words)
    return Fragment(*about, *words, memoryview(bytes(area.data)))


class _Packer:
    """Directories that grow."""

    def __init__(self, area: Area, layout: FileLayout, links: Mapping[int, int], count: int) -> None:
        self._area, self._layout, self._links = area, layout, links
        self.slots, self.parents = array("I", [0]) * count, array("I", [0]) * count

    def add(self, parts: Sequence[_Part]) -> None:
        """Make a directory; those in it are made."""
        files: dict[str, int] = {}
        below: dict[str, int] = {}
        for manifest, base, row, _ in parts:
            for name, child in manifest.directories_in(row):
                below.setdefault(name, base.directory + child)
                files.pop(name, None)
            for index in manifest.files_in(row):
                files[manifest.names[index]] = base.file + index
                below.pop(manifest.names[index], None)
        entries: list[Entry] = [(name.encode(), self.slots[child], DIRECTORY) for name, child in below.items()]
        for name, file in files.items():
            slot, kind = (self._links[file], LINK) if file in self._links else (file * self._layout.slots, REGULAR)
            entries.append((name.encode(), slot, kind))
        time_ns = directory_time_ns([(digest, manifest.time, row) for manifest, _, row, digest in parts])
        slot, parent = self._area.add_directory(entries, time_ns)
        for _, base, row, _ in parts:
            self.slots[base.directory + row], self.parents[base.directory + row] = slot, parent
        for child in below.values():
            write_slot(self._area.data, self.parents[child], slot)


def _list_open(manifest: Manifest) -> Opened:
    """What it has in open directories, but for those of which the generation tells."""
    return {
        row: (dict(manifest.directories_in(row)), {manifest.names[file]: file for file in manifest.files_in(row)})
        for row, path in enumerate(manifest.directories)
        if _is_open(path) and path not in SHARED_DIRECTORIES
    }


def _is_open(path: str) -> bool:
    """Whether several distributions are likely to have a directory."""
    return path in _OPEN
