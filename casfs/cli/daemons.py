"""daemon: what keeps mounts alive."""

from __future__ import annotations

import argparse
import contextlib
import os
import time

from casfs.cli.client import has_server
from casfs.cli.comeback import bury_dead_daemons
from casfs.cli.context import store_directory
from casfs.cli.hosts import END_WAIT_S, required_host, revive, stop_daemon
from casfs.cli.mounts import unmount_all
from casfs.cli.output import note, say
from casfs.cli.serving import log_to_file, mount_again, serve_here
from casfs.errors import MountRefused
from casfs.mount.control import Request, ask_daemon, raise_problem
from casfs.mount.places import find_host, locked_places
from casfs.mount.placing import end_unused_overlays, new_host_mountpoint
from casfs.store.leases import DEAD_LOG, Lease, iter_leases
from casfs.store.scrub import set_scrub_rate
from casfs.store.shared import use_shared_pools
from casfs.store.store import Store, open_store

_AGAIN_S = 0.02


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
        serve_here(store, "", new_host_mountpoint(store), arguments.ready_fd, arguments.after)
        return
    with locked_places(store), required_host(store, arguments.after) as host:
        bury_dead_daemons(store)
        revive(store, host)  # a host that was started in the foreground does not do so by itself
        end_unused_overlays(store)
    say(f"process {host.pid} serves {store.root}")


def run_logs(arguments: argparse.Namespace) -> None:
    """casfs daemon logs"""
    store, is_empty = open_store(store_directory(arguments)), True
    for name in (DEAD_LOG, *(f"{lease.id}.log" for lease in iter_leases(store))):
        with contextlib.suppress(FileNotFoundError), open(store.path("leases", name), encoding="utf-8", errors="replace") as file:
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
    unmount_all(store, is_lazy=arguments.force)
    with locked_places(store):
        end_unused_overlays(store)  # of a mount that failed, too
    for lease in iter_leases(store):
        stop_daemon(store, lease, is_lazy=arguments.force)


def run_adopt(arguments: argparse.Namespace) -> None:
    """What a supervisor starts as when it takes over from another."""
    from casfs.mount.daemon import adopt_daemon, parse_handover

    store = open_store(store_directory(arguments))
    handover = parse_handover(arguments.handover)
    if lost := adopt_daemon(
        store, handover, lambda lease_id: log_to_file(store.path("leases", f"{lease_id}.log")), runs_commands=has_server()
    ):
        mount_again(store, lost)


def run_answer(arguments: argparse.Namespace) -> None:
    """What a daemon starts so that commands need not load what it has loaded."""
    import socket

    from casfs.cli.server import serve

    serve(socket.socket(fileno=arguments.listener))
