"""Unpacking: every member of a wheel becomes a staged blob, by as many processes as there are processors.

A member costs about five system calls: it is read, looked for in the pool, and written in one piece to a file that is named by its digest,
in a directory that its worker has for itself. Whoever has so many members to stage saves what a call more or an object more costs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from threading import Event

from casfs.digest import ContentHasher, Digest, checksum_bytes, digest_bytes
from casfs.errors import WheelRefused
from casfs.store.blobs import LocalPool
from casfs.store.manifests import Kind, ManifestFile
from casfs.store.publish import Batch, write_all
from casfs.store.workers import WorkerDied, may_fork, run_workers
from casfs.wheels.inflate import iter_content, read_content
from casfs.wheels.record import record_problem
from casfs.wheels.source import WheelSource
from casfs.wheels.wheel import WheelFile

_WHOLE_SIZE = 8 << 20
"""Members up to this size are inflated in memory, and written only if the pool lacks them; larger ones are streamed."""

_SHARE_SIZE, _SHARE_FILES = 1 << 20, 64
"""What a worker takes at once: enough to be worth a report, and little enough that both end together."""

_MOST_SHARES = 4096  # but for these limits, which are exceeded threefold at most

_FILE_COST = 32 << 10
"""Bytes that could be unpacked in the time that a file of none takes."""

_FORK_COST = 16 << 20
"""What there must be to unpack, in bytes (that is 400 small files): else starting workers takes longer than they save, 5 to 10 ms."""

_MOST_WORKERS = 8  # more of them wait for the file system, not for a processor

_WRITING = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A member as it came out."""

    file: ManifestFile
    is_new: bool  # to the pool and to the batch
    problem: str | None  # with RECORD


_Report = tuple[int, Digest, str, int, str, str | None]
"""Of a member: its place among the files, digest, checksum, size, where it is staged ("": the pool has it), problem with RECORD."""


def iter_unpacked(
    pool: LocalPool, batch: Batch, source: WheelSource, files: Sequence[WheelFile], stop: Event
) -> Generator[list[Unpacked], None, None]:
    """Every file of a wheel, staged; some at a time, in no order. Whoever wants no more closes it.

    Raises WheelRefused, OSError, and CancelledError once `stop` is set.
    """
    shares = _share_out(files)
    count = _worker_count(files)
    directories = [f"{batch.directory}/{number}.d" for number in range(count)] if count > 1 else [batch.directory]
    for directory in directories:
        os.makedirs(directory, mode=0o700, exist_ok=True)

    def work(worker: int, share: int) -> list[_Report]:
        if count > 1:
            os.umask(0)  # so that open() alone sets the mode; who has threads may not
        return _Stager(pool, source, directories[worker], stop, is_mode_right=count > 1).stage(files, shares[share])

    reports = run_workers(count, len(shares), work) if count > 1 else (work(0, share) for share in range(len(shares)))
    try:
        with contextlib.closing(reports):
            for report in reports:
                yield [_take(pool, batch, files, one) for one in report]
    except WorkerDied as death:
        raise WheelRefused(source.name, f"is not unpacked: a process that worked on it {death}") from None


def _worker_count(files: Sequence[WheelFile]) -> int:
    """How many workers are worth starting; 1: this process does it."""
    if sum(file.member.size + _FILE_COST for file in files) < _FORK_COST or not may_fork():
        return 1
    return min(len(os.sched_getaffinity(0)), _MOST_WORKERS)


def _share_out(files: Sequence[WheelFile]) -> list[list[int]]:
    """Places of the files that are unpacked together; the shares that take longest come first."""
    most = max(_SHARE_SIZE, sum(file.member.size for file in files) // _MOST_SHARES)
    most_files = max(_SHARE_FILES, len(files) // _MOST_SHARES)
    shares: list[tuple[int, list[int]]] = []
    size, share = 0, list[int]()
    for place in sorted(range(len(files)), key=lambda place: files[place].member.data_offset):
        if share and (size + files[place].member.size > most or len(share) == most_files):
            shares.append((size, share))
            size, share = 0, []
        share.append(place)
        size += files[place].member.size
    shares.append((size, share))
    return [share for _, share in sorted(shares, key=lambda one: -(one[0] + _FILE_COST * len(one[1])))]


def _take(pool: LocalPool, batch: Batch, files: Sequence[WheelFile], report: _Report) -> Unpacked:
    """What a worker reports, placed in the batch if it is new."""
    place, digest, checksum, size, staged, problem = report
    target = pool.path(digest)
    is_new = bool(staged) and target not in batch
    if is_new:
        batch.place(staged, target)
    kind = Kind.EXECUTABLE if files[place].executable else Kind.FILE
    return Unpacked(ManifestFile(files[place].path, digest, checksum, size, kind), is_new, problem)


class _Stager:
    """Stages members in one directory."""

    def __init__(self, pool: LocalPool, source: WheelSource, directory: str, stop: Event, *, is_mode_right: bool) -> None:
        self._pool = pool
        self._source = source
        self._directory = directory
        self._stop = stop
        self._is_mode_right = is_mode_right

    def stage(self, files: Sequence[WheelFile], places: Iterable[int]) -> list[_Report]:
        """Inflate, hash and stage some of the files."""
        reports = []
        for place in places:
            if self._stop.is_set():
                raise CancelledError
            file = files[place]
            is_whole = file.member.size <= _WHOLE_SIZE and (file.record is None or file.record.algorithm == "sha256")
            reports.append((place, *(self._stage_whole(file) if is_whole else self._stage_stream(file))))
        return reports

    def _stage_whole(self, file: WheelFile) -> tuple[Digest, str, int, str, str | None]:
        content = read_content(self._source, file.member, _WHOLE_SIZE)
        digest, size = digest_bytes(content), len(content)
        problem = record_problem(file.record, size, bytes.fromhex(digest)) if file.record else None
        staged = ""
        if not self._pool.is_private(digest, size):
            staged = f"{self._directory}/{digest}"
            with contextlib.suppress(FileExistsError):  # two members are alike
                self._write(staged, (content,))
        return digest, checksum_bytes(content), size, staged, problem

    def _stage_stream(self, file: WheelFile) -> tuple[Digest, str, int, str, str | None]:
        hasher = ContentHasher(file.record.algorithm if file.record else "sha256")
        unnamed = f"{self._directory}/stream"
        self._write(unnamed, self._hashed(hasher, iter_content(self._source, file.member)))
        staged = ""
        if self._pool.is_private(hasher.digest, hasher.size):
            os.unlink(unnamed)
        else:
            staged = f"{self._directory}/{hasher.digest}"
            os.rename(unnamed, staged)
        problem = record_problem(file.record, hasher.size, hasher.record_hash) if file.record else None
        return hasher.digest, hasher.checksum, hasher.size, staged, problem

    def _hashed(self, hasher: ContentHasher, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self._stop.is_set():
                raise CancelledError
            hasher.update(chunk)
            yield chunk

    def _write(self, name: str, chunks: Iterable[bytes]) -> None:
        fd = os.open(name, _WRITING, 0o444)
        try:
            if not self._is_mode_right:
                os.fchmod(fd, 0o444)
            for chunk in chunks:
                write_all(fd, chunk)
        finally:
            os.close(fd)
