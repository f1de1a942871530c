"""Mounts: where a host's environments appear, as mounts of the kernel's own on top of one FUSE mount.

A mount is a path and the environment that it shows. It costs one mount and no process. A file in run/ remembers it, so that a host that
has died with all its processes can be replaced and every mount be made again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from casfs.digest import digest_bytes
from casfs.mounts.other_namespace import find_process, is_ours_in, namespace_of
from casfs.overlay.kernel import mount_identity
from casfs.overlay.mountinfo import is_ours, iter_mounts
from casfs.store.leases import Lease, iter_leases, iter_private_leases
from casfs.store.locking import holding
from casfs.store.migration import MOUNT_SUFFIX, RUN
from casfs.store.runtime_files import read_fields, write_record
from casfs.store.store import Store

KERNEL, PLAIN = "kernel", "fuse"
"""Data paths: the kernel reads the blobs, or our file system does."""


@dataclass(frozen=True, slots=True)
class MountRecord:
    """A path that shows an environment."""

    path: str
    environment: str
    uid: int
    gid: int
    host: str  # id of the host's lease
    started: str  # ISO 8601, UTC
    namespace: int = 0  # mount namespace in which the path is; 0 is our own
    pid: int = 0  # a process that is there
    home: str = ""  # where whoever made it saw the path (see `here`)
    overlay: str = ""  # id of the overlay that it shows; empty: it shows our own file system, read-only
    data_path: str = ""  # what was asked for: KERNEL, PLAIN, or what the kernel allows
    is_read_only: bool = False  # was asked for
    why: str = ""  # why it is not the kernel's data path
    mount: str = ""  # which mount it is (see `identify`)

    def locate(self) -> MountRecord | None:
        """The record with a process that is in the namespace now; None if the namespace is gone."""
        pid = find_process(self.namespace, self.pid) if self.namespace else 0
        return None if pid is None else replace(self, pid=pid)


def here() -> str:
    """The mount namespace and the root directory of this process: elsewhere a path means something else."""
    root = os.stat("/")
    return f"{namespace_of(os.getpid())} {root.st_dev} {root.st_ino}"


def identify(path: str) -> str:
    """What tells the mount at `path` from every other one; it stays when a directory above is renamed. Empty if nothing does."""
    if not (identity := mount_identity(path)):
        return ""
    return f"{identity} {_start_of_machine()}"


@functools.cache
def _start_of_machine() -> str:
    """Identities of mounts begin anew with each start of the machine (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def locked_mounts(store: Store) -> contextlib.AbstractContextManager[None]:
    """Hold the right to start a host and to make or end mounts; others wait."""
    return holding(store.path("locks", "mounts" if store.run == RUN else "places"))  # as commands of the version before do


def find_host(store: Store) -> Lease | None:
    """The lease of the store's host, if one lives."""
    return next((lease for lease in iter_leases(store) if not lease.environment), None)


def iter_mount_records(store: Store) -> Iterator[MountRecord]:
    """Every mount that is remembered."""
    for name in sorted(os.listdir(store.run_path())):
        if name.endswith(MOUNT_SUFFIX[store.run]) and (record := _read(store.run_path(name))) is not None:
            yield record


def find_mount_record(store: Store, path: str, namespace: int = 0) -> MountRecord | None:
    """The place at a path."""
    return _read(_record_path(store, path, namespace))


def _read(path: str) -> MountRecord | None:
    """What a record says; None if it says nothing that can be used."""
    try:
        with open(path, encoding="utf-8") as file:
            record = read_fields(MountRecord, json.load(file))
        int((record.home or "0").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return record if record.environment and os.path.isabs(record.path) else None


def write_mount_record(store: Store, record: MountRecord) -> None:
    """Remember a mount as it is now."""
    mount = "" if record.namespace else identify(record.path)
    write_record(_record_path(store, record.path, record.namespace), asdict(replace(record, home=here(), mount=mount)))


def _record_path(store: Store, path: str, namespace: int) -> str:
    name = f"{path}\0{namespace}" if namespace else path
    return store.run_path(digest_bytes(os.fsencode(name))[:16] + MOUNT_SUFFIX[store.run])


def forget_mount(store: Store, record: MountRecord) -> None:
    """Remember a mount no longer."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_record_path(store, record.path, record.namespace))


def follow_mounts(store: Store) -> None:
    """Remember mounts by the paths that they have now: somebody may have renamed a directory above one (rename(2) moves the mount along).

    Two may have changed places. The mounts need not be locked.
    """
    if not any(_iter_doubtful(store)):
        return
    with locked_mounts(store):
        doubtful = {record.mount: record for record in _iter_doubtful(store)}
        found = {identify(path): path for path in {mount.path for mount in iter_mounts() if is_ours(mount)}}
        moved = {found[mount]: record for mount, record in doubtful.items() if mount in found}
        for path, record in moved.items():
            write_mount_record(store, replace(record, path=path))
        for record in moved.values():
            if record.path not in moved:
                forget_mount(store, record)


def _iter_doubtful(store: Store) -> Iterator[MountRecord]:
    """The records at whose path is not the mount that was made there. If it is ours, a command may have been killed in a change."""
    at_home = here()
    for record in iter_mount_records(store):
        if record.mount and not record.namespace and record.home == at_home and identify(record.path) != record.mount:
            yield record


def forget_gone_mounts(store: Store) -> None:
    """Forget mounts that somebody unmounted by other means, and those in mount namespaces that are gone."""
    for record in list(iter_gone_mounts(store)):
        forget_mount(store, record)


def iter_gone_mounts(store: Store) -> Iterator[MountRecord]:
    """The records of mounts that are gone. Of one that was made where we can't look nothing is known, unless that is gone."""
    at_home = here()
    mounted = {mount.path for mount in iter_mounts() if is_ours(mount)}
    for record in list(iter_mount_records(store)):
        if record.namespace:
            is_gone = not ((found := record.locate()) and is_ours_in(found.pid, record.path))
        elif record.home == at_home:
            is_gone = record.path not in mounted
        else:
            is_gone = record.home != "" and find_process(int(record.home.split()[0]), 0) is None
        if is_gone:
            yield record


def iter_shown(store: Store) -> Iterator[tuple[str, str]]:
    """(environment, where) of everything that shows one: mounts here and in other mount namespaces, and commands under `casfs run`."""
    gone = set(iter_gone_mounts(store))
    for record in iter_mount_records(store):
        if record not in gone:
            yield record.environment, f"{record.path} (in process {record.pid})" if record.namespace else record.path
    for lease in iter_leases(store):
        if lease.environment:
            yield lease.environment, lease.mountpoint
    for lease in iter_private_leases(store):
        yield lease.environment, f"casfs run (process {lease.pid})"
