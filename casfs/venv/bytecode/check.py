"""Checking what the store says of bytecode: mounts would show what is wrong in it, and Python would run that.

What readers would not ask for or believe is no damage: a record of a manifest that is gone, or that names one which is gone, a link to
bytecode that is gone. They compile again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial

from casfs.digest import Digest
from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.bytecode import Compiled, Target, compiled_problem, parse_outcome, parse_target, read_compiled_record
from casfs.store.fsck.damage import DamageKind, Findings, kind_of
from casfs.store.fsck.manifests import ManifestTable
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.regular_file import describe_kind
from casfs.store.store import Store
from casfs.venv.bytecode.bytecode import is_bytecode_of, is_valid_beside, iter_sources


def check_bytecode(store: Store, findings: Findings, table: ManifestTable) -> int:
    """Check every record of a manifest and of a source; how many sources there are."""
    return sum(
        _Check(store, findings, table, target).run(entry.path)
        for entry in findings.entries(store.path("bytecode"))
        if (target := _parse_entry(entry, findings)) is not None
    )


def _parse_entry(entry: os.DirEntry[str], findings: Findings) -> Target | None:
    target = parse_target(entry.name)
    if target is None or not entry.is_dir(follow_symlinks=False):
        findings.add_stranger(entry)
        return None
    return target


class _Check:
    """The check of one target."""

    def __init__(self, store: Store, findings: Findings, table: ManifestTable, target: Target) -> None:
        self._store = store
        self._findings = findings
        self._table = table
        self._target = target

    def run(self, path: str) -> int:
        """How many sources were looked at."""
        for entry in self._findings.entries(path):
            if entry.name not in {"manifests", "sources"}:
                self._findings.add_stranger(entry)
        self._check_all(f"{path}/manifests", self._manifest_problem)
        return self._check_all(f"{path}/sources", self._source_problem)

    def _check_all(self, root: str, find_problem: Callable[[os.DirEntry[str], Digest], str | None]) -> int:
        count = 0
        for entries in self._findings.iter_shards(root, 62):
            for entry in entries:
                count += 1
                if problem := find_problem(entry, Digest(entry.path[-65:-63] + entry.name)):
                    self._findings.add(DamageKind.BYTECODE, entry.path, problem)
        return count

    def _source_problem(self, entry: os.DirEntry[str], source: Digest) -> str | None:
        try:
            outcome = parse_outcome(os.readlink(entry.path))
        except FileNotFoundError:
            return None
        except OSError:
            return f"is {describe_kind(kind_of(entry))} instead of a symbolic link"
        if outcome is None:
            return "points to nothing that casfs writes"
        if isinstance(outcome, Compiled) and not self._is_good(outcome, partial(is_bytecode_of, self._target, source)):
            return "names bytecode of another source, or for another interpreter"
        return None

    def _is_good(self, bytecode: Compiled, is_right: Callable[[bytes], bool]) -> bool:
        """Whether bytecode is right. What is not there or can't be read is the pool's damage, if anybody needs it."""
        try:
            with open(self._store.pool.open_blob(bytecode.digest, bytecode.size), "rb") as file:
                return is_right(file.read())
        except (StoreDamaged, OSError):
            return True

    def _manifest_problem(self, entry: os.DirEntry[str], digest: Digest) -> str | None:
        if not stat.S_ISREG(mode := kind_of(entry)):
            return f"is {describe_kind(mode)} instead of a regular file"
        try:
            compiled = read_compiled_record(entry.path)
        except FileNotFoundError:
            return None
        except (InvalidValue, StoreDamaged) as error:
            return "; ".join(error.reasons)
        if not self._table.look(compiled):
            return None
        self._table.mention(compiled)
        if digest == compiled or (before := self._read(digest)) is None or (made := self._read(compiled)) is None:
            return None
        return compiled_problem(before, made, self._target) or self._content_problem(before, made)

    def _read(self, digest: Digest) -> Manifest | None:
        """A good manifest; others are damages of their own."""
        try:
            return read_manifest(self._store, digest) if self._table.look(digest) else None
        except (StoreDamaged, OSError):
            return None

    def _content_problem(self, before: Manifest, made: Manifest) -> str | None:
        """Whose bytecode is not that of the source beside it, if compiling brought it."""
        shipped = {(file.path, file.digest) for file in before.iter_files()}
        files = {file.path: file for file in made.iter_files()}
        for source, place in iter_sources(made, self._target):
            if (one := files.get(place)) is None or (place, one.digest) in shipped:
                continue
            if not self._is_good(Compiled(one.digest, one.size), partial(is_valid_beside, self._target, source)):
                return f"names a manifest with bytecode of another source: {place}"
        return None
