"""Fragment: what one manifest brings to an image, packed once, as it would lie at slot 0.

    stamps/<digest of a manifest>.inodes    checksum (XXH3-128, 16 bytes), the size of a JSON object in 4 bytes, the object, and then the
                                            arrays of `_ARRAYS` and the inodes; native byte order, as all stamps

It holds the inodes of the manifest's files and those directories that no other manifest is likely to have. The rest it only names, in
`open`: these directories are made with each image. Packing costs some 6 us for each file, and placing a packed one a tenth of that.

A fragment is derived data. One that is missing, damaged, or of another form is packed again from its manifest; that never fails a mount.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from casfs.digest import Digest, checksum_bytes
from casfs.paths import SITE_PACKAGES
from casfs.store.generations import SHARED_DIRECTORIES, Names
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.store import Store
from casfs.venv.image.erofs import BLOCK, DIRECTORY, LINK, LINK_KIND, REGULAR, SLOT, WORD, Area, Entry, FileLayout, spoil, write_slot
from casfs.venv.tree import directory_time_ns, file_time_ns

FRAGMENT_SUFFIX = ".inodes"
"""What follows a manifest's digest in the name of the file that has its fragment."""

_FORM = 1  # of all that a fragment says: whoever changes an inode's facts counts on
_CHECKSUM, _LENGTH = 16, struct.Struct("I")
_ARRAYS = ("directories", "parents", "slot_words", "block_words")

_OPEN = {*SHARED_DIRECTORIES, "include/site"}  # every manifest may have them, or shows an interpreter's name in them

ReadBlob = Callable[[Digest, int], bytes]
"""Reads a small blob, by digest and size."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A manifest's share of an image."""

    distribution: tuple[str, str]  # name and version; empty: its files belong to none
    files: int  # inodes at the beginning, one for each row
    stride: int  # slots of each
    links: Mapping[int, int]  # row -> slot
    open: Mapping[int, tuple[Names, Names]]  # row of a directory that is not in it -> (directories, files), each name -> row
    directories: array[int]  # by row: slot; 0: it is open
    parents: array[int]  # by row: place of its entry ".."
    slot_words: array[int]  # words of `data` to which the slot where the fragment begins is added
    block_words: array[int]  # words to which the block where it begins is added
    data: memoryview

    @property
    def inodes(self) -> int:
        """How many it holds."""
        return self.files + sum(map(bool, self.directories))

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


def read_fragment(store: Store, digest: Digest, namespace: str, *, has_distribution: bool) -> Fragment:
    """The fragment of a manifest, which is packed and kept if it is not there. Raises StoreDamaged, InvalidValue."""
    form = f"{_FORM} {namespace} {has_distribution:d}"
    path = store.path("stamps", digest + FRAGMENT_SUFFIX)
    with contextlib.suppress(OSError):
        if (fragment := _parse(_read(path), form)) is not None:
            return fragment
    layout = FileLayout(namespace, has_distribution=has_distribution)
    fragment = pack_manifest(digest, read_manifest(store, digest), layout, store.pool.read_blob)
    with contextlib.suppress(OSError):  # it only saves time
        with open(f"{path}.{os.getpid()}", "wb") as file:
            file.write(_format(fragment, form))
        os.rename(f"{path}.{os.getpid()}", path)
    return fragment


def _read(path: str) -> bytes:
    """The content of a file, in four system calls: an image is made of thousands."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _format(fragment: Fragment, form: str) -> bytes:
    arrays: list[array[int]] = [getattr(fragment, name) for name in _ARRAYS]
    facts = {
        "form": form,
        "distribution": fragment.distribution,
        "files": fragment.files,
        "stride": fragment.stride,
        "links": list(fragment.links.items()),
        "open": [(row, *names) for row, names in fragment.open.items()],
        "lengths": list(map(len, arrays)),
    }
    head = json.dumps(facts, separators=(",", ":")).encode()
    body = b"".join([_LENGTH.pack(len(head)), head, *(one.tobytes() for one in arrays), fragment.data])
    return bytes.fromhex(checksum_bytes(body)) + body


def _parse(content: bytes, form: str) -> Fragment | None:
    """The fragment in a file's content; None if it is damaged or of another form. With the right checksum it is what we wrote."""
    body = memoryview(content)[_CHECKSUM:]
    if content[:_CHECKSUM] != bytes.fromhex(checksum_bytes(body)):
        return None
    at = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    facts = json.loads(bytes(body[_LENGTH.size : at]))
    if facts["form"] != form:
        return None
    arrays: list[array[int]] = []
    for length in facts["lengths"]:
        arrays.append(_read_words(body[at : at + WORD * length]))
        at += WORD * length
    opened = {row: (directories, files) for row, directories, files in facts["open"]}
    directories, parents, slot_words, block_words = arrays
    about = (tuple(facts["distribution"]), facts["files"], facts["stride"], dict(facts["links"]), opened)
    return Fragment(*about, directories, parents, slot_words, block_words, body[at:])


def _read_words(content: memoryview) -> array[int]:
    words = array("I")
    words.frombytes(content)
    return words


def pack_manifest(digest: Digest, manifest: Manifest, layout: FileLayout, read_blob: ReadBlob) -> Fragment:
    """The fragment of a manifest. Raises InvalidValue for what no directory can show, and what `read_blob` raises for a link's target."""
    times_ns = [file_time_ns(manifest, row) for row in range(len(manifest.names))]
    area = Area(0, layout.pack(manifest, times_ns))
    rows = [row for row, kind in enumerate(manifest.kinds) if kind == LINK_KIND]
    links = {row: area.add_link(read_blob(manifest.digest(row), manifest.sizes[row]), times_ns[row]) for row in rows}
    count = len(manifest.directories)
    slots, parents, opened = array("I", [0]) * count, array("I", [0]) * count, dict[int, tuple[Names, Names]]()
    for row in reversed(range(count)):  # what is in a directory comes before it
        path, below, files = manifest.directories[row], manifest.directories_in(row), manifest.files_in(row)
        if _is_open(path):
            if path not in SHARED_DIRECTORIES:  # of those the generation tells
                opened[row] = dict(below), {manifest.names[file]: file for file in files}
            continue
        entries: list[Entry] = [(name.encode(), slots[child], DIRECTORY) for name, child in below]
        for file in files:
            slot, kind = (links[file], LINK) if file in links else (file * layout.slots, REGULAR)
            entries.append((manifest.names[file].encode(), slot, kind))
        slots[row], parents[row] = area.add_directory(entries, directory_time_ns([(digest, manifest.time, row)]))
        for _, child in below:
            write_slot(area.data, parents[child], slots[row])
    about = (manifest.description.name, manifest.description.version) if layout.has_distribution else ("", "")
    words = (area.slot_words, area.block_words)
    return Fragment(about, len(manifest.names), layout.slots, links, opened, slots, parents, *words, memoryview(bytes(area.data)))


def _is_open(path: str) -> bool:
    """Whether several manifests are likely to have a directory, as a wheel and its installation have a .dist-info."""
    return path in _OPEN or (path.endswith(".dist-info") and path.rpartition("/")[0] == SITE_PACKAGES)
