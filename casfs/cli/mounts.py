"""mount, umount, status."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import logging.handlers
import os
import subprocess
import sys
import time

from casfs.cli.context import choose_interpreter, open_context, store_directory
from casfs.cli.output import format_size, note, say, say_json, say_table
from casfs.errors import CasfsError, MountRefused
from casfs.mount.control import Reply, Request, ask_daemon
from casfs.mount.mounts import detach, find_mount, is_dead, is_ours, prepare_mountpoint, resolve_mountpoint, unmount
from casfs.store.environments import Environment
from casfs.store.leases import Lease, iter_leases
from casfs.store.store import open_store
from casfs.venv.changes import create_environment

_LOG_BYTES = 1 << 20

_END_WAIT_S = 10.0  # how long `umount` waits for the daemon to be gone; it needs a few milliseconds


def run_mount(arguments: argparse.Namespace) -> None:
    """casfs mount"""
    environment = open_context(arguments, create=True)
    mountpoint = resolve_mountpoint(arguments.mountpoint)
    if _is_mounted_already(environment, mountpoint):
        note(f"{mountpoint} already shows environment {environment.name!r}")
        return
    prepare_mountpoint(mountpoint)
    if environment.current_number() is None:
        made = create_environment(environment, choose_interpreter(environment, arguments.python))
        note(f"made environment {environment.name!r} for Python {made.interpreter.version}")
    if arguments.foreground:
        _serve(environment, mountpoint, arguments.ready_fd)
    else:
        _start_daemon(environment, mountpoint)


def _is_mounted_already(environment: Environment, mountpoint: str) -> bool:
    """Whether the mountpoint shows this environment. Raises MountRefused if something else is mounted there."""
    mount = find_mount(mountpoint)
    if mount is None or is_dead(mountpoint):
        return False
    lease = _find_lease(environment, mountpoint)
    if not is_ours(mount) or lease is None:
        raise MountRefused(mountpoint, f"something else is mounted there ({mount.type})")
    if lease.environment != environment.name:
        raise MountRefused(mountpoint, f"already shows environment {lease.environment!r}")
    return True


def _find_lease(environment: Environment, mountpoint: str) -> Lease | None:
    return next((lease for lease in iter_leases(environment.store) if lease.mountpoint == mountpoint), None)


def _start_daemon(environment: Environment, mountpoint: str) -> None:
    """Start a process that serves the mount, and return when the mount answers."""
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "casfs", "--store", environment.store.root, "--env", environment.name]
    command += ["mount", "--foreground", "--ready-fd", str(theirs), "--", mountpoint]
    with subprocess.Popen(
        command, cwd="/", pass_fds=(theirs,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    ) as daemon:
        os.close(theirs)
        with os.fdopen(ours, "rb") as ready:
            if not ready.read():
                sys.exit(daemon.wait() or 1)  # it has said why on the standard error that it shares with us
        daemon.returncode = 0  # it lives on; nobody waits for it


def _serve(environment: Environment, mountpoint: str, ready_fd: int | None) -> None:
    """Serve the mount in this process until it ends."""
    from casfs.mount.daemon import Served, serve

    def when_ready(lease_id: str) -> None:
        if ready_fd is None:
            note(f"{mountpoint} shows environment {environment.name!r}; Ctrl-C ends it")
            return
        _log_to_file(environment.store.path("leases", f"{lease_id}.log"))
        os.write(ready_fd, b"ready")
        os.close(ready_fd)

    logging.basicConfig(format="casfs: %(message)s", level=logging.WARNING)
    serve(Served(environment.store, environment, mountpoint), when_ready)


def _log_to_file(path: str) -> None:
    """From here on nobody reads our standard error: what goes wrong is told to a file of bounded size."""
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().handlers[:] = [handler]
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, sys.stderr.fileno())
    os.close(null)


def run_umount(arguments: argparse.Namespace) -> None:
    """casfs umount"""
    mountpoint = resolve_mountpoint(arguments.mountpoint)
    if not is_ours(find_mount(mountpoint)):
        raise MountRefused(mountpoint, "is not a mount of casfs")
    if arguments.lazy or is_dead(mountpoint):
        detach(mountpoint)
    else:
        unmount(mountpoint)
        _wait_for_end(arguments, mountpoint)


def _wait_for_end(arguments: argparse.Namespace, mountpoint: str) -> None:
    """Return when the daemon of the mount is gone, so that nothing is left behind when the command returns."""
    try:
        store = open_store(store_directory(arguments))
    except CasfsError:
        return  # another store's mount: there is nothing to look at
    until = time.monotonic() + _END_WAIT_S
    while any(lease.mountpoint == mountpoint for lease in iter_leases(store)) and time.monotonic() < until:
        time.sleep(0.005)


def run_status(arguments: argparse.Namespace) -> None:
    """casfs status"""
    store = open_store(store_directory(arguments))
    found: list[tuple[Lease, Reply | None]] = []
    for lease in iter_leases(store):
        try:
            found.append((lease, ask_daemon(store, lease, Request("status"))))
        except CasfsError as error:
            note(f"casfs: {error}")
            found.append((lease, None))
    if arguments.json:
        say_json({"store": store.root, "mounts": [_status_json(lease, reply) for lease, reply in found]})
        return
    say(f"store {store.root}")
    if not found:
        say("nothing is mounted")
        return
    say_table(
        ("Mountpoint", "Environment", "Generation", "Process", "Uptime", "Memory", "Requests"),
        [_status_row(lease, reply) for lease, reply in found],
    )
    for lease, reply in found:
        if reply and reply.requests:
            kinds = sorted(reply.requests.items(), key=lambda item: -item[1])
            say(f"{lease.mountpoint}: " + ", ".join(f"{count:,} {kind}" for kind, count in kinds))


def _status_json(lease: Lease, reply: Reply | None) -> dict[str, object]:
    return {**dataclasses.asdict(lease), "answers": reply is not None, **(dataclasses.asdict(reply) if reply else {})}


def _status_row(lease: Lease, reply: Reply | None) -> tuple[str, ...]:
    facts = ("?", "does not answer", "?", "?")
    if reply:
        uptime = time.strftime("%H:%M:%S", time.gmtime(reply.uptime_s % 86400))
        days = int(reply.uptime_s // 86400)
        facts = (
            str(reply.generation),
            f"{days}d {uptime}" if days else uptime,
            format_size(reply.resident_bytes),
            f"{sum(reply.requests.values()):,}",
        )
    return (lease.mountpoint, lease.environment, facts[0], str(lease.pid), *facts[1:])
