"""Checking the numbers of manifests: that each can be found."""

from __future__ import annotations

import re

from casfs.digest import Digest
from casfs.errors import StoreDamaged
from casfs.store.fsck.damage import DamageKind, Findings, reading_problem
from casfs.store.fsck.manifests import ManifestTable
from casfs.store.numbers import find_number, number_path, read_number
from casfs.store.store import Store

RETIRED = Digest("0" * 64)
"""Stands for the manifest in a record whose number nobody may have again, since nobody knows any more whose it was."""


class NumbersCheck:
    """A check of all numbers. `good` is what can be believed afterwards."""

    def __init__(self, store: Store, findings: Findings, table: ManifestTable) -> None:
        self.good: dict[Digest, int] = {}
        self.count = 0
        self._store = store
        self._findings = findings
        self._table = table

    def run(self) -> None:
        """Check records and markers."""
        for entries in self._findings.iter_shards(self._store.path("numbers"), 4, ignored=("by-project",)):
            for entry in entries:
                self.count += 1
                self._check_record(int(entry.path[-7:-5] + entry.name, 16))
        self._check_markers()

    def has(self, manifest: Digest, number: int) -> bool | None:
        """Whether a manifest has that number; None if a damaged record is in the way."""
        if manifest in self.good:
            return self.good[manifest] == number
        try:
            return find_number(self._store, manifest) == number
        except StoreDamaged:
            return None

    def _add(self, number: int, reason: str, *manifests: Digest) -> None:
        self._findings.add(DamageKind.NUMBER, number_path(self._store, number), reason, manifests=manifests)

    def _check_record(self, number: int) -> None:
        try:
            manifest = read_number(self._store, number)
        except (StoreDamaged, OSError) as error:
            self._add(number, reading_problem(error))
            return
        if manifest is None or manifest == RETIRED:
            return
        self._table.look(manifest)
        is_found = self.has(manifest, number)
        if is_found:
            self.good[manifest] = number
        elif is_found is not None:
            self._add(number, f"manifest {manifest} can't be found by its number, since another one or none is found first", manifest)

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
            manifest = read_number(self._store, number)
        except (StoreDamaged, OSError):
            return None  # reported as the record's damage
        if manifest is None:
            return "marks a number that no manifest has"
        facts = self._table.look(manifest) if manifest != RETIRED else None
        return f"is a mark of a number that {facts.project} has" if facts and facts.project != project else None
