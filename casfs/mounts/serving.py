"""Serving a mount in this process, and what happens when one was lost that should not have ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from casfs.daemon.start import Progress, log_to_file, write_to_dead_log
from casfs.errors import MountRefused
from casfs.store.scrub import begin_with_scrub_rate
from casfs.store.store import Store

if TYPE_CHECKING:
    from casfs.daemon.daemon import Lost


def serve(
    store: Store, environment: str, mountpoint: str, progress: Progress, after: str = "", *, when_known: Callable[[], None] = lambda: None
) -> None:
    """Serve a mount in this process, as a daemon, until it ends. One that should not have ended is made again.

    `when_known` is called once others find it. `after` says why the one before it ended, if somebody knows. Raises MountRefused.
    """

    def when_mounted(lease_id: str) -> None:
        when_known()
        log_to_file(store.run_path(f"{lease_id}.log"))
        progress.step()

    def when_serving() -> None:
        progress.step()
        progress.close()

    if lost := _serve(store, environment, mountpoint, when_mounted, when_serving, after=after):
        mount_again(store, lost)


def serve_in_foreground(store: Store, environment: str, mountpoint: str, when_serving: Callable[[], None], after: str = "") -> None:
    """Serve a mount in this process, and end with it. Raises MountRefused, also if it was lost."""
    if lost := _serve(store, environment, mountpoint, lambda lease_id: None, when_serving, after=after):
        raise MountRefused(mountpoint, f"{lost.reason}, and this kernel can't go on with another one (Linux can since 6.9)")


def _serve(
    store: Store, environment: str, mountpoint: str, when_mounted: Callable[[str], None], when_serving: Callable[[], None], *, after: str
) -> Lost | None:
    import logging

    from casfs.daemon.daemon import start_daemon
    from casfs.mounts.scrubber import ScrubberProcess

    logging.basicConfig(format="casfs: %(message)s", level=logging.WARNING)

    def begin(lease_id: str) -> None:
        begin_with_scrub_rate(store)
        when_mounted(lease_id)

    return start_daemon(store, environment, mountpoint, begin, when_serving, start_scrubber=ScrubberProcess, after=after)


def mount_again(store: Store, lost: Lost) -> NoReturn:
    """Let a command take the place of this process that mounts what was lost. What it has to say is kept with the dead one's log."""
    write_to_dead_log(store)
    where = ["--env", lost.environment, "mount", f"--after={lost.reason}", "--", lost.mountpoint]
    command = where if lost.environment else ["daemon", "start", f"--after={lost.reason}"]
    os.execv(sys.executable, [sys.executable, "-m", "casfs", "--store", store.root, *command])
