"""What the markers of a lock leave out: as uv and Poetry read them in their own locks, as pip reads them in all others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from casfs.errors import LockRefused
from casfs.interpreters.interpreter import Interpreter
from casfs.lockfiles.lockfile import Decide, decide_as_poetry, decide_as_uv, read_whole_lock

HERE = {"platform_release": "6.18.44-fc-v669", "platform_version": "#3 SMP", "sys_platform": "linux", "python_version": "3.11"}


@pytest.fixture
def interpreter(own_interpreter: Interpreter) -> Interpreter:
    """One on a kernel whose release is no version."""
    return replace(own_interpreter, markers=tuple(sorted((dict(own_interpreter.markers) | HERE).items())))


def write_lock(directory: Path, *markers: str) -> str:
    """A lock with a project for each marker."""
    path = directory / "pylock.toml"
    packages = "".join(
        f'[[packages]]\nname = "p{number}"\nversion = "1.0"\nmarker = """{marker}"""\n'
        f'archive = {{ path = "p{number}-1.0-py3-none-any.whl", hashes = {{ sha256 = "{"0" * 64}" }} }}\n'
        for number, marker in enumerate(markers)
    )
    path.write_text(f'lock-version = "1.0"\ncreated-by = "a test"\n{packages}')
    return str(path)


CASES = {  # marker: whether pip, uv and Poetry take it for true on this kernel
    "platform_release >= '5'": (False, True, True),
    'platform_release >= "5"': (False, True, True),
    "platform_release >= '10'": (False, True, False),
    "platform_release < '40'": (False, False, True),
    "platform_release != '5'": (False, True, True),
    "platform_release == '6.18.44-fc-v669'": (True, True, True),
    "platform_release ~= '6.1'": (False, False, False),
    "'fc' in platform_release": (True, True, True),
    "platform_version > '#2'": (False, True, False),
    "sys_platform >= 'a'": (False, False, False),
    "python_version >= '3.9'": (True, True, True),
    "python_version < '3.9' or (platform_release >= '5' and sys_platform == 'linux')": (False, True, True),
    """sys_platform != "platform_release >= '5'" """: (True, True, True),
}


@pytest.mark.parametrize(("way", "decide"), [(0, None), (1, decide_as_uv), (2, decide_as_poetry)], ids=["pip", "uv", "poetry"])
def test_each_tool_has_its_way_to_read_markers(tmp_path: Path, interpreter: Interpreter, way: int, decide: Decide | None) -> None:
    reading = read_whole_lock(write_lock(tmp_path, *CASES), interpreter, decide=decide)
    chosen = {one.project for one in reading.locked}
    assert {marker: f"p{number}" in chosen for number, marker in enumerate(CASES)} == {one: truths[way] for one, truths in CASES.items()}


@pytest.mark.parametrize("decide", [None, decide_as_uv], ids=["pip", "uv"])
def test_what_is_left_out_is_told_with_its_own_marker(tmp_path: Path, interpreter: Interpreter, decide: Decide | None) -> None:
    path = write_lock(tmp_path, "platform_release >= '7'", "python_version >= '3'", "sys_platform == 'win32'")
    assert read_whole_lock(path, interpreter, decide=decide).left_out == [
        "p0 1.0: platform_release >= '7'",
        "p2 1.0: sys_platform == 'win32'",
    ]


def test_marker_that_no_lock_may_have_is_told(tmp_path: Path, interpreter: Interpreter) -> None:
    path = write_lock(tmp_path, "extra == 'more'")
    with pytest.raises(LockRefused) as caught:
        read_whole_lock(path, interpreter)
    assert str(caught.value) == f"{path}: marker 'extra': is not one that a lock may have"


def test_lock_that_another_was_made_of_is_the_one_that_is_named(tmp_path: Path, interpreter: Interpreter) -> None:
    path = Path(write_lock(tmp_path))
    path.write_text('lock-version = "1.0"\ncreated-by = "a test"\nrequires-python = ">=4"\npackages = []\n')
    with pytest.raises(LockRefused) as caught:
        read_whole_lock(str(path), interpreter, made_of="/project/uv.lock")
    assert str(caught.value).startswith(f"/project/uv.lock: requires Python >=4; this environment has {interpreter.version}")
