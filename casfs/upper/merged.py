"""The merged view: what a mount shows, which is an upper directory over the tree of a generation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from casfs.descriptors import closing_fd
from casfs.digest import ContentHasher, Digest
from casfs.store.blobs import BlobSource
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.manifests import Kind
from casfs.store.uppers import Upper
from casfs.upper.written import UpperDirectory, UpperEntry, UpperEntryKind
from casfs.venv.reading import LayerReader
from casfs.venv.tree import DirectoryNode, FileEntry, FileNode, ReadLayers, Tree, read_entries, read_file

CHUNK = 1 << 20

_USUAL_MODES = (0o644, 0o755)  # of files in a tree

Shown = UpperEntry | DirectoryNode | FileEntry


class MergedView:
    """An upper directory over a tree. It is asked path by path, so only what lies on the way to a path is read of the tree."""

    def __init__(self, upper_directory: UpperDirectory, tree: Tree, read: ReadLayers, blobs: BlobSource) -> None:
        self.upper_directory = upper_directory
        self.tree = tree
        self.read = read
        self.blobs = blobs

    def over(self, tree: Tree) -> MergedView:
        """This upper directory over another tree."""
        return MergedView(self.upper_directory, tree, self.read, self.blobs)

    def find(self, path: str) -> Shown | None:
        """What is shown at a path; None if nothing is."""
        above, is_covered = "", False
        for name in path.split("/"):
            above = f"{above}/{name}" if above else name
            entry = self.upper_directory.entries.get(above)
            if entry is None:
                return None if is_covered else self.find_lower(path)
            if above == path:
                return None if entry.kind is UpperEntryKind.WHITEOUT else entry
            if entry.kind is not UpperEntryKind.DIRECTORY:
                return None
            is_covered |= entry.is_opaque
        return self.find_lower(path)

    def find_lower(self, path: str) -> DirectoryNode | FileEntry | None:
        """What the tree alone has at a path."""
        return find_entry(self.tree, path, self.read)

    def lower_names(self, directory: DirectoryNode) -> dict[str, DirectoryNode | FileEntry]:
        """What the tree alone has in a directory."""
        return read_entries(self.tree, directory, self.read)

    def file(self, entry: FileEntry) -> FileNode:
        """A file of the tree."""
        return read_file(self.tree, entry, self.read)

    def iter_content(self, shown: UpperEntry | FileEntry) -> Iterator[bytes]:
        """The bytes of a regular file. Raises OSError, StoreDamaged."""
        if isinstance(shown, UpperEntry):
            yield from iter_chunks(self.upper_directory.open_file(shown.path))
        else:
            node = self.file(shown)
            yield from iter_chunks(self.blobs.open_blob(node.digest, node.size))

    def read_small(self, path: str, limit: int) -> bytes | None:
        """The bytes of a regular file of at most `limit` bytes; None if there is no such file. Raises OSError, StoreDamaged."""
        shown = self.find(path)
        if shown is None or isinstance(shown, DirectoryNode) or not self._is_small(shown, limit):
            return None
        content = b""
        for chunk in self.iter_content(shown):
            content += chunk
            if len(content) > limit:
                return None
        return content

    def _is_small(self, shown: UpperEntry | FileEntry, limit: int) -> bool:
        if isinstance(shown, UpperEntry):
            return shown.kind is UpperEntryKind.FILE and shown.size <= limit
        node = self.file(shown)
        return node.kind is not Kind.SYMLINK and node.size <= limit

    def is_same(self, entry: UpperEntry) -> bool:
        """Whether an entry was merely copied up: it shows what the tree shows. Reads it only if its size is the same."""
        lower = self.find_lower(entry.path)
        if entry.kind is UpperEntryKind.DIRECTORY:
            return isinstance(lower, DirectoryNode)
        if not isinstance(lower, FileEntry) or entry.kind not in {UpperEntryKind.FILE, UpperEntryKind.SYMLINK}:
            return entry.kind is UpperEntryKind.WHITEOUT and lower is None
        node = self.file(lower)
        if entry.kind is UpperEntryKind.SYMLINK:
            return node.kind is Kind.SYMLINK and self.upper_directory.read_link(entry.path) == b"".join(self.iter_content(lower))
        if (node.size, node.kind is Kind.EXECUTABLE) != (entry.size, entry.is_executable) or node.kind is Kind.SYMLINK:
            return False
        return self._digest(entry) == node.digest

    def is_mere_copy(self, entry: UpperEntry) -> bool:
        """Whether a file is the same, and has no other name, no attributes and a mode that the tree shows: nobody would miss it."""
        if entry.kind not in {UpperEntryKind.FILE, UpperEntryKind.SYMLINK} or entry.links > 1 or not self.is_same(entry):
            return False
        return entry.kind is UpperEntryKind.SYMLINK or (entry.mode in _USUAL_MODES and not self.upper_directory.has_attributes(entry.path))

    def _digest(self, entry: UpperEntry) -> Digest | None:
        hasher = ContentHasher()
        try:
            for chunk in self.iter_content(entry):
                hasher.update(chunk)
                if hasher.size > entry.size:
                    return None
        except OSError:
            return None
        return hasher.digest


@contextmanager
def merged_view(environment: Environment, generation: Generation, upper: Upper) -> Iterator[MergedView]:
    """What the mounts show of a generation with an upper layer. Raises what UpperDirectory does."""
    with UpperDirectory(upper.files) as upper_directory:
        yield MergedView(upper_directory, Tree(generation), LayerReader(environment.store).fill, environment.store.pool)


def find_entry(tree: Tree, path: str, read: ReadLayers) -> DirectoryNode | FileEntry | None:
    """What a tree has at a path."""
    entry: DirectoryNode | FileEntry | None = tree.root
    for name in path.split("/"):
        if not isinstance(entry, DirectoryNode):
            return None
        entry = read_entries(tree, entry, read).get(name)
    return entry


def iter_chunks(fd: int) -> Iterator[bytes]:
    """All bytes of a descriptor, which is closed in the end."""
    with closing_fd(fd):
        while chunk := os.read(fd, CHUNK):
            yield chunk
