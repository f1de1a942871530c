"""status: what is mounted, and who serves it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from casfs.cli.context import store_directory
from casfs.cli.output import format_size, note, say, say_json, say_table
from casfs.errors import CasfsError
from casfs.mount.control import Reply, Request, ask_daemon
from casfs.mount.places import forget_gone_places, iter_places
from casfs.store.leases import Lease, iter_leases
from casfs.store.store import Store, open_store

_WATCH_EVERY_S = 1.0
_CLEAR = "\033[H\033[2J"  # cursor to the top, and nothing below it (ECMA-48)


@dataclass(frozen=True, slots=True)
class _Shown:
    """One mount that a user sees, and the daemon behind it."""

    path: str
    environment: str
    started: str
    lease: Lease
    reply: Reply | None  # None: it does not answer
    into: int = 0  # a process in whose mount namespace the path is, if that is not ours

    @property
    def generation(self) -> int | None:
        return self.reply.generations.get(self.environment) if self.reply else None


def run_status(arguments: argparse.Namespace) -> None:
    """casfs status"""
    store = open_store(store_directory(arguments))
    if not arguments.watch:
        _say_status(store, is_json=arguments.json)
        return
    with contextlib.suppress(KeyboardInterrupt):  # that is how watching ends
        while True:
            _redraw(store, is_json=arguments.json)
            time.sleep(_WATCH_EVERY_S)


def _redraw(store: Store, *, is_json: bool) -> None:
    """Write the status at once, so that a terminal does not flicker; on a terminal it takes the place of the one before."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        _say_status(store, is_json=is_json)
    print((_CLEAR if sys.stdout.isatty() else "") + text.getvalue(), end="", flush=True)


def _say_status(store: Store, *, is_json: bool) -> None:
    forget_gone_places(store)
    daemons = ask_daemons(store)
    mounts = list(_iter_shown(store, daemons))
    if is_json:
        listed = [_daemon_json(lease, reply) for lease, reply in daemons]
        say_json({"store": store.root, "daemons": listed, "mounts": [_mount_json(one) for one in mounts]})
        return
    say(f"store {store.root}")
    if mounts:
        say_table(("Mountpoint", "Environment", "Generation", "Process"), [_mount_row(one) for one in mounts])
    else:
        say("nothing is mounted")
    for lease, reply in daemons:
        if reply:
            _say_daemon(lease, reply)


def ask_daemons(store: Store) -> list[tuple[Lease, Reply | None]]:
    """What each daemon of the store says of itself; None if it does not answer."""
    return [(lease, _ask(store, lease)) for lease in iter_leases(store)]


def _ask(store: Store, lease: Lease) -> Reply | None:
    try:
        return ask_daemon(store, lease, Request("status"))
    except CasfsError as error:
        note(f"casfs: {error}")
        return None


def _iter_shown(store: Store, daemons: list[tuple[Lease, Reply | None]]) -> Iterator[_Shown]:
    hosts = {lease.id: (lease, reply) for lease, reply in daemons if not lease.environment}
    for lease, reply in daemons:
        if lease.environment:
            yield _Shown(lease.mountpoint, lease.environment, lease.started, lease, reply)
    for place in iter_places(store):
        if place.host in hosts:
            yield _Shown(place.path, place.environment, place.started, *hosts[place.host], place.pid)


def _daemon_json(lease: Lease, reply: Reply | None) -> dict[str, object]:
    return {**dataclasses.asdict(lease), "answers": reply is not None, **(dataclasses.asdict(reply) if reply else {})}


def _mount_json(one: _Shown) -> dict[str, object]:
    facts = {"mountpoint": one.path, "environment": one.environment, "generation": one.generation, "started": one.started, "into": one.into}
    return {**_daemon_json(one.lease, one.reply), **facts}


def _mount_row(one: _Shown) -> tuple[str, ...]:
    process = str(one.lease.pid) if one.reply is None else str(one.reply.supervisor)
    path = f"{one.path} (in process {one.into})" if one.into else one.path
    return (path, one.environment, str(one.generation) if one.reply else "does not answer", process)


def _say_daemon(lease: Lease, reply: Reply) -> None:
    name = "daemon" if not lease.environment else f"daemon of {lease.mountpoint}"
    restarts = f", {reply.restarts} restarts (the last one: {reply.reason})" if reply.restarts else ""
    say(f"{name}: casfs {reply.casfs_version}, up {_format_uptime(reply.uptime_s)}{restarts}")
    say(f"  supervisor: process {reply.supervisor}, {format_size(reply.supervisor_resident_bytes)}")
    descriptors = f"{reply.descriptors} descriptors ({reply.open_blobs} of files)"
    say(f"  worker: process {reply.worker}, {format_size(reply.resident_bytes)}, {descriptors}")
    if kinds := sorted(reply.requests.items(), key=lambda item: -item[1]):
        say_table(("Request", "Count", "p50", "p99"), [(kind, f"{count:,}", *_format_latency(reply, kind)) for kind, count in kinds])


def _format_latency(reply: Reply, kind: str) -> tuple[str, ...]:
    return tuple(_format_duration(time_us) for time_us in reply.latency.get(kind, [])) or ("", "")


def _format_duration(time_us: float) -> str:
    for unit in ("\u00b5s", "ms"):
        if time_us < 1000:
            return f"{time_us:.1f} {unit}"
        time_us /= 1000
    return f"{time_us:.1f} s"


def _format_uptime(seconds: float) -> str:
    days, clock = divmod(int(seconds), 86400)
    return (f"{days}d " if days else "") + time.strftime("%H:%M:%S", time.gmtime(clock))
