"""Checking the numbers of manifests: that each can be found, and that what its rows inherit is theirs."""

from __future__ import annotations

import functools
import re

from casfs.digest import Digest
from casfs.errors import StoreDamaged
from casfs.store.fsck.damage import DamageKind, Findings
from casfs.store.fsck.manifests import ManifestTable
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.numbers import MAX_ANCESTORS, Number, find_number, number_path, read_number
from casfs.store.store import Store

BURNT = Digest("0" * 64)
"""Stands for the manifest in a record whose number nobody may have again, since nobody knows any more whose it was."""


class NumbersCheck:
    """A check of all numbers. `good` is what can be believed afterwards."""

    def __init__(self, store: Store, findings: Findings, table: ManifestTable) -> None:
        self.good: dict[Digest, int] = {}
        self.count = 0
        self._store = store
        self._findings = findings
        self._table = table
        self._records: dict[int, Number] = {}
        self._read = functools.lru_cache(maxsize=MAX_ANCESTORS + 1)(self._read_manifest)

    def run(self) -> None:
        """Check records, what they inherit, and markers."""
        for entries in self._findings.iter_shards(self._store.path("numbers"), 4, ignored=("by-project",)):
            for entry in entries:
                self.count += 1
                self._check_record(int(entry.path[-7:-5] + entry.name, 16))
        for number in sorted(self._records, key=self._project):  # the versions of one project inherit from each other
            if problem := self._inheritance_problem(self._records[number]):
                self._add(number, problem)
        self._check_markers()

    def has(self, manifest: Digest, number: int) -> bool | None:
        """Whether a manifest has that number; None if a damaged record is in the way."""
        if manifest in self.good:
            return self.good[manifest] == number
        try:
            return find_number(self._store, manifest) == number
        except StoreDamaged:
            return None

    def _add(self, number: int, reason: str) -> None:
        record = self._records.get(number)
        self._findings.add(DamageKind.NUMBER, number_path(self._store, number), reason, manifests=[record.manifest] if record else [])

    def _project(self, number: int) -> tuple[str, int]:
        facts = self._table.look(self._records[number].manifest)
        return (facts.project if facts else "", number)

    def _check_record(self, number: int) -> None:
        try:
            record = read_number(self._store, number)
        except StoreDamaged as error:
            self._add(number, "; ".join(error.reasons))
            return
        except OSError as error:
            self._add(number, f"can't be read: {error.strerror}")
            return
        if record is None or record.manifest == BURNT:
            return
        self._records[number] = record
        self._table.look(record.manifest)
        is_found = self.has(record.manifest, number)
        if is_found:
            self.good[record.manifest] = number
        elif is_found is not None:
            self._add(number, f"manifest {record.manifest} can't be found by its number, since another one or none is found first")

    def _read_manifest(self, digest: Digest) -> tuple[Manifest, int] | None:
        """A manifest and how many rows it has."""
        if not self._table.look(digest):
            return None
        try:
            manifest = read_manifest(self._store, digest)
        except (StoreDamaged, OSError):
            return None  # it was good a moment ago; the next check will tell
        return manifest, len(manifest.names)

    def _inheritance_problem(self, record: Number) -> str | None:
        """Why a row may not have the older identity that the record gives it. What refers to damaged manifests is not judged."""
        own = self._read(record.manifest) if record.inherited else None
        if own is None:
            return None
        for row, (number, old_row) in record.inherited.items():
            if not all(type(value) is int for value in (row, number, old_row)):
                return "a row inherits something that is not a number"
            older = self._records.get(number)
            if older is None:
                return f"row {row} inherits from number {number:06x}, which has no good record"
            self._table.older.add(older.manifest)
            old = self._read(older.manifest)
            if old is not None and not _is_same_file(own, row, old, old_row):
                return f"row {row} inherits the identity of another file: row {old_row} of number {number:06x}"
        return None

    def _check_markers(self) -> None:
        root = self._store.path("numbers", "by-project")
        for project in self._findings.entries(root):
            if not project.is_dir(follow_symlinks=False):
                self._findings.add_stranger(project)
                continue
            for marker in self._findings.entries(project.path):
                if not re.fullmatch(r"[0-9a-f]{6}", marker.name):
                    self._findings.add_stranger(marker)
                elif problem := self._marker_problem(project.name, int(marker.name, 16)):
                    self._findings.add(DamageKind.MARKER, marker.path, problem)

    def _marker_problem(self, project: str, number: int) -> str | None:
        try:
            record = read_number(self._store, number)
        except (StoreDamaged, OSError):
            return None  # reported as the record's damage
        if record is None:
            return "marks a number that no manifest has"
        facts = self._table.look(record.manifest) if record.manifest != BURNT else None
        return f"is a mark of a number that {facts.project} has" if facts and facts.project != project else None


def _is_same_file(own: tuple[Manifest, int], row: int, old: tuple[Manifest, int], old_row: int) -> bool:
    if not (0 <= row < own[1] and 0 <= old_row < old[1]):
        return False
    file, older = (manifest.row(index, manifest.directory_of(index)) for (manifest, _), index in ((own, row), (old, old_row)))
    return (file.path, file.digest, file.kind, file.time) == (older.path, older.digest, older.kind, older.time)
