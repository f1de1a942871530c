"""Ingest: wheels to blobs and manifests.

A wheel is read from a private copy, so that nobody changes it between the hash and the unpacking. Each member is hashed as it is written;
the digest of what we wrote is the blob's name, and RECORD is compared with it. Nothing is published before every wheel has been read whole
and found good; then blobs and manifests become durable together, and only after them the records that refer to them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from threading import Event
from typing import TYPE_CHECKING, BinaryIO

from casfs.digest import ContentHasher, Digest, checksum_bytes, digest_bytes
from casfs.errors import RecordRefused, WheelRefused, reason_of
from casfs.store.blob_stamps import stamp_new_blobs
from casfs.store.installations import Remembered, Wanted
from casfs.store.known_wheels import Found, find_known
from casfs.store.manifests import (
    Description,
    Manifest,
    ManifestFile,
    NewFile,
    build_manifest,
    read_manifest,
)
from casfs.store.numbers import assign_numbers
from casfs.store.publish import Batch, naming, room_problem, write_all
from casfs.store.store import Store
from casfs.store.times import publish_dated
from casfs.store.wheel_stamps import file_facts, read_stamp, write_stamp
from casfs.wheels.source import MAX_WHEEL_SIZE, FileSource, too_large

if TYPE_CHECKING:  # a wheel that is known is never opened, and then all of casfs.wheels would be loaded for nothing
    from casfs.wheels.wheel import Wheel

_COPY_SIZE = 1 << 20

Progress = Callable[[str, int, int], None]
"""Called with the wheel's file name, bytes done and bytes in all; and with `ALL_WHEELS`, or `INSTALLING`, wheels done and wheels in all."""

ALL_WHEELS = "wheels"
INSTALLING = "installing"


@dataclass(frozen=True, slots=True)
class Ingested:
    """A wheel that the store has."""

    path: str
    wheel: Digest
    wheel_size: int
    manifest: Digest
    about: Description
    count: int  # of its files
    size: int
    number: int
    was_known: bool
    new_files: int
    new_bytes: int
    read: Callable[[], Manifest]
    remembered: Remembered | None = None
    remarks: tuple[str, ...] = ()  # of one that was not known: what is odd in it and changes nothing

    @property
    def content(self) -> Manifest:
        """Its manifest, which is read if it is remembered what installing it came to."""
        return self.read()


@dataclass(frozen=True, slots=True)
class KnownWheel:
    """A wheel that the store knows, so that nobody needs its file: file name, digest, and size (0: nobody says)."""

    filename: str
    digest: Digest
    size: int = 0
    found: Found | None = None  # what was found of it in this command


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller wants of an ingest: a check of each wheel before it is unpacked (it raises to refuse), how to treat RECORD's lies."""

    accept: Callable[[str, Description], None]
    allow_record_mismatch: bool = False
    max_wheel_size: int = MAX_WHEEL_SIZE
    progress: Progress = lambda name, done, total: None
    wanted: Wanted | None = None  # of what is remembered; None: every manifest is read
    stop: Event = field(default_factory=Event)  # once it is set, unpacking ends


@dataclass(slots=True)
class _Draft:
    """A wheel on its way in."""

    path: str
    size: int
    facts: list[int]  # of its file; empty if none was opened
    digest: Digest
    manifest: Digest | None = None
    content: Manifest | None = None
    new: set[Digest] = field(default_factory=set)
    new_files: int = 0
    new_bytes: int = 0
    remarks: tuple[str, ...] = ()
    remembered: Remembered | None = None


