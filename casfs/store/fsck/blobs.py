"""Checking the pool: whether each blob is a regular file that nobody may write, with the bytes that its name promises.

A blob that is missing is missed only by a manifest that something refers to: of others a collection keeps no blobs (see `collect`).

A blob whose bytes are right proves a manifest wrong that promises something else about it. Who mentions a damaged blob is found by going
through the manifests once more: damage is rare, and remembering it for every blob of a large pool would take gigabytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from casfs.descriptors import closing_fd
from casfs.digest import ContentHasher, Digest, checksum_chunks
from casfs.errors import StoreDamaged
from casfs.store.fsck.damage import DamageKind, Findings
from casfs.store.fsck.manifests import ManifestTable, format_promise, iter_promises
from casfs.store.manifests import Manifest, manifest_path, read_manifest
from casfs.store.regular_file import OPEN_FLAGS, describe_kind
from casfs.store.store import Store

BLOB_MODE = 0o444

_CHUNK_SIZE = 1 << 20
_ALONE_SIZE = 256 * 1024  # as in `ingest`: below it threads only hand the interpreter lock to and fro
_THREADS = 2
_MAX_USERS = 3  # a damage names so many files that need the blob

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


def hash_file(path: str) -> ContentHasher:
    """All hashes of a file. Raises OSError."""
    hasher = ContentHasher()
    for chunk in _iter_chunks(path):
        hasher.update(chunk)
    return hasher


def _iter_chunks(path: str) -> Iterator[bytes]:
    with closing_fd(os.open(path, OPEN_FLAGS)) as fd:
        while chunk := os.read(fd, _CHUNK_SIZE):
            yield chunk


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen under a blob's name. `actual` is what a manifest should promise, if it was computed."""

    digest: Digest
    path: str
    size: int
    problem: str | None = None
    mode: int = BLOB_MODE
    actual: bytes | None = None


@dataclass(slots=True)
class _Loss:
    """A damaged blob, and who needs it."""

    kind: DamageKind
    path: str
    reason: str
    manifests: list[Digest] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # the first few
    uses: int = 0


