"""Manifest: all files of one distribution, by digest.

On disk a manifest is one JSON object (UTF-8), named by the SHA-256 of its bytes, in a tree of its own: no blob is taken for a manifest.
Files are rows; the rows of a directory lie side by side, sorted by name, so that one directory is built without looking at the others:

    directories  ["", "bin", "lib", ...]    every directory, parents before children; its index is its row among the directories
    starts       [0, 0, 2, ...]             directory d holds the files starts[d] up to starts[d + 1]
    names        ["flask", ...]             last component of each file's path
    sizes        [212, ...]                 bytes
    kinds        "100..."                   one digit a file, see Kind
    digests      "ab12..."                  64 hexadecimal digits a file, SHA-256
    checksums    "0f3c..."                  32 hexadecimal digits a file, XXH3-128
    time         1796097600                 when the manifest entered its store, in seconds since the epoch (see `times`)
    times        [1796097600, ...]          the time that each file shows; 0: one that is made from its content

A manifest of format 1, which the version before made, has neither `time` nor `times`, and all its times are made from content.
A JSON array of 10,000 names and sizes decodes in 2 ms, and anyone can read it.
"""

from __future__ import annotations

import enum
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from casfs.digest import Digest, digest_bytes, parse_digest, shard_path
from casfs.errors import InvalidValue, StoreDamaged
from casfs.paths import path_problem
from casfs.store.pools import try_each
from casfs.store.publish import Batch
from casfs.store.regular_file import read_plain_file
from casfs.store.store import Store

_UNDATED, _DATED = 1, 2
"""Formats: without times, and with them."""


FIRST_TIME = 1_420_070_400  # 2015-01-01: later than all that is made from content
LAST_TIME = 4_102_444_800  # 2100-01-01: bytecode has 32 bits for a time (until 2106), a zip file knows years until 2107


class Kind(enum.IntEnum):
    """What a row of a manifest is. Wheels can only give the first two."""

    FILE = 0
    EXECUTABLE = 1
    SYMLINK = 2  # the blob holds the target, as in git


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that casfs itself makes: a checked path below the environment, what it holds, and what it is."""

    path: str
    content: bytes
    kind: Kind = Kind.FILE


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a distribution: where it is shown and which blob it is."""

    path: str
    digest: Digest
    checksum: str
    size: int
    kind: Kind
    time: int = 0  # seconds since the epoch; 0: made from its content


@dataclass(frozen=True, slots=True)
class Description:
    """What a manifest says beside its files."""

    project: str  # canonical name (PEP 503)
    name: str  # as its author writes it
    version: str
    wheel: str = ""  # digest of the wheel it comes from; empty for what casfs itself makes
    tags: tuple[str, ...] = ()
    requires_python: str | None = None
    dist_info: str = ""  # "numpy-2.4.6.dist-info"
    entry_points: tuple[tuple[str, str, str], ...] = ()  # launcher name, module, attribute
    tolerated: tuple[str, ...] = ()  # disagreements with RECORD that the user accepted


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Manifest:
    """A decoded manifest. Rows are found by index; the lists are never changed."""

    description: Description
    directories: list[str]
    starts: list[int]
    names: list[str]
    sizes: list[int]
    kinds: str
    digests: str
    checksums: str
    times: list[int]
    time: int = 0  # 0: nobody has dated it
    _children: dict[int, list[tuple[str, int]]] = field(default_factory=dict, repr=False, compare=False)

    def row(self, index: int, directory: int) -> ManifestFile:
        """File `index`, which lies in `directory`."""
        parent = self.directories[directory]
        return ManifestFile(
            f"{parent}/{self.names[index]}" if parent else self.names[index],
            self.digest(index),
            self.checksums[32 * index : 32 * index + 32],
            self.sizes[index],
            Kind(int(self.kinds[index])),
            self.times[index],
        )

    def digest(self, index: int) -> Digest:
        """The digest of file `index`."""
        return Digest(self.digests[64 * index : 64 * index + 64])

    def directory_of(self, index: int) -> int:
        """The directory that holds file `index`."""
        low, high = 0, len(self.directories)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.starts[middle] <= index else (low, middle)
        return low

    def files_in(self, directory: int) -> range:
        """The rows of the files that lie directly in a directory."""
        return range(self.starts[directory], self.starts[directory + 1])

    def directories_in(self, directory: int) -> list[tuple[str, int]]:
        """(name, row) of the directories that lie directly in a directory."""
        if not self._children and len(self.directories) > 1:
            rows = {path: row for row, path in enumerate(self.directories)}
            children: dict[int, list[tuple[str, int]]] = {}
            for path, row in rows.items():
                parent, _, name = path.rpartition("/")
                if path:
                    children.setdefault(rows[parent], []).append((name, row))
            self._children.update(children)  # at once: another thread may be asking
        return self._children.get(directory, [])

    def iter_files(self) -> Iterator[ManifestFile]:
        """Every file, in the order of rows."""
        for directory in range(len(self.directories)):
            for index in self.files_in(directory):
                yield self.row(index, directory)

    @property
    def total_size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes)


