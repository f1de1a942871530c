"""The store's clock: no time comes twice, none runs back, and none is strange, whatever the system's clock says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from casfs.store.clock import held_clock, newest_time
from casfs.store.manifests import FIRST_TIME, LAST_TIME
from casfs.store.store import Store
from tests.store.racing import run_both

TICK = """
import sys
from casfs.store.clock import held_clock
from casfs.store.store import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    with held_clock(store) as clock:
        print(clock.next_times(2))
"""

SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets the clock of the system, for whoever asks Python for it."""
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: seconds)


def tick(store: Store, count: int = 1) -> int:
    with held_clock(store) as clock:
        return clock.next_times(count)


def test_a_time_is_now_or_the_next_second(store):
    before = time.time()
    assert math.ceil(before) <= tick(store) <= math.ceil(time.time())


def test_times_that_are_given_together_follow_each_other_and_what_comes_next_follows_them(store, set_clock):
    set_clock(1_800_000_000.2)
    assert [tick(store, 3), tick(store), newest_time(store)] == [1_800_000_001, 1_800_000_004, 1_800_000_004]


@pytest.mark.parametrize("wrong", [0.0, -1.0, 1_799_999_000.5])
def test_a_clock_that_went_back_gives_times_that_go_on(store, set_clock, wrong):
    set_clock(1_800_000_000.0)
    tick(store)
    set_clock(wrong)
    assert [tick(store), tick(store)] == [1_800_000_001, 1_800_000_002]


def test_a_new_store_of_a_machine_without_a_clock_is_later_than_all_that_content_dates(store, set_clock):
    set_clock(0.0)
    assert tick(store) == FIRST_TIME


def test_a_clock_that_was_ahead_leaves_times_in_their_order(store, set_clock):
    set_clock(3_000_000_000.0)
    tick(store)
    set_clock(1_800_000_000.0)
    assert tick(store) == 3_000_000_001


def test_a_clock_that_is_centuries_ahead_is_not_believed(store, set_clock):
    set_clock(1_800_000_000.0)
    tick(store)
    set_clock(20_000_000_000.0)
    assert tick(store) == 1_800_000_001


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"18000", b"0000000001\n", b"9999999999\n", f"{LAST_TIME + 1}\n".encode()])
def test_a_clock_that_lost_its_time_takes_that_of_the_system(store, set_clock, content):
    Path(store.path("clock")).write_bytes(content)
    set_clock(1_800_000_000.0)
    assert tick(store) == 1_800_000_000


def test_what_was_noted_is_older_than_all_that_comes(store, set_clock):
    set_clock(1_800_000_000.0)
    with held_clock(store) as clock:
        clock.note(1_900_000_000)
        clock.note(1_850_000_000)
    assert tick(store) == 1_900_000_001


def test_processes_never_get_the_same_time(store):
    given = [int(line) for output in run_both(TICK, store.root) for line in output.split()]
    every = [time for first in given for time in (first, first + 1)]
    assert len(set(every)) == len(every) == 400
