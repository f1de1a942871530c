"""What the kernel was told of is known to the next worker, and to nobody else."""

from __future__ import annotations

import os
import threading

import pytest

from casfs.daemon.acknowledged_generations import AcknowledgedGenerations
from casfs.errors import CasfsError
from casfs.store.environments import Environment
from tests.make_generations import Workshop
from tests.make_wheels import make_wheel


def test_next_worker_begins_with_what_was_written_down(workshop: Workshop):
    store = workshop.environment.store
    first = AcknowledgedGenerations(store, "lease")
    first.write("one", 3)
    first.write("two", 5)
    first.write("one", 4)
    assert AcknowledgedGenerations(store, "lease").numbers == {"one": 4, "two": 5}
    assert AcknowledgedGenerations(store, "other").numbers == {}


def test_first_look_at_an_environment_is_at_its_current_generation(workshop: Workshop):
    workshop.add(make_wheel({"one.py": b""}, "one"))
    environment, shown = workshop.environment, AcknowledgedGenerations(workshop.store, "lease")
    assert shown.read(environment.name) == environment.require()
    assert shown.numbers == {environment.name: environment.current_number()}


def test_next_worker_begins_with_the_generation_that_was_shown_although_there_is_a_newer_one(workshop: Workshop):
    workshop.add(make_wheel({"one.py": b""}, "one"))
    environment = workshop.environment
    before = AcknowledgedGenerations(workshop.store, "lease").read(environment.name)
    workshop.add(make_wheel({"two.py": b""}, "two"))
    assert environment.current_number() != before.number
    assert AcknowledgedGenerations(workshop.store, "lease").read(environment.name) == before


def test_environment_that_does_not_exist_is_not_written_down(workshop: Workshop):
    shown = AcknowledgedGenerations(workshop.store, "lease")
    with pytest.raises(CasfsError):
        shown.read("nobody")
    assert AcknowledgedGenerations(workshop.store, "lease").numbers == {}
    assert Environment(workshop.store, "nobody").current_number() is None


def test_threads_that_write_at_once_lose_nothing(workshop: Workshop):
    shown, start = AcknowledgedGenerations(workshop.store, "lease"), threading.Barrier(8)

    def write(name: str) -> None:
        start.wait()
        for number in range(1, 31):
            shown.write(name, number)

    threads = [threading.Thread(target=write, args=(f"e{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AcknowledgedGenerations(workshop.store, "lease").numbers == {f"e{number}": 30 for number in range(8)}
    assert os.listdir(workshop.store.run_path()) == ["lease.shown"]


def test_worker_that_died_while_it_wrote_is_in_nobodys_way(workshop: Workshop):
    first = AcknowledgedGenerations(workshop.store, "lease")
    first.write("one", 3)
    with open(workshop.store.run_path("lease.shown.new"), "w", encoding="utf-8") as file:
        file.write('{"one": ')
    after = AcknowledgedGenerations(workshop.store, "lease")
    assert after.numbers == {"one": 3}
    after.write("one", 4)
    assert AcknowledgedGenerations(workshop.store, "lease").numbers == {"one": 4}
    assert os.listdir(workshop.store.run_path()) == ["lease.shown"]
