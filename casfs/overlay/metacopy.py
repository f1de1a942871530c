"""Bare files: an environment as files that have names, sizes, times and attributes, but no bytes: an overlay takes these from the pools.

They say what an image says (see `casfs.venv.image`), to a plain user, who may mount none. They lie in memory (a tmpfs has the attributes
since Linux 6.6). A file takes some 15 us and 2 KB, so a large environment is better served by a process that answers when it is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from casfs.descriptors import closing_fd
from casfs.digest import Digest, shard_path
from casfs.store.generations import Generation
from casfs.store.manifests import Kind, read_manifest
from casfs.store.store import Store
from casfs.venv.image.erofs import DISTRIBUTION, METACOPY, METACOPY_VALUE, ORIGINAL_DIGEST, REDIRECT, TOO_SMALL, USER, VERSION
from casfs.venv.tree import DIRECTORY_MODE, FILE_MODES, DirectoryNode, FileEntry, FileNode, Tree

_MOST = 6_000  # files: to make so many takes as long as to start Python, trio and pyfuse3
_AS_FILES = 10  # reading a manifest takes as long as making so many files

ReadBlob = Callable[[Digest, int], bytes]
"""Reads a small blob, by digest and size."""


def read_small_tree(store: Store, generation: Generation) -> Tree | None:
    """The tree of a generation with all its manifests read; None if it is large. Raises StoreDamaged."""
    tree = Tree(generation)
    cost = _AS_FILES * len(tree.layers)
    for index, layer in enumerate(tree.layers):
        if cost > _MOST:
            return None
        manifest = read_manifest(store, layer.layer.manifest)
        tree.add_content(index, manifest)
        cost += len(manifest.names)
    return tree


def write_bare_files(tree: Tree, path: str, lost: frozenset[Digest], read_blob: ReadBlob) -> None:
    """Make all of a tree in an empty directory. The umask must not take anything from their modes.

    Whoever looks at a file whose blob is lost gets an error (EIO). Raises OSError, and what `read_blob` raises for the target of a link.
    """
    os.chmod(path, DIRECTORY_MODE)
    _write_directory(_Writer(tree, lost, read_blob), tree.root, path)


class _Writer:
    """What is the same for all files."""

    def __init__(self, tree: Tree, lost: frozenset[Digest], read_blob: ReadBlob) -> None:
        self.tree = tree
        self._lost = lost
        self._read_blob = read_blob

    def write_file(self, path: str, entry: FileEntry) -> None:
        node = self.tree.file(entry)
        if node.kind == Kind.SYMLINK:
            os.symlink(self._read_blob(node.digest, node.size), os.fsencode(path))
            os.utime(path, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)
            return
        with closing_fd(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODES[node.kind])) as fd:
            os.truncate(fd, node.size)
            for name, value in self._attributes(entry, node):
                os.setxattr(fd, f"{USER}.{name}", value)
            os.utime(fd, ns=(node.mtime_ns, node.mtime_ns))

    def _attributes(self, entry: FileEntry, node: FileNode) -> list[tuple[str, bytes]]:
        digest = node.digest.encode()
        attributes = [
            (METACOPY, METACOPY_VALUE[:TOO_SMALL] if node.digest in self._lost else METACOPY_VALUE),
            (REDIRECT, f"/{shard_path(node.digest)}".encode()),
            (ORIGINAL_DIGEST, digest),
        ]
        if (distribution := self.tree.distribution(entry)) is not None:
            attributes += [(DISTRIBUTION, distribution.name.encode()), (VERSION, distribution.version.encode())]
        return attributes


def _write_directory(writer: _Writer, directory: DirectoryNode, path: str) -> None:
    for name, entry in writer.tree.entries(directory).items():
        inside = f"{path}/{name}"
        if isinstance(entry, FileEntry):
            writer.write_file(inside, entry)
        else:
            os.mkdir(inside, DIRECTORY_MODE)
            _write_directory(writer, entry, inside)
    os.utime(path, ns=(directory.mtime_ns, directory.mtime_ns))
