"""View: what one mount shows, as plain functions. It knows inode numbers and trees, but neither pyfuse3 nor trio.

A question that needs a manifest which was not read yet raises NeedsRead; whoever asks runs its `read` where blocking is allowed, and asks
again. So no question blocks, and after each wait the question is put to the tree that is current then.

Nothing here must remember what the kernel was told: `node` finds the node of any number that a mount of this store has ever given out.
"""

from __future__ import annotations

import bisect
import errno
import posixpath
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from casfs.errors import StoreDamaged
from casfs.fuse.inodes import ROOT, decode, detach_directory, encode_directory, encode_file, is_directory, position_of
from casfs.store.generations import Generation
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.numbers import read_number
from casfs.store.store import Store
from casfs.upper.differences import ChangedDirectory, ChangedEntry, iter_differences
from casfs.venv.reading import LayerReader
from casfs.venv.tree import DirectoryNode, FileEntry, FileNode, Tree, build_file


class NeedsRead(Exception):
    """The question can be answered once `read` has run, where blocking is allowed."""

    def __init__(self, read: Callable[[], None]) -> None:
        super().__init__(read)
        self.read = read


Node = DirectoryNode | FileNode

USER, TRUSTED = "user", "trusted"
"""Namespaces of extended attributes (xattr(7))."""

_REMEMBERED = 65536
"""Nodes kept at hand. Any can be found again from its number; one costs about 400 bytes."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a listing, which is in the order of positions.

    A position depends on the name alone, so it holds while other entries come and go: a name that is there before and after a change
    appears exactly once in a listing that the change interrupts, also when it stands for something else then.
    """

    position: int
    ino: int
    node: Node
    name: bytes


def is_current(ino: int, directory: DirectoryNode) -> bool:
    """Whether the tree shows a directory under this number.

    One that a change took away lives on while it is a process's working directory. It answers with what its path means now, but the kernel
    may not keep the answers: nothing tells it when they change, and a later generation may bring the directory back to its place.
    """
    return ino == ROOT or (bool(directory.parts) and encode_directory(directory.identity) == ino)


