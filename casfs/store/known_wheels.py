"""Wheels that a store knows already, found by digest, or by project and version."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from casfs.digest import Digest, parse_digest
from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.installations import Remembered, Wanted, recall
from casfs.store.manifests import Description, Manifest, own_manifest_path, read_manifest
from casfs.store.quarantine import read_wheel_record
from casfs.store.store import Store

_HEAD = 512
"""Bytes at the start of a manifest that hold the project's name, which comes first; only if it is there, the rest is read."""


@dataclass(frozen=True, slots=True)
class Found:
    """A wheel that a store knows: its manifest, what that says, and either what it holds or what installing it came to."""

    manifest: Digest
    about: Description
    content: Manifest | None
    remembered: Remembered | None


def find_known(store: Store, filename: str, digest: Digest, wanted: Wanted | None = None) -> Found | None:
    """What is known of a wheel that this store or a shared pool has; None too if it is known by a name that says something else.

    Nobody looks at its blobs: whoever finds one lost withdraws the wheel (see `quarantine`).

    Which Python a wheel is for is only said by its file name, so one that is named otherwise must be read as any other.
    """
    from casfs.wheels.filename import is_named_so

    for root in (store.root, *store.shared):
        try:
            manifest = read_wheel_record(f"{root}/wheels/{digest}")
            remembered = recall(store, manifest, wanted) if wanted else None
            content = None if remembered else read_manifest(store, manifest)
        except (FileNotFoundError, InvalidValue, StoreDamaged):
            continue
        about = remembered.about if remembered else content and content.description
        if about and is_named_so(filename, about.project, about.version, about.tags):
            return Found(manifest, about, content, remembered)
    return None


def iter_wheels(store: Store, project: str, version: str) -> Iterator[tuple[Digest, Digest, Manifest]]:
    """(wheel, manifest's digest, manifest) of each wheel of a project and version that this store or a shared pool lists."""
    for root in (store.root, *store.shared):
        for name in _names(f"{root}/wheels"):
            with contextlib.suppress(OSError, InvalidValue, StoreDamaged):  # what is damaged is fsck's business
                wheel = parse_digest(name)
                digest = read_wheel_record(f"{root}/wheels/{wheel}")
                if not _may_be_of(own_manifest_path(root, digest), project):
                    continue
                manifest = read_manifest(store, digest)
                if (manifest.description.project, manifest.description.version) == (project, version):
                    yield wheel, digest, manifest


def _may_be_of(path: str, project: str) -> bool:
    """Whether a manifest says early that it is of this project: a look at 1,000 manifests takes 30 ms, reading them whole a second."""
    with open(path, "rb") as file:
        return f'"project":"{project}",'.encode() in file.read(_HEAD)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []
