"""What the kernel was told of is known to the next worker, and to nobody else."""

from __future__ import annotations

from casfs.mount.shown import ShownGenerations
from tests.make_generations import Workshop


def test_next_worker_begins_with_what_was_written_down(workshop: Workshop):
    store = workshop.environment.store
    first = ShownGenerations(store, "lease")
    first.write("one", 3)
    first.write("two", 5)
    first.write("one", 4)
    assert ShownGenerations(store, "lease").numbers == {"one": 4, "two": 5}
    assert ShownGenerations(store, "other").numbers == {}
