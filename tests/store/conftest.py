"""Stores for tests. They lie in memory where possible: syncing that costs nothing, whatever else the machine's disk is doing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.store.check import check_store
from casfs.store.store import Store, open_store

_MEMORY = "/dev/shm"


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory, gone when the test is."""
    path = tempfile.mkdtemp(prefix="casfs-test-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def damaged_store(place: Path) -> Store:
    """An empty store, for tests that plant damage: nobody checks it afterwards."""
    return open_store(place / "store", create=True)


@pytest.fixture
def store(damaged_store: Store) -> Iterator[Store]:
    """An empty store, in which a check must find nothing when the test is over."""
    yield damaged_store
    assert check_store(damaged_store).damages == ()
    assert check_store(damaged_store, is_fast=True).damages == ()
