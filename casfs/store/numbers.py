"""Numbers of manifests: assigned once, never given to another manifest, so that inode numbers made of them mean one thing for ever.

A manifest's number is the first 24 bits of its digest or, where another manifest has that number already, the next free one: the directory
numbers/ is an open-addressing hash table in which a file is a slot. Taking a slot is one link(2), so two processes can't take the same, and
both directions are one or two open()s: from a digest, probe from its first bits on; from a number, open its file.

Beside them, numbers/by-project/ has a marker for each number that a project's manifests ever got (see `times`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from casfs.digest import Digest, digest_bytes, parse_digest
from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.clock import held_clock, newest_time
from casfs.store.manifests import Manifest, format_manifest, undated
from casfs.store.publish import Batch
from casfs.store.regular_file import read_plain_file
from casfs.store.store import Store

NUMBER_BITS = 24
_SLOTS = 1 << NUMBER_BITS

_NUMBER_NAME = re.compile(r"[0-9a-f]{6}")
_MARKER = re.compile(rb"([0-9]{10}) ([0-9a-f]{64})\n")


@dataclass(frozen=True, slots=True, order=True)
class Marker:
    """What the list of a project's manifests says of one; the newer is the greater."""

    time: int  # of the manifest; 0: it has none
    since_ns: int  # when it got its number
    number: int
    key: str  # digest that the manifest would have without times; empty: it is the same


def number_path(store: Store, number: int) -> str:
    """Where a number is recorded."""
    text = f"{number:06x}"
    return store.path("numbers", text[:2], text[2:])


def read_number(store: Store, number: int) -> Digest | None:
    """The manifest that `number` stands for, or None if it was never assigned. Raises StoreDamaged."""
    path = number_path(store, number)
    try:
        return parse_digest(json.loads(read_plain_file(path))["manifest"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError, InvalidValue) as error:
        raise StoreDamaged(path, f"the number's record can't be read: {error}") from None


def find_number(store: Store, manifest: Digest) -> int | None:
    """The number of a manifest, or None if it has none yet."""
    for number in iter_slots(manifest):
        found = read_number(store, number)
        if found is None or found == manifest:
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
    with store.batch() as batch:
        return publish_numbered(store, batch, manifests)


def publish_numbered(store: Store, batch: Batch, manifests: Sequence[tuple[Digest, Manifest]]) -> list[int]:
    """The numbers of manifests that `batch` publishes. It is committed."""
    while True:
        with contextlib.suppress(FileExistsError), batch.undoing():  # another process was faster: look at what it took
            numbers: dict[Digest, int] = {}
            for digest, manifest in manifests:
                if digest not in numbers:
                    numbers[digest] = _find_or_stage(store, batch, digest, manifest, set(numbers.values()))
            batch.commit()
            return [numbers[digest] for digest, _ in manifests]


def _find_or_stage(store: Store, batch: Batch, digest: Digest, manifest: Manifest, taken: set[int]) -> int:
    number = 0
    for number in iter_slots(digest):
        if number in taken:
            continue
        if (found := read_number(store, number)) is None:
            break
        if found == digest:
            return number
    batch.add(number_path(store, number), format_number(digest), exclusive=True)
    batch.add(store.path("numbers", "by-project", manifest.description.project, f"{number:06x}"), _format_marker(manifest))
    return number


def format_number(manifest: Digest) -> bytes:
    """The record of a number. Versions before read "inherited": rows that had an older identity."""
    return json.dumps({"manifest": manifest, "inherited": []}, separators=(",", ":")).encode()


def iter_slots(manifest: Digest) -> Iterator[int]:
    """The numbers that a manifest may have, best first: it has the first of them that no other manifest has."""
    first = int(manifest[:6], 16)
    for number in itertools.chain(range(first, _SLOTS), range(first)):
        if number:  # 0 is never a number: inode numbers made of it would be the kernel's own
            yield number


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
