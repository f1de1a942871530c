"""The measures, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scripts.bench.bench import Bench
from scripts.bench.figures import Figure
from scripts.bench.measures import (
    add,
    commands,
    disk,
    growth,
    imports,
    ingest,
    memory,
    metadata,
    mounting,
    reads,
    ready,
    sharing,
)

Measure = Callable[[Bench], Iterator[Figure]]

MEASURES: dict[str, Measure] = {
    "ready": ready.measure,
    "commands": commands.measure,
    "add": add.measure,
    "mounting": mounting.measure,
    "imports": imports.measure,
    "metadata": metadata.measure,
    "reads": reads.measure,
    "memory": memory.measure,
    "sharing": sharing.measure,
    "ingest": ingest.measure,
    "disk": disk.measure,
    "growth": growth.measure,
}
