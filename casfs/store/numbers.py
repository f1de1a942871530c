"""Numbers of manifests: assigned once, never given to another manifest, so that inode numbers made of them mean one thing for ever.

A manifest's number is the first 24 bits of its digest or, where another manifest has that number already, the next free one: the directory
numbers/ is an open-addressing hash table in which a file is a slot. Taking a slot is one link(2), so two processes can't take the same, and
both directions are one or two open()s: from a digest, probe from its first bits on; from a number, open its file.

A number's file also says which rows have an older identity: a file that has the same path, bytes, kind and time in an earlier manifest of
the same project keeps the number and row that it had there, so that the kernel keeps its pages when a distribution is upgraded.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from casfs.digest import Digest, digest_bytes, parse_digest
from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.clock import held_clock, newest_time
from casfs.store.manifests import Manifest, format_manifest, has_manifest, read_manifest, undated
from casfs.store.plain import read_plain_file
from casfs.store.publish import Batch
from casfs.store.store import Store

NUMBER_BITS = 24
_SLOTS = 1 << NUMBER_BITS

_NUMBER_NAME = re.compile(r"[0-9a-f]{6}")
_MARKER = re.compile(rb"([0-9]{10}) ([0-9a-f]{64})\n")

MAX_ANCESTORS = 64  # bounds the work for a project of which a store has seen hundreds of versions: 1 ms each, or 10 for 4,000 files


@dataclass(frozen=True, slots=True, order=True)
class Marker:
    """What the list of a project's manifests says of one; the newer is the greater."""

    time: int  # of the manifest; 0: it has none
    since_ns: int  # when it got its number
    number: int
    key: str  # digest that the manifest would have without times; empty: it is the same


@dataclass(frozen=True, slots=True)
class Number:
    """What a number stands for."""

    manifest: Digest
    inherited: Mapping[int, tuple[int, int]]  # row -> (number, row) that this file has had before


def number_path(store: Store, number: int) -> str:
    """Where a number is recorded."""
    text = f"{number:06x}"
    return store.path("numbers", text[:2], text[2:])


def read_number(store: Store, number: int) -> Number | None:
    """What `number` stands for, or None if it was never assigned. Raises StoreDamaged."""
    path = number_path(store, number)
    try:
        data = json.loads(read_plain_file(path))
        return Number(parse_digest(data["manifest"]), {row: (number, old_row) for row, number, old_row in data["inherited"]})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError, InvalidValue) as error:
        raise StoreDamaged(path, f"the number's record can't be read: {error}") from None


def find_number(store: Store, manifest: Digest) -> int | None:
    """The number of a manifest, or None if it has none yet."""
    for number in iter_slots(manifest):
        found = read_number(store, number)
        if found is None or found.manifest == manifest:
            return number if found else None
    return None


def assign_numbers(store: Store, manifests: Sequence[tuple[Digest, Manifest]]) -> list[int]:
    """The numbers of published manifests, in their order; those that have none are given one, durably.

    All that enters the store from now on is later than they are.
    """
    newest = max((manifest.time for _, manifest in manifests), default=0)
    if newest > newest_time(store):  # that of a shared pool
        with held_clock(store) as clock:
            clock.note(newest)
    while True:
        try:
            return _assign(store, manifests)
        except FileExistsError:
            continue  # another process was faster: look at what it took


def _assign(store: Store, manifests: Sequence[tuple[Digest, Manifest]]) -> list[int]:
    numbers: dict[Digest, int] = {}
    taken: set[int] = set()
    with store.batch() as batch:
        for digest, manifest in manifests:
            if digest not in numbers:
                numbers[digest] = _find_or_stage(store, batch, digest, manifest, taken)
                taken.add(numbers[digest])
        batch.commit()
    return [numbers[digest] for digest, _ in manifests]


