"""--owner: the way to a path is looked at with the eyes of the user."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.cli.owner import find_closed

USER = 64321  # no account of the machine has it


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory that everybody may enter. Where other tests have theirs may be closed to strangers."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:  # hier(7)
        os.chmod(path, 0o755)
        yield Path(path).resolve()


def test_way_that_is_open_has_nothing_closed(top: Path) -> None:
    (top / "program").touch(0o755)
    assert find_closed(USER, USER, [str(top), str(top / "program")]) == ["", ""]


def test_first_closed_directory_is_named(top: Path) -> None:
    (top / "mine/deep").mkdir(parents=True)
    (top / "mine").chmod(0o700)
    assert find_closed(USER, USER, [str(top / "mine/deep"), str(top)]) == [str(top / "mine"), ""]


def test_file_that_the_user_may_not_execute_is_named(top: Path) -> None:
    (top / "program").touch(0o750)
    os.chown(top / "program", 0, USER)
    assert find_closed(USER, USER, [str(top / "program")]) == [""]
    assert find_closed(USER, USER + 1, [str(top / "program")]) == [str(top / "program")]


def test_way_is_that_of_what_a_link_leads_to(top: Path) -> None:
    (top / "closed").mkdir(0o700)
    (top / "closed/program").touch(0o755)
    (top / "link").symlink_to("closed/program")
    assert find_closed(USER, USER, [str(top / "link")]) == [str(top / "closed")]
