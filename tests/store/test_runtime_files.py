"""Records: whole or not there, and locked while whoever made them lives."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest

from casfs.store.runtime_files import is_file_locked, write_record


def test_a_record_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "record"
    for value in ([1, 2], {"three": 3}):
        write_record(str(path), value)
        assert json.loads(path.read_text()) == value
    assert os.listdir(tmp_path) == ["record"]


def test_a_record_that_cannot_be_written_leaves_the_one_before_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record"
    write_record(str(path), "before")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(json, "dump", fail)
    with pytest.raises(OSError, match="no room"):
        write_record(str(path), "after")
    assert (os.listdir(tmp_path), json.loads(path.read_text())) == (["record"], "before")


def test_a_lock_is_seen_while_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.touch()
    assert is_file_locked(str(path)) is False
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_file_locked(str(path)) is True
    assert is_file_locked(str(path)) is False
    assert is_file_locked(str(tmp_path / "absent")) is None