class View:
    """The current tree of one environment, by inode number."""

    def __init__(
        self,
        store: Store,
        read_generation: Callable[[], Generation],
        owner: tuple[int, int] = (0, 0),
        reader: LayerReader | None = None,
        *,
        is_pinned: bool = False,
    ) -> None:
        """`read_generation` reads the generation to begin with; it is called when the first question is asked: mounting reads nothing."""
        self._store = store
        self._owner = owner
        self._read_generation = read_generation
        self._tree: Tree | None = None
        self._reading = threading.Lock()
        self._reader = reader or LayerReader(store)
        self._stray: dict[int, Manifest] = {}  # manifests of older generations that the kernel still asks about, by number
        self._nodes: dict[int, Node] = {}
        self._listings: dict[int, list[Listed]] = {}
        self._is_pinned = is_pinned

    def owner_ids(self, ino: int) -> tuple[int, int]:
        """User and group to whom a node belongs."""
        return self._owner

    def is_pinned(self, ino: int) -> bool:
        """Whether it shows one generation for ever, as a lower layer of an overlay."""
        return self._is_pinned

    def attributes(self, ino: int) -> str:
        """In which namespace an overlay is told where blobs are: an outer one must not see what is meant for an inner one."""
        return USER

    def is_current(self, ino: int, directory: DirectoryNode) -> bool:
        """Whether the tree shows a directory under this number."""
        return is_current(ino, directory)

    @property
    def tree(self) -> Tree:
        """The current tree."""
        if self._tree is None:
            raise NeedsRead(self.read_tree)
        return self._tree

    def read_tree(self) -> None:
        """Read the generation to begin with, if that has not happened yet. A tree that is shown meanwhile stays."""
        with self._reading:
            if self._tree is None:
                self._tree = Tree(self._read_generation())

    @property
    def generation_number(self) -> int:
        """The number of the generation that is shown; 0 while nobody has asked anything."""
        return self._tree.generation.number if self._tree else 0

    def node(self, ino: int) -> Node:
        """The node of an inode number. Raises StoreDamaged if the store no longer knows what the number stands for."""
        if ino == ROOT:
            return self.tree.root
        if (node := self._nodes.get(ino)) is None:
            node = self._recover_directory(ino) if is_directory(ino) else self._recover_file(ino)
            self._remember(ino, node)
        return node

    def directory(self, ino: int) -> DirectoryNode:
        """The directory of an inode number. Raises NotADirectoryError."""
        node = self.node(ino)
        if not isinstance(node, DirectoryNode):
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory")
        return node

    def file(self, ino: int) -> FileNode:
        """The file of an inode number. Raises IsADirectoryError."""
        node = self.node(ino)
        if not isinstance(node, FileNode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        return node

    def look_up(self, parent: int, name: bytes) -> tuple[tuple[int, Node] | None, bool]:
        """Number and node of an entry of a directory, None if there is none of that name; and whether the kernel may keep the answer."""
        directory = self.directory(parent)
        entry = self._entries(directory).get(name.decode("utf-8", "surrogateescape"))
        is_kept = is_current(parent, directory)
        return (None if entry is None else self._enter(entry, is_kept)), is_kept

    def listing(self, ino: int, after: int) -> tuple[Iterable[Listed], bool]:
        """The entries of a directory whose position is greater than `after`, and whether the kernel may keep them."""
        directory = self.directory(ino)
        is_kept = is_current(ino, directory)
        if (listing := self._listings.get(ino)) is None:
            entries = self._entries(directory)
            self._need(self.tree.unread_for_files(entries.values()))
            listing = self._listings[ino] = list(self._iter_listed(entries, is_kept))
        return listing[bisect.bisect_right(listing, after, key=lambda one: one.position) :], is_kept

    def _iter_listed(self, entries: dict[str, DirectoryNode | FileEntry], is_kept: bool) -> Iterator[Listed]:
        encoded = {name.encode("utf-8", "surrogateescape"): entry for name, entry in entries.items()}
        last = 0
        for position, name in sorted((position_of(name), name) for name in encoded):
            last = max(position, last + 1)  # whoever looks for two names that share a position finds them
            yield Listed(last, *self._enter(encoded[name], is_kept), name)

    def parent(self, ino: int) -> tuple[int, DirectoryNode]:
        """Number and node of the directory above a directory; the root's is the root."""
        path = posixpath.dirname(self.directory(ino).path)
        node = self._find(path)
        if not path or not isinstance(node, DirectoryNode):
            return ROOT, self.tree.root
        return encode_directory(node.identity), node

    def owner(self, ino: int) -> tuple[str, str] | None:
        """Name and version of the distribution that a file belongs to; None: the environment itself."""
        number, _ = decode(ino)
        if (index := self.tree.by_number.get(number)) is not None:
            distribution = self.tree.layers[index].distribution
            return (distribution.name, distribution.version) if distribution else None
        about = self._manifest(number).description
        return about.name, about.version

    @property
    def total_size(self) -> int:
        """Bytes of all files."""
        return self.tree.total_size

    def prepare(self, generation: Generation) -> tuple[Tree, list[ChangedEntry | ChangedDirectory]]:
        """The tree of another generation, and how it differs from the current one. It reads, so run it where blocking is allowed."""
        tree = Tree(generation)
        return tree, list(iter_differences(self.tree, tree, self._reader.fill))

    def show(self, tree: Tree) -> None:
        """Answer from `tree` from now on."""
        self._tree = tree
        self._nodes.clear()
        self._listings.clear()
        self._stray.clear()

    def forget(self, ino: int) -> None:
        """Drop what the kernel is done with; it may still ask about it."""
        self._nodes.pop(ino, None)

    def _remember(self, ino: int, node: Node) -> None:
        if len(self._nodes) >= _REMEMBERED:
            self._nodes.clear()
        self._nodes[ino] = node

    def _enter(self, entry: DirectoryNode | FileEntry, is_kept: bool) -> tuple[int, Node]:
        node: Node
        if isinstance(entry, FileEntry):
            self._need(self.tree.unread_for_files([entry]))
            node = self.tree.file(entry)
            ino = encode_file(node.identity)
        else:
            node, ino = entry, encode_directory(entry.identity)
            if not is_kept:
                ino = detach_directory(ino)  # the kernel gives a directory one place only, and must not move it there
        self._remember(ino, node)
        return ino, node

    def _entries(self, directory: DirectoryNode) -> dict[str, DirectoryNode | FileEntry]:
        self._need(self.tree.unread_for_entries(directory))
        return self.tree.entries(directory)

    def _need(self, layers: list[int]) -> None:
        if layers:
            tree = self.tree
            raise NeedsRead(lambda: self._reader.fill(tree, layers))

    def _find(self, path: str) -> DirectoryNode | FileEntry | None:
        """The entry at a path of the current tree."""
        entry: DirectoryNode | FileEntry | None = self.tree.root
        for name in path.split("/") if path else ():
            if not isinstance(entry, DirectoryNode):
                return None
            entry = self._entries(entry).get(name)
        return entry

    def _manifest(self, number: int) -> Manifest:
        """The manifest of a number, whether or not the current tree uses it."""
        if (index := self.tree.by_number.get(number)) is not None:
            if (content := self.tree.layers[index].content) is None:
                self._need([index])
            else:
                return content
        if (manifest := self._stray.get(number)) is None:
            raise NeedsRead(lambda: self._read_stray(number))
        return manifest

    def _read_stray(self, number: int) -> None:
        if (digest := read_number(self._store, number)) is None:
            raise StoreDamaged(self._store.root, f"nothing has the number {number:06x}")
        self._stray[number] = read_manifest(self._store, digest)

    def _recover_file(self, ino: int) -> FileNode:
        number, row = decode(ino)
        manifest = self._manifest(number)
        if row >= len(manifest.names):
            raise StoreDamaged(self._store.root, f"manifest {number:06x} has no row {row}")
        return build_file((number, row), manifest, row)

    def _recover_directory(self, ino: int) -> DirectoryNode:
        """The directory of that number; an empty one where the current tree has none there, as for one that was removed under a process."""
        number, row = decode(ino)
        manifest = self._manifest(number)
        if row >= len(manifest.directories):
            raise StoreDamaged(self._store.root, f"manifest {number:06x} has no directory {row}")
        path = self.tree.shown_path(manifest.directories[row])
        entry = self._find(path)
        return entry if isinstance(entry, DirectoryNode) else DirectoryNode(path, (), (number, row), 0)
