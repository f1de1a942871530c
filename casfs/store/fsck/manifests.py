"""Checking manifests, and the records that say which manifest a wheel became."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from casfs.digest import Digest
from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.fsck.damage import DamageKind, Findings, reading_problem
from casfs.store.generations import Outline, outline_manifest
from casfs.store.manifests import Manifest, manifest_path, manifest_problems, read_manifest, read_own_manifest
from casfs.store.quarantine import read_wheel_record
from casfs.store.store import Store

_MAX_SIZE = (1 << 64) - 1
_MAX_REASONS = 5  # of one manifest: the sixth says nothing that the first five did not


@dataclass(frozen=True, slots=True)
class ManifestFacts:
    """What other parts of the store may say about a manifest: little enough to keep for all of them."""

    project: str
    version: str
    wheel: str
    size: int
    time: int
    outline: Outline


class ManifestTable:
    """Every manifest that was met, and what they promise about blobs.

    A promise is size (8 bytes) and XXH3-128 (16 bytes) under a digest of 32 bytes: about 220 bytes of memory a blob.
    """

    def __init__(self, store: Store, findings: Findings) -> None:
        self.store = store
        self.promises: dict[bytes, bytes] = {}
        self.disputed: set[bytes] = set()  # blobs about which two manifests promise different things
        self.mentioned: set[Digest] = set()  # manifests that a wheel or a generation mentions
        self._findings = findings
        self._facts: dict[Digest, ManifestFacts | None] = {}

    def read_all(self) -> None:
        """Meet every manifest of the store."""
        for entries in self._findings.iter_shards(self.store.path("manifests"), 62):
            for entry in entries:
                self.meet(Digest(entry.path[-65:-63] + entry.name))

    def meet(self, digest: Digest) -> ManifestFacts | None:
        """Facts about a manifest, None if it is damaged or missing; that is noted when it is met first."""
        if digest not in self._facts:
            manifest = self._read(digest)
            self._facts[digest] = None if manifest is None else _facts(manifest)
            if manifest is None:
                self._findings.lost.add(digest)
            else:
                self._note_promises(manifest)
        return self._facts[digest]

    def mention(self, digest: Digest) -> ManifestFacts | None:
        """The facts of a manifest that something refers to."""
        self.mentioned.add(digest)
        return self.meet(digest)

    def look(self, digest: Digest) -> ManifestFacts | None:
        """The facts of a manifest that may be gone without being missed: numbers outlive what they were given to."""
        is_there = digest in self._facts or os.path.lexists(manifest_path(self.store, digest))
        return self.meet(digest) if is_there else None

    def good(self) -> list[Digest]:
        """The manifests that can be believed."""
        return [digest for digest, facts in self._facts.items() if facts]

    def __len__(self) -> int:
        return len(self._facts)

    @property
    def orphans(self) -> int:
        """How many good manifests nothing refers to."""
        return len(set(self.good()) - self.mentioned)

    def _read(self, digest: Digest) -> Manifest | None:
        path = manifest_path(self.store, digest)
        try:
            if os.path.lexists(path):  # a shared pool may have a good one, but what is here must be good as well
                manifest = read_own_manifest(self.store.root, digest)
            else:
                manifest = read_manifest(self.store, digest)
        except FileNotFoundError:
            reasons: Iterable[str] = ["the manifest vanished while it was read"]
        except StoreDamaged as error:
            reasons = error.reasons
        except OSError as error:
            reasons = [f"can't be read: {error.strerror}"]
        else:
            reasons = manifest_problems(manifest)
            if not reasons:
                return manifest
        self._findings.add(_damage_kind(path), path, "; ".join([*reasons][:_MAX_REASONS]), manifests=[digest])
        return None

    def _note_promises(self, manifest: Manifest) -> None:
        for key, promise in iter_promises(manifest):
            if self.promises.setdefault(key, promise) != promise:
                self.disputed.add(key)


def iter_promises(manifest: Manifest) -> Iterator[tuple[bytes, bytes]]:
    """For each row: the digest, and what the manifest promises about the blob."""
    digests, checksums = bytes.fromhex(manifest.digests), bytes.fromhex(manifest.checksums)
    for row, size in enumerate(manifest.sizes):
        yield digests[32 * row : 32 * row + 32], format_promise(size, checksums[16 * row : 16 * row + 16])


def format_promise(size: int, checksum: bytes) -> bytes:
    """Size and XXH3-128 as one value."""
    return min(size, _MAX_SIZE).to_bytes(8, "big") + checksum


def _facts(manifest: Manifest) -> ManifestFacts:
    about = manifest.description
    return ManifestFacts(about.project, about.version, about.wheel, manifest.total_size, manifest.time, outline_manifest(manifest))


def _damage_kind(path: str) -> DamageKind:
    return DamageKind.MANIFEST if os.path.lexists(path) else DamageKind.MISSING_MANIFEST


def check_wheels(store: Store, findings: Findings, table: ManifestTable) -> int:
    """Check every record of a wheel; how many there are."""
    entries = findings.entries(store.path("wheels"))
    for entry in entries:
        if not re.fullmatch(r"[0-9a-f]{64}", entry.name):
            findings.add_stranger(entry)
        elif reason := _wheel_problem(entry.path, entry.name, table):
            findings.add(DamageKind.WHEEL, entry.path, reason)
    return len(entries)


def _wheel_problem(path: str, wheel: str, table: ManifestTable) -> str | None:
    try:
        manifest = read_wheel_record(path)
    except FileNotFoundError:
        return None
    except (InvalidValue, StoreDamaged, OSError) as error:
        return reading_problem(error)
    facts = table.mention(manifest)
    if facts and facts.wheel != wheel:
        return f"names the manifest of another wheel: {facts.project} {facts.version}, {facts.wheel or 'made by casfs'}"
    return None
