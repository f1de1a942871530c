"""Bytecode that a store knows: which manifest another one becomes with bytecode, and which bytecode a source becomes.

    bytecode/<target>/manifests/ab/cdef...    holds the digest of the manifest that abcdef... becomes
    bytecode/<target>/sources/ab/cdef...      a symbolic link that points to "<digest in base64>.<size>" of the bytecode that the source
                                              abcdef... becomes, or to "-" if it does not compile

<target> names cache tag, magic number and optimisation level: "cpython-311-a70d0d0a", "cpython-311-a70d0d0a.opt-1". A link this short
costs an inode and no block, and a source costs one, wherever it lies and however many distributions have it.

All of it is derived and may be deleted. What a shared pool knows of the manifests of its wheels counts as known.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from casfs.digest import Digest, parse_digest, shard_path
from casfs.errors import InvalidValue, StoreDamaged
from casfs.paths import SITE_PACKAGES
from casfs.store.locking import holding
from casfs.store.manifests import Kind, Manifest, read_manifest
from casfs.store.publish import Batch
from casfs.store.regular_file import read_plain_file
from casfs.store.store import Store

LEVELS = (0, 1, 2)
"""Optimisation levels: as it is, without assertions (`-O`), without docstrings as well (`-OO`)."""

_TARGET = re.compile(r"([a-z0-9][a-z0-9-]*)-([0-9a-f]{8})(?:\.opt-([12]))?")
_LINK = re.compile(r"([A-Za-z0-9_-]{43})\.([0-9a-f]{1,8})")
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Target:
    """What bytecode is for."""

    cache_tag: str  # "cpython-311"
    magic: str  # magic number in hexadecimal digits
    level: int = 0

    def __str__(self) -> str:
        return f"{self.cache_tag}-{self.magic}" + (f".opt-{self.level}" if self.level else "")

    @property
    def suffix(self) -> str:
        """What the name of a file of bytecode ends with (PEP 488)."""
        return f".{self.cache_tag}" + (f".opt-{self.level}" if self.level else "") + ".pyc"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A blob of bytecode."""

    digest: Digest
    size: int


class NotCompiled:
    """Says that a source does not compile."""


NOT_COMPILED = NotCompiled()

Outcome = Compiled | NotCompiled


def parse_target(name: str) -> Target | None:
    """The target of that name; None if it is no target's name."""
    match = _TARGET.fullmatch(name)
    return Target(match[1], match[2], int(match[3] or 0)) if match else None


def format_outcome(outcome: Outcome) -> str:
    """What a source's link points to."""
    if isinstance(outcome, NotCompiled):
        return _NOTHING
    return f"{base64.urlsafe_b64encode(bytes.fromhex(outcome.digest)).rstrip(b'=').decode()}.{outcome.size:x}"


def parse_outcome(text: str) -> Outcome | None:
    """What text says that a source became; None for what makes no sense."""
    if text == _NOTHING:
        return NOT_COMPILED
    if (match := _LINK.fullmatch(text)) is None:
        return None
    with contextlib.suppress(binascii.Error):
        return Compiled(Digest(base64.urlsafe_b64decode(f"{match[1]}=").hex()), int(match[2], 16))
    return None


def find_outcome(store: Store, target: Target, source: Digest) -> Outcome | None:
    """What a source became for a target; None if this store does not know, or if its pool has the bytecode no more.

    What a shared pool knows of single sources does not count: it keeps only what its own wheels bring.
    """
    try:
        outcome = parse_outcome(os.readlink(_path(store.root, target, "sources", source)))
    except OSError:
        return None
    is_there = isinstance(outcome, NotCompiled) or (outcome is not None and store.pool.is_private(outcome.digest, outcome.size))
    return outcome if is_there else None


def stage_outcome(store: Store, batch: Batch, target: Target, source: Digest, outcome: Outcome) -> None:
    """Let the store know what a source became. Its bytecode must be published before the batch is committed."""
    batch.add_link(_path(store.root, target, "sources", source), format_outcome(outcome))


def find_compiled(store: Store, target: Target, digest: Digest, manifest: Manifest) -> tuple[Digest, Manifest] | None:
    """The manifest that another one becomes with bytecode; None if nobody has made it, or it is of something else.

    A record may be wrong, above all one of a shared pool: so what it leads to is compared with what was asked for. That bytecode is of the
    source beside it is not: reading a header of each at each add would take longer than the add. `casfs fsck` does.
    """
    for root in (store.root, *store.shared):
        try:
            compiled = read_compiled_record(_path(root, target, "manifests", digest))
            found = read_manifest(store, compiled)
        except (OSError, InvalidValue, StoreDamaged):
            continue
        if compiled == digest or compiled_problem(manifest, found, target) is None:
            return compiled, found
    return None


def recall_compiled(store: Store, target: Target, manifest: Digest) -> Digest | None:
    """Which manifest another one becomes with bytecode, as the first record says; nothing is compared."""
    for root in (store.root, *store.shared):
        with contextlib.suppress(OSError, InvalidValue, StoreDamaged):
            return read_compiled_record(_path(root, target, "manifests", manifest))
    return None


