"""Bytecode that a store knows: which manifest another one becomes with bytecode, and which bytecode a source becomes.

    bytecode/<target>/manifests/ab/cdef...    holds the digest of the manifest that abcdef... becomes
    bytecode/<target>/sources/ab/cdef...      a symbolic link that points to "<digest in base64>.<size>" of the bytecode that the source
                                              abcdef... becomes, or to "-" if it does not compile

<target> names cache tag, magic number and optimisation level: "cpython-311-a70d0d0a", "cpython-311-a70d0d0a.opt-1". A link this short
costs an inode and no block, and a source costs one, wherever it lies and however many distributions have it.

All of it is derived and may be deleted. What a shared pool knows counts as known.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from casfs.digest import Digest, parse_digest
from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.plain import read_plain_file
from casfs.store.publish import Batch
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
    """The reverse; None for what makes no sense."""
    if text == _NOTHING:
        return NOT_COMPILED
    if (match := _LINK.fullmatch(text)) is None:
        return None
    with contextlib.suppress(binascii.Error):
        return Compiled(Digest(base64.urlsafe_b64decode(f"{match[1]}=").hex()), int(match[2], 16))
    return None


def find_outcome(store: Store, target: Target, source: Digest) -> Outcome | None:
    """What a source became for a target, here or in a shared pool; None if nobody knows, or if the bytecode is gone."""
    for root in (store.root, *store.shared):
        try:
            outcome = parse_outcome(os.readlink(_path(root, target, "sources", source)))
        except OSError:
            continue
        if isinstance(outcome, NotCompiled) or (outcome and store.pool.has_blob(outcome.digest, outcome.size)):
            return outcome
    return None


def stage_outcome(store: Store, batch: Batch, target: Target, source: Digest, outcome: Outcome) -> None:
    """Let the store know what a source became. Its bytecode must be published before the batch is committed."""
    batch.add_link(_path(store.root, target, "sources", source), format_outcome(outcome))


def find_compiled(store: Store, target: Target, manifest: Digest) -> tuple[Digest, Manifest] | None:
    """The manifest that another one becomes with bytecode; None if nobody has made it or it is not whole any more."""
    for root in (store.root, *store.shared):
        try:
            digest = read_compiled_record(_path(root, target, "manifests", manifest))
            found = read_manifest(store, digest)
        except (OSError, InvalidValue, StoreDamaged):
            continue
        if all(store.pool.has_blob(found.digest(row), found.sizes[row]) for row in iter_bytecode_rows(found, target)):
            return digest, found
    return None


def read_compiled_record(path: str) -> Digest:
    """The manifest that a record names. Raises InvalidValue, StoreDamaged and OSError."""
    return parse_digest(read_plain_file(path).decode("ascii", "replace").removesuffix("\n"))


def stage_compiled(store: Store, batch: Batch, target: Target, manifest: Digest, compiled: Digest) -> None:
    """Let the store know what a manifest becomes. It must be published before the batch is committed."""
    batch.add(_path(store.root, target, "manifests", manifest), compiled.encode() + b"\n")


def iter_bytecode_rows(manifest: Manifest, target: Target) -> Iterator[int]:
    """Rows of bytecode for a target."""
    for directory, path in enumerate(manifest.directories):
        if path.rpartition("/")[2] == "__pycache__":
            yield from (row for row in manifest.files_in(directory) if _is_for(manifest.names[row], target))


def _is_for(name: str, target: Target) -> bool:
    """Whether a file's name says that it is bytecode for a target. Without optimisation no level is named."""
    return name.endswith(target.suffix)


def _path(root: str, target: Target, kind: str, digest: Digest) -> str:
    return f"{root}/bytecode/{target}/{kind}/{digest[:2]}/{digest[2:]}"


@contextlib.contextmanager
def compiling(store: Store, target: Target) -> Iterator[None]:
    """Hold the right to compile for a target: whoever waited finds what the one before has made."""
    path = store.path("bytecode", str(target))
    for made in (store.path("bytecode"), path):
        with contextlib.suppress(FileExistsError):
            os.mkdir(made, 0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
