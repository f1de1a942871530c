"""metrics: what the daemons do, for Prometheus (text exposition format 0.0.4)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from casfs.cli.commands.status import ask_daemons
from casfs.cli.context import store_directory
from casfs.cli.output import say
from casfs.cli.parser import Commands
from casfs.daemon.control import Reply
from casfs.store.leases import Lease
from casfs.store.quarantine import lost_paths
from casfs.store.scrub import read_scrub_state
from casfs.store.store import Store, open_store

_Labels = Mapping[str, str]
_Sample = tuple[_Labels, float]


@dataclass(frozen=True, slots=True)
class _Family:
    """One metric, and what it says of a daemon."""

    name: str
    type: str
    help: str
    samples: Callable[[Reply], Iterable[_Sample]]


def _latencies(reply: Reply) -> Iterator[_Sample]:
    for kind, times_us in sorted(reply.latency.items()):
        for quantile, time_us in zip(("0.5", "0.99"), times_us, strict=True):
            yield {"kind": kind, "quantile": quantile}, round(time_us / 1e6, 7)


def _memory(reply: Reply) -> Iterable[_Sample]:
    return ({"process": "supervisor"}, reply.supervisor_resident_bytes), ({"process": "worker"}, reply.resident_bytes)


_FAMILIES = (
    _Family("casfs_info", "gauge", "Which casfs the daemon runs.", lambda reply: [({"version": reply.casfs_version}, 1)]),
    _Family("casfs_uptime_seconds", "gauge", "How long the worker has served.", lambda reply: [({}, reply.uptime_s)]),
    _Family("casfs_worker_restarts_total", "counter", "Workers that were replaced.", lambda reply: [({}, reply.restarts)]),
    _Family("casfs_resident_bytes", "gauge", "Memory of the daemon's processes.", _memory),
    _Family("casfs_descriptors", "gauge", "Descriptors that the worker has open.", lambda reply: [({}, reply.descriptors)]),
    _Family("casfs_open_blobs", "gauge", "Files of the pool that the worker has open.", lambda reply: [({}, reply.open_blobs)]),
    _Family(
        "casfs_generation",
        "gauge",
        "Number of the generation that is shown of an environment.",
        lambda reply: [({"environment": name}, number) for name, number in sorted(reply.generations.items())],
    ),
    _Family(
        "casfs_requests_total",
        "counter",
        "Requests of the kernel since the worker began.",
        lambda reply: [({"kind": kind}, count) for kind, count in sorted(reply.requests.items())],
    ),
    _Family("casfs_request_seconds", "gauge", "Time within which a share of the requests was answered.", _latencies),
)


def add_command(commands: Commands) -> None:
    """casfs metrics"""
    commands.add("metrics", run_metrics, "casfs metrics")


def run_metrics(arguments: argparse.Namespace) -> None:
    """casfs metrics"""
    store = open_store(store_directory(arguments))
    for line in (*format_metrics(ask_daemons(store)), *_format_scrub(store)):
        say(line)


def _format_scrub(store: Store) -> Iterator[str]:
    """What the scrub of the store says of itself."""
    for name, kind, text, value in (
        ("casfs_scrub_read_bytes_total", "counter", "Bytes of the pool that were read again.", read_scrub_state(store).bytes),
        ("casfs_scrub_damaged_blobs", "gauge", "Blobs that are missing, or were damaged and set aside.", len(lost_paths(store))),
    ):
        yield from _format_head(name, kind, text)
        yield _format_sample(name, {}, value)


def format_metrics(daemons: Sequence[tuple[Lease, Reply | None]]) -> Iterator[str]:
    """The lines of an exposition. Of a daemon that does not answer it says only that."""
    yield from _format_head("casfs_up", "gauge", "Whether the daemon answers.")
    for lease, reply in daemons:
        yield _format_sample("casfs_up", _labels(lease), reply is not None)
    for family in _FAMILIES:
        yield from _format_head(family.name, family.type, family.help)
        for lease, reply in daemons:
            for labels, value in family.samples(reply) if reply else ():
                yield _format_sample(family.name, {**_labels(lease), **labels}, value)


def _labels(lease: Lease) -> _Labels:
    """Of which daemon a sample is; a host serves many environments and has none in its label."""
    return {"lease": lease.id, "environment": lease.environment}


def _format_head(name: str, type_: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {type_}"


def _format_sample(name: str, labels: _Labels, value: float) -> str:
    pairs = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {float(value):.15g}" if pairs else f"{name} {float(value):.15g}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
