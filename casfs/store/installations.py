"""Remembered: what installing a wheel came to, so that doing it again reads no manifest and formats no RECORD.

    stamps/<digest of a manifest>.installed    checksum (XXH3-128), line feed, JSON (`Remembered`)

The manifest is that of the wheel's files with their bytecode. All of it is derived from what is published, and may be deleted. It holds as
long as the manifests that it names are there with their blobs: `collect` removes it before it removes one of them, and whoever finds a blob
lost removes all of these (see `quarantine`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from casfs.digest import Digest
from casfs.store.bytecode import Target, recall_compiled
from casfs.store.derived import read_derived, write_derived
from casfs.store.generations import Layer, dump_layer, load_layer
from casfs.store.manifests import Description, has_manifest
from casfs.store.store import Store

INSTALLED_SUFFIX = ".installed"
"""What follows a manifest's digest in the name of the file that says what installing it came to."""

_MOST = 8
"""Installations of one manifest that are remembered: for so many origins."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which bytecode is wanted of what is remembered: that for a target if it is known, or nothing else."""

    target: Target
    is_needed: bool


@dataclass(frozen=True, slots=True)
class Remembered:
    """What installing a wheel came to."""

    manifest: Digest  # of the wheel as it is
    number: int
    about: Description
    count: int  # files of the wheel
    size: int
    files: Layer  # with bytecode, if they have any
    installations: Mapping[str, Layer]  # what installing added, by a key that says all on which it depends

    @property
    def manifests(self) -> list[Digest]:
        """Every manifest that must be there, with its blobs."""
        return [self.manifest, self.files.manifest, *(layer.manifest for layer in self.installations.values())]


def recall(store: Store, manifest: Digest, wanted: Wanted) -> Remembered | None:
    """What installing a wheel of this manifest came to, with the bytecode that is wanted."""
    compiled = recall_compiled(store, wanted.target, manifest)
    if compiled is None and wanted.is_needed:
        return None
    found = read_remembered(path_of(store, compiled or manifest))
    return found if found and found.manifest == manifest and has_manifest(store, found.files.manifest) else None


def find_installation(store: Store, found: Remembered, key: str) -> Layer | None:
    """What installing adds, if it was made before and is there."""
    layer = found.installations.get(key)
    return layer if layer and has_manifest(store, layer.manifest) else None


def remember(store: Store, made: Remembered) -> None:
    """Keep what installing came to, beside what is remembered of other installations. Never fails: it only saves time."""
    path = path_of(store, made.files.manifest)
    before = read_remembered(path)
    others = before.installations if before and (before.manifest, before.files) == (made.manifest, made.files) else {}
    kept = [*({**others, **made.installations}).items()][-_MOST:]
    about = made.about
    data = {
        "manifest": made.manifest,
        "number": made.number,
        "about": {name: getattr(about, name) for name in about.__slots__},
        "count": made.count,
        "size": made.size,
        "files": dump_layer(made.files),
        "installations": {key: dump_layer(layer) for key, layer in kept},
    }
    write_derived(path, json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def read_remembered(path: str) -> Remembered | None:
    """What a file says; None if it is not there, or is of no use."""
    if (body := read_derived(path)) is not None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return _parse(json.loads(body))
    return None


def _parse(data: dict[str, Any]) -> Remembered:
    about: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data["about"].items()}
    about["entry_points"] = tuple(map(tuple, about["entry_points"]))
    installations = {key: load_layer(layer) for key, layer in data["installations"].items()}
    return Remembered(
        data["manifest"], data["number"], Description(**about), data["count"], data["size"], load_layer(data["files"]), installations
    )


def path_of(store: Store, manifest: Digest) -> str:
    """Where it is said what installing a manifest came to."""
    return store.path("stamps", f"{manifest}{INSTALLED_SUFFIX}")


def forget_all(store: Store) -> None:
    """Forget all that was derived and leads to blobs."""
    with os.scandir(store.path("stamps")) as entries:
        paths = [entry.path for entry in entries if INSTALLED_SUFFIX in entry.name]
    with os.scandir(store.path("environments")) as entries:
        paths += [f"{entry.path}/synced" for entry in entries]
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
