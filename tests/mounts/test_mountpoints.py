"""What is remembered of places outlives whoever wrote it, and no file in run/ can hurt who reads it. Nothing here is mounted."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casfs.mounts.mountpoints import (
    MountRecord,
    find_host,
    find_mount_record,
    forget_gone_mounts,
    forget_mount,
    iter_mount_records,
    locked_mounts,
    write_mount_record,
)
from casfs.store.leases import new_lease, take_lease
from casfs.store.store import Store, open_store

STARTED = "2026-01-02T03:04:05+00:00"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


def place_at(path: str, environment: str = "default", namespace: int = 0) -> MountRecord:
    return MountRecord(path, environment, 7, 8, "a1b2c3", STARTED, namespace, 4321 if namespace else 0)


def remember(store: Store, *made: MountRecord) -> None:
    """As `make_mount` does when the mount is there."""
    for record in made:
        write_mount_record(store, record)


def told(record: MountRecord | None) -> MountRecord | None:
    """All that whoever made a place said of it."""
    return replace(record, home="", mount="") if record else None


def all_told(store: Store) -> set[MountRecord | None]:
    found = [told(record) for record in iter_mount_records(store)]
    assert len(set(found)) == len(found)
    return set(found)


def test_store_without_places_has_none(store: Store):
    assert list(iter_mount_records(store)) == []
    assert find_mount_record(store, "/srv/venv") is None


def test_place_is_found_as_it_was_remembered(store: Store):
    one, two = place_at("/srv/one"), place_at("/srv/two", "other")
    remember(store, one, two)
    again = open_store(Path(store.root))
    assert told(find_mount_record(again, "/srv/one")) == told(one)
    assert told(find_mount_record(again, "/srv/two")) == told(two)
    assert find_mount_record(again, "/srv") is None
    assert all_told(again) == {told(one), told(two)}


def test_path_is_remembered_once_and_the_last_time_counts(store: Store):
    remember(store, place_at("/srv/one"), place_at("/srv/one", "other"))
    assert all_told(store) == {told(place_at("/srv/one", "other"))}


def test_path_in_another_namespace_is_another_place(store: Store):
    here, there, elsewhere = (place_at("/srv/one", name, number) for name, number in (("a", 0), ("b", 4026531840), ("c", 4026531841)))
    remember(store, here, there, elsewhere)
    assert [told(find_mount_record(store, "/srv/one", one.namespace)) for one in (here, there, elsewhere)] == [
        *map(told, (here, there, elsewhere))
    ]
    forget_mount(store, there)
    assert find_mount_record(store, "/srv/one", there.namespace) is None
    assert all_told(store) == {told(here), told(elsewhere)}


def test_forgotten_place_leaves_nothing_and_the_others_stay(store: Store):
    one, two = place_at("/srv/one"), place_at("/srv/two")
    remember(store, one, two)
    forget_mount(store, one)
    forget_mount(store, one)
    assert all_told(store) == {told(two)}
    forget_mount(store, two)
    assert os.listdir(store.run_path()) == []


@pytest.mark.parametrize(
    "path",
    [
        "/srv/with space",
        "/srv/line\nfeed\ttab",
        '/srv/"quotes" \\ and {braces}',
        "/srv/über/環境",
        os.fsdecode(b"/srv/\xff\xfe not text"),
        "/srv/\u2028 ends a line elsewhere",
        "/srv/.place",
        "/srv" + "/long" * 800,
        "/",
    ],
)
def test_any_path_can_be_remembered(store: Store, path: str):
    remember(store, place_at(path))
    assert told(find_mount_record(store, path)) == told(place_at(path))
    forget_mount(store, place_at(path))
    assert os.listdir(store.run_path()) == []


PATHS = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name).map(lambda name: os.fsdecode(b"/" + name))


@settings(max_examples=25)  # each makes a store
@given(paths=st.sets(PATHS, max_size=6), namespaces=st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=3))
def test_places_are_told_apart_by_path_and_namespace(tmp_path_factory: pytest.TempPathFactory, paths: set[str], namespaces: set[int]):
    store = open_store(tmp_path_factory.mktemp("places") / "store", create=True)
    made = [place_at(path, namespace=number) for path in paths for number in namespaces]
    remember(store, *made)
    assert all_told(store) == {told(record) for record in made}
    for record in made:
        forget_mount(store, record)
    assert list(iter_mount_records(store)) == []


JUNK = {
    "empty": b"",
    "half": b'{"path": "/srv/one", "environment": "defau',
    "no object": b'["/srv/one", "default"]',
    "a number": b"12",
    "no path": b'{"environment": "default", "uid": 0, "gid": 0, "host": "a", "started": ""}',
    "of a later version": b'{"path": "/srv/x", "environment": "a", "uid": 0, "gid": 0, "host": "a", "started": "", "colour": 3}',
    "not text": b"\xff\xfe\0\x01" * 100,
}


@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK.keys())
def test_file_that_says_nothing_hides_no_place(store: Store, content: bytes):
    remember(store, place_at("/srv/one"), place_at("/srv/two"))
    for name in ("0000000000000000.place", "ffffffffffffffff.place"):
        Path(store.run_path(name)).write_bytes(content)
    assert all_told(store) == {told(place_at("/srv/one")), told(place_at("/srv/two"))}
    assert told(find_mount_record(store, "/srv/two")) == told(place_at("/srv/two"))


def test_what_is_no_record_is_no_place(store: Store):
    remember(store, place_at("/srv/one"))
    [name] = os.listdir(store.run_path())
    record = Path(store.run_path(name)).read_bytes()
    Path(store.run_path("1" * 16 + ".place.new")).write_bytes(record.replace(b"one", b"two"))  # a writer died before it had a name
    Path(store.run_path("a1b2c3.json.bak")).write_bytes(record)
    Path(store.run_path("2" * 16 + ".place")).mkdir()
    Path(store.run_path("3" * 16 + ".place")).symlink_to("nowhere")
    assert all_told(store) == {told(place_at("/srv/one"))}


def test_writer_that_died_is_in_nobodys_way(store: Store):
    remember(store, place_at("/srv/one"))
    [name] = os.listdir(store.run_path())
    Path(store.run_path(f"{name}.new")).write_bytes(b'{"path": "/srv/on')
    remember(store, place_at("/srv/one", "other"))
    assert os.listdir(store.run_path()) == [name]
    assert all_told(store) == {told(place_at("/srv/one", "other"))}


def test_record_is_an_object_of_plain_values(store: Store):
    remember(store, place_at("/srv/one", namespace=5))
    [name] = os.listdir(store.run_path())
    record = json.loads(Path(store.run_path(name)).read_bytes())
    assert record["path"] == "/srv/one"
    assert all(isinstance(value, str | int) for value in record.values())


def test_reader_sees_whole_records_while_others_write(store: Store):
    stays, comes = place_at("/srv/stays"), place_at("/srv/comes", "x" * 200)
    remember(store, stays)
    is_over = threading.Event()

    def write() -> None:
        for _ in range(300):
            remember(store, comes)
            forget_mount(store, comes)
        is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not is_over.is_set():
        assert told(stays) in all_told(store) <= {told(stays), told(comes)}
    writer.join()
    assert all_told(store) == {told(stays)}


def test_place_in_a_namespace_that_is_gone_is_forgotten(store: Store):
    gone = place_at("/srv/one", namespace=1)  # a namespace's number is an inode number far above
    remember(store, gone)
    assert gone.locate() is None
    forget_gone_mounts(store)
    assert os.listdir(store.run_path()) == []


def test_who_changes_places_waits_for_whoever_does(store: Store):
    order = []
    waits = threading.Event()

    def second() -> None:
        waits.set()
        with locked_mounts(store):
            order.append("second")

    other = threading.Thread(target=second)
    with locked_mounts(store):
        other.start()
        assert waits.wait(60)
        remember(store, place_at("/srv/one"))
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_right_to_change_places_ends_with_an_error(store: Store):
    with pytest.raises(ZeroDivisionError), locked_mounts(store):
        raise ZeroDivisionError
    with locked_mounts(store):
        assert list(iter_mount_records(store)) == []


def test_host_is_whoever_shows_no_single_environment(store: Store):
    assert find_host(store) is None
    single = take_lease(store, new_lease("default", "/srv/one", STARTED))
    assert find_host(store) is None
    host = take_lease(store, new_lease("", "/run/casfs/x", STARTED))
    assert find_host(store) == host.lease
    host.end()
    assert find_host(store) is None
    single.end()
    assert os.listdir(store.run_path()) == []
