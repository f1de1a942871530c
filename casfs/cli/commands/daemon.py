"""daemon: what keeps mounts alive."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path

from casfs.cli.commands.status import add_status
from casfs.cli.context import store_directory
from casfs.cli.options import parse_size
from casfs.cli.output import note, say, warn
from casfs.cli.parser import Commands
from casfs.cli.service import run_install
from casfs.daemon.control import Request, ask_daemon, raise_problem
from casfs.daemon.start import Progress, log_to_file
from casfs.errors import MountRefused
from casfs.mounts.hosts import END_WAIT_S, required_host, revive, stop_daemon
from casfs.mounts.mounting import end_unused_overlays, new_host_mountpoint
from casfs.mounts.mountpoints import find_host, locked_mounts
from casfs.mounts.recovery import remove_dead_daemons
from casfs.mounts.umount import umount_all
from casfs.store.leases import DEAD_LOG, Lease, iter_leases
from casfs.store.scrub import set_scrub_rate
from casfs.store.shared import use_shared_pools
from casfs.store.store import Store, open_store

_AGAIN_S = 0.02


def add_command(commands: Commands) -> None:
    """casfs daemon"""
    actions = commands.add_group("daemon", "casfs daemon upgrade")
    _add_start(actions)
    add_status(actions, "casfs daemon status", "show the daemons and what they serve")
    actions.add("logs", run_logs, "casfs daemon logs", "print what the daemons logged")
    actions.add("upgrade", run_upgrade, "casfs daemon upgrade", "serve with the program as it is now, without unmounting")
    stop = actions.add("stop", run_stop, "casfs daemon stop", "end all mounts of the store, and the daemon")
    stop.add_argument("--force", action="store_true", help="even if they are in use")
    stop.set_defaults(is_apart=True)
    install = actions.add("install", run_install, "casfs daemon install", "write a systemd unit for the daemon")
    install.add_argument("--user", action="store_true", help="a unit for mounts of a plain user, one for each path")
    install.add_argument("--directory", type=Path, metavar="DIR", help="where to write it (default: where systemd looks)")
    install.set_defaults(is_apart=True)
    adopt = actions.add_hidden("adopt", run_adopt)
    adopt.add_argument("handover")
    adopt.set_defaults(is_apart=True)
    answer = actions.add_hidden("answer", run_answer)
    answer.add_argument("listener", type=int)
    answer.set_defaults(is_apart=True)


def _add_start(actions: Commands) -> None:
    start = actions.add("start", run_start, "casfs daemon start", "start the daemon that serves the mounts of the store (root)")
    start.add_argument("--foreground", action="store_true", help="serve in this process until it is stopped")
    text = "read the pool again at so many bytes a second, now and later; 10M and the like, 0: not at all"
    start.add_argument("--scrub-rate", type=parse_size, metavar="BYTES", help=f"{text} (default: CASFS_SCRUB_RATE, or 10M)")
    start.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    start.add_argument("--after", default="", help=argparse.SUPPRESS)
    start.set_defaults(is_apart=True)


def run_start(arguments: argparse.Namespace) -> None:
    """casfs daemon start"""
    store = open_store(store_directory(arguments), create=True)
    if os.geteuid() != 0:
        raise MountRefused("daemon", "only root can serve a whole store with one daemon; `casfs mount` needs none")
    use_shared_pools(store)
    if arguments.scrub_rate is not None:
        set_scrub_rate(store, arguments.scrub_rate)
    if arguments.foreground:
        if arguments.ready_fd is None and (host := find_host(store)) is not None:
            raise MountRefused(store.root, f"is served already, by process {host.pid}")
        _serve_in_foreground(store, arguments)
        return
    with locked_mounts(store), required_host(store, warn, arguments.after) as host:
        remove_dead_daemons(store)
        revive(store, host, warn)  # a host that was started in the foreground does not do so by itself
        end_unused_overlays(store)
    say(f"process {host.pid} serves {store.root}")


def _serve_in_foreground(store: Store, arguments: argparse.Namespace) -> None:
    from casfs.mounts.serving import serve, serve_in_foreground

    mountpoint = new_host_mountpoint(store)
    if arguments.ready_fd is not None:
        serve(store, "", mountpoint, Progress(arguments.ready_fd), arguments.after)
        return

    def when_serving() -> None:
        from casfs.cli.service import tell_manager

        note(f"{mountpoint} shows {store.root}; Ctrl-C ends it")
        tell_manager("READY=1")

    serve_in_foreground(store, "", mountpoint, when_serving, arguments.after)


def run_logs(arguments: argparse.Namespace) -> None:
    """casfs daemon logs"""
    store, is_empty = open_store(store_directory(arguments)), True
    for name in (DEAD_LOG, *(f"{lease.id}.log" for lease in iter_leases(store))):
        with contextlib.suppress(FileNotFoundError), open(store.run_path(name), encoding="utf-8", errors="replace") as file:
            for line in file:
                say(line.rstrip("\n"))
                is_empty = False
    if is_empty:
        note("no daemon of the store has logged anything")


def run_upgrade(arguments: argparse.Namespace) -> None:
    """casfs daemon upgrade"""
    store = open_store(store_directory(arguments))
    leases = list(iter_leases(store))
    if not leases:
        note("no daemon runs, so there is nothing to upgrade")
    for lease in leases:
        before = ask_daemon(store, lease, Request("status")).worker
        raise_problem(lease, ask_daemon(store, lease, Request("upgrade")))
        _wait_for_another(store, lease, before)
        say(f"upgraded: {_describe(store, lease)}")


def _describe(store: Store, lease: Lease) -> str:
    """A daemon as a user knows it: a host's own mountpoint is private."""
    return f"the daemon of {lease.mountpoint if lease.environment else store.root}"


def _wait_for_another(store: Store, lease: Lease, worker: int) -> None:
    """Return when another worker than this one serves. Raises MountRefused if none comes."""
    until = time.monotonic() + END_WAIT_S
    while time.monotonic() < until:
        with contextlib.suppress(MountRefused):
            if ask_daemon(store, lease, Request("status")).worker != worker:
                return
        time.sleep(_AGAIN_S)
    raise MountRefused(_describe(store, lease), "is still served by the old program; `casfs daemon logs` may say why")


def run_stop(arguments: argparse.Namespace) -> None:
    """casfs daemon stop"""
    store = open_store(store_directory(arguments))
    umount_all(store, is_lazy=arguments.force)
    with locked_mounts(store):
        end_unused_overlays(store)  # of a mount that failed, too
    for lease in iter_leases(store):
        stop_daemon(store, lease, is_lazy=arguments.force)


def run_adopt(arguments: argparse.Namespace) -> None:
    """What a supervisor starts as when it takes over from another."""
    from casfs.daemon.daemon import adopt_daemon, parse_handover
    from casfs.mounts.scrubber import ScrubberProcess
    from casfs.mounts.serving import mount_again

    store = open_store(store_directory(arguments))
    handover = parse_handover(arguments.handover)
    begin_log = lambda lease_id: log_to_file(store.run_path(f"{lease_id}.log"))  # noqa: E731
    if lost := adopt_daemon(store, handover, begin_log, ScrubberProcess):
        mount_again(store, lost)


def run_answer(arguments: argparse.Namespace) -> None:
    """What a daemon starts so that commands need not load what it has loaded."""
    import socket

    from casfs.cli.server import serve

    serve(socket.socket(fileno=arguments.listener))
