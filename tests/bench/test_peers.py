from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench import farm
from scripts.bench.__main__ import working_folder
from scripts.bench.bench import Bench
from scripts.bench.measures.reads import time_reads
from scripts.bench.peers import make_peers
from scripts.bench.processes import adopting_orphans, run
from scripts.bench.rounds import Pace
from scripts.bench.synthetic import make_blob_wheels, make_large_wheel, make_wheels
from scripts.bench.tools import Tools

NAMES = (
    "casfs",
    "casfs, daemon runs",
    "uv, hard links",
    "uv, hard links, --compile-bytecode",
    "uv, copies",
    "symlink farm",
    "pip",
    "pip, --no-compile",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Iterator[Bench]:
    """Its uv and pip are those beside casfs; there is no uvl-fuse."""
    own = Path(sys.executable)
    tools = Tools(str(own.with_name("casfs")), str(own), Tools.base_python(), str(own.with_name("uv")), str(own))
    with adopting_orphans(), working_folder(tmp_path_factory.mktemp("bench")) as folder:
        yield Bench(folder, folder, tools, pace=Pace(1, 1), is_quick=True, is_large=False)


@pytest.mark.parametrize("name", NAMES)
def test_each_peer_makes_environments_that_work_and_leaves_them(bench: Bench, name: str):
    with bench.scratch(f"peer-{NAMES.index(name)}") as folder:
        [peer] = make_peers(bench, folder / "peers", make_wheels(folder, 1), [name]).values()
        for number in range(2):
            path = folder / f"environment-{number}"
            assert peer.make(path) > 0
            code = "import bench_00000; print(bench_00000.VALUE_1)"
            assert run([str(peer.environment(path) / "bin/python"), "-c", code], bench.env).output == "('bench_00000', 1)\n"
            peer.leave(path)
        assert str(folder) not in Path("/proc/self/mountinfo").read_text()


def test_peers_that_know_the_wheels_learn_nothing_again(bench: Bench):
    with bench.scratch("all-peers") as folder:
        wheels = make_wheels(folder, 1)
        assert tuple(make_peers(bench, folder / "peers", wheels)) == NAMES
        before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
        assert tuple(make_peers(bench, folder / "peers", wheels)) == NAMES
        assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before


def run_farm(kind: str, *words: Path | str) -> None:
    subprocess.run([sys.executable, "-I", "-S", farm.__file__, kind, *map(str, words)], check=True)


def test_a_farm_is_links_to_files_in_directories_of_its_own(tmp_path: Path):
    (tmp_path / "pool").mkdir()
    run_farm("unpack", tmp_path / "pool", *make_wheels(tmp_path, 2))
    run_farm("link", tmp_path / "pool", tmp_path / "site-packages")
    packages = tmp_path / "site-packages"
    assert (packages / "bench_00001/first.py").is_symlink()
    assert not (packages / "bench_00001").is_symlink()
    code = "import bench_00001; print(bench_00001.VALUE_1)"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(packages)}, capture_output=True, text=True, check=True)
    assert done.stdout == "('bench_00001', 1)\n"
    assert os.listdir(packages / "bench_00001/__pycache__")
    assert not list((tmp_path / "pool").rglob("__pycache__"))


def test_blob_wheels_hold_as_many_different_files_as_asked(tmp_path: Path):
    (tmp_path / "pool").mkdir()
    wheels = make_blob_wheels(tmp_path, blobs=25, each=10)
    assert len(wheels) == 3
    run_farm("unpack", tmp_path / "pool", *wheels)
    texts = [path.read_text() for path in (tmp_path / "pool").rglob("*.txt")]
    assert len(texts) == len(set(texts)) == 25


def test_reads_of_a_large_file_are_timed(tmp_path: Path):
    (tmp_path / "pool").mkdir()
    run_farm("unpack", tmp_path / "pool", make_large_wheel(tmp_path, 1_000_000))
    [path] = (tmp_path / "pool").rglob("library.bin")
    assert path.stat().st_size == 1_000_000
    speeds = time_reads(path, has_cold=False)  # a test must not drop the machine's caches
    assert speeds.keys() == {"in order, warm", "at random, warm"}
    assert min(speeds.values()) > 0
