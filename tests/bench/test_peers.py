from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.bench import farm
from scripts.bench.measures.reads import time_reads
from scripts.bench.synthetic import make_blob_wheels, make_large_wheel, make_wheels


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
