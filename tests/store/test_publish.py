"""Publishing: whole or not at all, and nothing is left of what was not published."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from casfs.store.publish import Batch, write_all
from casfs.store.store import Store

HOLD_A_BATCH = """
import sys
from casfs.store.publish import Batch
batch = Batch(sys.argv[1])
batch.add(sys.argv[1] + "/never", b"staged")
print("staged", flush=True)
sys.stdin.read()
"""


def tmp(store: Store) -> list[str]:
    return os.listdir(store.path("tmp"))


def test_commit_publishes_what_was_added(store, place):
    with store.batch() as batch:
        batch.add(f"{place}/one", b"1")
        batch.add(f"{place}/new/directory/two", b"2", mode=0o644)
        assert not (place / "one").exists()
        batch.commit()
    assert (place / "one").read_bytes() == b"1"
    assert (place / "new/directory/two").read_bytes() == b"2"
    assert [(place / name).stat().st_mode & 0o777 for name in ("one", "new/directory/two")] == [0o444, 0o644]
    assert tmp(store) == []


def test_the_umask_changes_no_mode(store, place):
    before = os.umask(0o077)
    try:
        with store.batch() as batch:
            batch.add(f"{place}/one", b"1")
            batch.commit()
    finally:
        os.umask(before)
    assert (place / "one").stat().st_mode & 0o777 == 0o444


def test_a_batch_that_is_not_committed_leaves_nothing(store, place):
    with store.batch() as batch:
        batch.add(f"{place}/one", b"1")
    assert not (place / "one").exists()
    assert tmp(store) == []


def test_a_batch_that_fails_leaves_nothing(store, place):
    def fail() -> None:
        with store.batch() as batch:
            batch.add(f"{place}/one", b"1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not (place / "one").exists()
    assert tmp(store) == []


def test_only_what_is_placed_is_published(store, place):
    with store.batch() as batch:
        with batch.writing() as (name, fd):
            write_all(fd, b"x" * 100_000)
        assert f"{place}/one" not in batch
        batch.place(name, f"{place}/one")
        assert f"{place}/one" in batch
        with batch.writing():
            pass
        batch.commit()
        assert f"{place}/one" not in batch
    assert (place / "one").read_bytes() == b"x" * 100_000


def test_what_was_placed_before_an_exception_is_taken_back(store, place):
    with store.batch() as batch:
        batch.add(f"{place}/one", b"1")
        with contextlib.suppress(ValueError), batch.undoing():
            batch.add(f"{place}/two", b"2", exclusive=True)
            batch.add(f"{place}/three", b"3")
            raise ValueError("refused")
        with batch.undoing():
            batch.add(f"{place}/three", b"another")
        assert f"{place}/two" not in batch
        assert len(os.listdir(batch.directory)) == 2
        batch.commit()
    assert {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} == {"one": b"1", "three": b"another"}


def test_an_exclusive_file_never_replaces_one(store, place):
    (place / "one").write_bytes(b"first")
    with store.batch() as batch:
        batch.add(f"{place}/one", b"second", exclusive=True)
        with pytest.raises(FileExistsError):
            batch.commit()
    assert (place / "one").read_bytes() == b"first"


def test_an_exclusive_file_makes_its_directory(store, place):
    with store.batch() as batch:
        batch.add(f"{place}/new/one", b"1", exclusive=True)
        batch.commit()
    assert (place / "new/one").read_bytes() == b"1"
    assert (place / "new/one").stat().st_nlink == 1


def test_a_link_replaces_an_older_one(store, place):
    for target in ("first", "second"):
        with store.batch() as batch:
            batch.add_link(f"{place}/link", target)
            batch.commit()
        assert os.readlink(place / "link") == target


def test_a_batch_can_commit_twice(store, place):
    with store.batch() as batch:
        batch.add(f"{place}/one", b"1")
        batch.commit()
        batch.add(f"{place}/two", b"2")
        batch.commit()
        batch.commit()
    assert [(place / name).read_bytes() for name in ("one", "two")] == [b"1", b"2"]


def test_a_rename_that_fails_leaves_nothing_half_written(store, place):
    (place / "two/full").mkdir(parents=True)  # no file can be renamed to this name
    with store.batch() as batch:
        for name in ("one", "two", "three"):
            batch.add(f"{place}/{name}", name.encode())
        with pytest.raises(IsADirectoryError):
            batch.commit()
    found = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    assert found.items() <= {"one": b"one", "three": b"three"}.items()
    assert (place / "two/full").is_dir()
    assert tmp(store) == []


def test_a_reader_sees_all_of_a_file_or_none(store, place):
    versions = {letter * 200_000 for letter in (b"a", b"b")}
    seen: set[bytes] = set()
    is_over = threading.Event()

    def read():
        is_last = False
        while not is_last:
            is_last = is_over.is_set()  # however seldom this thread ran, it reads once more
            try:
                seen.add((place / "file").read_bytes())
            except FileNotFoundError:
                seen.add(b"none")

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        for content in versions:
            with store.batch() as batch:
                batch.add(f"{place}/file", content)
                batch.commit()
    is_over.set()
    reader.join()
    assert seen <= {*versions, b"none"}
    assert seen & versions


def test_what_a_dead_process_left_is_swept_and_what_a_live_one_stages_is_not(store):
    command = [sys.executable, "-c", HOLD_A_BATCH, store.path("tmp")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"staged\n"
        [theirs] = tmp(store)
        with store.batch():
            assert theirs in tmp(store)
        child.kill()
    assert os.listdir(store.path("tmp", theirs)) == ["1"]
    with store.batch():
        assert theirs not in tmp(store)
    assert tmp(store) == []


def test_what_is_no_batch_is_not_swept(store):
    Path(store.path("tmp", "file")).write_bytes(b"")
    os.symlink("/nowhere", store.path("tmp", "link"))
    with store.batch():
        assert {"file", "link"} <= set(tmp(store))


def test_threads_stage_side_by_side(store, place):
    with store.batch() as batch:

        def stage(thread: int) -> None:
            for number in range(200):
                batch.add(f"{place}/{thread}-{number}", f"{thread}-{number}".encode())

        threads = [threading.Thread(target=stage, args=(thread,)) for thread in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        batch.commit()
    assert {path.name: path.read_text() for path in place.iterdir() if path.is_file()} == {
        f"{thread}-{number}": f"{thread}-{number}" for thread in range(4) for number in range(200)
    }


def test_two_batches_know_nothing_of_each_other(store, place):
    with store.batch() as one, Batch(store.path("tmp")) as two:
        one.add(f"{place}/file", b"one")
        two.add(f"{place}/file", b"two")
        two.commit()
        assert (place / "file").read_bytes() == b"two"
        one.commit()
    assert (place / "file").read_bytes() == b"one"
