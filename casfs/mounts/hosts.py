"""The host of a store: how whoever needs it starts it, and how it ends."""

from __future__ import annotations

import contextlib
import functools
import os
import select
from collections.abc import Callable, Iterator

from casfs.daemon.start import Progress, Starting, write_to_dead_log
from casfs.errors import CasfsError, MountRefused
from casfs.mounts.mounting import end_unused_overlays, new_host_mountpoint, revive_mounts
from casfs.mounts.mountpoints import find_host, forget_gone_mounts, here, iter_mount_records, locked_mounts
from casfs.mounts.overlay_layers import RequireHost
from casfs.mounts.serving import serve
from casfs.store.leases import Lease
from casfs.store.store import Store

END_WAIT_S = 10.0  # how long `umount` waits for the daemon to be gone; it needs a few milliseconds


@contextlib.contextmanager
def required_host(store: Store, warn: Callable[[str], None], after: str = "") -> Iterator[Lease]:
    """The lease of the store's host, which is started if there is none; what one before it showed is shown again.

    Whoever asks the host during the block may have to wait until it is loaded; when the block has ended, it answers. `after` says why the
    one before it ended, if somebody knows; `warn` takes what could not be shown again. Raises MountRefused.
    """
    if (host := find_host(store)) is not None:
        yield host
        return
    with contextlib.closing(Starting(store.root, functools.partial(_serve_mounts, store, after))) as process:
        process.wait_for_step()
        if (host := find_host(store)) is None:
            raise MountRefused(store.root, "the daemon ended as soon as it had started; `casfs daemon logs` may say why")
        revive(store, host, warn)
        yield host
        process.wait_for_step()


@contextlib.contextmanager
def host_on_demand(store: Store, warn: Callable[[str], None]) -> Iterator[RequireHost]:
    """A function that gives the store's host, which is started when it is first called: most mounts need none."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(required_host(store, warn)))


def start_beside(store: Store) -> None:
    """Let a host start that nothing waits for: the kernel shows what is mounted, and the host looks after it.

    In another mount namespace than that of the mounts it could not.
    """
    if find_host(store) is None and _has_mounts_here(store):
        Starting(store.root, functools.partial(_serve_beside, store)).close()


def _has_mounts_here(store: Store) -> bool:
    at_home = here()
    return any(record.home == at_home for record in iter_mount_records(store))


def _serve_beside(store: Store, progress: Progress) -> None:
    """Serve, unless another host is there, or nothing is mounted any more. What it has to say, nobody may be there to read."""
    write_to_dead_log(store)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_mounts(store))
        if find_host(store) is None and _has_mounts_here(store):
            serve(store, "", new_host_mountpoint(store), progress, when_known=stack.close)


def _serve_mounts(store: Store, after: str, progress: Progress) -> None:
    serve(store, "", new_host_mountpoint(store), progress, after)


def revive(store: Store, host: Lease, warn: Callable[[str], None]) -> None:
    """Mount again what a host that died showed."""
    for record in revive_mounts(store, host):
        warn(f"{record.path}: could not be mounted again after the daemon had ended")


def end_idle_host(store: Store, *, is_lazy: bool) -> None:
    """A host that shows nothing any more ends."""
    with locked_mounts(store):
        host = find_host(store)
        forget_gone_mounts(store)
        end_unused_overlays(store)
        if host is not None and not any(True for _ in iter_mount_records(store)):
            with contextlib.suppress(CasfsError):
                stop_daemon(store, host, is_lazy=is_lazy)


def stop_daemon(store: Store, lease: Lease, *, is_lazy: bool) -> None:
    """Tell a daemon to end; unless lazily, return when it is gone. It lives on for as long as somebody uses its mount."""
    from casfs.daemon.control import Request, ask_daemon, raise_problem

    supervisor = ask_daemon(store, lease, Request("status")).supervisor or lease.pid  # of one that failed to answer nothing is known
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(supervisor)
        with contextlib.suppress(MountRefused):  # it may be gone before it has answered
            raise_problem(lease, ask_daemon(store, lease, Request("stop")))
        if not is_lazy:
            select.select([process], [], [], END_WAIT_S)
        os.close(process)
