"""What a check of the store finds: damages, each with whom it hits, and how much was looked at."""

from __future__ import annotations

import enum
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from casfs.digest import Digest
from casfs.errors import CasfsError
from casfs.store.regular_file import describe_kind


class DamageKind(enum.StrEnum):
    """What is damaged; `repair` treats each kind in one way."""

    LAYOUT = "layout"  # the format file or a directory that every store has
    STRANGER = "stranger"  # something that no casfs puts there
    BLOB = "blob"  # under its name are other bytes, or no regular file
    MISSING_BLOB = "missing blob"
    MODE = "mode"  # right bytes, but somebody may write them
    MANIFEST = "manifest"  # under its name are other bytes, or they make no sense
    MISSING_MANIFEST = "missing manifest"
    WHEEL = "wheel"  # the record that says which manifest a wheel became
    NUMBER = "number"  # the record that says whose number it is
    MARKER = "marker"  # the entry that says which numbers a project has
    ENVIRONMENT = "environment"  # a generation, or which one is current
    INDEX = "index"
    BYTECODE = "bytecode"  # the record that says what a manifest or a source becomes


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it must be."""

    kind: DamageKind
    path: str
    reason: str
    environments: tuple[str, ...]  # names of those that it hits, in any of their generations


@dataclass(frozen=True, slots=True)
class Totals:
    """How much a check looked at, and what it saw that is no damage."""

    blobs: int = 0
    bytes: int = 0  # of all blobs
    manifests: int = 0
    wheels: int = 0
    numbers: int = 0
    sources: int = 0  # that were compiled, for each interpreter and level
    environments: int = 0
    generations: int = 0
    orphan_blobs: int = 0  # no manifest mentions them
    orphan_manifests: int = 0  # neither a wheel nor a generation mentions them
    leftovers: int = 0  # in tmp/
    shared: tuple[tuple[str, int], ...] = ()  # each shared pool, and how many blobs are only there


@dataclass(frozen=True, slots=True)
class Report:
    """All that a check found."""

    damages: tuple[Damage, ...]
    totals: Totals
    lost: frozenset[Digest]  # manifests that are damaged or missing, or mention a blob that is
    owners: Mapping[int, Digest]  # whose each number is, as the generations say


@dataclass(frozen=True, slots=True)
class _Found:
    kind: DamageKind
    path: str
    reason: str
    manifests: tuple[Digest, ...]
    environments: tuple[str, ...]


@dataclass(slots=True)
class Findings:
    """A report while it grows. Which environments use a manifest may become known after the manifest's damage."""

    found: list[_Found] = field(default_factory=list)
    lost: set[Digest] = field(default_factory=set)
    users: dict[Digest, set[str]] = field(default_factory=dict)  # manifest -> names of environments
    owners: dict[int, Digest] = field(default_factory=dict)

    def add(self, kind: DamageKind, path: str, reason: str, *, manifests: Iterable[Digest] = (), environments: Iterable[str] = ()) -> None:
        """Note a damage, and who is hit: environments, and whoever uses these manifests."""
        self.found.append(_Found(kind, path, reason, tuple(manifests), tuple(environments)))

    def report(self, totals: Totals) -> Report:
        """What was found."""
        return Report(tuple(map(self._damage, self.found)), totals, frozenset(self.lost), dict(self.owners))

    def _damage(self, one: _Found) -> Damage:
        hit = set(one.environments).union(*(self.users.get(manifest, ()) for manifest in one.manifests))
        return Damage(one.kind, one.path, one.reason, tuple(sorted(hit)))

    def entries(self, path: str) -> list[os.DirEntry[str]]:
        """What a directory holds, by name. One that can't be listed is a damage; one that is not there is empty."""
        try:
            with os.scandir(path) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []  # check_layout's business
        except OSError as error:
            self.add(DamageKind.LAYOUT, path, f"can't be listed: {error.strerror}")
            return []

    def iter_shards(self, root: str, length: int, ignored: Collection[str] = ()) -> Iterator[list[os.DirEntry[str]]]:
        """The entries of each ab/ of a directory tree ab/cdef..., with `length` digits in the second part. Anything else is a stranger."""
        name = re.compile(rf"[0-9a-f]{{{length}}}")
        for shard in self.entries(root):
            if shard.name in ignored:
                continue
            if not _SHARD.fullmatch(shard.name) or not shard.is_dir(follow_symlinks=False):
                self.add_stranger(shard)
                continue
            good = []
            for entry in self.entries(shard.path):
                if name.fullmatch(entry.name):
                    good.append(entry)
                else:
                    self.add_stranger(entry)
            yield good

    def add_stranger(self, entry: os.DirEntry[str]) -> None:
        """Note an entry that has no business where it is."""
        mode = kind_of(entry)
        self.add(DamageKind.STRANGER, entry.path, f"is {describe_kind(mode)} that casfs did not put there")


def reading_problem(error: CasfsError | OSError) -> str:
    """Why something can't be read, as the reason of a damage."""
    return "; ".join(error.reasons) if isinstance(error, CasfsError) else f"can't be read: {error.strerror}"


_SHARD = re.compile(r"[0-9a-f]{2}")


def kind_of(entry: os.DirEntry[str]) -> int:
    """The kind of file that an entry is, as in st_mode; of one that vanished, a regular file."""
    try:
        return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return stat.S_IFREG
