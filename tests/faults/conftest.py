"""Places in which faults can be made: they are gone when the tests are."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.collecting import Collecting, make_collecting
from tests.faults.prepared import Prepared
from tests.faults.scene import Scene, make_scene, synthetic_wheel


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory: syncing it costs nothing, whatever else the machine's disk is doing."""
    directory = tmp_path_factory.mktemp("memory")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=700", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.fixture
def workspace(memory: Path, tmp_path: Path) -> Path:
    """A directory in memory for one test."""
    directory = memory / tmp_path.name
    directory.mkdir()
    return directory


@pytest.fixture(scope="session")
def prepared() -> Iterator[Prepared]:
    prepared = Prepared()
    try:
        yield prepared
    finally:
        prepared.end()


@pytest.fixture(scope="session")
def upgrade(prepared: Prepared, memory: Path) -> Scene:
    """An environment that has demo 1.0, and an add of demo 2.0 and other 1.0."""
    wheels = [synthetic_wheel("demo", "2.0"), synthetic_wheel("other")]
    return make_scene(prepared, memory / "upgrade", wheels, synthetic_wheel("demo", "1.0"))


@pytest.fixture(scope="session")
def first(prepared: Prepared, memory: Path) -> Scene:
    """The first add of all: the store itself is made by it."""
    return make_scene(prepared, memory / "first", [synthetic_wheel("demo", "1.0", 2)])


@pytest.fixture(scope="session")
def collecting(prepared: Prepared, memory: Path) -> Collecting:
    """A store with garbage, and a collection of it."""
    return make_collecting(prepared, memory / "collecting")
