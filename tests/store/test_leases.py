"""Leases: they live exactly as long as their holder."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from casfs.store.leases import Lease, iter_dead_leases, iter_leases, lease_path, new_lease, remove_dead_lease, sweep_leases, take_lease

HOLD_A_LEASE = """
import sys
from pathlib import Path
from casfs.store.leases import take_lease, new_lease
from casfs.store.store import open_store
held = take_lease(open_store(Path(sys.argv[1])), new_lease("work", "/mnt", "2026-01-02T03:04:05+00:00"))
print(held.lease.id, flush=True)
sys.stdin.read()
"""


def make_lease() -> Lease:
    return new_lease("work", "/mnt/é", "2026-01-02T03:04:05+00:00")


def test_a_held_lease_is_seen(store):
    held = take_lease(store, make_lease())
    assert list(iter_leases(store)) == [held.lease]
    assert held.lease.pid == os.getpid()
    held.end()


def test_a_lease_that_ended_is_gone(store):
    held = take_lease(store, make_lease())
    held.end()
    assert list(iter_leases(store)) == []
    assert os.listdir(store.run_path()) == []


def test_leases_differ(store):
    held = [take_lease(store, make_lease()) for _ in range(3)]
    assert {lease.id for lease in iter_leases(store)} == {one.lease.id for one in held}
    assert len({one.lease.id for one in held}) == 3
    for one in held:
        one.end()


def test_a_lease_that_somebody_removed_can_still_be_ended(store):
    held = take_lease(store, make_lease())
    os.unlink(lease_path(store, held.lease.id))
    held.end()
    assert list(iter_leases(store)) == []


def test_a_lease_belongs_to_its_owner_alone(store):
    held = take_lease(store, make_lease())
    assert os.stat(lease_path(store, held.lease.id)).st_mode & 0o777 == 0o600
    held.end()


@contextlib.contextmanager
def killed_holder(store, *suffixes: str) -> Iterator[str]:
    """The id of a lease whose holder is killed when the block ends, with such files beside it."""
    command = [sys.executable, "-c", HOLD_A_LEASE, store.root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        lease_id = child.stdout.readline().decode().strip()
        for suffix in suffixes:
            Path(store.run_path(lease_id + suffix)).write_text(f"{suffix}\n")
        yield lease_id
        child.kill()


def test_the_lease_of_a_killed_process_is_dead_until_it_is_buried(store):
    with killed_holder(store, ".sock", ".log") as lease_id:
        assert [lease.id for lease in iter_leases(store)] == [lease_id]
        assert list(iter_dead_leases(store)) == []
    assert list(iter_leases(store)) == []
    sweep_leases(store)
    [lease] = iter_dead_leases(store)
    assert lease.id == lease_id
    remove_dead_lease(store, lease, "it died")
    assert os.listdir(store.run_path()) == ["dead.log"]
    first, last = Path(store.run_path("dead.log")).read_text().splitlines()
    assert first == ".log"
    assert datetime.fromisoformat(last.removesuffix(" it died")) <= datetime.now()


def test_only_the_last_log_is_kept(store):
    for last_log_line in ("first", "second"):
        with killed_holder(store, ".log"):
            pass
        [lease] = iter_dead_leases(store)
        remove_dead_lease(store, lease, last_log_line)
    first, last = Path(store.run_path("dead.log")).read_text().splitlines()
    assert (first, last.endswith(" second")) == (".log", True)


def test_what_a_withdrawn_lease_leaves_is_swept_when_its_holder_is_dead(store):
    with killed_holder(store, ".sock", ".slots", ".shown", ".log", ".log.1") as lease_id:
        os.rename(lease_path(store, lease_id), store.run_path(f"{lease_id}.withdrawn"))
        before = sorted(os.listdir(store.run_path()))
        sweep_leases(store)
        assert sorted(os.listdir(store.run_path())) == before
    sweep_leases(store)
    assert os.listdir(store.run_path()) == []


def test_a_withdrawn_lease_is_found_by_nobody_and_ends(store):
    held = take_lease(store, make_lease())
    Path(store.run_path(f"{held.lease.id}.log")).touch()
    held.withdraw()
    assert list(iter_leases(store)) == list(iter_dead_leases(store)) == []
    held.end()
    assert os.listdir(store.run_path()) == []


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_torn_lease_of_nobody_is_removed(store, content):
    Path(lease_path(store, "0123456789ab")).write_text(content)
    assert list(iter_leases(store)) == []
    assert list(iter_dead_leases(store)) == []
    assert os.listdir(store.run_path()) == []


def test_what_is_no_lease_is_left_alone(store):
    Path(store.run_path("notes.txt")).touch()
    Path(store.run_path("0123456789ab.mnt")).mkdir()
    Path(store.run_path("0123456789abcdef.place")).touch()
    assert list(iter_leases(store)) == []
    assert list(iter_dead_leases(store)) == []
    sweep_leases(store)
    assert sorted(os.listdir(store.run_path())) == ["0123456789ab.mnt", "0123456789abcdef.place", "notes.txt"]
