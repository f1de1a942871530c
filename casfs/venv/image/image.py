"""The image of a generation: the fragments of its manifests, and the directories that several share, merged as the tree merges them.

    block 0        the superblock and the root's inode
    attributes     name and version of each distribution, once
    fragments      the skeleton's, then the distributions'
    the rest       directories that no fragment has, children before parents

Equal generations have equal images, byte for byte; which is what their UUID says.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from casfs.digest import Digest, digest_bytes
from casfs.store.generations import Generation
from casfs.store.store import Store
from casfs.venv.image.erofs import (
    BLOCK,
    DIRECTORY,
    DISTRIBUTION,
    ROOT_SLOT,
    SLOT,
    SUPERBLOCK_AT,
    USER,
    VERSION,
    WORD,
    Area,
    Entry,
    pack_attribute,
    pack_superblock,
    refer,
    write_slot,
)
from casfs.venv.image.fragments import Base, Fragment, read_fragment
from casfs.venv.reading import LayerReader
from casfs.venv.tree import DirectoryNode, FileEntry, ReadLayers, Tree, read_entries

_FORM = "casfs image 2"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What an image shows, and to whom."""

    generation: Generation
    namespace: str = USER  # of the attributes that overlayfs reads: USER or TRUSTED
    lost: frozenset[Digest] = frozenset()  # blobs that no pool has: whoever looks at a file of one gets an error (EIO)

    @property
    def uuid(self) -> bytes:
        """16 bytes that images share if they are the same, and no others: an upper layer knows an inode below it by UUID and number."""
        layers = [layer.manifest for layer in self.generation.layers]
        facts = [_FORM, self.namespace, self.generation.interpreter.directory, *layers, *sorted(self.lost)]
        return bytes.fromhex(digest_bytes("\n".join(facts).encode())[:32])


def build_image(store: Store, spec: ImageSpec) -> list[memoryview]:
    """The image, in pieces of bytes.

    Raises StoreDamaged, and InvalidValue for what no directory can show: a shared pool may hold manifests that nobody here has checked.
    """
    generation = spec.generation
    groups = [[generation.skeleton], *([distribution.files, distribution.installation] for distribution in generation.distributions)]
    fragments = [
        read_fragment(store, [layer.manifest for layer in group], spec.namespace, has_distribution=index > 0)
        for index, group in enumerate(groups)
    ]
    tree = Tree(generation)
    for index, opened in enumerate(chain.from_iterable(fragment.open for fragment in fragments)):
        if opened:  # no manifest need be read for these directories
            tree.add_outline(index, opened)
    return _Image(fragments, spec).build(tree, LayerReader(store).fill)


class _Placed(NamedTuple):
    """A layer in an image: one of the manifests of a fragment."""

    fragment: Fragment
    first_slot: int
    words: array[int]
    base: Base

    def entry(self, name: bytes, row: int) -> Entry:
        """A file of it in a directory."""
        return self.fragment.entry(name, self.base.file + row, self.first_slot)

    def directory(self, row: int) -> _Made | None:
        """A directory that is in it; None if it is open."""
        if not (slot := self.fragment.directories[self.base.directory + row]):
            return None
        return _Made(self.first_slot + slot, self.words, self.fragment.parents[self.base.directory + row])


