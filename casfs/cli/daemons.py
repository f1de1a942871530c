"""daemon: what keeps mounts alive."""

from __future__ import annotations

import argparse

from casfs.cli.context import store_directory
from casfs.cli.mounts import log_to_file
from casfs.cli.output import say
from casfs.mount.control import Request, ask_daemon, raise_problem
from casfs.store.leases import iter_leases
from casfs.store.store import open_store


def run_upgrade(arguments: argparse.Namespace) -> None:
    """casfs daemon upgrade"""
    _tell_all(arguments, "upgrade")


def run_stop(arguments: argparse.Namespace) -> None:
    """casfs daemon stop"""
    _tell_all(arguments, "stop")


def _tell_all(arguments: argparse.Namespace, command: str) -> None:
    store = open_store(store_directory(arguments))
    for lease in iter_leases(store):
        raise_problem(lease, ask_daemon(store, lease, Request(command)))
        say(f"{command}: {lease.mountpoint}")


def run_adopt(arguments: argparse.Namespace) -> None:
    """What a supervisor starts as when it takes over from another."""
    from casfs.mount.daemon import adopt_daemon, parse_handover

    store = open_store(store_directory(arguments))
    adopt_daemon(store, parse_handover(arguments.handover), lambda lease_id: log_to_file(store.path("leases", f"{lease_id}.log")))
