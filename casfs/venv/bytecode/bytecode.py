"""Bytecode: what a manifest becomes when the sources in it are compiled. It keeps all that it has and gains __pycache__/*.pyc (PEP 3147).

A source is compiled once for a store and a target, whoever has it and wherever it is mounted: the file name in the code is the source's
digest, and `import` puts the path there under which it found the source (_fix_co_filename in importlib). So a traceback and inspect show
the mounted path. The name is in angle brackets, which linecache and inspect never take for a file.

The bytecode says which time and size its source has (PEP 552), as it does in any virtual environment. The times that casfs shows are those
of the manifest, so this holds in every mount for ever, and not for a source that somebody edited in a mount, copied elsewhere, or that
another distribution brings in its place: then Python compiles. Bytecode that is never checked against its source would go on to run. Where
a source has another time in another manifest, its bytecode there is the same but for these four bytes, and nothing is compiled again.

It takes the place of bytecode that the wheel itself has for the same source and target, as with pip.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from casfs.digest import Digest, checksum_bytes, digest_bytes
from casfs.errors import StoreDamaged
from casfs.interpreters.interpreter import Interpreter
from casfs.paths import SITE_PACKAGES, path_problem
from casfs.store.blob_stamps import UNKNOWN, Facts, blob_facts, new_stamps, read_blob_stat_cache, write_blob_stat_cache
from casfs.store.bytecode import (
    NOT_COMPILED,
    Compiled,
    Outcome,
    Target,
    bytecode_path,
    compiling,
    find_compiled,
    find_outcome,
    iter_bytecode_rows,
    stage_compiled,
    stage_outcome,
)
from casfs.store.ingest import Progress
from casfs.store.manifests import Kind, Manifest, ManifestFile, build_manifest, stage_manifest
from casfs.store.numbers import assign_numbers, publish_numbered
from casfs.store.publish import Batch
from casfs.store.store import Store
from casfs.venv.tree import shown_time_ns

Stored = tuple[Digest, Manifest, int]
"""A manifest that a store has: digest, content, number."""

_MAX_SOURCE = 16 << 20
"""Bytes of a source. Larger ones are not compiled: the compiler needs a hundred times as much memory."""

_TOGETHER = 1000  # so many files of bytecode are published at once: whoever is killed has lost no more

_HEADER_SIZE = 16
_BY_TIME = 0  # flags of bytecode that is compared with the time and size of its source
_TIME_AT, _SIZE_AT = 8, 12

_SOURCE_NAME = re.compile(rb"<casfs ([0-9a-f]{64})>")

Source = tuple[Digest, int]
"""Which bytes a source has, and its time in the manifest."""


@dataclass(slots=True)
class Made:
    """What there was to do."""

    files: int = 0  # of bytecode in the manifests
    size: int = 0
    compiled: int = 0  # of them now
    problem: str = ""  # why nothing could be compiled
    failed: list[str] = field(default_factory=list)  # paths of sources that were found not to compile now


def target_of(interpreter: Interpreter, level: int = 0) -> Target:
    """What an interpreter needs that runs at an optimisation level."""
    return Target(interpreter.cache_tag, interpreter.magic, level)


def format_header(target: Target, source: ManifestFile) -> bytes:
    """The first bytes of the bytecode of a source that a mount shows."""
    seconds, rest_ns = divmod(shown_time_ns(source.time, source.digest), 1_000_000_000)
    shown_s = int(seconds + 1e-9 * rest_ns)  # what os.stat makes of it, a float, may be rounded to the next second
    return struct.pack("<4sLLL", bytes.fromhex(target.magic), _BY_TIME, shown_s, source.size & 0xFFFFFFFF)


def is_bytecode_of(target: Target, source: Digest, content: bytes) -> bool:
    """Whether bytecode was made of a source for a target; for which time does not matter."""
    is_for = content[:_TIME_AT] == struct.pack("<4sL", bytes.fromhex(target.magic), _BY_TIME)
    return is_for and (match := _SOURCE_NAME.search(content)) is not None and match[1].decode() == source


def is_valid_beside(target: Target, source: ManifestFile, content: bytes) -> bool:
    """Whether bytecode is of the source beside it, and says so.

    Where the version before dated the source, it may say another time: of one source in 6,000 that was before 1980 in some time zone.
    """
    header, checked = format_header(target, source), 0 if source.time else _SIZE_AT
    return is_bytecode_of(target, source.digest, content) and content[checked:_HEADER_SIZE] == header[checked:]


def iter_sources(manifest: Manifest, target: Target) -> Iterator[tuple[ManifestFile, str]]:
    """Each source that can be imported, and where its bytecode belongs."""
    files = {file.path: file for file in manifest.iter_files()}
    directories = set(manifest.directories)
    for path, file in files.items():
        if path.endswith(".py") and path.startswith(f"{SITE_PACKAGES}/") and file.kind is not Kind.SYMLINK:
            place = bytecode_path(path, target)
            is_free = place.rpartition("/")[0] not in files and place not in directories
            if is_free and path_problem(place) is None:
                yield file, place


def with_bytecode(manifest: Manifest, target: Target, rows: Mapping[Source, ManifestFile]) -> Manifest:
    """The manifest with bytecode; `rows` has a row for each source, whose path does not matter. One without a row gets none.

    Bytecode has the time of its source.
    """
    files = {file.path: file for file in manifest.iter_files()}
    for source, place in iter_sources(manifest, target):
        if (row := rows.get((source.digest, source.time))) is not None:
            files[place] = ManifestFile(place, row.digest, row.checksum, row.size, Kind.FILE, source.time)
    return build_manifest(manifest.description, files.values(), manifest.directories, manifest.time)


class BytecodeMaker:
    """Gives manifests their bytecode."""

    def __init__(self, store: Store, executable: str, target: Target, progress: Progress = lambda name, done, total: None) -> None:
        self.made = Made()
        self._store = store
        self._executable = executable
        self._target = target
        self._progress = progress
        self._rows: dict[Source, ManifestFile] = {}  # of bytecode whose bytes were seen

    def take_known(self, manifests: Sequence[Stored]) -> list[Stored]:
        """The manifests, with bytecode where the store has it already."""
        known = self._find_known(manifests)
        return self._finish([known[digest] or (digest, manifest) for digest, manifest, _ in manifests])

    def make(self, manifests: Sequence[Stored]) -> list[Stored]:
        """The manifests, each with the bytecode of all its sources that compile. Raises InterpreterRefused, StoreDamaged, OSError."""
        known = self._find_known(manifests)
        missing = {digest: manifest for digest, manifest, _ in manifests if known[digest] is None}
        if missing:
            with compiling(self._store, self._target):
                known |= self._make_missing(missing)
        return self._finish([known[digest] or (digest, manifest) for digest, manifest, _ in manifests])

    def _find_known(self, manifests: Sequence[Stored]) -> dict[Digest, tuple[Digest, Manifest] | None]:
        return {digest: find_compiled(self._store, self._target, digest, manifest) for digest, manifest, _ in manifests}

    def _finish(self, found: Sequence[tuple[Digest, Manifest]]) -> list[Stored]:
        sizes = [manifest.sizes[row] for _, manifest in found for row in iter_bytecode_rows(manifest, self._target)]
        self.made.files, self.made.size = len(sizes), sum(sizes)
        return [(*one, number) for one, number in zip(found, assign_numbers(self._store, found), strict=True)]

    def _make_missing(self, missing: Mapping[Digest, Manifest]) -> dict[Digest, tuple[Digest, Manifest]]:
        sources = {(file.digest, file.time): file for manifest in missing.values() for file, _ in iter_sources(manifest, self._target)}
        found: dict[Digest, tuple[Digest, Manifest]] = {}
        outcomes: dict[Digest, Outcome] = {}
        with self._store.batch() as batch:
            if waiting := [file for file in sources.values() if not self._is_known(batch, file)]:
                self._compile(batch, waiting, outcomes)
            for digest, manifest in missing.items():
                compiled = with_bytecode(manifest, self._target, self._rows)
                found[digest] = stage_manifest(self._store, batch, compiled), compiled
            publish_numbered(self._store, batch, [*found.values()])
        for digest, made in found.items():
            self._stamp(digest, missing[digest], *made)
        self._publish_outcomes(outcomes, found)
        return found

    def _publish_outcomes(self, outcomes: Mapping[Digest, Outcome], found: Mapping[Digest, tuple[Digest, Manifest]]) -> None:
        """Let the store know what sources and manifests became, all of which is published."""
        with self._store.batch() as batch:
            for source, outcome in outcomes.items():
                stage_outcome(self._store, batch, self._target, source, outcome)
            for digest, (compiled_digest, _) in found.items():
                stage_compiled(self._store, batch, self._target, digest, compiled_digest)
                stage_compiled(self._store, batch, self._target, compiled_digest, compiled_digest)
            batch.commit()

    def _is_known(self, batch: Batch, source: ManifestFile) -> bool:
        """Whether nothing is to be compiled for a source. Bytecode that the store has is read, since it may be of another source.

        If it is for another time, bytecode for this one is staged.
        """
        outcome = find_outcome(self._store, self._target, source.digest)
        if isinstance(outcome, Compiled):
            try:
                content = self._store.pool.read_blob(outcome.digest, outcome.size)
            except StoreDamaged:
                return False
            if not is_bytecode_of(self._target, source.digest, content):
                return False
            self._keep(batch, source, format_header(self._target, source) + content[_HEADER_SIZE:])
        return outcome is not None

    def _keep(self, batch: Batch, source: ManifestFile, content: bytes) -> Compiled:
        """Remember the bytecode of a source; it is staged unless the pool has it."""
        outcome = Compiled(digest_bytes(content), len(content))
        self._store.pool.stage(batch, content, outcome.digest)
        self._rows[source.digest, source.time] = ManifestFile("", outcome.digest, checksum_bytes(content), outcome.size, Kind.FILE)
        return outcome

    def _compile(self, batch: Batch, sources: Sequence[ManifestFile], outcomes: dict[Digest, Outcome]) -> None:
        """Compile sources; `outcomes` and the batch have what they become, as far as it is not published already."""
        from casfs.venv.bytecode.compiler import Compiler  # most wheels that are added are known, and compiled

        alike: dict[Digest, list[ManifestFile]] = {}  # but for their times
        for source in sources:
            alike.setdefault(source.digest, []).append(source)
        done, total = 0, sum(some[0].size for some in alike.values())
        small = [some[0] for some in alike.values() if some[0].size <= _MAX_SOURCE]
        processes = min(len(os.sched_getaffinity(0)), 1 + len(small) // 16)
        with Compiler(self._executable, self._target, processes) as compiler, closing(compiler.run(small, self._read)) as results:
            outcomes |= {source.digest: NOT_COMPILED for source in sources if source.size > _MAX_SOURCE}
            for source, result in results:
                outcomes[source.digest] = self._stage(batch, alike[source.digest], result)
                done += source.size
                self._progress("compiling", done, total)
                if len(outcomes) >= _TOGETHER:
                    batch.commit()
                    self._publish_outcomes(outcomes, {})
                    outcomes.clear()

    def _read(self, source: ManifestFile) -> tuple[bytes, str]:
        return self._store.pool.read_blob(source.digest, source.size), f"<casfs {source.digest}>"

    def _stage(self, batch: Batch, sources: Sequence[ManifestFile], result: bytes | None) -> Outcome:
        """What sources became that have the same bytes."""
        if result is None:
            self.made.failed.append(sources[0].path)
            return NOT_COMPILED
        self.made.compiled += 1
        return [self._keep(batch, source, format_header(self._target, source) + result) for source in sources][-1]

    def _stamp(self, digest: Digest, manifest: Manifest, compiled_digest: Digest, compiled: Manifest) -> None:
        """Let the blobs of a manifest with bytecode be known as right where they are known to be: nothing need be hashed before a mount."""
        if digest == compiled_digest:
            return
        facts: dict[Digest, Facts | None] = {row.digest: blob_facts(self._store.pool.path(row.digest)) for row in self._rows.values()}
        for root in (self._store.root, *self._store.shared):
            if stamps := read_blob_stat_cache(root, digest):
                facts |= {manifest.digest(row): one for row in range(len(manifest.names)) if (one := stamps.facts(row)) != UNKNOWN}
        stamps = new_stamps()
        for row in range(len(compiled.names)):
            if found := facts.get(compiled.digest(row)):
                stamps.remember(row, found)
        write_blob_stat_cache(self._store, compiled_digest, stamps)


MakeBytecode = Callable[[Sequence[Stored]], Sequence[Stored]]


def leave_as_they_are(manifests: Sequence[Stored]) -> Sequence[Stored]:
    """Gives manifests no bytecode."""
    return manifests
