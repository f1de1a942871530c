"""Python processes that start while an environment moves back and forth between two generations: none of them meets an error."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, clean_environ

IMPORT_BOTH = "import a; import b; print(a.VALUE, b.VALUE)"

WHOLE = ("1 1", "2 2")
MIXED = ("1 2", "2 1")
"""A process that resolves the path of one module before a swap and that of the other after it: the path is one for all processes, and
each look-up shows what is there when it is made."""


def start_all_the_time(mountpoint: Path, swaps: subprocess.Popen[str]) -> Counter[str]:
    """What processes print that are started, one after the other, until the swaps are over."""
    found: Counter[str] = Counter()
    command = [str(mountpoint / "bin/python"), "-B", "-c", IMPORT_BOTH]
    while swaps.poll() is None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=clean_environ(), check=False)
        assert done.returncode == 0, done.stderr
        found[done.stdout.strip()] += 1
    return found


@pytest.mark.parametrize("metadata", ["image", "fuse"])
@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.long)])
def test_a_process_that_starts_during_a_swap_imports_what_one_generation_has(casfs: Casfs, metadata: str, count: int):
    for version in ("1.0", "2.0"):
        files = {name: {f"{name}/__init__.py": f"VALUE = {version[0]}\n".encode()} for name in ("a", "b")}
        casfs.add(*(casfs.wheel(name, version, content) for name, content in files.items()))
    if metadata == "fuse":
        casfs.force_way("fuse")
    mountpoint = casfs.mount(data_path="")
    assert [one["metadata"] for one in casfs.status()] == [metadata]
    swaps = casfs.start_rollbacks(count)
    try:
        found = start_all_the_time(mountpoint, swaps)
    finally:
        _, said = swaps.communicate()
    assert swaps.returncode == 0, said
    assert set(found) <= {*WHOLE, *MIXED}
    mixed = sum(found[one] for one in MIXED)
    sys.stderr.write(f"{count} swaps, {metadata}: {found.total()} processes started, {mixed} of them saw one module before a swap\n")
    assert found.total() > 0
    assert subprocess.run([mountpoint / "bin/python", "-c", IMPORT_BOTH], check=False).returncode == 0
