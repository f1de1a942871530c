"""Leases: what keeps things alive while its holder lives.

A mount holds a lease: a file in leases/ that says what is mounted where and that its daemon keeps locked. The lock ends with the process,
however it ends, so a lease whose lock can be had is a dead one's. Beside it lies the daemon's control socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from casfs.store.store import Store


@dataclass(frozen=True, slots=True)
class Lease:
    """What a mount says of itself."""

    id: str
    pid: int
    environment: str
    mountpoint: str
    started: str  # ISO 8601, UTC


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
            os.unlink(lease_path(self._store, self.lease.id))

    def end(self) -> None:
        """Give the lease up; what belongs to it goes with it."""
        _remove(self._store, self.lease.id)
        os.close(self.fd)


def take_lease(store: Store, lease: Lease) -> HeldLease:
    """Write a lease and lock it."""
    path = lease_path(store, lease.id)
    fd = os.open(f"{path}.new", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, json.dumps(asdict(lease)).encode())
    os.rename(f"{path}.new", path)
    return HeldLease(store, lease, fd)


def inherit_lease(store: Store, fd: int) -> HeldLease:
    """The lease that a process before this one took, by the descriptor that holds its lock."""
    return HeldLease(store, Lease(**json.loads(os.pread(fd, 1 << 16, 0))), fd)


def new_lease(environment: str, mountpoint: str, started: str) -> Lease:
    """A lease for this process."""
    return Lease(secrets.token_hex(6), os.getpid(), environment, mountpoint, started)


def lease_path(store: Store, lease_id: str) -> str:
    """File of a lease."""
    return store.path("leases", f"{lease_id}.json")


def iter_leases(store: Store) -> Iterator[Lease]:
    """The leases whose holders live. Those of the dead are removed, with what belongs to them."""
    for name in sorted(os.listdir(store.path("leases"))):
        if name.endswith(".json"):
            lease = _read_live(store, name.removesuffix(".json"))
            if lease is not None:
                yield lease


def _read_live(store: Store, lease_id: str) -> Lease | None:
    try:
        fd = os.open(lease_path(store, lease_id), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Lease(**json.load(file))
        _remove(store, lease_id)
        return None


def _remove(store: Store, lease_id: str) -> None:
    for suffix in (".sock", ".slots", ".shown", ".log", ".log.1", ".json"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.path("leases", lease_id + suffix))
