"""Export: a generation as regular files, which need neither mount nor store; modes and times are those that a mount shows.

Each file shares its blocks with the blob, or is a copy. It is compared with the digest, unless the blob's file is just what it was when its
bytes were last known to be right (`blob_stamps`): a damaged blob is an error, and never a wrong file.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from casfs.changes.atomic_directory import Staging, atomic_directory, require_free
from casfs.descriptors import closing_fd
from casfs.digest import digest_file
from casfs.errors import EnvironmentRefused, StoreDamaged
from casfs.store.blob_stamps import BlobStatCache, read_blob_stat_cache
from casfs.store.generations import Generation
from casfs.store.manifests import Kind
from casfs.store.publish import write_all
from casfs.store.store import Store
from casfs.store.wheel_stamps import file_facts
from casfs.upper.merged import CHUNK
from casfs.venv.reading import LayerReader
from casfs.venv.tree import DIRECTORY_MODE, FILE_MODES, DirectoryNode, FileEntry, FileNode, Tree, read_entries, read_file

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Exported:
    """What was written."""

    files: int = 0
    size: int = 0  # bytes
    shared: int = 0  # bytes of files that share their blocks with the pool


def export_generation(store: Store, generation: Generation, directory: str, progress: Progress) -> Exported:
    """Write all that a generation shows into `directory`, which is absent or empty, all of it or nothing.

    `directory` is absolute, and no component of it a symbolic link. Raises EnvironmentRefused, StoreDamaged, OSError.
    """
    require_place(store, directory)
    with atomic_directory(directory) as staging:
        return _Export(store, generation, progress).run(staging)


def require_place(store: Store, directory: str) -> None:
    """Raises EnvironmentRefused for a place that is taken, or within the store; and OSError."""
    for root in (store.root, *store.shared):
        if any(_is_same(root, str(one)) for one in (directory, *PurePath(directory).parents)):
            raise EnvironmentRefused(directory, f"is within the store {root}; choose another place")
    require_free(directory)


def _is_same(path: str, other: str) -> bool:
    """Whether two paths lead to one directory."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


class _Export:
    """The work on one generation."""

    def __init__(self, store: Store, generation: Generation, progress: Progress) -> None:
        self._store = store
        self._tree = Tree(generation)
        self._reader = LayerReader(store)
        self._progress = progress
        self._stamps: dict[int, Sequence[BlobStatCache]] = {}  # of layers
        self._done = Exported()

    def run(self, staging: Staging) -> Exported:
        made: list[DirectoryNode] = []
        waiting = [self._tree.root]
        while waiting:
            directory = waiting.pop()
            made.append(directory)
            with staging.below(directory.path) as fd:
                for name, entry in read_entries(self._tree, directory, self._reader.fill).items():
                    if isinstance(entry, DirectoryNode):
                        os.mkdir(name, 0o700, dir_fd=fd)
                        waiting.append(entry)
                    else:
                        self._write_file(fd, name, entry)
        for directory in reversed(made):  # what was put into them changed their times
            with staging.below(directory.path) as fd:
                os.fchmod(fd, DIRECTORY_MODE)
                os.utime(fd, ns=(directory.mtime_ns, directory.mtime_ns))
        return self._done

    def _write_file(self, parent: int, name: str, entry: FileEntry) -> None:
        node = read_file(self._tree, entry, self._reader.fill)
        times = (node.mtime_ns,) * 2
        if node.kind is Kind.SYMLINK:
            os.symlink(self._store.pool.read_blob(node.digest, node.size), os.fsencode(name), dir_fd=parent)
            os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)
        else:
            self._write_content(parent, name, entry, node, times)
        self._done.files += 1
        self._done.size += node.size
        self._progress(self._done.size, self._tree.total_size)

    def _write_content(self, parent: int, name: str, entry: FileEntry, node: FileNode, times: tuple[int, int]) -> None:
        with (
            closing_fd(self._store.pool.open_blob(node.digest, node.size)) as source,
            closing_fd(os.open(name, _NEW_FILE, 0o600, dir_fd=parent)) as target,
        ):
            self._fill(source, target, entry, node)
            os.fchmod(target, FILE_MODES[node.kind])  # whatever the umask
            os.utime(target, ns=times)

    def _fill(self, source: int, target: int, entry: FileEntry, node: FileNode) -> None:
        """Give a new file the bytes of a blob. Raises StoreDamaged if they are not what its name promises."""
        is_unchanged = self._is_unchanged(source, entry)
        is_shared = clone_file(source, target, node.size)
        if not (is_unchanged and self._is_unchanged(source, entry)) and _digest_of(target) != node.digest:
            raise StoreDamaged(os.readlink(f"/proc/self/fd/{source}"), "the blob does not have the bytes that its name promises")
        self._done.shared += node.size if is_shared else 0

    def _is_unchanged(self, source: int, entry: FileEntry) -> bool:
        """Whether the file behind a descriptor is what it was when its bytes were last known to be right."""
        if (known := self._stamps.get(entry.layer)) is None:
            manifest = self._tree.layers[entry.layer].layer.manifest
            found = (read_blob_stat_cache(root, manifest) for root in (self._store.root, *self._store.shared))
            known = self._stamps[entry.layer] = [one for one in found if one is not None]
        facts = tuple(file_facts(source))
        return any(stamps.facts(entry.row) == facts for stamps in known)


def _digest_of(fd: int) -> str:
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        return digest_file(file)


_FICLONE = 0x40049409  # ioctl_ficlone(2)

_CANNOT = frozenset({errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY, errno.EXDEV})
"""What file systems and kernels answer that can't do it, or not with these two files (ioctl_ficlone(2), copy_file_range(2))."""


def clone_file(source: int, target: int, size: int) -> bool:
    """Fill the empty file `target` with the `size` bytes of `source`; whether both share their blocks now. Raises OSError."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        _copy(source, target, size)
        return False
    return True


def _copy(source: int, target: int, size: int) -> None:
    done = 0
    try:
        while done < size and (count := os.copy_file_range(source, target, size - done, done, done)):
            done += count
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    os.lseek(target, done, os.SEEK_SET)
    while chunk := os.pread(source, CHUNK, done):  # nothing is left, if the kernel could
        write_all(target, chunk)
        done += len(chunk)