class _Made(NamedTuple):
    """A directory that is in the image."""

    slot: int
    data: bytearray | array[int]
    parent_at: int  # where in `data` the slot of its parent is to be written

    def set_parent(self, slot: int) -> None:
        if isinstance(self.data, array):
            self.data[self.parent_at // WORD] = slot
        else:
            write_slot(self.data, self.parent_at, slot)


class _Image:
    """An image that grows."""

    def __init__(self, fragments: Sequence[Fragment], spec: ImageSpec) -> None:
        self._spec = spec
        self._inodes = sum(fragment.inodes for fragment in fragments)
        self._pieces: list[bytes | bytearray | array[int]] = [b""]  # block 0, at the end
        self._size = BLOCK
        numbers = self._add_attributes([fragment.distribution for fragment in fragments])
        self._placed = [one for fragment in fragments for one in self._place(fragment, numbers.get(fragment.distribution, (0, 0)))]
        self._align(BLOCK)
        self._area = Area(self._size // SLOT)
        self._made: dict[str, _Made] = {}

    def build(self, tree: Tree, read: ReadLayers) -> list[memoryview]:
        """The pieces, once the directories of the tree that no fragment has are made."""
        inode = b""
        for directory in reversed(list(self._iter_open(tree, read))):
            entries: list[Entry] = []
            below: list[_Made] = []
            for name, entry in tree.entries(directory).items():
                shown = name.encode()
                if isinstance(entry, FileEntry):
                    entries.append(self._placed[entry.layer].entry(shown, entry.row))
                else:
                    below.append(self._made[entry.path])
                    entries.append((shown, below[-1].slot, DIRECTORY))
            if directory is tree.root:
                slot, inode = ROOT_SLOT, self._area.add_root(entries, directory.mtime_ns)
            else:
                slot, parent_at = self._area.add_directory(entries, directory.mtime_ns)
                self._made[directory.path] = _Made(slot, self._area.data, parent_at)
            self._inodes += 1
            for one in below:
                one.set_parent(slot)
        self._add(self._area.data)
        superblock = pack_superblock(self._inodes, self._size, 1, self._spec.uuid)
        self._pieces[0] = (bytes(SUPERBLOCK_AT) + superblock + inode).ljust(BLOCK, b"\0")
        return [memoryview(piece).cast("B") for piece in self._pieces]

    def _add_attributes(self, distributions: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
        """The numbers of the attributes that say which distribution it is: places in words, from block 1 on."""
        data = bytearray()
        numbers: dict[tuple[str, str], tuple[int, int]] = {}
        for one in dict.fromkeys(filter(any, distributions)):
            name = len(data) // WORD
            data += pack_attribute(USER, DISTRIBUTION, one[0].encode())
            numbers[one] = name, len(data) // WORD
            data += pack_attribute(USER, VERSION, one[1].encode())
        self._add(data)
        self._align(BLOCK)
        return numbers

    def _place(self, fragment: Fragment, numbers: tuple[int, int]) -> list[_Placed]:
        self._align(fragment.alignment)
        first_slot, words = self._size // SLOT, array("I")
        words.frombytes(fragment.without(self._spec.lost) if self._spec.lost else fragment.data)
        for word in fragment.slot_words:
            words[word] += first_slot
        for word in fragment.block_words:
            words[word] += self._size // BLOCK
        if any(fragment.distribution):
            refer(words, fragment.files, fragment.stride, *numbers)
        self._add(words)
        return [_Placed(fragment, first_slot, words, base) for base in fragment.bases]

    def _find_packed(self, directory: DirectoryNode) -> _Made | None:
        """A directory that one fragment has as it is shown, with all its parts."""
        made, *others = [self._placed[part.layer].directory(part.row) for part in directory.parts]
        return made if all(other == made for other in others) else None

    def _iter_open(self, tree: Tree, read: ReadLayers) -> Iterator[DirectoryNode]:
        """The directories that no fragment has, or of which several have a part; parents first."""
        waiting = [tree.root]
        while waiting:
            yield (directory := waiting.pop())
            for entry in read_entries(tree, directory, read).values():
                if isinstance(entry, DirectoryNode):
                    if (made := self._find_packed(entry)) is not None:
                        self._made[entry.path] = made
                    else:
                        waiting.append(entry)

    def _add(self, piece: bytes | bytearray | array[int]) -> None:
        self._pieces.append(piece)
        self._size += memoryview(piece).nbytes

    def _align(self, size: int) -> None:
        if gap := -self._size % size:
            self._add(bytes(gap))
