"""The measures, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.measures import add, disk, host, imports, ingest, latency, memory, mounting

Measure = Callable[[Bench], Iterator[Figure]]

MEASURES: dict[str, Measure] = {
    "add": add.measure,
    "mounting": mounting.measure,
    "imports": imports.measure,
    "latency": latency.measure,
    "memory": memory.measure,
    "host": host.measure,
    "ingest": ingest.measure,
    "disk": disk.measure,
}
