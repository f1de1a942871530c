"""Lock files (PEP 751): what they name for one interpreter.

Markers that uv and Poetry read in another way than packaging, and so pip, are decided as each of them would.
"""

from __future__ import annotations

import os
import posixpath
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from casfs.digest import Digest, is_collision_resistant, is_hash_algorithm, parse_digest
from casfs.errors import InvalidValue, LockRefused
from casfs.interpreters.interpreter import Interpreter, requires_python_problem
from casfs.paths import path_problem
from casfs.store.generations import Distribution
from casfs.venv.origins import SourceKind, as_url

if TYPE_CHECKING:
    from packaging.pylock import Package, PackageArchive, PackageDirectory, PackageSdist, PackageVcs, PackageWheel, Pylock
import operator

_SCHEMES = ("https", "http", "file")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Locked:
    """One project that a lock file names for an interpreter, and where to get it."""

    project: str
    version: str  # "": the lock does not say
    form: SourceKind
    place: str  # URL, or absolute path
    filename: str
    digest: Digest | None
    size: int  # 0: the lock does not say
    is_direct: bool  # asked for by path or URL, and not found in an index
    is_requested: bool = True  # only a lock of casfs says that something is there since others need it
    hashes: tuple[tuple[str, str], ...] = ()  # algorithm and value, beside the SHA-256
    checks: tuple[frozenset[tuple[str, str]], ...] | None = None  # of each of these the file has one; None: nobody gave any
    subdirectory: str = ""  # of a source distribution
    revision: str = ""  # a tag or branch: what was asked for of a repository

    @property
    def is_remote(self) -> bool:
        """Whether it has to be fetched."""
        return "://" in self.place

    @property
    def is_file(self) -> bool:
        """Whether it comes from a single file, which can have a hash."""
        return self.form in {SourceKind.WHEEL, SourceKind.SDIST}

    @property
    def is_vouched_for(self) -> bool:
        """Whether the lock says a hash that no other file has."""
        return self.digest is not None or any(is_collision_resistant(algorithm) for algorithm, _ in self.hashes)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which parts of a lock are wanted, in the words of uv. Nothing said: no extra, and the groups that its tool installs by itself."""

    extras: Sequence[str] = ()
    groups: Sequence[str] = ()
    without_extras: Sequence[str] = ()
    without_groups: Sequence[str] = ()
    only_groups: Sequence[str] = ()
    has_all_extras: bool = False
    has_all_groups: bool = False
    has_default_groups: bool = True

    def choose_extras(self, offered: Sequence[str]) -> list[str]:
        """Those that are wanted of what a lock offers."""
        wanted = dict.fromkeys([*(offered if self.has_all_extras else ()), *self.extras])
        return [one for one in wanted if one not in self.without_extras]

    def choose_groups(self, offered: Sequence[str], default: Sequence[str]) -> list[str]:
        """Those that are wanted of what a lock offers, beside what is in no group; `default` are those that come by themselves."""
        usual = default if self.has_default_groups else ()
        wanted = dict.fromkeys([*usual, *(offered if self.has_all_groups else ()), *self.groups])
        return [one for one in wanted if one not in self.without_groups]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a lock names for an interpreter, and what its markers leave out: a line for each."""

    locked: list[Locked]
    left_out: list[str]


Prefers = Callable[[str, str, str, Iterable[tuple[str, str]]], bool]
"""Whether a file will do: called with its project, version, URL (or "") and hashes."""


def read_lock(path: str, interpreter: Interpreter, choice: Choice | None = None, prefers: Prefers | None = None) -> list[Locked]:
    """What the lock file at `path` names for the interpreter. Raises LockRefused, OSError.

    Where files of a package are preferred, it has no others.
    """
    return read_whole_lock(path, interpreter, choice, prefers=prefers).locked


def read_whole_lock(
    path: str,
    interpreter: Interpreter,
    choice: Choice | None = None,
    *,
    prefers: Prefers | None = None,
    decide: Decide | None = None,
    made_of: str = "",
) -> Reading:
    """What a lock names, and what is left out. If a tool made it of its own lock, that is named, and the tool's way with markers counts."""
    import tomllib

    from packaging.pylock import Pylock, PylockSelectError, PylockValidationError

    try:
        with open(path, "rb") as file:
            data = tomllib.load(file)
        settled = settle(data, dict(interpreter.markers), decide) if decide else data
        lock = Pylock.from_dict(_with_hashes(settled))
        if problem := requires_python_problem(interpreter, str(lock.requires_python or "")):
            raise LockRefused(made_of or path, f"{problem}; --python chooses the interpreter of a new one, and --env its name")
        if prefers:
            lock = replace(lock, packages=[_with_preferred(package, prefers) for package in lock.packages])
        markers = [one.get("marker", "") for one in data["packages"]]
        return _select(lock, interpreter, choice or Choice(), os.path.dirname(os.path.abspath(path)), markers)
    except (PylockValidationError, PylockSelectError, InvalidValue) as error:
        raise LockRefused(made_of or path, " ".join(str(error).split())) from None
    except (ValueError, RecursionError) as error:
        raise LockRefused(made_of or path, f"is not a lock file: {error}") from None