def undated(manifest: Manifest) -> Manifest:
    """The manifest without times: what makes two manifests the same but for when they entered a store."""
    return replace(manifest, time=0, times=[0] * len(manifest.names))


def build_manifest(description: Description, files: Iterable[ManifestFile], directories: Iterable[str] = (), time: int = 0) -> Manifest:
    """The manifest of `files`. Their paths must be checked and differ. `directories` are there even if they are empty."""
    by_directory: dict[str, list[ManifestFile]] = {"": []}
    for file in files:
        by_directory.setdefault(file.path.rpartition("/")[0], []).append(file)
    for path in [*by_directory, *directories]:
        while path not in by_directory or path:
            by_directory.setdefault(path, [])
            path = path.rpartition("/")[0]
    paths = sorted(by_directory)
    rows: list[ManifestFile] = []
    starts = [0]
    for directory in paths:
        rows += sorted(by_directory[directory], key=lambda file: file.path)
        starts.append(len(rows))
    return Manifest(
        description,
        paths,
        starts,
        [file.path.rpartition("/")[2] for file in rows],
        [file.size for file in rows],
        "".join(str(int(file.kind)) for file in rows),
        "".join(file.digest for file in rows),
        "".join(file.checksum for file in rows),
        [file.time for file in rows],
        time,
    )


_LISTS = ("directories", "starts", "names", "sizes")
_TEXTS = ("kinds", "digests", "checksums")
_TUPLES = ("tags", "tolerated")


def format_manifest(manifest: Manifest) -> bytes:
    """The manifest's bytes; equal manifests have equal bytes."""
    about = {name: getattr(manifest.description, name) for name in Description.__slots__}
    fields = {name: getattr(manifest, name) for name in (*_LISTS, *_TEXTS)}
    times = {"time": manifest.time, "times": manifest.times} if manifest.time else {}
    data = {"casfs-manifest": _DATED if times else _UNDATED, **about, **fields, **times}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def parse_manifest(content: bytes) -> Manifest:
    """The manifest in `content`. Raises ValueError if it is none, or not whole."""
    try:
        data = json.loads(content)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(data, dict) or (form := data.pop("casfs-manifest", None)) not in (_UNDATED, _DATED):
        raise ValueError("is not a manifest of a format that this casfs knows")
    try:
        rows = {name: data.pop(name) for name in (*_LISTS, *_TEXTS)}
        rows |= {"time": data.pop("time"), "times": data.pop("times")} if form == _DATED else {"times": [0] * len(rows["names"])}
        entry_points = tuple((name, module, attribute) for name, module, attribute in data.pop("entry_points"))
        data |= {name: tuple(data[name]) for name in _TUPLES}
        manifest = Manifest(Description(**data, entry_points=entry_points), **rows)
    except (KeyError, TypeError) as error:
        raise ValueError(f"lacks a field or has a strange one: {error}") from None
    if form == _DATED and not manifest.time:
        raise ValueError("has no time")
    if problem := _shape_problem(manifest):
        raise ValueError(problem)
    return manifest


def _shape_problem(manifest: Manifest) -> str | None:
    """Why the columns of a manifest don't belong together; cheap, since a manifest is read far more often than written."""
    for names, kind in (((*_LISTS, "times"), list), (_TEXTS, str)):
        if strange := next((name for name in names if not isinstance(getattr(manifest, name), kind)), None):
            return f"has {strange} of a strange type"
    count = len(manifest.names)
    is_whole = len(manifest.digests) == 64 * count and len(manifest.checksums) == 32 * count
    if not is_whole or not len(manifest.sizes) == len(manifest.kinds) == len(manifest.times) == count:
        return "has columns of different lengths"
    if len(manifest.starts) != len(manifest.directories) + 1 or manifest.starts[0] != 0 or manifest.starts[-1] != count:
        return "has directories that do not cover its files"
    if manifest.directories[:1] != [""]:
        return "has no root directory"
    return None