def ingest_wheels(store: Store, wheels: Sequence[str | KnownWheel], request: Request, beside: Sequence[MadeFiles] = ()) -> list[Ingested]:
    """The wheels, by path or known, in their order: all of them or none. Raises WheelRefused, OSError, and what `accept` raises.

    If any of them is new, the files `beside` are published with it.
    """
    with store.batch() as batch:
        drafts: list[_Draft] = []
        for one in wheels:
            drafts.append(_recall(store, one, request) if isinstance(one, KnownWheel) else _ingest_one(store, batch, one, request))
            request.progress(ALL_WHEELS, len(drafts), len(wheels))
        known = [draft.manifest is not None for draft in drafts]
        new = [(draft, draft.content) for draft in drafts if draft.manifest is None and draft.content is not None]
        others = [_stage_group(store, batch, group, set()) for group in beside] if new else []
        published = publish_dated(store, batch, [*(content for _, content in new), *others])
        for (draft, _), dated in zip(new, published, strict=False):
            draft.manifest, draft.content, _ = dated
    numbers = iter(assign_numbers(store, [_finished(draft) for draft in drafts if draft.remembered is None]))
    ingested = [_recalled(store, draft) or _record(draft, next(numbers), was_known) for draft, was_known in zip(drafts, known, strict=True)]
    store.syncs.publish_next({store.path("wheels", one.wheel): f"{one.manifest}\n".encode() for one in ingested if not one.was_known})
    for draft in drafts:
        if draft.new:
            stamp_new_blobs(store, *_finished(draft), draft.new)
        if draft.facts and not draft.path.startswith(store.path("tmp/")):  # what lies there is gone soon
            write_stamp(store, draft.path, draft.facts, draft.digest)
    return ingested


def _finished(draft: _Draft) -> tuple[Digest, Manifest]:
    assert draft.manifest is not None and draft.content is not None
    return draft.manifest, draft.content


def _record(draft: _Draft, number: int, was_known: bool) -> Ingested:
    manifest, content = _finished(draft)
    facts = (content.description, len(content.names), content.total_size, number, was_known, draft.new_files, draft.new_bytes)
    return Ingested(draft.path, draft.digest, draft.size, manifest, *facts, lambda: content, remarks=draft.remarks)


def _recalled(store: Store, draft: _Draft) -> Ingested | None:
    """A wheel of which is remembered what installing it came to."""
    if (found := draft.remembered) is None:
        return None
    facts = (found.about, found.count, found.size, found.number, True, 0, 0)
    return Ingested(draft.path, draft.digest, draft.size, found.manifest, *facts, partial(read_manifest, store, found.manifest), found)


def _ingest_one(store: Store, batch: Batch, path: str, request: Request) -> _Draft:
    path = os.path.abspath(path)
    with ExitStack() as stack:
        file = stack.enter_context(_open_wheel(path))
        facts = file_facts(file.fileno())
        if (digest := read_stamp(store, path, facts)) and (draft := _known(store, path, facts, digest, request)):
            return draft
        _refuse_hopeless(FileSource(file.fileno(), path), batch.directory, request.max_wheel_size)
        import tempfile

        copy = stack.enter_context(tempfile.TemporaryFile(dir=batch.directory))
        with naming(batch.directory):  # the copy, if it is not the wheel
            digest, size = _copy_hashing(file, copy.fileno())
        if file_facts(file.fileno()) != facts:
            raise WheelRefused(path, "changed while it was read")
        if draft := _known(store, path, facts, digest, request):
            return draft
        draft = _Draft(path, size, facts, digest)
        with naming(batch.directory):
            _unpack_wheel(store, batch, copy.fileno(), draft, request)
        return draft


_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def _open_wheel(path: str) -> BinaryIO:
    """The wheel, open for reading. A directory, a device or a FIFO is refused without waiting for it."""
    try:
        file = FileIO(path, opener=lambda path, _: os.open(path, _OPEN_FLAGS))
    except OSError as error:
        raise WheelRefused(path, reason_of(error)) from None
    if not os.path.isfile(f"/proc/self/fd/{file.fileno()}"):
        file.close()
        raise WheelRefused(path, "is not a regular file")
    return file


def _refuse_hopeless(source: FileSource, directory: str, limit: int) -> None:
    """Raises WheelRefused for what is not worth a copy: no ZIP by its end, or more than the user, or the disk, has room for."""
    from casfs.wheels.endrecord import find_directory
    from casfs.wheels.problems import Problems

    try:
        find_directory(source, Problems(source.name))
    except WheelRefused:
        from casfs.wheels.filename import parse_wheel_filename

        parse_wheel_filename(os.path.basename(source.name))  # what is no wheel by its name is told so
        raise
    if source.size > limit:
        raise WheelRefused(source.name, too_large(source.size, limit))
    if problem := room_problem(directory, source.size):
        raise WheelRefused(source.name, problem)


def _copy_hashing(file: BinaryIO, copy_fd: int) -> tuple[Digest, int]:
    hasher = ContentHasher()
    while chunk := _read_chunk(file):
        hasher.update(chunk)
        write_all(copy_fd, chunk)
    return hasher.digest, hasher.size


