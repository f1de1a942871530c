"""The measures, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.measures import add, disk, host, imports, ingest, latency, memory, metadata, mounting, sharing, twins, upper

Measure = Callable[[Bench], Iterator[Figure]]

MEASURES: dict[str, Measure] = {
    "add": add.measure,
    "twins": twins.measure,
    "mounting": mounting.measure,
    "imports": imports.measure,
    "metadata": metadata.measure,
    "latency": latency.measure,
    "memory": memory.measure,
    "sharing": sharing.measure,
    "host": host.measure,
    "ingest": ingest.measure,
    "disk": disk.measure,
    "upper": upper.measure,
}
