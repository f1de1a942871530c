"""Rebuilt: what was built anew of what it was built of before. Wheels of equal files differ by the times that they say of these."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from casfs.errors import StoreDamaged
from casfs.store.generations import Distribution
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.store import Store
from casfs.venv.bytecode_names import is_bytecode


def as_before(store: Store, present: Distribution | None, built: Distribution) -> Distribution:
    """What is present, if what was built came from the same place and has the same files; else what was built."""
    if present is None or _facts(present) != _facts(built):
        return built
    with contextlib.suppress(StoreDamaged):  # then what was built mends it
        if _files(read_manifest(store, present.files.manifest)) == _files(read_manifest(store, built.files.manifest)):
            return present
    return built


def _facts(distribution: Distribution) -> object:
    return distribution.version, distribution.origin, distribution.requested, distribution.installation.manifest


def _files(manifest: Manifest) -> object:
    """What a manifest brings, in whatever wheel and whenever. Bytecode says when its source entered: that it is there must do."""
    files = {(file.path, "" if is_bytecode(file.path) else file.digest, file.kind) for file in manifest.iter_files()}
    return replace(manifest.description, wheel=""), manifest.directories, files
