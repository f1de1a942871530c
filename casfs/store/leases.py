"""Leases: what keeps things alive while its holder lives.

A mount holds a lease: a file in run/ that says what is mounted where and that its daemon keeps locked. The lock ends with the process,
however it ends, so a lease whose lock can be had is a dead one's. Beside it lie the daemon's control socket, its log and its tables.

What a dead one showed can be shown again, so its lease stays until it is removed; of its log the store keeps the last one.

The run directory (run/), whose files matter only as long as the mounts and processes of which they tell:

    <id>.json              a lease: what is mounted where, and by which process, which has it locked
    <id>.withdrawn         a lease whose mount has ended, while somebody uses it still
    <id>.sock              the daemon's control socket (see `casfs.daemon.control`)
    <id>.commands          the socket of the process that runs commands (see `casfs.cli.server`)
    <id>.slots             a host's table: which directory of its root shows which environment (see `casfs.fuse.host`)
    <id>.shown             which generation of each environment the kernel has been told of
    <id>.log, <id>.log.1   what the daemon had to say
    <id>.mnt               a directory on which a host is mounted, or another hidden mount, where /run can't be used
    dead.log               the log of the last daemon that died
    <path>.mount           a path that shows an environment (see `casfs.mounts.mountpoints`)
    overlay-<environment>  the overlay of an environment that is mounted (see `casfs.mounts.environment_overlays`)
    anchor-<token>         where a hidden mount is attached: an overlay, or an image (see `casfs.overlay.hidden_mounts`)
    change-<id>            a change that is under way, which its process has locked (see `pending_changes`)

A private mount, of `casfs run`, has more beside its lease: a mountpoint, and an environment if one was made for it alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from casfs.store.environments import Environment
from casfs.store.migration import MOUNT_SUFFIX
from casfs.store.publish import naming, write_all
from casfs.store.runtime_files import is_locked, read_fields
from casfs.store.store import Store, open_new_lease
from casfs.store.uppers import remove_tree

DEAD_LOG = "dead.log"
"""In run/: what the last daemon that died had written into its log, and when its death was noticed."""

_BESIDE = (".sock", ".commands", ".slots", ".shown", ".log", ".log.1", ".json", ".withdrawn")
_LEASE_FILE = re.compile(r"([0-9a-f]{12})\..*(?<!\.mnt)")


@dataclass(frozen=True, slots=True)
class Lease:
    """What a mount says of itself."""

    id: str
    pid: int
    environment: str
    mountpoint: str
    started: str  # ISO 8601, UTC
    generation: int = 0  # of a private mount, which shows it for ever, in a namespace of its own; else 0


class HeldLease:
    """A lease of this process and of those that inherit its descriptor. It ends with `end`, or with the last of them."""

    def __init__(self, store: Store, lease: Lease, fd: int) -> None:
        """`fd` is the descriptor that holds the lock."""
        self.lease = lease
        self.fd = fd
        self._store = store

    def withdraw(self) -> None:
        """Let nobody find the lease any more; what belongs to it stays until `end`."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(lease_path(self._store, self.lease.id), _withdrawn_path(self._store, self.lease.id))

    def end(self) -> None:
        """Give the lease up; what belongs to it goes with it."""
        _remove(self._store, self.lease.id)
        os.close(self.fd)


def take_lease(store: Store, lease: Lease) -> HeldLease:
    """Write a lease and lock it."""
    path = lease_path(store, lease.id)
    fd = open_new_lease(store, f"{path}.new")
    try:
        # what an earlier version does not know, it need not read
        said = {name: value for name, value in asdict(lease).items() if name != "generation" or value}
        with naming(path):
            write_all(fd, json.dumps(said).encode())
        os.rename(f"{path}.new", path)
    except BaseException:
        os.unlink(f"{path}.new")
        os.close(fd)
        raise
    return HeldLease(store, lease, fd)


def inherit_lease(store: Store, fd: int) -> HeldLease:
    """The lease that a process before this one took, by the descriptor that holds its lock."""
    return HeldLease(store, _parse(os.pread(fd, 1 << 16, 0)), fd)


def _parse(text: bytes) -> Lease:
    """What a lease's file says. Raises ValueError."""
    lease = read_fields(Lease, json.loads(text))
    if not lease.pid:
        raise ValueError("names no process")
    return lease


def new_lease(environment: str, mountpoint: str, started: str) -> Lease:
    """A lease for this process."""
    return Lease(new_lease_id(), os.getpid(), environment, mountpoint, started)


def new_lease_id() -> str:
    """A lease's name, which no other has."""
    return os.urandom(6).hex()


def has_mount_records(store: Store) -> bool:
    """Whether the kernel shows something of the store, as far as is remembered (see `casfs.mounts.mountpoints`)."""
    return any(name.endswith(MOUNT_SUFFIX[store.run]) for name in os.listdir(store.run_path()))


def lease_path(store: Store, lease_id: str) -> str:
    """File of a lease."""
    return store.run_path(f"{lease_id}.json")


def _withdrawn_path(store: Store, lease_id: str) -> str:
    return store.run_path(f"{lease_id}.withdrawn")


