"""Places: where a host's environments appear, as mounts of the kernel's own on top of one FUSE mount.

A place is a path and the environment that it shows. It costs one mount and no process. A file in leases/ remembers it, so that a host that
has died with all its processes can be replaced and every place be made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from casfs.digest import digest_bytes
from casfs.errors import MountRefused
from casfs.mount import kernel
from casfs.mount.control import Request, ask_daemon, raise_problem
from casfs.mount.into import find_process, is_ours_in, mount_into, namespace_of, unmount_from
from casfs.mount.mounts import detach, find_mount, is_dead, is_ours, iter_mounts, prepare_mountpoint
from casfs.store.leases import Lease, iter_leases
from casfs.store.store import Store

_SUFFIX = ".place"
_PRIVATE = "/run/casfs"


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

    def locate(self) -> Place | None:
        """The same with a process that is in the namespace now; None if the namespace is gone."""
        pid = find_process(self.namespace, self.pid) if self.namespace else 0
        return None if pid is None else replace(self, pid=pid)


def here() -> str:
    """The mount namespace and the root directory of this process: elsewhere a path means something else."""
    root = os.stat("/")
    return f"{namespace_of(os.getpid())} {root.st_dev} {root.st_ino}"


@contextlib.contextmanager
def locked_places(store: Store) -> Iterator[None]:
    """Hold the right to start a host and to make or end places; others wait."""
    fd = os.open(store.path("leases"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def new_host_mountpoint(store: Store) -> str:
    """A private directory on which a host may be mounted; what dead hosts left there is cleared.

    It is below the store where /run can't be written, as in a user namespace.
    """
    name = secrets.token_hex(6)
    try:
        os.makedirs(_PRIVATE, mode=0o700, exist_ok=True)
        os.mkdir(f"{_PRIVATE}/{name}", 0o700)
    except OSError:
        return store.path("leases", f"{name}.mnt")
    for other in os.listdir(_PRIVATE):
        if is_dead(path := f"{_PRIVATE}/{other}"):
            with contextlib.suppress(OSError):
                detach(path)
                os.rmdir(path)
    return f"{_PRIVATE}/{name}"


def find_host(store: Store) -> Lease | None:
    """The lease of the store's host, if one lives."""
    return next((lease for lease in iter_leases(store) if not lease.environment), None)


def iter_places(store: Store) -> Iterator[Place]:
    """Every place that is remembered."""
    for name in sorted(os.listdir(store.path("leases"))):
        if name.endswith(_SUFFIX):
            with contextlib.suppress(OSError, ValueError, TypeError), open(store.path("leases", name), encoding="utf-8") as file:
                yield Place(**json.load(file))


def find_place(store: Store, path: str, namespace: int = 0) -> Place | None:
    """The place at a path."""
    return next((place for place in iter_places(store) if (place.path, place.namespace) == (path, namespace)), None)


def make_place(store: Store, host: Lease, place: Place) -> None:
    """Let the environment appear at the place, and remember it. Raises MountRefused."""
    request = Request("show", place.environment, place.uid, place.gid)
    reply = ask_daemon(store, host, request)
    raise_problem(host, reply)
    mount_fd = kernel.clone_mount(f"{host.mountpoint}/{reply.slot}")
    try:
        if place.namespace:
            mount_into(place.pid, place.path, mount_fd)
        else:
            prepare_mountpoint(place.path)
            kernel.attach_mount(mount_fd, place.path)
    finally:
        os.close(mount_fd)
    _remember(store, place)


def _remember(store: Store, place: Place) -> None:
    path = _record_path(store, place)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(asdict(replace(place, home=here())), file)
    os.rename(f"{path}.new", path)


def _record_path(store: Store, place: Place) -> str:
    name = f"{place.path}\0{place.namespace}" if place.namespace else place.path
    return store.path("leases", digest_bytes(os.fsencode(name))[:16] + _SUFFIX)


def forget_place(store: Store, place: Place) -> None:
    """Remember a place no longer."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_record_path(store, place))


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


def end_place_inside(store: Store, place: Place, *, is_lazy: bool) -> None:
    """Unmount a place in another mount namespace, if it is still there, and forget it. Raises MountRefused."""
    if (found := place.locate()) and is_ours_in(found.pid, place.path):
        unmount_from(found.pid, place.path, is_lazy=is_lazy or is_ours_in(found.pid, place.path, must_be_dead=True))
    forget_place(store, place)


def find_lost_places(store: Store, host_id: str) -> list[Place]:
    """The places of other hosts than this one that nobody serves any more, as far as we can look.

    Those that are no dead mounts are forgotten: somebody unmounted them, or the machine was started anew.
    """
    at_home = here()
    lost = []
    for place in [place for place in iter_places(store) if place.host != host_id]:
        if place.namespace or place.home in (at_home, ""):
            found = place.locate()
            if found is not None and _is_dead(found):
                lost.append(found)
            else:
                forget_place(store, place)
    return lost


def revive_places(store: Store, host: Lease) -> list[Place]:
    """Make the places of a host that is gone again, on this one. Answers those that could not be made, which are forgotten."""
    failed = []
    for place in find_lost_places(store, host.id):
        try:
            _detach(place)
            make_place(store, host, replace(place, host=host.id))
        except (MountRefused, OSError):
            forget_place(store, place)
            failed.append(place)
    return failed


def _is_dead(place: Place) -> bool:
    """Whether the place is a mount of ours that nobody serves."""
    if place.namespace:
        return is_ours_in(place.pid, place.path, must_be_dead=True)
    return is_dead(place.path) and is_ours(find_mount(place.path))


def _detach(place: Place) -> None:
    if place.namespace:
        unmount_from(place.pid, place.path, is_lazy=True)
    else:
        detach(place.path)
