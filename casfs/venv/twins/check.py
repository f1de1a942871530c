"""Checking twins: a mount would show what is wrong in them. No blob is read but the targets of links.

A wrong twin is damage, which is repaired by setting it aside: it is made anew when a mount needs it. What nothing uses is no damage.
Only who sees trusted attributes can check anything: for others, nothing is looked at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from casfs.digest import Digest
from casfs.errors import CasfsError, InvalidValue, StoreDamaged
from casfs.store.environments import Environment
from casfs.store.fsck.damage import DamageKind, Findings, TwinTotals, kind_of
from casfs.store.fsck.manifests import ManifestTable
from casfs.store.generations import Generation
from casfs.store.manifests import Kind, manifest_path, read_manifest
from casfs.store.plain import describe_kind
from casfs.store.store import Store
from casfs.venv.tree import FileNode
from casfs.venv.twins.files import DIRECTORY_MODE, FILE_MODES, METACOPY, REDIRECT, format_redirect, is_twin
from casfs.venv.twins.plan import TwinDirectory, iter_top, iter_twin
from casfs.venv.twins.twins import TOP_NAME, TOPS, TWIN_NAME, read_layers, read_target, top_path

_SHARD = re.compile("[0-9a-f]{2}")

_MAX_REASONS = 3  # of one twin

_OVERLAY = "trusted.overlay."

Plan = Callable[[], Iterable[TwinDirectory]]


def check_twins(store: Store, findings: Findings, table: ManifestTable) -> TwinTotals:
    """Compare every twin with its manifest, and every top with the generations that use it."""
    if not _sees_attributes(store):
        return TwinTotals()
    check = _Check(store, findings, table)
    check.run()
    return TwinTotals(check.count, check.unused)


def _sees_attributes(store: Store) -> bool:
    """Whether this process sees trusted attributes: root of a user namespace does not, and is not told either (xattr(7))."""
    try:
        fd = os.open(store.path("tmp"), os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        os.setxattr(fd, METACOPY, b"")
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@dataclass(slots=True)
class _Top:
    """A top that generations use."""

    generation: Generation
    environments: set[str] = field(default_factory=set)


class _Check:
    def __init__(self, store: Store, findings: Findings, table: ManifestTable) -> None:
        self.count = 0
        self.unused = 0
        self._store = store
        self._findings = findings
        self._table = table

    def run(self) -> None:
        root = self._store.path("twins")
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(mode := os.lstat(root).st_mode):
                self._findings.add(DamageKind.TWIN, root, f"is {describe_kind(mode)} instead of a directory")
        for entry in self._findings.entries(root):
            if not entry.is_dir(follow_symlinks=False) or not (entry.name == TOPS or _SHARD.fullmatch(entry.name)):
                self._findings.add_stranger(entry)
            elif entry.name == TOPS:
                self._check_tops(entry.path)
            else:
                self._check_shard(entry.path)

    def _check_shard(self, path: str) -> None:
        for entry in self._findings.entries(path):
            if not (match := TWIN_NAME.fullmatch(entry.name)):
                self._findings.add_stranger(entry)
                continue
            self.count += 1
            digest = Digest(path[-2:] + match[1])
            if self._table.look(digest):
                self._compare(entry, partial(self._plan_twin, digest, match[2]), manifests=[digest])
            elif not os.path.lexists(manifest_path(self._store, digest)):
                self.unused += 1

    def _plan_twin(self, digest: Digest, python_directory: str) -> Iterator[TwinDirectory]:
        return iter_twin(digest, read_manifest(self._store, digest), python_directory)

    def _check_tops(self, path: str) -> None:
        if not (entries := self._findings.entries(path)):
            return
        tops = self._used_tops()
        for entry in entries:
            if not TOP_NAME.fullmatch(entry.name):
                self._findings.add_stranger(entry)
                continue
            self.count += 1
            if (top := tops.get(entry.path)) is None:
                self.unused += 1
            else:
                self._compare(entry, partial(self._plan_top, top.generation), environments=sorted(top.environments))

    def _plan_top(self, generation: Generation) -> Iterator[TwinDirectory]:
        return iter_top(generation, partial(read_layers, self._store))

    def _used_tops(self) -> dict[str, _Top]:
        """By path, the tops of all generations that can be read; others are damages of their own."""
        tops: dict[str, _Top] = {}
        for entry in self._findings.entries(self._store.path("environments")):
            with contextlib.suppress(InvalidValue):
                environment = Environment(self._store, entry.name)
                for number in environment.numbers():
                    with contextlib.suppress(CasfsError, OSError, ValueError, LookupError, TypeError, AttributeError):
                        generation = environment.read(number)
                        tops.setdefault(top_path(self._store, generation), _Top(generation)).environments.add(environment.name)
        return tops

    def _compare(self, entry: os.DirEntry[str], plan: Plan, *, manifests: Iterable[Digest] = (), environments: Iterable[str] = ()) -> None:
        if not stat.S_ISDIR(mode := kind_of(entry)):
            problems = [f"is {describe_kind(mode)} instead of a directory"]
        else:
            try:
                problems = list(iter_twin_problems(entry.path, plan(), partial(read_target, self._store)))
            except StoreDamaged:
                return  # what it must be compared with is a damage of its own
            except (InvalidValue, OSError) as error:
                problems = [f"can't be compared: {error}"]
        if problems:
            more = f"; and {len(problems) - _MAX_REASONS} more" if len(problems) > _MAX_REASONS else ""
            reason = "; ".join(problems[:_MAX_REASONS]) + more
            self._findings.add(DamageKind.TWIN, entry.path, reason, manifests=manifests, environments=environments)


def iter_twin_problems(root: str, plan: Iterable[TwinDirectory], read: Callable[[FileNode], bytes]) -> Iterator[str]:
    """What a twin has that its plan has not, and the other way round. Raises what `plan` and `read` raise, and OSError."""
    if not is_twin(root):
        yield "lacks the mark of a twin, as a copy without attributes does"
    for one in plan:
        path = f"{root}/{one.path}".rstrip("/")
        try:
            names = set(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            continue  # noted with the directory above
        if problem := _directory_problem(path, one):
            yield f"{one.path or '.'} {problem}"
        prefix = f"{one.path}/" if one.path else ""
        for name in sorted(names.difference(one.directories, (name for name, _ in one.files))):
            yield f"{prefix + name!r} does not belong there"
        for name in sorted(set(one.directories) - names):
            yield f"{prefix}{name} is missing"
        for name, node in one.files:
            if problem := _file_problem(f"{path}/{name}", node, read) if name in names else "is missing":
                yield f"{prefix}{name} {problem}"


def _directory_problem(path: str, directory: TwinDirectory) -> str | None:
    found = os.lstat(path)
    if (problem := _stat_problem(found, stat.S_IFDIR | DIRECTORY_MODE, directory.mtime_ns)) is not None:
        return problem
    return _attribute_problem(path, {})


def _file_problem(path: str, node: FileNode, read: Callable[[FileNode], bytes]) -> str | None:
    found = os.lstat(path)
    if node.kind is Kind.SYMLINK:
        if (problem := _stat_problem(found, stat.S_IFLNK | 0o777, node.mtime_ns)) is not None:
            return problem
        return None if os.fsencode(os.readlink(path)) == read(node) else "points elsewhere"
    if (problem := _stat_problem(found, stat.S_IFREG | FILE_MODES[node.kind], node.mtime_ns)) is not None:
        return problem
    if found.st_size != node.size:
        return f"has {found.st_size} bytes instead of {node.size}"
    return _attribute_problem(path, {METACOPY: b"", REDIRECT: format_redirect(node)})


def _stat_problem(found: os.stat_result, mode: int, mtime_ns: int) -> str | None:
    if stat.S_IFMT(found.st_mode) != stat.S_IFMT(mode):
        return f"is {describe_kind(found.st_mode)} instead of {describe_kind(mode)}"
    if found.st_mode != mode:
        return f"has the mode {stat.S_IMODE(found.st_mode):04o} instead of {stat.S_IMODE(mode):04o}"
    if found.st_uid or found.st_gid:
        return f"belongs to {found.st_uid}:{found.st_gid} instead of root"
    if found.st_mtime_ns != mtime_ns:
        return "has another time than its content gives it"
    return None


def _attribute_problem(path: str, expected: dict[str, bytes]) -> str | None:
    """Why its attributes would make an overlay show something else."""
    try:
        names = {name for name in os.listxattr(path, follow_symlinks=False) if name.startswith(_OVERLAY)}
        found = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        found = {}
    wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    return f"has a wrong attribute {wrong[0]}" if wrong else None