def _read_chunk(file: BinaryIO) -> bytes:
    with naming(file.name):
        return file.read(_COPY_SIZE)


def _recall(store: Store, wheel: KnownWheel, request: Request) -> _Draft:
    """A wheel that is known, without its file."""
    if (draft := _known(store, wheel.filename, [0, 0, wheel.size], wheel.digest, request, wheel.found)) is None:
        raise WheelRefused(wheel.filename, "is not in the store any more")
    draft.facts = []
    return draft


def _known(  # noqa: PLR0917
    store: Store, path: str, facts: list[int], digest: Digest, request: Request, found: Found | None = None
) -> _Draft | None:
    """The wheel as the store has it already; None if it does not, or has lost its manifest."""
    found = found or find_known(store, os.path.basename(path), digest, request.wanted)
    if found is None:
        return None
    about = found.about
    if about.tolerated and not request.allow_record_mismatch:
        raise RecordRefused(path, *about.tolerated)
    request.accept(path, about)
    return _Draft(path, facts[2], facts, digest, found.manifest, found.content, remembered=found.remembered)


def _unpack_wheel(store: Store, batch: Batch, copy_fd: int, draft: _Draft, request: Request) -> None:
    """Stage the blobs of a wheel that the store has not seen, and draft its manifest. Raises WheelRefused with all that is wrong."""
    from casfs.store.unpack import iter_unpacked
    from casfs.wheels.wheel import read_wheel

    source = FileSource(copy_fd, draft.path)
    wheel = read_wheel(source, os.path.basename(draft.path), allow_record_mismatch=request.allow_record_mismatch)
    draft.remarks = wheel.remarks
    about = _describe(wheel, draft.digest)
    request.accept(draft.path, about)
    problems: list[str] = []
    done, total = 0, sum(file.member.size for file in wheel.files)
    files: list[ManifestFile] = []
    with closing(iter_unpacked(store.pool, batch, source, wheel.files, request.stop)) as shares:
        for share in shares:
            for unpacked in share:
                files.append(unpacked.file)
                done += unpacked.file.size
                if unpacked.problem:
                    problems.append(unpacked.problem)
                if unpacked.is_new:
                    draft.new.add(unpacked.file.digest)
                    draft.new_files += 1
                    draft.new_bytes += unpacked.file.size
            request.progress(f"{about.name} {about.version}", done, total)
    if problems and not request.allow_record_mismatch:
        raise RecordRefused(draft.path, *sorted(problems))
    draft.content = build_manifest(_describe(wheel, draft.digest, tuple(problems)), files)


def _describe(wheel: Wheel, digest: Digest, problems: tuple[str, ...] = ()) -> Description:
    return Description(
        wheel.project,
        wheel.name,
        wheel.version,
        digest,
        wheel.tags,
        wheel.requires_python,
        wheel.dist_info,
        tuple((point.name, point.module, point.attribute) for point in wheel.entry_points),
        (*wheel.tolerated, *problems),
    )


@dataclass(frozen=True, slots=True)
class MadeFiles:
    """Files that casfs itself made for one distribution, and directories that must be there even if empty."""

    about: Description
    files: Sequence[NewFile]
    directories: Sequence[str] = ()


def ingest_files(store: Store, groups: Iterable[MadeFiles]) -> list[tuple[Digest, Manifest, int]]:
    """For each group the digest, the content and the number of its manifest. All of it is published."""
    new: set[Digest] = set()
    with store.batch() as batch:
        made = publish_dated(store, batch, [_stage_group(store, batch, group, new) for group in groups])
    for digest, manifest, _ in made:
        stamp_new_blobs(store, digest, manifest, new)
    return made


def _stage_group(store: Store, batch: Batch, group: MadeFiles, new: set[Digest]) -> Manifest:
    return build_manifest(group.about, [_stage_file(store, batch, file, new) for file in group.files], group.directories)


def _stage_file(store: Store, batch: Batch, file: NewFile, new: set[Digest]) -> ManifestFile:
    digest = digest_bytes(file.content)
    if store.pool.stage(batch, file.content, digest):
        new.add(digest)
    return ManifestFile(file.path, digest, checksum_bytes(file.content), len(file.content), file.kind)
