from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench.bench import Bench
from scripts.bench.measures.metadata import mounted_overlay
from scripts.bench.processes import adopting_orphans
from scripts.bench.rounds import Pace
from scripts.bench.stores import Store
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import Tools
from scripts.bench.ways import KERNEL_ON_FUSE, PLAIN, WAYS, Way


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With one environment, of two generations."""
    base = str(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]
    tools = Tools(str(Path(sys.executable).with_name("casfs")), sys.executable, base, "", "")
    with adopting_orphans():
        store = Bench(tmp_path, tmp_path, tools, pace=Pace(1, 1), is_quick=True, is_large=False).new_store(tmp_path / "store")
        for wheel in make_wheels(tmp_path, 2):
            store.add("two", [wheel])
        yield store


def test_each_way_shows_the_environment_in_its_own_manner(store: Store):
    mountpoint = store.path.parent / "mount"
    ways = store.ways("two", mountpoint)
    assert ways == list(WAYS)
    for way in ways:
        with store.mounted("two", mountpoint, way=way):
            found = store.status(mountpoint)
            packages = next(mountpoint.glob("lib/python3.*/site-packages"))
            assert (packages / "bench_00001/first.py").read_text().startswith("VALUE_0")
        assert (found["data_path"], found["metadata"]) == (way.data_path, way.metadata)


def test_a_way_that_does_not_show_what_it_promises_is_left_out(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Way, "env", {"CASFS_TEST_WAY": "fuse"})
    assert store.ways("two", store.path.parent / "mount") == [KERNEL_ON_FUSE, PLAIN]


def test_plain_files_are_shown_through_an_overlay_and_it_ends(tmp_path: Path):
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower/file").write_text("bytes")
    with mounted_overlay(tmp_path / "lower", tmp_path) as mountpoint:
        assert (mountpoint / "file").read_text() == "bytes"
        assert os.path.ismount(mountpoint)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["lower"]
