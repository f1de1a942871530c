"""What a private mount has in the store, and that it goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casfs.store.environments import Environment
from casfs.store.leases import (
    HeldLease,
    clear_private_mount,
    forget_lease,
    is_lease_held,
    iter_dead_leases,
    iter_leases,
    iter_private_leases,
    own_environment,
    private_lease,
    sweep_private_mounts,
    take_lease,
)
from casfs.store.store import Store

ID = "0123456789ab"


def take(store: Store, directory: Path, environment: str = "") -> HeldLease:
    directory.mkdir()
    held = take_lease(store, private_lease(ID, str(directory), "2026-01-01T00:00:00+00:00", environment))
    Path(Environment(store, held.lease.environment).directory).mkdir(exist_ok=True)
    return held


def test_private_lease_is_not_listed_with_those_that_can_be_reached(store: Store, tmp_path: Path) -> None:
    held = take(store, tmp_path / "mount", "test")
    assert list(iter_leases(store)) == []
    assert list(iter_private_leases(store)) == [held.lease]
    os.close(held.fd)
    assert list(iter_private_leases(store)) == list(iter_dead_leases(store)) == []


def test_lease_is_held_as_long_as_one_descriptor_is_open(store: Store, tmp_path: Path) -> None:
    held = take(store, tmp_path / "mount", "test")
    inherited = os.dup(held.fd)
    os.close(held.fd)
    assert is_lease_held(store, held.lease)
    os.close(inherited)
    assert not is_lease_held(store, held.lease)
    forget_lease(store, held.lease)
    assert os.listdir(store.run_path()) == []


@pytest.mark.parametrize(("environment", "stays"), [("", False), ("test", True), (own_environment("ba9876543210"), True)])
def test_only_an_environment_of_its_own_goes_with_a_private_mount(store: Store, tmp_path: Path, environment: str, stays: bool) -> None:
    held = take(store, tmp_path / "mount", environment)
    clear_private_mount(store, held.lease)
    assert Path(Environment(store, held.lease.environment).directory).exists() == stays
    assert not (tmp_path / "mount").exists()
    assert os.listdir(store.path("tmp")) == []
    held.end()


def test_sweep_takes_what_nobody_holds_and_nothing_else(store: Store, tmp_path: Path) -> None:
    held = take(store, tmp_path / "mount")
    sweep_private_mounts(store)
    assert (tmp_path / "mount").exists()
    os.close(held.fd)
    sweep_private_mounts(store)
    assert os.listdir(store.run_path()) == os.listdir(store.path("environments")) == []
    assert not (tmp_path / "mount").exists()
