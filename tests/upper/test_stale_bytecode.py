"""Bytecode whose source is gone, or that Python would not compare with it: found by what is shown, removed without following links."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.changes.changes import remove_distributions
from casfs.store.uppers import current_upper
from casfs.upper.stale_bytecode import find_stale_bytecode, remove_below, tidy_upper
from tests.make_generations import open_workshop
from tests.make_wheels import make_wheel
from tests.upper.uppers import SITE, MountedWorkshop

CACHED = f"{SITE}/demo/__pycache__/__init__.cpython-311.pyc"
GONE = [CACHED, f"{SITE}/demo/__pycache__", f"{SITE}/demo"]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[MountedWorkshop]:
    with open_workshop(tmp_path) as workshop:
        workshop.add(make_wheel(), make_wheel(None, "other"))
        yield MountedWorkshop(workshop)


def test_nobody_ever_wrote(mounted: MountedWorkshop):
    assert find_stale_bytecode(mounted.workshop.environment) == []
    tidy_upper(mounted.workshop.environment)
    assert current_upper(mounted.workshop.environment) is None


def test_bytecode_is_stale_when_its_source_has_left(mounted: MountedWorkshop):
    environment = mounted.workshop.environment
    mounted.write(CACHED, b"bytecode")
    mounted.write(f"{SITE}/other/__pycache__/__init__.cpython-311.pyc", b"bytecode")
    mounted.write(f"{SITE}/mine.py", b"")
    mounted.write(f"{SITE}/__pycache__/mine.cpython-311.pyc", b"bytecode")
    assert find_stale_bytecode(environment) == []
    remove_distributions(environment, ["demo"])
    assert find_stale_bytecode(environment) == GONE


def header(flags: int) -> bytes:
    """Of bytecode (PEP 552)."""
    return struct.pack("<4sL8x", b"\xa7\r\r\n", flags) + b"code"


UNCHECKED = header(0b01)


@pytest.mark.parametrize("content", [header(0b00), header(0b11), UNCHECKED[:7], b""])
def test_bytecode_that_python_compares_or_refuses_stays(mounted: MountedWorkshop, content: bytes):
    mounted.write(CACHED, content)
    assert find_stale_bytecode(mounted.workshop.environment) == []


def test_unchecked_bytecode_is_stale_unless_its_source_is_in_the_upper_layer(mounted: MountedWorkshop):
    mounted.write(CACHED, UNCHECKED)
    mounted.write(f"{SITE}/other/__init__.py", b"EDITED = True")
    mounted.write(f"{SITE}/other/__pycache__/__init__.cpython-311.pyc", UNCHECKED)
    mounted.workshop.add(make_wheel({"demo/__init__.py": b"VALUE = 2\n"}, version="2.0"))
    assert find_stale_bytecode(mounted.workshop.environment) == GONE[:2]  # the generation has no bytecode, but the package


def test_unchecked_bytecode_that_can_not_be_opened_as_a_file_is_left(mounted: MountedWorkshop, tmp_path: Path):
    (tmp_path / "outside").write_bytes(UNCHECKED)
    path = mounted.upper / CACHED
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "outside")
    os.mkfifo(path.with_name("__init__.cpython-312.pyc"))
    assert find_stale_bytecode(mounted.workshop.environment) == []


def test_without_a_mount_the_next_upper_layer_has_no_unchecked_bytecode_and_hides_none(mounted: MountedWorkshop):
    mounted.write(CACHED, UNCHECKED)
    mounted.write(f"{SITE}/mine.py", b"mine")
    mounted.write(f"{SITE}/__pycache__/mine.cpython-311.pyc", UNCHECKED)
    tidy_upper(mounted.workshop.environment)
    assert mounted.written() == [f"{SITE}/__pycache__/mine.cpython-311.pyc", f"{SITE}/mine.py"]


def test_removing_leaves_directories_that_hold_something_else(mounted: MountedWorkshop):
    mounted.write(CACHED, b"bytecode")
    mounted.write(f"{SITE}/demo/mine.txt", b"mine")
    remove_below(str(mounted.upper), GONE)
    assert mounted.written() == [f"{SITE}/demo/mine.txt"]


def test_removing_follows_no_link(mounted: MountedWorkshop, tmp_path: Path):
    outside = tmp_path / "outside/__pycache__/__init__.cpython-311.pyc"
    outside.parent.mkdir(parents=True)
    outside.write_bytes(b"of somebody else")
    (mounted.upper / SITE).mkdir(parents=True)
    (mounted.upper / SITE / "demo").symlink_to(tmp_path / "outside")
    remove_below(str(mounted.upper), GONE)
    assert outside.read_bytes() == b"of somebody else"


def test_an_empty_dist_info_of_nothing_is_stale(mounted: MountedWorkshop):
    for name in ("gone-1.0.dist-info", "mine"):
        (mounted.upper / SITE / name).mkdir(parents=True)
    mounted.write(f"{SITE}/full-1.0.dist-info/METADATA", b"")
    assert find_stale_bytecode(mounted.workshop.environment) == [f"{SITE}/gone-1.0.dist-info"]
    tidy_upper(mounted.workshop.environment)
    assert mounted.written() == [f"{SITE}/full-1.0.dist-info/METADATA", f"{SITE}/mine"]


def test_without_a_mount_the_next_upper_layer_is_tidy(mounted: MountedWorkshop):
    mounted.write(CACHED, b"bytecode")
    mounted.write(f"{SITE}/mine.py", b"mine")
    remove_distributions(mounted.workshop.environment, ["demo"])
    before = mounted.upper
    tidy_upper(mounted.workshop.environment)
    assert mounted.written() == [f"{SITE}/mine.py"]
    assert mounted.upper != before
