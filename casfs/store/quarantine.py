"""Quarantine: what was found damaged is set aside, so that adding the same wheels again restores it. Nothing of it is ever deleted."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass

from casfs.digest import Digest, checksum_bytes, parse_digest, shard_path
from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.blob_stamps import hash_blob
from casfs.store.bytecode import iter_compiled_records, read_compiled_record
from casfs.store.installations import forget_all
from casfs.store.manifests import read_own_manifest
from casfs.store.regular_file import read_plain_file
from casfs.store.store import Store


def set_aside(store: Store, path: str) -> str:
    """Move something to quarantine/, under its own path there. The path that it has now, below the store."""
    inside = f"quarantine/{os.path.relpath(path, store.root)}"
    names = itertools.chain([inside], (f"{inside}.{count}" for count in itertools.count(2)))
    target = next(name for name in names if not os.path.lexists(store.path(name)))
    with contextlib.suppress(FileExistsError):
        os.mkdir(store.path("quarantine"), 0o700)
    os.makedirs(os.path.dirname(store.path(target)), exist_ok=True)
    os.rename(path, store.path(target))
    return target


def set_aside_blob(store: Store, path: str) -> str | None:
    """Set a damaged blob aside; where it is then, below the store. None if it is good after all, gone, or kept from us.

    It is read once more: another process may have restored it.
    """
    try:
        if hash_blob(path, parse_digest(path[-65:-63] + path[-62:])) is not None:
            return None
    except (FileNotFoundError, PermissionError):
        return None
    except OSError:
        pass  # it can't be read, or is not a regular file
    return set_aside(store, path) if os.path.lexists(path) else None


def withdraw_wheels(store: Store, path: str) -> list[str]:
    """Set aside the records of the wheels that need a blob, and answer their paths: a wheel that is known is not unpacked again."""
    digest = path[-65:-63] + path[-62:]
    return withdraw_wheels_of(store, lambda manifest: _needs(store, manifest, digest))


def withdraw_wheels_of(store: Store, has_lost: Callable[[Digest], bool]) -> list[str]:
    """Withdraw the wheels whose manifests have lost something. What was derived is forgotten: nobody looks whether it still holds."""
    withdrawn = []
    for name in sorted(os.listdir(store.path("wheels"))):
        path = store.path("wheels", name)
        with contextlib.suppress(InvalidValue, StoreDamaged, OSError):  # a record that can't be read is a damage of its own
            if has_lost(read_wheel_record(path)):
                set_aside(store, path)
                withdrawn.append(path)
    for path in iter_compiled_records(store):
        with contextlib.suppress(InvalidValue, StoreDamaged, OSError):
            if has_lost(read_compiled_record(path)):
                os.unlink(path)
    forget_all(store)
    return withdrawn


def note_failed_read(store: Store, error: StoreDamaged) -> bool:
    """Of a blob that could not be read: set it aside, or note that it is gone, and withdraw the wheels that need it.

    Answers whether that is news. Another process may have restored it, and who may only read the store changes nothing.
    """
    path = error.subject
    with contextlib.suppress(OSError, InvalidValue):
        parse_digest(path[-65:-63] + path[-62:])
        if os.path.dirname(os.path.dirname(path)) != store.pool.directory:
            return False
        is_news = set_aside_blob(store, path) is not None if os.path.lexists(path) else note_missing_blob(store, path)
        if is_news:
            withdraw_wheels(store, path)
        return is_news
    return False


def read_wheel_record(path: str) -> Digest:
    """The manifest that a record of a wheel names. Raises InvalidValue, StoreDamaged and OSError."""
    return parse_digest(read_plain_file(path).decode("ascii", "replace").removesuffix("\n"))


def _needs(store: Store, manifest: Digest, blob: str) -> bool:
    content = read_own_manifest(store.root, manifest)
    at = content.digests.find(blob)
    while at > 0 and at % len(blob):
        at = content.digests.find(blob, at + 1)
    return at >= 0


@dataclass(frozen=True, slots=True)
class Losses:
    """The blobs of a store, and of the shared ones behind it, that were damaged or missing."""

    lost: frozenset[Digest]  # those that no pool has again
    count: int  # how many there ever were

    @property
    def state(self) -> str:
        """Differs when one is lost or comes back: whoever has files open from before may have a damaged one. Empty: there were none."""
        return f"{self.count} {checksum_bytes(''.join(sorted(self.lost)).encode())}" if self.count else ""


def read_losses(store: Store) -> Losses:
    """What was set aside, as far as it may be looked at; mostly there is no such directory."""
    names: list[str] = []
    for root in (store.root, *store.shared):
        with contextlib.suppress(OSError):
            for shard in os.listdir(directory := f"{root}/quarantine/blobs"):
                with contextlib.suppress(OSError):
                    names += [shard + name.partition(".")[0] for name in os.listdir(f"{directory}/{shard}")]
    lost = set()
    for digest in set(names):
        with contextlib.suppress(InvalidValue):
            if not any(os.path.lexists(f"{pool}/{shard_path(digest)}") for pool in store.pool.directories):
                lost.add(parse_digest(digest))
    return Losses(frozenset(lost), len(names))


def lost_paths(store: Store) -> list[str]:
    """Where the blobs are missing that were damaged and set aside, or found missing, and that no pool has again."""
    return [store.pool.path(digest) for digest in sorted(read_losses(store).lost)]


def note_missing_blob(store: Store, path: str) -> bool:
    """Note that a blob is gone by an empty file in the place of what would have been set aside. Answers whether that is news."""
    noted = store.path("quarantine", os.path.relpath(path, store.root))
    os.makedirs(os.path.dirname(noted), mode=0o700, exist_ok=True)
    try:
        os.close(os.open(noted, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError:
        return False
    return True