def iter_compiled_records(store: Store) -> Iterator[str]:
    """Paths of what this store says of the bytecode of manifests, for every target."""
    from glob import escape, iglob

    return iglob(f"{escape(store.path('bytecode'))}/*/manifests/??/*")


def read_compiled_record(path: str) -> Digest:
    """The manifest that a record names. Raises InvalidValue, StoreDamaged and OSError."""
    return parse_digest(read_plain_file(path).decode("ascii", "replace").removesuffix("\n"))


def stage_compiled(store: Store, batch: Batch, target: Target, manifest: Digest, compiled: Digest) -> None:
    """Let the store know what a manifest becomes. It must be published before the batch is committed."""
    batch.add(_path(store.root, target, "manifests", manifest), compiled.encode() + b"\n")


def iter_bytecode_rows(manifest: Manifest, target: Target) -> Iterator[int]:
    """Rows of bytecode for a target."""
    for directory, path in enumerate(manifest.directories):
        if _is_cache(path):
            yield from (row for row in manifest.files_in(directory) if _is_for(manifest.names[row], target))


def bytecode_path(source: str, target: Target) -> str:
    """Where Python looks for the bytecode of a source (PEP 3147, PEP 488)."""
    parent, _, name = source.rpartition("/")
    return f"{parent}/__pycache__/{_bytecode_name(name, target)}"


def _bytecode_name(source: str, target: Target) -> str:
    base, _, rest = source.rpartition(".")
    return f"{base or rest}{target.suffix}"


_OTHER_FILES = "names a manifest with other files"


def compiled_problem(before: Manifest, made: Manifest, target: Target) -> str | None:
    """Why `made` can't be what `before` becomes with bytecode; None if it can.

    Bytecode for the target may be new, or another one, where a source has it; all else must be the same. What is in it is not looked at.
    """
    known = {path: row for row, path in enumerate(before.directories)}
    others = [path for path in made.directories if path in known or not _is_cache(path)]
    if before.description != made.description or others != before.directories:
        return _OTHER_FILES
    for directory, path in enumerate(made.directories):
        if not _is_cache(path):
            if _columns(before, known[path]) != _columns(made, directory):
                return _OTHER_FILES
            continue
        was, now = _rows(before, known.get(path)), _rows(made, directory)
        changed = {name for name, facts in now.items() if facts != was.get(name)}
        if not was.keys() <= now.keys() or not all(_is_for(name, target) and now[name][-1] == _PLAIN for name in changed):
            return _OTHER_FILES
        if strange := changed - _places(before, known.get(path.rpartition("/")[0]), target):
            return f"names a manifest with bytecode that has no source: {path}/{min(strange)}"
    return None


_PLAIN, _SYMLINK = str(int(Kind.FILE)), str(int(Kind.SYMLINK))

_Facts = tuple[str, str, int, str]
"""What a row says beside its name: digest, checksum, size, kind."""


def _columns(manifest: Manifest, directory: int) -> tuple[list[str], list[int], str, str, str]:
    """All that the rows of a directory say."""
    rows = manifest.files_in(directory)
    start, stop = rows.start, rows.stop
    digests, checksums = manifest.digests[64 * start : 64 * stop], manifest.checksums[32 * start : 32 * stop]
    return manifest.names[start:stop], manifest.sizes[start:stop], manifest.kinds[start:stop], digests, checksums


def _rows(manifest: Manifest, directory: int | None) -> dict[str, _Facts]:
    """The rows of a directory, by name."""
    rows = () if directory is None else manifest.files_in(directory)
    return {manifest.names[row]: _facts(manifest, row) for row in rows}


def _facts(manifest: Manifest, row: int) -> _Facts:
    return manifest.digest(row), manifest.checksums[32 * row : 32 * row + 32], manifest.sizes[row], manifest.kinds[row]


def _places(manifest: Manifest, directory: int | None, target: Target) -> set[str]:
    """Names of the bytecode that the sources in a directory may have."""
    if directory is None or not f"{manifest.directories[directory]}/".startswith(f"{SITE_PACKAGES}/"):
        return set()
    names = ((manifest.names[row], manifest.kinds[row]) for row in manifest.files_in(directory))
    return {_bytecode_name(name, target) for name, kind in names if name.endswith(".py") and kind != _SYMLINK}


def _is_cache(directory: str) -> bool:
    """Whether Python keeps bytecode in a directory."""
    return directory.rpartition("/")[2] == "__pycache__"


def _is_for(name: str, target: Target) -> bool:
    """Whether a file's name says that it is bytecode for a target. Without optimisation no level is named."""
    return name.endswith(target.suffix)


def _path(root: str, target: Target, kind: str, digest: Digest) -> str:
    return f"{root}/bytecode/{target}/{kind}/{shard_path(digest)}"


@contextlib.contextmanager
def compiling(store: Store, target: Target) -> Iterator[None]:
    """Hold the right to compile for a target: whoever waited finds what the one before has made."""
    for made in (store.path("bytecode"), store.path("bytecode", str(target))):
        with contextlib.suppress(FileExistsError):
            os.mkdir(made, 0o700)
    with holding(store.path("locks", f"bytecode-{target}")):
        yield
