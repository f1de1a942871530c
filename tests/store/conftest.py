"""Stores for tests. They lie in memory where possible: syncing that costs nothing, whatever else the machine's disk is doing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from casfs.store.fsck.check import check_store
from casfs.store.store import Store, open_store
from tests.store.scene import Scene, make_scene

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
    must_be_whole(damaged_store)


@pytest.fixture(scope="session")
def first_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The scene that others are copies of: copying is faster than publishing."""
    place = tmp_path_factory.mktemp("scene")
    return make_scene(open_store(place / "store", create=True), place)


@pytest.fixture
def damaged_scene(first_scene: Scene, place: Path) -> Scene:
    """A store with wheels and environments, for tests that plant damage: nobody checks it afterwards."""
    shutil.copytree(first_scene.store.root, place / "store", symlinks=True)
    return replace(first_scene, store=open_store(place / "store"), place=place)


@pytest.fixture
def scene(damaged_scene: Scene) -> Iterator[Scene]:
    """A store with wheels and environments, in which a check must find nothing when the test is over."""
    yield damaged_scene
    must_be_whole(damaged_scene.store)


def must_be_whole(store: Store) -> None:
    for is_fast in (False, True):
        assert check_store(store, is_fast=is_fast).damages == ()