def _find_or_stage(store: Store, batch: Batch, digest: Digest, manifest: Manifest, taken: set[int]) -> int:
    number = 0
    for number in iter_slots(digest):
        if number in taken:
            continue
        if (found := read_number(store, number)) is None:
            break
        if found.manifest == digest:
            if len(living := _living(store, found)) < len(found.inherited):
                batch.add(number_path(store, number), _format_number(Number(digest, living)))
            return number
    project = manifest.description.project
    record = Number(digest, _inherit(store, manifest, _ancestors(store, project)))
    batch.add(number_path(store, number), _format_number(record), exclusive=True)
    batch.add(_ancestor_path(store, project, number), _format_marker(manifest))
    return number


def _living(store: Store, record: Number) -> Mapping[int, tuple[int, int]]:
    """What rows have inherited of manifests that are there: by an identity of one that is gone nobody could find the file.

    A manifest that is needed keeps those that it has inherited of (see `collect`). So they go only with it, when nobody sees it, and if it
    comes back, nobody knows its files by what they had inherited.
    """
    gone = {number for number in {number for number, _ in record.inherited.values()} if _is_gone(store, number)}
    return {row: old for row, old in record.inherited.items() if old[0] not in gone}


def _is_gone(store: Store, number: int) -> bool:
    """Whether the manifest of a number is not there; of what is damaged nothing is known."""
    try:
        found = read_number(store, number)
    except StoreDamaged:
        return False
    return found is None or not has_manifest(store, found.manifest)


def _format_number(record: Number) -> bytes:
    data = {"manifest": record.manifest, "inherited": [(row, *old) for row, old in record.inherited.items()]}
    return json.dumps(data, separators=(",", ":")).encode()


def iter_slots(manifest: Digest) -> Iterator[int]:
    """The numbers that a manifest may have, best first: it has the first of them that no other manifest has."""
    first = int(manifest[:6], 16)
    for number in itertools.chain(range(first, _SLOTS), range(first)):
        if number:  # 0 is never a number: inode numbers made of it would be the kernel's own
            yield number


def _ancestor_path(store: Store, project: str, number: int) -> str:
    return store.path("numbers", "by-project", project, f"{number:06x}")


def iter_markers(store: Store, project: str) -> Iterator[Marker]:
    """Every manifest of a project that ever got a number."""
    try:
        entries = list(os.scandir(store.path("numbers", "by-project", project)))
    except FileNotFoundError:
        return
    for entry in entries:
        if _NUMBER_NAME.fullmatch(entry.name):
            with contextlib.suppress(OSError, StoreDamaged):  # fsck's business
                time, key = _parse_marker(read_plain_file(entry.path))
                yield Marker(time, entry.stat().st_mtime_ns, int(entry.name, 16), key)


def _format_marker(manifest: Manifest) -> bytes:
    return f"{manifest.time} {digest_bytes(format_manifest(undated(manifest)))}\n".encode() if manifest.time else b""


def _parse_marker(content: bytes) -> tuple[int, str]:
    match = _MARKER.fullmatch(content)
    return (int(match[1]), match[2].decode()) if match else (0, "")


def _ancestors(store: Store, project: str) -> list[int]:
    """Numbers of the newest manifests of a project, newest first."""
    return [marker.number for marker in sorted(iter_markers(store, project), reverse=True)[:MAX_ANCESTORS]]


def _inherit(store: Store, manifest: Manifest, ancestors: list[int]) -> dict[int, tuple[int, int]]:
    """For each row that an ancestor has with the same path, bytes, kind and time: the identity that it has there."""
    wanted = {(file.path, file.digest, file.kind, file.time): row for row, file in enumerate(manifest.iter_files())}
    inherited: dict[int, tuple[int, int]] = {}
    for number in ancestors:
        try:
            record = read_number(store, number)
            older = read_manifest(store, record.manifest) if record else None
        except StoreDamaged:
            continue  # fsck's business; here it only costs a fresh identity
        if record is None or older is None:
            continue
        living = _living(store, record)
        for old_row, file in enumerate(older.iter_files()):
            row = wanted.pop((file.path, file.digest, file.kind, file.time), None)
            if row is not None:
                inherited[row] = living.get(old_row, (number, old_row))
    return inherited
