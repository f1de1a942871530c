"""Collecting while a change of an environment is under way: stopped between its look at the pool and each thing that it publishes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from casfs.digest import Digest
from casfs.store.environments import Environment
from casfs.store.fsck.check import check_store
from casfs.store.gc.gc import Collected, CollectOptions, collect
from casfs.store.gc.needed import iter_shards
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.publish import Batch
from casfs.store.shared import shared_store_lock
from casfs.store.store import Store
from tests.make_wheels import MadeWheel, make_wheel
from tests.store.collecting import collect_all, nobody_seeing
from tests.store.making import ingest, install, publish_generation
from tests.store.scene import DEMO, NEWER, OTHER

LIVELY_S = 60
"""Who waits longer hangs."""

COMMITS = 9
"""So many times an upgrade publishes something."""


class Stopped:
    """A change that stops before it publishes something, until a collection says that it waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = 0
        self._thread: threading.Thread | None = None
        self._has_stopped = threading.Event()
        self._may_go_on = threading.Event()
        publish = Batch.commit

        def commit(batch: Batch) -> None:
            self._meet()
            publish(batch)

        monkeypatch.setattr(Batch, "commit", commit)

    def _meet(self) -> None:
        if threading.current_thread() is self._thread:
            self._left -= 1
            if self._left == 0:
                self._has_stopped.set()
                assert self._may_go_on.wait(LIVELY_S)

    def run(self, count: int, change: Callable[[], None], collection: Callable[[Callable[[], None]], Collected]) -> bool:
        """Let the change stop at its commit number `count`, and collect then. Whether it got so far."""
        self._left = count
        self._has_stopped.clear()
        self._may_go_on.clear()
        with ThreadPoolExecutor(1) as other:
            done = other.submit(self._do, change)
            assert self._has_stopped.wait(LIVELY_S)
            collection(self._may_go_on.set)
            self._may_go_on.set()  # so that a collection that does not wait is seen to do harm
            done.result(LIVELY_S)
        return self._left <= 0

    def _do(self, change: Callable[[], None]) -> None:
        self._thread = threading.current_thread()
        try:
            change()
        finally:
            self._has_stopped.set()


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Stopped:
    return Stopped(monkeypatch)


def upgrade(store: Store, place: Path, wheel: MadeWheel) -> None:
    """What `casfs add` does."""
    with shared_store_lock(store):
        [one] = ingest(store, place, wheel)
        publish_generation(Environment(store, "work"), install(store, one))


def check_is_shown(store: Store, wheel: MadeWheel) -> None:
    """Nothing is damaged, and the environment has the wheel."""
    assert check_store(store).damages == ()
    [one] = Environment(store, "work").require().distributions
    assert wheel.filename.startswith(f"{one.name}-{one.version}-")


def race(store: Store, place: Path, stopped: Stopped, rounds: int) -> set[int]:
    """Upgrade to and fro so many times, each with a collection in the middle. At which commits."""
    wheels = itertools.cycle([DEMO, NEWER])
    reached = set()
    upgrade(store, place, next(wheels))
    for number, wheel in zip(range(rounds), wheels, strict=False):
        count, is_forgotten = 1 + number // 2 % COMMITS, number // (2 * COMMITS) % 2 == 0
        if stopped.run(
            count,
            lambda wheel=wheel: upgrade(store, place, wheel),  # type: ignore[misc]
            lambda tell, is_forgotten=is_forgotten: collect_all(store, unused_wheels=is_forgotten, tell_waiting=tell),  # type: ignore[misc]
        ):
            reached.add(count)
        check_is_shown(store, wheel)
    return reached


def test_collection_waits_for_a_change_that_counts_on_what_is_in_the_pool(store: Store, place: Path, stopped: Stopped):
    assert len(race(store, place, stopped, 2 * COMMITS)) >= 5


@pytest.mark.long
def test_ten_thousand_collections_in_the_middle_of_changes_lose_nothing(store: Store, place: Path, stopped: Stopped):
    race(store, place, stopped, 10_000)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of a collection is a turn of its own."""
    monkeypatch.setattr("casfs.store.gc.gc._TURN_S", 0)


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something between two turns of a collection: once, after the records, when it begins with the manifests."""
    acts = iter([act])

    def act_first(path: str) -> Iterator[str]:
        for one in acts:
            one()
        return iter_shards(path)

    monkeypatch.setattr("casfs.store.gc.gc.iter_shards", act_first)


@pytest.mark.usefixtures("unhurried")
def test_environment_that_comes_back_by_a_name_whose_generations_went_is_whole(store: Store, place: Path, monkeypatch: pytest.MonkeyPatch):
    """Its generations have the numbers, and so the paths, of those that were dropped."""
    upgrade(store, place, DEMO)
    upgrade(store, place, NEWER)

    def replace() -> None:
        Path(store.path("environments", "work")).rename(place / "removed")
        [one] = ingest(store, place, OTHER)
        publish_generation(Environment(store, "work"), install(store, one))

    between(monkeypatch, replace)
    collect(store, CollectOptions(unused_wheels=True, keep=1), nobody_seeing)
    check_is_shown(store, OTHER)
    assert Environment(store, "work").numbers() == [1]


@pytest.mark.usefixtures("unhurried")
def test_what_is_added_between_two_turns_is_needed(store: Store, place: Path, monkeypatch: pytest.MonkeyPatch):
    upgrade(store, place, DEMO)
    between(monkeypatch, lambda: upgrade_without_lock(store, place, NEWER))
    collect(store, CollectOptions(unused_wheels=True), nobody_seeing)
    check_is_shown(store, NEWER)


def upgrade_without_lock(store: Store, place: Path, wheel: MadeWheel) -> None:
    [one] = ingest(store, place, wheel)
    publish_generation(Environment(store, "work"), install(store, one))


def test_two_collections_at_once_do_not_take_each_other_s_work_for_damage(store: Store, place: Path, monkeypatch: pytest.MonkeyPatch):
    """One has seen which generations there are, and comes to read their manifests when the other has removed them."""
    upgrade(store, place, make_wheel({"demo/old.py": b"OLD = 1\n"}, "demo", "0.1"))
    upgrade(store, place, DEMO)
    others = iter([partial(collect_all, store)])

    def read_late(store: Store, digest: Digest) -> Manifest:
        for other in others:
            other()
        return read_manifest(store, digest)

    monkeypatch.setattr("casfs.store.gc.needed.read_manifest", read_late)
    collect(store, CollectOptions(unused_wheels=True), nobody_seeing)
    check_is_shown(store, DEMO)
