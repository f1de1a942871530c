"""Hosts: how a command starts what serves mounts, and how it ends it."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import sys
from collections.abc import Iterator

from casfs.cli.output import warn
from casfs.cli.serving import Starting, serve_here, write_to_dead_log
from casfs.errors import CasfsError, MountRefused
from casfs.mount.overlay_layers import RequireHost
from casfs.mount.places import find_host, forget_gone_places, here, iter_places, locked_places
from casfs.mount.placing import end_unused_overlays, new_host_mountpoint, revive_places
from casfs.store.leases import Lease
from casfs.store.store import Store

END_WAIT_S = 10.0  # how long `umount` waits for the daemon to be gone; it needs a few milliseconds


@contextlib.contextmanager
def required_host(store: Store, after: str = "") -> Iterator[Lease]:
    """The lease of the store's host, which is started if there is none; what one before it showed is shown again.

    Whoever asks the host during the block may have to wait until it is loaded; when the block has ended, it answers. `after` says why the
    one before it ended, if somebody knows.
    """
    if (host := find_host(store)) is not None:
        yield host
        return
    with contextlib.closing(Starting(functools.partial(_serve_places, store, after))) as process:
        if code := process.wait_for_step():
            sys.exit(code)
        if (host := find_host(store)) is None:
            raise MountRefused(store.root, "the daemon ended as soon as it had started; `casfs daemon logs` may say why")
        revive(store, host)
        yield host
        if code := process.wait_for_step():
            sys.exit(code)


@contextlib.contextmanager
def host_on_demand(store: Store) -> Iterator[RequireHost]:
    """A function that gives the store's host, which is started when it is first called: most mounts need none."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(required_host(store)))


def start_beside(store: Store) -> None:
    """Let a host start that nothing waits for: the kernel shows what is mounted, and the host looks after it.

    In another mount namespace than that of the mounts it could not.
    """
    if find_host(store) is None and _has_places_here(store):
        Starting(functools.partial(_serve_beside, store)).close()


def _has_places_here(store: Store) -> bool:
    at_home = here()
    return any(place.home == at_home for place in iter_places(store))


def _serve_beside(store: Store, ready_fd: int) -> None:
    """Serve, unless another host is there, or nothing is mounted any more. What it has to say, nobody may be there to read."""
    write_to_dead_log(store)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_places(store))
        if find_host(store) is None and _has_places_here(store):
            serve_here(store, "", new_host_mountpoint(store), ready_fd, when_known=stack.close)


def _serve_places(store: Store, after: str, ready_fd: int) -> None:
    serve_here(store, "", new_host_mountpoint(store), ready_fd, after)


def revive(store: Store, host: Lease) -> None:
    """Mount again what a host that died showed."""
    for place in revive_places(store, host):
        warn(f"{place.path}: could not be mounted again after the daemon had ended")


def end_idle_host(store: Store, *, is_lazy: bool) -> None:
    """A host that shows nothing any more ends."""
    with locked_places(store):
        host = find_host(store)
        forget_gone_places(store)
        end_unused_overlays(store)
        if host is not None and not any(True for _ in iter_places(store)):
            with contextlib.suppress(CasfsError):
                stop_daemon(store, host, is_lazy=is_lazy)


def stop_daemon(store: Store, lease: Lease, *, is_lazy: bool) -> None:
    """Tell a daemon to end; unless lazily, return when it is gone. It lives on for as long as somebody uses its mount."""
    from casfs.mount.control import Request, ask_daemon, raise_problem

    supervisor = ask_daemon(store, lease, Request("status")).supervisor or lease.pid  # of one that failed to answer nothing is known
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(supervisor)
        with contextlib.suppress(MountRefused):  # it may be gone before it has answered
            raise_problem(lease, ask_daemon(store, lease, Request("stop")))
        if not is_lazy:
            select.select([process], [], [], END_WAIT_S)
        os.close(process)
