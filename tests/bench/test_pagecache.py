from __future__ import annotations

import os
from pathlib import Path

from scripts.bench.pagecache import cached_bytes, can_count, evict, memory_of_machine

SIZE = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")


def write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())


def test_what_is_in_the_page_cache_is_counted_once_for_each_inode(tmp_path: Path):
    assert can_count(tmp_path)
    write(tmp_path / "file", os.urandom(SIZE))
    os.link(tmp_path / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").read_bytes()
    assert cached_bytes(tmp_path) == SIZE
    assert cached_bytes(tmp_path, tmp_path) == SIZE


def test_what_is_evicted_is_not_counted_until_it_is_read_again(tmp_path: Path):
    write(tmp_path / "file", os.urandom(SIZE))
    evict(tmp_path)
    assert cached_bytes(tmp_path) == 0
    with (tmp_path / "file").open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        file.read(PAGE)
    assert PAGE <= cached_bytes(tmp_path) < SIZE


def test_a_file_without_blocks_needs_no_page(tmp_path: Path):
    with (tmp_path / "twin").open("wb") as file:
        file.truncate(SIZE)
    assert cached_bytes(tmp_path) == 0


def test_the_probe_leaves_nothing(tmp_path: Path):
    can_count(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_machine_has_a_page_cache_and_objects_of_the_kernel():
    assert all(size > 0 for size in memory_of_machine().values())