def iter_leases(store: Store) -> Iterator[Lease]:
    """The leases whose holders live, but for those of private mounts: nobody can reach these from outside, or change what they show."""
    return (lease for lease in _iter_held(store) if not lease.generation)


def iter_private_leases(store: Store) -> Iterator[Lease]:
    """The leases of private mounts whose holders live."""
    return (lease for lease in _iter_held(store) if lease.generation)


def _iter_held(store: Store) -> Iterator[Lease]:
    return _iter_held_at(lease_path(store, lease_id) for lease_id in _iter_ids(store))


def iter_withdrawn_leases(store: Store) -> Iterator[Lease]:
    """The leases that were withdrawn, and whose holders serve those who use their mounts still."""
    return _iter_held_at(_withdrawn_path(store, lease_id) for lease_id in _iter_ids(store, ".withdrawn"))


def _iter_held_at(paths: Iterable[str]) -> Iterator[Lease]:
    for path in paths:
        if (content := _read(path)) and content.is_held:
            with contextlib.suppress(ValueError):  # it is not what a daemon wrote
                yield _parse(content.text)


def is_lease_held(store: Store, lease: Lease) -> bool:
    """Whether its holder, or one of those that inherited it, lives."""
    return (content := _read(lease_path(store, lease.id))) is not None and content.is_held


def iter_dead_leases(store: Store) -> Iterator[Lease]:
    """The leases, but for those of private mounts, whose holders died without giving them up. One that is not whole is removed."""
    return (lease for lease in _iter_dead(store) if not lease.generation)


def iter_dead_private_leases(store: Store) -> Iterator[Lease]:
    """The leases of private mounts whose holders died without giving them up."""
    return (lease for lease in _iter_dead(store) if lease.generation)


def _iter_dead(store: Store) -> Iterator[Lease]:
    for lease_id in _iter_ids(store):
        if (content := _read(lease_path(store, lease_id))) and not content.is_held:
            try:
                yield _parse(content.text)
            except ValueError:
                _remove(store, lease_id)


def remove_dead_lease(store: Store, lease: Lease, last_log_line: str) -> None:
    """Remove a dead one's lease with all that belongs to it. The store keeps its log, with this last line and its time."""
    keep_log(store, lease, last_log_line)
    _remove(store, lease.id)


def forget_lease(store: Store, lease: Lease) -> None:
    """Remove a lease that nobody holds any more, with all that belongs to it."""
    _remove(store, lease.id)


def keep_log(store: Store, lease: Lease, last_log_line: str) -> None:
    """Let the log of a lease outlive it, in place of the one that was kept before."""
    path = store.run_path(DEAD_LOG)
    with contextlib.suppress(OSError):
        os.unlink(path)
    with contextlib.suppress(OSError):
        os.rename(store.run_path(f"{lease.id}.log"), path)
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {last_log_line}\n")


def sweep_leases(store: Store) -> None:
    """Remove files of leases that were withdrawn, and whose holders died before they could."""
    for lease_id in {match[1] for name in os.listdir(store.run_path()) if (match := _LEASE_FILE.fullmatch(name))}:
        # in the order in which a lease changes its name, so that a living one is seen
        contents = [_read(path) for path in _names(store, lease_id)]
        if not any(contents[:2]) and not (contents[2] and contents[2].is_held):
            _remove(store, lease_id)


def _names(store: Store, lease_id: str) -> tuple[str, str, str]:
    path = lease_path(store, lease_id)
    return f"{path}.new", path, _withdrawn_path(store, lease_id)


def _iter_ids(store: Store, suffix: str = ".json") -> Iterator[str]:
    for name in sorted(os.listdir(store.run_path())):
        if name.endswith(suffix):
            yield name.removesuffix(suffix)


@dataclass(frozen=True, slots=True)
class _Content:
    text: bytes
    is_held: bool


def _read(path: str) -> _Content | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        is_held = is_locked(fd)
        return _Content(file.read(), is_held)


def _remove(store: Store, lease_id: str) -> None:
    for suffix in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.run_path(lease_id + suffix))


_FIRST = 1  # number of an environment's first generation


def private_lease(lease_id: str, directory: str, started: str, environment: str = "", generation: int = _FIRST) -> Lease:
    """A lease for a private mount that this process makes; without an environment's name it is for one that is yet to be made for it."""
    return Lease(lease_id, os.getpid(), environment or own_environment(lease_id), directory, started, generation)


def own_environment(lease_id: str) -> str:
    """Name of an environment that goes with a lease."""
    return f"run-{lease_id}"


def clear_private_mount(store: Store, lease: Lease) -> None:
    """Remove what a private mount leaves when it has ended."""
    with contextlib.suppress(OSError):
        os.rmdir(lease.mountpoint)
    if lease.environment == own_environment(lease.id):
        doomed = store.path("tmp", lease.environment)
        with contextlib.suppress(OSError):  # it is not there, or somebody else removes it
            os.rename(Environment(store, lease.environment).directory, doomed)
            remove_tree(doomed)


def sweep_private_mounts(store: Store) -> None:
    """Clear away private mounts of which every process was killed."""
    for lease in iter_dead_private_leases(store):
        clear_private_mount(store, lease)
        forget_lease(store, lease)
