"""The pool: immutable bytes named by their digest, and the one narrow interface through which everything else reads them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from typing import Protocol

from casfs.digest import ContentHasher, Digest, digest_bytes, shard_path
from casfs.errors import StoreDamaged
from casfs.store.publish import Batch, write_all
from casfs.store.regular_file import OPEN_FLAGS

_SYSTEM_IS_SHORT = frozenset({errno.ENFILE, errno.EMFILE, errno.ENOMEM})  # these say nothing about the blob


class BlobSource(Protocol):
    """Digest to readable blob. A private pool, a shared one and a remote one differ only in how they do this."""

    def open_blob(self, digest: Digest, size: int) -> int:
        """A descriptor, open for reading, of a regular file of `size` bytes. The caller closes it. Raises StoreDamaged."""
        ...


class LocalPool:
    """Blobs as files of one directory: ab/cdef..."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path(self, digest: Digest) -> str:
        """Where the blob is, or would be."""
        return f"{self.directory}/{shard_path(digest)}"

    def is_private(self, digest: Digest, size: int) -> bool:
        """Whether a regular file of the right size is there. Anything else under the name is damage, and a new put replaces it."""
        try:
            status = os.lstat(self.path(digest))
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == size

    def has_blob(self, digest: Digest, size: int) -> bool:
        """Whether the blob can be had."""
        return self.is_private(digest, size)

    def open_blob(self, digest: Digest, size: int) -> int:
        """See BlobSource."""
        path = self.path(digest)
        try:
            fd = os.open(path, OPEN_FLAGS)
        except FileNotFoundError:
            raise StoreDamaged(path, "the blob is missing") from None
        except OSError as error:
            if error.errno in _SYSTEM_IS_SHORT:
                raise
            raise StoreDamaged(path, f"the blob can't be opened: {error.strerror}") from None
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_size == size:
            return fd
        os.close(fd)
        problem = f"has {status.st_size} bytes instead of {size}" if stat.S_ISREG(status.st_mode) else "is not a regular file"
        raise StoreDamaged(path, f"the blob {problem}")

    def read_blob(self, digest: Digest, size: int) -> bytes:
        """All bytes of a small blob, compared with its digest. Raises StoreDamaged."""
        with os.fdopen(self.open_blob(digest, size), "rb") as file:
            content = file.read()
        if digest_bytes(content) != digest:
            raise StoreDamaged(self.path(digest), "the blob does not have the bytes that its name promises")
        return content

    def stage(self, batch: Batch, content: bytes, digest: Digest) -> bool:
        """Stage `content`, whose digest the caller has just computed, unless the pool has it. Answers whether it is new."""
        target = self.path(digest)
        if target in batch or self.is_private(digest, len(content)):
            return False
        batch.add(target, content)
        return True

    def stage_stream(self, batch: Batch, chunks: Iterable[bytes], hasher: ContentHasher) -> bool:
        """Stage a blob too large for memory, feeding `hasher` what is written. Answers whether the blob is new to the pool."""
        with batch.writing() as (staged, fd):
            for chunk in chunks:
                hasher.update(chunk)
                write_all(fd, chunk)
        target = self.path(hasher.digest)
        if target in batch or self.is_private(hasher.digest, hasher.size):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)
            return False
        batch.place(staged, target)
        return True