def _with_hashes(value: Any) -> Any:
    """The lock, where an entry that says `hashes = {}`, as uv writes if an index has none, names an empty one: PEP 751 wants one."""
    if isinstance(value, Mapping):
        return {key: {"sha256": ""} if key == "hashes" and one == {} else _with_hashes(one) for key, one in value.items()}
    return [_with_hashes(one) for one in value] if isinstance(value, list) else value


def _with_preferred(package: Package, prefers: Prefers) -> Package:
    version = str(package.version or "")

    def is_preferred(file: PackageWheel | PackageSdist) -> bool:
        return prefers(package.name, version, file.url or "", file.hashes.items())

    wheels = [wheel for wheel in package.wheels or () if is_preferred(wheel)]
    sdist = package.sdist if package.sdist and is_preferred(package.sdist) else None
    return replace(package, wheels=wheels or None, sdist=sdist) if wheels or sdist else package


def _select(lock: Pylock, interpreter: Interpreter, choice: Choice, directory: str, said: Sequence[str]) -> Reading:
    """What is chosen; `said` are the markers as the lock has them, in its order."""
    from packaging.tags import Tag

    for kind, chosen, offered in (("extra", choice.extras, lock.extras), ("group", choice.groups, lock.dependency_groups)):
        if unknown := [one for one in chosen if one not in (offered or ())]:
            raise InvalidValue(f"{kind} {unknown[0]!r}", "is not in it")
    tags = [Tag(*tag.split("-", 2)) for tag in interpreter.tags]
    markers: Any = dict(interpreter.markers)
    if choice.only_groups:
        raise InvalidValue(
            f"group {choice.only_groups[0]!r}", "can't be taken alone: only a uv.lock or a poetry.lock says which packages are in no group"
        )
    extras = choice.choose_extras(lock.extras or ())
    groups = choice.choose_groups(lock.dependency_groups or (), lock.default_groups or ())
    try:
        selected = list(lock.select(environment=markers, tags=tags, extras=extras, dependency_groups=groups))
    except KeyError as error:  # `extra`, which markers of other files may have
        raise InvalidValue(f"marker {error}", "is not one that a lock may have") from None
    locked = [
        replace(
            _locked(package.name, str(package.version or ""), source, package.is_direct, directory),
            is_requested=_was_requested(package.tool),
        )
        for package, source in selected
    ]
    there = {id(package) for package, _ in selected}
    pairs = [(package, marker) for package, marker in zip(lock.packages, said, strict=True) if id(package) not in there]
    return Reading(locked, [f"{package.name} {package.version or ''}".rstrip() + f": {marker}" for package, marker in pairs])


if TYPE_CHECKING:
    _Source = PackageVcs | PackageDirectory | PackageArchive | PackageWheel | PackageSdist


def _locked(project: str, version: str, source: _Source, is_direct: bool, directory: str) -> Locked:
    from packaging.pylock import PackageArchive, PackageDirectory, PackageVcs

    _refuse_odd_texts(project, source)
    if isinstance(source, PackageVcs):
        _refuse_odd_repository(project, source)
        url = source.url or as_url(_path(source.path or "", directory))
        place = f"{source.type}+{url}@{source.commit_id}"
        place += _fragment(source.subdirectory)
        return Locked(project, version, SourceKind.REPOSITORY, place, "", None, 0, True, revision=source.requested_revision or "")
    if isinstance(source, PackageDirectory):
        path = _path(posixpath.join(source.path, source.subdirectory or ""), directory)
        return Locked(project, version, SourceKind.EDITABLE if source.editable else SourceKind.DIRECTORY, path, "", None, 0, True)
    place = _place(source.url, source.path, directory)
    filename = getattr(source, "name", None) or posixpath.basename(
        urllib.parse.unquote(urllib.parse.urlsplit(place).path) if source.url else place
    )
    if "/" in filename or path_problem(filename):
        raise InvalidValue(repr(filename), "is not a file name")
    form = SourceKind.WHEEL if filename.endswith(".whl") else SourceKind.SDIST
    subdirectory = (source.subdirectory or "") if isinstance(source, PackageArchive) and form is SourceKind.SDIST else ""
    digest, hashes = _read_hashes(project, source.hashes)
    size = source.size or 0
    return Locked(project, version, form, place, filename, digest, size, is_direct, hashes=hashes, subdirectory=subdirectory)


def _refuse_odd_texts(project: str, source: _Source) -> None:
    """Raises InvalidValue for what is in no path or URL that anybody can use."""
    for field in ("name", "path", "url", "subdirectory", "type", "commit_id", "requested_revision"):
        if _CONTROL.search(getattr(source, field, None) or ""):  # it may hold a login, so it is not shown
            raise InvalidValue(project, f"its {field.replace('_', '-')} has a control character")
    try:
        parts = urllib.parse.urlsplit(getattr(source, "url", None) or "")
        _ = parts.port if parts.scheme in _SCHEMES else None  # it is read only now
    except ValueError as error:
        raise InvalidValue(project, f"its url is none: {error}") from None


