"""BlobVerifier: whether the file that the kernel would read for a blob is still the one whose bytes were right.

Before a blob is handed out, what its file is now (device, inode, size, times) is compared with what it was when its bytes were last known
to be right. A file that differs is hashed again: it may have been restored, or the device has another number since the machine started.
"""

from __future__ import annotations

import os

from casfs.digest import Digest
from casfs.errors import StoreDamaged
from casfs.fuse.view import NeedsRead
from casfs.store.blob_stamps import BlobStatCache, Facts, blob_facts, hash_blob, new_stamps, read_blob_stat_cache, write_blob_stat_cache
from casfs.store.numbers import read_number
from casfs.store.quarantine import note_failed_read
from casfs.store.store import Store
from casfs.venv.tree import FileNode

_WRITE_AFTER = 64
"""So many newly hashed blobs of a manifest are worth writing its stamps; what is not written is hashed once more by the next process."""


class BlobVerifier:
    """What is known of blobs, by manifest. For one thread; what is to be read or hashed is left to the caller (NeedsRead)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, _Known] = {}

    def is_verified(self, node: FileNode) -> bool:
        """Whether an overlay gives the right bytes: it opens the first file that has the blob's name, whatever it is. Raises NeedsRead."""
        for pool in (self._store.pool, *self._store.pool.shared):
            path = pool.path(node.digest)
            if (facts := blob_facts(path)) is not None:
                return self._is_unchanged(node, path, facts)
            if os.path.lexists(path):
                return False
        return False

    def require(self, node: FileNode) -> None:
        """Raises StoreDamaged if the first copy that has the right size has other bytes, or if there is none; and NeedsRead."""
        path, problem = self._store.pool.path(node.digest), "the blob is missing"
        for pool in (self._store.pool, *self._store.pool.shared):
            path = pool.path(node.digest)
            if (facts := blob_facts(path)) is not None and facts[2] == node.size:
                if self._is_unchanged(node, path, facts):
                    return
                problem = "the blob does not have the bytes that its name promises"
                break
            if os.path.lexists(path):
                problem = f"the blob is not a regular file of {node.size} bytes"
        raise StoreDamaged(path, problem)

    def note_failed_read(self, error: StoreDamaged) -> None:
        """Let adding its wheel again restore a blob that could not be read. It may be hashed here."""
        note_failed_read(self._store, error)

    def _is_unchanged(self, node: FileNode, path: str, facts: Facts) -> bool:
        number, row = node.identity
        if (known := self._known.get(number)) is None:
            raise NeedsRead(lambda: self._read(number))
        if facts[2] != node.size or known.refused.get(row) == facts:
            return False
        if any(stamps.facts(row) == facts for stamps in known.stamps):
            return True
        raise NeedsRead(lambda: self._hash(known, row, node.digest, path))

    def _read(self, number: int) -> None:
        self._known.setdefault(number, _read_known(self._store, number))

    def _hash(self, known: _Known, row: int, digest: Digest, path: str) -> None:
        try:
            facts = hash_blob(path, digest)
        except OSError as error:
            import logging

            logging.getLogger("casfs").error("%s: %s", path, error)
            facts = None
        if facts is None:
            known.refused[row] = blob_facts(path)
        else:
            known.learn(self._store, row, facts)


class _Known:
    """What is known of one manifest's blobs: our own stamps, and those of the shared stores behind ours."""

    def __init__(self, manifest: Digest, own: BlobStatCache, shared: list[BlobStatCache]) -> None:
        self._manifest = manifest
        self.stamps = [own, *shared]
        self.refused: dict[int, Facts | None] = {}  # files that were hashed and found wrong
        self._unwritten = 0

    def learn(self, store: Store, row: int, facts: Facts) -> None:
        """A row's blob has been hashed and is right."""
        self.stamps[0].remember(row, facts)
        self._unwritten += 1
        if self._unwritten >= _WRITE_AFTER:
            self.write(store)

    def write(self, store: Store) -> None:
        """Keep what was learnt."""
        if self._unwritten:
            write_blob_stat_cache(store, self._manifest, self.stamps[0])
            self._unwritten = 0


def _read_known(store: Store, number: int) -> _Known:
    if (manifest := read_number(store, number)) is None:
        raise StoreDamaged(store.root, f"nothing has the number {number:06x}")
    own = read_blob_stat_cache(store.root, manifest) or new_stamps()
    shared = [stamps for root in store.shared if (stamps := read_blob_stat_cache(root, manifest))]
    return _Known(manifest, own, shared)