def manifest_problems(manifest: Manifest) -> list[str]:
    """What is wrong inside a manifest that decoded: for `casfs fsck`, which believes nothing."""
    if problems := list(_iter_strange_columns(manifest)):
        return problems  # what follows believes their types
    paths = [file.path for file in manifest.iter_files()]
    problems = [f"{path!r} {problem}" for path in (*manifest.directories[1:], *paths) if (problem := path_problem(path))]
    if sorted(manifest.starts) != manifest.starts or sorted(set(manifest.directories)) != manifest.directories:
        problems.append("its directories are not in order")
    known = set(manifest.directories)
    problems += [f"{path!r} lacks its parent directory" for path in manifest.directories[1:] if path.rpartition("/")[0] not in known]
    if len(known.union(paths)) != len(manifest.directories) + len(paths) or any("/" in name for name in manifest.names):
        problems.append("two of its rows have one path")
    return problems


_STRANGE_KINDS = re.compile(r"[^012]")
_STRANGE_HEX = re.compile(r"[^0-9a-f]")


def _iter_strange_columns(manifest: Manifest) -> Iterator[str]:
    """Columns that hold what no such column may."""
    for name, kind in (("directories", str), ("starts", int), ("names", str), ("sizes", int)):
        values = getattr(manifest, name)
        if not all(type(value) is kind for value in values):
            yield f"its {name} have a strange type"
        elif kind is int and min(values, default=0) < 0:
            yield f"its {name} are negative"
    if not all(type(time) is int and (time == 0 or FIRST_TIME <= time <= LAST_TIME) for time in (manifest.time, *manifest.times)):
        yield "its times are not of the form that casfs writes"
    for name, strange in (("kinds", _STRANGE_KINDS), ("digests", _STRANGE_HEX), ("checksums", _STRANGE_HEX)):
        if strange.search(getattr(manifest, name)):
            yield f"its {name} have strange characters"
    about = manifest.description
    texts = (about.project, about.name, about.version, about.wheel, about.dist_info, about.requires_python or "")
    if not all(isinstance(text, str) for text in (*texts, *about.tags, *about.tolerated, *itertools.chain(*about.entry_points))):
        yield "its description has a strange type"


def own_manifest_path(root: str, digest: Digest) -> str:
    """Where one store alone has a manifest, or would have it."""
    return f"{root}/manifests/{shard_path(digest)}"


def manifest_path(store: Store, digest: Digest) -> str:
    """Where a manifest is, or would be."""
    return own_manifest_path(store.root, digest)


def stage_manifest(store: Store, batch: Batch, manifest: Manifest) -> Digest:
    """The manifest's digest; its bytes are staged in `batch` unless the store has them."""
    content = format_manifest(manifest)
    digest = digest_bytes(content)
    target = manifest_path(store, digest)
    if target not in batch:
        try:
            read_manifest(store, digest)
        except StoreDamaged:
            batch.add(target, content)
    return digest


def is_whole(store: Store, manifest: Manifest) -> bool:
    """Whether the pools have every blob of a manifest, in its size. One system call for each file."""
    return all(store.pool.has_blob(manifest.digest(row), manifest.sizes[row]) for row in range(len(manifest.names)))


def has_manifest(store: Store, digest: Digest) -> bool:
    """Whether a pool has a manifest; one that is kept from us counts as there, and is told to whoever reads it."""
    return any(_may_exist(own_manifest_path(root, digest)) for root in (store.root, *store.shared))


def _may_exist(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def read_manifest(store: Store, digest: Digest) -> Manifest:
    """The manifest of that digest, compared with it; a shared pool is asked where the store has none. Raises StoreDamaged."""
    if not store.shared:
        return read_own_manifest(store.root, digest)

    def read(root: str) -> Manifest:
        return read_own_manifest(root, digest) if root == store.root else _read_shared_manifest(root, digest)

    return try_each([store.root, *store.shared], read)


def _read_shared_manifest(root: str, digest: Digest) -> Manifest:
    """A manifest of a shared pool. One that is of no wheel which that pool lists is not there: knowing a digest gives no file."""
    path = own_manifest_path(root, digest)
    try:
        manifest = read_own_manifest(root, digest)
        read_plain_file(f"{root}/wheels/{parse_digest(manifest.description.wheel)}")
    except (FileNotFoundError, InvalidValue):
        raise StoreDamaged(path, "the manifest is missing") from None
    except PermissionError as error:
        raise StoreDamaged(error.filename, f"can't be read: {error.strerror}") from None
    return manifest


def read_own_manifest(root: str, digest: Digest) -> Manifest:
    """The manifest of that digest in one store alone. Raises StoreDamaged."""
    path = own_manifest_path(root, digest)
    try:
        content = read_plain_file(path)
    except FileNotFoundError:
        raise StoreDamaged(path, "the manifest is missing") from None
    if digest_bytes(content) != digest:
        raise StoreDamaged(path, "the manifest does not have the bytes that its name promises")
    try:
        return parse_manifest(content)
    except ValueError as error:
        raise StoreDamaged(path, f"the manifest {error}") from None
