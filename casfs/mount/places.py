"""Places: where a host's environments appear, as mounts of the kernel's own on top of one FUSE mount.

A place is a path and the environment that it shows. It costs one mount and no process. A file in leases/ remembers it, so that a host that
has died with all its processes can be replaced and every place be made again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from casfs.digest import digest_bytes
from casfs.mount.into import find_process, is_ours_in, namespace_of
from casfs.mount.kernel import mount_identity
from casfs.mount.mounts import is_ours, iter_mounts
from casfs.store.fields import read_fields
from casfs.store.leases import Lease, iter_leases, iter_private_leases
from casfs.store.locking import holding
from casfs.store.records import write_record
from casfs.store.store import Store

_SUFFIX = ".place"

KERNEL, PLAIN = "kernel", "fuse"
"""Data paths: the kernel reads the blobs, or our file system does."""


@dataclass(frozen=True, slots=True)
class Place:
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

    def locate(self) -> Place | None:
        """The same with a process that is in the namespace now; None if the namespace is gone."""
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


def locked_places(store: Store) -> contextlib.AbstractContextManager[None]:
    """Hold the right to start a host and to make or end places; others wait."""
    return holding(store.path("locks", "places"))


def find_host(store: Store) -> Lease | None:
    """The lease of the store's host, if one lives."""
    return next((lease for lease in iter_leases(store) if not lease.environment), None)


def iter_places(store: Store) -> Iterator[Place]:
    """Every place that is remembered."""
    for name in sorted(os.listdir(store.path("leases"))):
        if name.endswith(_SUFFIX) and (place := _read(store.path("leases", name))) is not None:
            yield place


def find_place(store: Store, path: str, namespace: int = 0) -> Place | None:
    """The place at a path."""
    return _read(_record_path(store, path, namespace))


def _read(path: str) -> Place | None:
    """What a record says; None if it says nothing that can be used."""
    try:
        with open(path, encoding="utf-8") as file:
            place = read_fields(Place, json.load(file))
        int((place.home or "0").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return place if place.environment and os.path.isabs(place.path) else None


def remember_place(store: Store, place: Place) -> None:
    """Remember a place as it is now."""
    mount = "" if place.namespace else identify(place.path)
    write_record(_record_path(store, place.path, place.namespace), asdict(replace(place, home=here(), mount=mount)))


def _record_path(store: Store, path: str, namespace: int) -> str:
    name = f"{path}\0{namespace}" if namespace else path
    return store.path("leases", digest_bytes(os.fsencode(name))[:16] + _SUFFIX)


def forget_place(store: Store, place: Place) -> None:
    """Remember a place no longer."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_record_path(store, place.path, place.namespace))


def follow_places(store: Store) -> None:
    """Remember places by the paths that they have now: somebody may have renamed a directory above one (rename(2) moves the mount along).

    Two may have changed places. The places need not be locked.
    """
    if not any(_iter_doubtful(store)):
        return
    with locked_places(store):
        doubtful = {place.mount: place for place in _iter_doubtful(store)}
        found = {identify(path): path for path in {mount.path for mount in iter_mounts() if is_ours(mount)}}
        moved = {found[mount]: place for mount, place in doubtful.items() if mount in found}
        for path, place in moved.items():
            remember_place(store, replace(place, path=path))
        for place in moved.values():
            if place.path not in moved:
                forget_place(store, place)


def _iter_doubtful(store: Store) -> Iterator[Place]:
    """The places at whose path is not the mount that was made there. If it is ours, a command may have been killed in a change."""
    at_home = here()
    for place in iter_places(store):
        if place.mount and not place.namespace and place.home == at_home and identify(place.path) != place.mount:
            yield place


def forget_gone_places(store: Store) -> None:
    """Forget places that somebody unmounted by other means, and those in mount namespaces that are gone."""
    for place in list(iter_gone_places(store)):
        forget_place(store, place)


def iter_gone_places(store: Store) -> Iterator[Place]:
    """The places that are no mounts any more. Of one that was made where we can't look nothing is known, unless that is gone."""
    at_home = here()
    mounted = {mount.path for mount in iter_mounts() if is_ours(mount)}
    for place in list(iter_places(store)):
        if place.namespace:
            is_gone = not ((found := place.locate()) and is_ours_in(found.pid, place.path))
        elif place.home == at_home:
            is_gone = place.path not in mounted
        else:
            is_gone = place.home != "" and find_process(int(place.home.split()[0]), 0) is None
        if is_gone:
            yield place


def iter_shown(store: Store) -> Iterator[tuple[str, str]]:
    """(environment, where) of everything that shows one: mounts here and in other mount namespaces, and commands under `casfs run`."""
    gone = set(iter_gone_places(store))
    for place in iter_places(store):
        if place not in gone:
            yield place.environment, f"{place.path} (in process {place.pid})" if place.namespace else place.path
    for lease in iter_leases(store):
        if lease.environment:
            yield lease.environment, lease.mountpoint
    for lease in iter_private_leases(store):
        yield lease.environment, f"casfs run (process {lease.pid})"