def _refuse_odd_repository(project: str, source: PackageVcs) -> None:
    if source.type != "git":
        kind = f"kind {source.type!r}" if source.type in {"hg", "svn", "bzr"} else f"unknown kind {source.type!r}"
        raise InvalidValue(project, f"is in a repository of the {kind}, and casfs reads only those of git")
    if not _COMMIT.fullmatch(source.commit_id):
        raise InvalidValue(project, f"commit-id {source.commit_id!r} is not a commit, which has 40 or 64 lower-case hexadecimal digits")
    if "#" in (source.url or ""):
        raise InvalidValue(project, "the url of its repository has a fragment")


def _was_requested(tool: Mapping[str, Any] | None) -> bool:
    ours = (tool or {}).get("casfs")
    return not isinstance(ours, Mapping) or ours.get("requested") is not False


def _fragment(subdirectory: str | None) -> str:
    return f"#subdirectory={subdirectory}" if subdirectory else ""


def _place(url: str | None, path: str | None, directory: str) -> str:
    """Where a file is: its path if the lock says one or the URL is one of this machine, else the URL."""
    if not url:
        return _path(path or "", directory)
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise InvalidValue(
            parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), f"can't be fetched: only {', '.join(_SCHEMES)} can"
        )
    return urllib.parse.unquote(parts.path) if parts.scheme == "file" else url


def _path(path: str, directory: str) -> str:
    return os.path.normpath(os.path.join(directory, path))


def _read_hashes(project: str, hashes: Mapping[str, str]) -> tuple[Digest | None, tuple[tuple[str, str], ...]]:
    """The SHA-256 and every other hash that can be compared. Raises InvalidValue if there are hashes, and none of them can."""
    said = {algorithm.lower(): value.lower() for algorithm, value in hashes.items()}
    text = said.pop("sha256", "")
    digest = parse_digest(text) if text else None
    others = tuple(sorted((algorithm, value) for algorithm, value in said.items() if is_hash_algorithm(algorithm)))
    if said and not others and digest is None:
        raise InvalidValue(project, f"casfs knows no algorithm of its hashes: {', '.join(map(repr, sorted(said)))}")
    return digest, others


def format_preferences(distributions: Iterable[Distribution]) -> str:
    """A lock of names and versions alone: what a resolver is to leave as it is if it can."""
    import tomli_w

    packages = [{"name": distribution.project, "version": distribution.version} for distribution in distributions]
    return tomli_w.dumps({"lock-version": "1.0", "created-by": "casfs", "packages": packages})


def pin_moved(locked: Iterable[Locked], present: Iterable[Distribution]) -> list[str]:
    """Requirements for just what is locked, but with the present version of what would get another one; empty if nothing would."""
    versions = {distribution.project: distribution.version for distribution in present}
    found = [one for one in locked if one.version and not one.is_direct]
    if all(versions.get(one.project, one.version) == one.version for one in found):
        return []
    return [f"{one.project}=={versions.get(one.project, one.version)}" for one in found]


Decide = Callable[[str, str, str, str], bool | None]
"""Called with a marker's name, what it is here, a relation and a value: whether it is true; None if it is as packaging says."""

_COMPARISON = re.compile(r"""\b([a-z]+(?:_[a-z]+)+)\s*(<=|>=|==|!=|<|>)\s*(?:'([^']*)'|"([^"]*)")|'[^']*'|"[^"]*\"""")
_OPERATORS = {"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">=": operator.ge, ">": operator.gt}


def decide_as_uv(name: str, here: str, relation: str, value: str) -> bool | None:
    """What the system says of itself is text."""
    return bool(_OPERATORS[relation](here, value)) if name in {"platform_release", "platform_version"} else None


def decide_as_poetry(name: str, here: str, relation: str, value: str) -> bool | None:
    """A release is a version, whatever follows its number."""
    from packaging.specifiers import InvalidSpecifier, Specifier

    number = re.match(r"\d+(\.\d+)*", here)
    if name != "platform_release" or not number:
        return None
    try:
        return Specifier(f"{relation}{value}").contains(number[0], prereleases=True)
    except InvalidSpecifier:
        return None


def settle(lock: Mapping[str, Any], markers: Mapping[str, str], decide: Decide) -> dict[str, Any]:
    """A lock with what everybody reads alike in place of each comparison that is decided."""
    packages = lock.get("packages")
    return {**lock, "packages": [_settle(package, markers, decide) for package in packages]} if isinstance(packages, list) else {**lock}


def _settle(package: Any, markers: Mapping[str, str], decide: Decide) -> Any:
    def settle_one(match: re.Match[str]) -> str:
        name, relation, *values = match.groups()
        if name not in markers:  # also another text, which may look like a comparison
            return match[0]
        is_true = decide(name, markers[name], relation, next(value for value in values if value is not None))
        return match[0] if is_true is None else f"python_version {'!=' if is_true else '=='} '0'"

    marker = package.get("marker") if isinstance(package, Mapping) else None
    return {**package, "marker": _COMPARISON.sub(settle_one, marker)} if isinstance(marker, str) else package
