"""The keeper of a private mount: it holds the lease until the mount's namespace ends, and clears away what is left then.

It waits for the kernel to say that the FUSE file system in the namespace has ended. If that is what says which files there are, the keeper
becomes a daemon that answers; else it is asked nothing, and loads nothing.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable

from casfs.mounts.run_mounts import KEEP
from casfs.store.leases import HeldLease, Lease, clear_private_mount, keep_log
from casfs.store.store import Store

_MAX_MESSAGE = 4096


BeginLog = Callable[[Store, Lease], None]
"""Lets what is logged from here on go to the log that lies beside a lease."""


def keep_private(store: Store, lease: HeldLease, line: socket.socket, begin_log: BeginLog, *, must_answer: bool) -> None:
    """Keep a private mount until its namespace ends; `line` brings what the kernel gave who mounted it (see `private`).

    Who knows that files will be asked for says so, for that takes a while to load.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(lease.end)
        stack.callback(clear_private_mount, store, lease.lease)
        try:
            if must_answer:
                from casfs.daemon import worker  # noqa: F401 - loaded while the mount is being made
            _keep(store, lease, line, begin_log)
        except BaseException as error:
            import logging

            begin_log(store, lease.lease)
            logging.getLogger("casfs").exception("the daemon failed")
            keep_log(store, lease.lease, f"the daemon of {lease.lease.mountpoint} failed: {error!r}")
            raise


def _keep(store: Store, lease: HeldLease, line: socket.socket, begin_log: BeginLog) -> None:
    with line:
        message, fds, _, _ = socket.recv_fds(line, _MAX_MESSAGE, 1)
        if not fds:
            return  # who was to mount it has ended
        if message == KEEP:
            line.send(KEEP)
    if message == KEEP:
        _wait_for_end(fds[0])
        return
    from casfs.daemon.daemon import serve_private

    begin_log(store, lease.lease)
    serve_private(store, lease, fds[0], message)


def _wait_for_end(fuse_fd: int) -> None:
    """Return when a FUSE file system has ended (fuse_dev_poll in fs/fuse/dev.c)."""
    waiting = select.poll()
    waiting.register(fuse_fd, 0)  # its first message is there, and stays
    while not any(events & select.POLLERR for _, events in waiting.poll()):
        pass
