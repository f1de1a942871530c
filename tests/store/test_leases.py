"""Leases: they live exactly as long as their holder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casfs.store.leases import Lease, iter_leases, lease_path, new_lease, take_lease

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
    assert os.listdir(store.path("leases")) == []


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


def test_the_lease_of_a_killed_process_is_removed_with_what_belongs_to_it(store):
    command = [sys.executable, "-c", HOLD_A_LEASE, store.root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        lease_id = child.stdout.readline().decode().strip()
        for suffix in (".sock", ".log"):
            Path(store.path("leases", lease_id + suffix)).touch()
        assert [lease.pid for lease in iter_leases(store)] == [child.pid]
        child.kill()
    assert len(os.listdir(store.path("leases"))) == 3
    assert list(iter_leases(store)) == []
    assert os.listdir(store.path("leases")) == []


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_torn_lease_of_nobody_is_removed(store, content):
    Path(lease_path(store, "0123456789ab")).write_text(content)
    assert list(iter_leases(store)) == []
    assert os.listdir(store.path("leases")) == []


def test_what_is_no_lease_is_left_alone(store):
    Path(store.path("leases", "notes.txt")).touch()
    assert list(iter_leases(store)) == []
    assert os.listdir(store.path("leases")) == ["notes.txt"]
