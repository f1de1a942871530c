"""Tar: a generation as a tar archive of regular files. Equal generations give equal archives, whoever writes them and when.

All of it belongs to root, as in the layers of container images; times are whole seconds; entries are sorted, parents first. The format is
that of POSIX.1-2001 (pax), which GNU tar and container engines read.
"""

from __future__ import annotations

import io
import os
import tarfile
from typing import BinaryIO

from casfs.changes.export import Exported, Progress
from casfs.digest import ContentHasher
from casfs.errors import StoreDamaged
from casfs.store.generations import Generation
from casfs.store.manifests import Kind
from casfs.store.store import Store
from casfs.venv.reading import LayerReader
from casfs.venv.tree import DIRECTORY_MODE, FILE_MODES, DirectoryNode, FileNode, Tree, read_entries, read_file

_SECOND = 1_000_000_000


def write_tar(store: Store, generation: Generation, file: BinaryIO, progress: Progress) -> Exported:
    """Write the archive into a file that need not be seekable. Raises OSError, and StoreDamaged in the middle of it."""
    tree, reader, done = Tree(generation), LayerReader(store), Exported()
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        waiting = [tree.root]
        while waiting:
            directory = waiting.pop()
            archive.addfile(_describe_directory(directory))
            below: list[DirectoryNode] = []
            for name, entry in sorted(read_entries(tree, directory, reader.fill).items()):
                if isinstance(entry, DirectoryNode):
                    below.append(entry)
                    continue
                node = read_file(tree, entry, reader.fill)
                _add_file(archive, store, os.path.join(directory.path, name), node)
                done.files += 1
                done.size += node.size
                progress(done.size, tree.total_size)
            waiting += reversed(below)
    return done


def _describe_directory(directory: DirectoryNode) -> tarfile.TarInfo:
    info = tarfile.TarInfo(directory.path or ".")
    info.type, info.mode, info.mtime = tarfile.DIRTYPE, DIRECTORY_MODE, directory.mtime_ns // _SECOND
    return info


def _add_file(archive: tarfile.TarFile, store: Store, path: str, node: FileNode) -> None:
    info = tarfile.TarInfo(path)
    info.mtime = node.mtime_ns // _SECOND
    if node.kind is Kind.SYMLINK:
        info.type, info.mode = tarfile.SYMTYPE, 0o777
        info.linkname = os.fsdecode(store.pool.read_blob(node.digest, node.size))
        archive.addfile(info)
        return
    info.size, info.mode = node.size, FILE_MODES[node.kind]
    with open(store.pool.open_blob(node.digest, node.size), "rb") as blob:
        content = _Hashed(blob)
        archive.addfile(info, content)  # type: ignore[arg-type]  # it needs to be read, and nothing more
        if content.hasher.digest != node.digest:
            raise StoreDamaged(store.pool.path(node.digest), "the blob does not have the bytes that its name promises")


class _Hashed:
    """A file that hashes what is read of it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.hasher = ContentHasher()
        self._file = file

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self.hasher.update(content)
        return content