class PoolCheck:
    """A check of all blobs. It takes promises out of the table as it finds them kept: those that remain are of missing blobs."""

    def __init__(self, store: Store, findings: Findings, table: ManifestTable, *, is_fast: bool) -> None:
        self.blobs = 0
        self.bytes = 0
        self.orphans = 0
        self.shared: dict[str, int] = {}  # directory of a shared pool -> blobs that are only there
        self._store = store
        self._findings = findings
        self._table = table
        self._is_fast = is_fast
        self._losses: dict[bytes, _Loss] = {}
        self._broken_promises: dict[bytes, bytes] = {}  # blobs whose bytes are right -> what is true of them

    def run(self, progress: Progress) -> None:
        """Look at every blob, then find out who is hit by what is damaged."""
        expected = sum(int.from_bytes(promise[:8], "big") for promise in self._table.promises.values())
        with ThreadPoolExecutor(_THREADS) as threads:
            for entries in self._findings.iter_shards(self._store.pool.directory, 62):
                for look in self._look_at_all(threads, entries):
                    self._note(look)
                    progress(self.bytes, max(expected, self.bytes))
        self._note_missing()
        if self._losses or self._broken_promises:
            self._find_users()
        for loss in self._losses.values():
            if loss.uses or loss.kind is not DamageKind.MISSING_BLOB:
                self._findings.add(loss.kind, loss.path, _tell(loss), manifests=loss.manifests)

    def _look_at_all(self, threads: ThreadPoolExecutor, entries: Iterable[os.DirEntry[str]]) -> Iterator[_Look]:
        large = []
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # whether anybody misses it shows later
            if stat.S_ISREG(status.st_mode) and status.st_size >= _ALONE_SIZE:
                large.append(threads.submit(self._look, entry, status))
            else:
                yield self._look(entry, status)
        for future in large:
            yield future.result()

    def _look(self, entry: os.DirEntry[str], status: os.stat_result) -> _Look:
        digest = Digest(entry.path[-65:-63] + entry.name)
        if not stat.S_ISREG(status.st_mode):
            return _Look(digest, entry.path, 0, f"the blob is {describe_kind(status.st_mode)} instead of a regular file")
        mode = stat.S_IMODE(status.st_mode)
        try:
            problem, actual = self._compare(entry.path, digest, status.st_size)
        except OSError as error:
            return _Look(digest, entry.path, status.st_size, f"the blob can't be read: {error.strerror}", mode)
        return _Look(digest, entry.path, status.st_size, problem, mode, actual)

    def _compare(self, path: str, digest: Digest, size: int) -> tuple[str | None, bytes | None]:
        """(what is wrong with the bytes, what is true of them if the SHA-256 was computed and is right)."""
        key = bytes.fromhex(digest)
        promise = self._table.promises.get(key)
        can_be_fast = self._is_fast and promise and key not in self._table.disputed and int.from_bytes(promise[:8], "big") == size
        if can_be_fast and format_promise(size, bytes.fromhex(checksum_chunks(_iter_chunks(path)))) == promise:
            return None, None
        hasher = hash_file(path)
        if hasher.digest == digest:
            return None, format_promise(hasher.size, bytes.fromhex(hasher.checksum))
        if promise and (promised := int.from_bytes(promise[:8], "big")) != hasher.size:
            return f"the blob has {hasher.size} bytes instead of {promised}", None
        return "the blob does not have the bytes that its name promises", None

    def _note(self, look: _Look) -> None:
        self.blobs += 1
        self.bytes += look.size
        key = bytes.fromhex(look.digest)
        promise = self._table.promises.pop(key, None)
        self.orphans += promise is None
        if look.problem:
            self._losses[key] = _Loss(DamageKind.BLOB, look.path, look.problem)
        elif look.actual and promise and (promise != look.actual or key in self._table.disputed):
            self._broken_promises[key] = look.actual
        if look.mode != BLOB_MODE and not look.problem:
            self._findings.add(DamageKind.MODE, look.path, f"has the mode {look.mode:04o} instead of {BLOB_MODE:04o}")

    def _note_missing(self) -> None:
        for key, promise in self._table.promises.items():
            digest, size = Digest(key.hex()), int.from_bytes(promise[:8], "big")
            if self._store.pool.is_private(digest, size):
                continue  # it came while we looked elsewhere
            if (pool := self._store.pool.find_shared(digest, size)) is not None:
                self.shared[pool.directory] = self.shared.get(pool.directory, 0) + 1
            else:
                self._losses[key] = _Loss(DamageKind.MISSING_BLOB, self._store.pool.path(digest), "the blob is missing")

    def _find_users(self) -> None:
        for digest in self._table.good():
            try:
                manifest = read_manifest(self._store, digest)
            except (StoreDamaged, OSError):
                continue  # it was good a moment ago; the next check will tell
            lies, is_needed = 0, digest in self._table.mentioned
            for row, (key, promise) in enumerate(iter_promises(manifest)):
                if (loss := self._losses.get(key)) and (is_needed or loss.kind is not DamageKind.MISSING_BLOB):
                    self._note_user(loss, digest, manifest, row)
                lies += self._broken_promises.get(key, promise) != promise
            if lies:
                self._note_liar(digest, lies)

    def _note_user(self, loss: _Loss, digest: Digest, manifest: Manifest, row: int) -> None:
        self._findings.lost.add(digest)
        if not loss.manifests or loss.manifests[-1] != digest:
            loss.manifests.append(digest)
        loss.uses += 1
        if len(loss.files) < _MAX_USERS:
            file = manifest.row(row, manifest.directory_of(row))
            loss.files.append(f"{manifest.description.name} {manifest.description.version} ({file.path})")

    def _note_liar(self, digest: Digest, lies: int) -> None:
        self._findings.lost.add(digest)
        reason = f"the manifest has a wrong size or checksum for {lies} of its files, whose blobs are good"
        self._findings.add(DamageKind.MANIFEST, manifest_path(self._store, digest), reason, manifests=[digest])


def _tell(loss: _Loss) -> str:
    if not loss.files:
        return f"{loss.reason}; no manifest mentions it"
    more = f" and {loss.uses - len(loss.files)} more" if loss.uses > len(loss.files) else ""
    return f"{loss.reason}; needed by {', '.join(loss.files)}{more}"
