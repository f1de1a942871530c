"""Stamps of blobs: what each file of the pool was when its bytes were last known to be right, so that a file that was changed shows.

    stamps/<digest of a manifest>.blobs     checksum (XXH3-128, 16 bytes), then for each row of the manifest five 64-bit numbers, native
                                            byte order: device, inode, size, mtime and ctime in ns; zeros where nothing is known

They are written when a manifest is published, for the blobs that were written with it, and whenever blobs have been hashed again. They are
derived data: without them a blob is hashed before its first use. A blob that rots without being written to keeps its stamp; `casfs fsck`
finds that.
"""

from __future__ import annotations

import contextlib
import os
import stat
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from casfs.digest import Digest, checksum_bytes, digest_file
from casfs.store.blobs import LocalPool
from casfs.store.derived import put_in_place
from casfs.store.manifests import Manifest
from casfs.store.regular_file import OPEN_FLAGS
from casfs.store.store import Store

STAMPS_SUFFIX = ".blobs"
"""What follows a manifest's digest in the name of the file that has its blobs' stamps."""

_FACTS = 5
_CHECKSUM = 16

Facts = tuple[int, int, int, int, int]
UNKNOWN: Facts = (0, 0, 0, 0, 0)


@dataclass(slots=True)
class BlobStatCache:
    """The stamps of one manifest's blobs, by row."""

    numbers: array[int]

    def facts(self, row: int) -> Facts:
        """What is known of a row's blob."""
        device, inode, size, mtime_ns, ctime_ns = self.numbers[_FACTS * row : _FACTS * (row + 1)] or UNKNOWN
        return device, inode, size, mtime_ns, ctime_ns

    def remember(self, row: int, facts: Facts) -> None:
        """A row's blob is right, and this is what it is."""
        missing = _FACTS * (row + 1) - len(self.numbers)
        self.numbers.extend(UNKNOWN * -(-max(0, missing) // _FACTS))
        self.numbers[_FACTS * row : _FACTS * (row + 1)] = array("q", facts)


def new_stamps() -> BlobStatCache:
    """Stamps that know nothing yet."""
    return BlobStatCache(array("q"))


def read_blob_stat_cache(root: str, manifest: Digest) -> BlobStatCache | None:
    """The stamps of a manifest's blobs in the store at `root`; None if there are none that can be used."""
    with contextlib.suppress(OSError), open(_path(root, manifest), "rb") as file:
        checksum, body = file.read(_CHECKSUM), file.read()
        if checksum == bytes.fromhex(checksum_bytes(body)) and len(body) % (8 * _FACTS) == 0:
            return BlobStatCache(array("q", body))
    return None


def write_blob_stat_cache(store: Store, manifest: Digest, stamps: BlobStatCache) -> None:
    """Keep the stamps. Never fails: they only save time."""
    body = stamps.numbers.tobytes()
    put_in_place(_path(store.root, manifest), bytes.fromhex(checksum_bytes(body)) + body)


def stamp_new_blobs(store: Store, manifest: Digest, content: Manifest, written: Iterable[Digest]) -> None:
    """Write the stamps of blobs that this process has just written; of the others of the manifest nothing is known."""
    new = set(written)
    if not new:
        return
    stamps = read_blob_stat_cache(store.root, manifest) or new_stamps()
    pool = LocalPool(store.pool.directory)
    for row in range(len(content.names)):
        if (digest := content.digest(row)) in new and (facts := blob_facts(pool.path(digest))) is not None:
            stamps.remember(row, facts)
    write_blob_stat_cache(store, manifest, stamps)


def blob_facts(path: str) -> Facts | None:
    """What changes when somebody changes the file; None if it is no regular file."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns) if stat.S_ISREG(status.st_mode) else None


def hash_blob(path: str, digest: Digest) -> Facts | None:
    """The facts of a file that has the bytes its name promises and did not change while it was read; None if it has not. Raises OSError."""
    before = blob_facts(path)
    with os.fdopen(os.open(path, OPEN_FLAGS), "rb") as file:
        is_right = digest_file(file) == digest
    return before if is_right and before == blob_facts(path) else None


def _path(root: str, manifest: Digest) -> str:
    return f"{root}/stamps/{manifest}{STAMPS_SUFFIX}"
