"""status: what is mounted, and who serves it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from casfs.cli.context import store_directory
from casfs.cli.options import add_json
from casfs.cli.output import OUTPUT, format_size, note, say, say_json, say_table
from casfs.cli.parser import Commands
from casfs.daemon.control import Reply, Request, ask_daemon
from casfs.errors import CasfsError
from casfs.mounts.environment_overlays import Overlay, iter_remembered_overlays
from casfs.mounts.mountpoints import KERNEL, PLAIN, MountRecord, iter_gone_mounts, iter_mount_records
from casfs.mounts.overlay_layers import FUSE
from casfs.store.leases import Lease, iter_leases, iter_private_leases
from casfs.store.publish import naming
from casfs.store.quarantine import lost_paths
from casfs.store.scrub import read_scrub_state
from casfs.store.store import Store, open_store

_WATCH_EVERY_S = 1.0
_KEYS = {"open_blobs": "open_blob_count", "restarts": "restart_count", "descriptors": "descriptor_count", "latency": "latency_us"}
"""What programs read in place of a reply's fields."""

_CLEAR = "\033[H\033[2J"  # cursor to the top, and nothing below it (ECMA-48)


@dataclass(frozen=True, slots=True)
class _Shown:
    """One mount that a user sees, and the daemon behind it."""

    path: str
    environment: str
    started: str
    lease: Lease | None  # None: there is none, and the kernel alone shows it
    reply: Reply | None  # None: it does not answer
    into: int = 0  # a process in whose mount namespace the path is, if that is not ours
    overlay: Overlay | None = None  # None: it shows our own file system
    is_writable: bool = False
    why: str = ""  # why its data path is not the best one

    @property
    def generation(self) -> int | None:
        if self.overlay is not None:
            return self.overlay.generation
        return self.reply.generations.get(self.environment) if self.reply else None

    @property
    def data_path(self) -> str:
        return PLAIN if self.overlay is None else KERNEL


def add_command(commands: Commands) -> None:
    """casfs status"""
    add_status(commands, "casfs status --watch")


def add_status(commands: Commands, example: str, text: str = "") -> None:
    """The command, also as an action of `casfs daemon`."""
    status = commands.add("status", run_status, example, text)
    add_json(status)
    status.add_argument("--watch", action="store_true", help="again every second, until it is interrupted")


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
    with naming(OUTPUT):
        print((_CLEAR if sys.stdout.isatty() else "") + text.getvalue(), end="", flush=True)


def _say_status(store: Store, *, is_json: bool) -> None:
    if os.geteuid() == 0 and any(True for _ in iter_gone_mounts(store)):
        from casfs.mounts.hosts import end_idle_host

        end_idle_host(store, is_lazy=True)
    daemons = ask_daemons(store)
    mounts = list(_iter_shown(store, daemons))
    if is_json:
        listed = [_daemon_json(lease, reply) for lease, reply in daemons]
        runs = [_with_nulls(dataclasses.asdict(lease)) for lease in iter_private_leases(store)]
        facts = {"daemons": listed, "mounts": [_mount_json(mount) for mount in mounts], "runs": runs, "scrub": _scrub_json(store)}
        say_json({"store": store.root, **facts})
        return
    say(f"store {store.root}")
    if mounts:
        say_table(("Mountpoint", "Environment", "Generation", "Mode", "Data path", "Process"), [_mount_row(one) for one in mounts])
        for reason in dict.fromkeys(f"{one.path}: {_explain_path(one)}" for one in mounts if _explain_path(one)):
            say(reason)
    else:
        say("nothing is mounted")
    for lease in iter_private_leases(store):
        say(f"in `casfs run` (process {lease.pid}): environment {lease.environment!r}, generation {lease.generation}")
    for lease, reply in daemons:
        if reply:
            _say_daemon(lease, reply)
    _say_scrub(store)


def _scrub_json(store: Store) -> dict[str, object]:
    return {**_with_nulls(dataclasses.asdict(read_scrub_state(store))), "damaged": lost_paths(store)}


def _say_scrub(store: Store) -> None:
    """How far the pool was read again, and what was found."""
    state = read_scrub_state(store)
    if state.began or state.ended:
        rate = f"at {format_size(state.rate)} a second" if state.rate else "stopped (--scrub-rate 0)"
        whole = f", last read whole {state.ended}" if state.ended else ""
        say(f"scrub: {format_size(state.bytes)} read, {rate}{whole}")
    for path in lost_paths(store):
        say(f"damaged: {path}: reading it is an error; adding its wheels again restores it")


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
    hosts: dict[str, tuple[Lease | None, Reply | None]] = {lease.id: (lease, reply) for lease, reply in daemons if not lease.environment}
    for lease, reply in daemons:
        if lease.environment:
            why = "only root gets the data path of the kernel"
            yield _Shown(lease.mountpoint, lease.environment, lease.started, lease, reply, why=why)
    overlays = {overlay.environment: overlay for overlay in iter_remembered_overlays(store)}  # a mount may be about to move on to it
    for record in iter_mount_records(store):
        host = hosts.get(record.host) if record.host else next(iter(hosts.values()), (None, None))
        if host is not None:
            yield _show_mount(record, *host, overlays.get(record.environment) if record.overlay else None)


def _show_mount(record: MountRecord, lease: Lease | None, reply: Reply | None, overlay: Overlay | None) -> _Shown:
    why = record.why if overlay is None else overlay.why
    is_writable = overlay is not None and not record.is_read_only
    return _Shown(record.path, record.environment, record.started, lease, reply, record.pid, overlay, is_writable, why)


def _daemon_json(lease: Lease, reply: Reply | None) -> dict[str, object]:
    said = dataclasses.asdict(reply) if reply else {}
    return _with_nulls({**dataclasses.asdict(lease), "answers": reply is not None, **said})


def _mount_json(one: _Shown) -> dict[str, object]:
    facts = {
        "mountpoint": one.path,
        "environment": one.environment,
        "generation": one.generation,
        "started": one.started,
        "into": one.into or None,
    }
    facts |= {"writable": one.is_writable, "data_path": one.data_path, "why": one.why}
    facts["metadata"] = one.overlay.metadata if one.overlay else FUSE
    return {**(_daemon_json(one.lease, one.reply) if one.lease else {}), **_with_nulls(facts)}


def _with_nulls(facts: Mapping[str, object]) -> dict[str, object]:
    """By the names that programs read."""
    return {_KEYS.get(name, name): None if value == "" else value for name, value in facts.items()}


def _mount_row(one: _Shown) -> tuple[str, ...]:
    process = str(one.reply.supervisor) if one.reply else str(one.lease.pid) if one.lease else "kernel"
    path = f"{one.path} (in process {one.into})" if one.into else one.path
    mode = "writable" if one.is_writable else "read-only"
    return (path, one.environment, "does not answer" if one.generation is None else str(one.generation), mode, one.data_path, process)


def _explain_path(one: _Shown) -> str:
    """Why the mount is not as fast as can be; empty if it is."""
    if not one.why:
        return ""
    return f"the kernel asks the daemon for names and sizes: {one.why}" if one.overlay else f"the daemon reads the files: {one.why}"


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
