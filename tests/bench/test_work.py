from __future__ import annotations

import os
from pathlib import Path

from casfs.digest import digest_bytes
from scripts.bench.measures.disk import count_disk
from scripts.bench.measures.ingest import read_members, time_limit, unpacked_size
from scripts.bench.synthetic import build_members, make_wheels
from scripts.bench.tools import clean_environment, with_bytecode, without_bytecode


def test_synthetic_wheels_are_the_same_bytes_each_time(tmp_path: Path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append([digest_bytes(Path(path).read_bytes()) for path in make_wheels(tmp_path / name, 3)])
    assert made[0] == made[1]
    assert len(set(made[0])) == 3


def test_a_synthetic_wheel_holds_what_it_should(tmp_path: Path):
    [path] = make_wheels(tmp_path, 1)
    members = build_members("bench_00000")
    assert unpacked_size([path]) == sum(map(len, members.values()))
    assert len(read_members(path)) == len(members)
    assert time_limit(2, [path]) > 0


def test_an_inode_with_two_names_counts_once(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(bytes(10_000))
    before = count_disk(tmp_path)
    os.link(tmp_path / "folder" / "file", tmp_path / "folder" / "again")
    assert count_disk(tmp_path) == before
    assert before[1] == 2


def test_measured_programs_get_no_variable_of_the_users(tmp_path: Path, monkeypatch):
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "UV_CACHE_DIR", "PIP_INDEX_URL", "CASFS_STORE"):
        monkeypatch.setenv(name, "/elsewhere")
    env = clean_environment(tmp_path)
    assert "/elsewhere" not in env.values()
    assert "PYTHONDONTWRITEBYTECODE" not in with_bytecode(env, tmp_path)
    assert without_bytecode(env)["PYTHONDONTWRITEBYTECODE"] == "1"
