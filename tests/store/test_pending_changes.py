"""Marks of changes that a killed command has left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from casfs.store.pending_changes import changing, find_unfinished
from casfs.store.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


def test_a_change_that_ends_leaves_no_mark(store: Store) -> None:
    with changing(store):
        assert find_unfinished(store) == []
    assert os.listdir(store.run_path()) == []
    with pytest.raises(ValueError, match="refused"), changing(store):
        raise ValueError("refused")
    assert os.listdir(store.run_path()) == []


def test_a_change_whose_process_was_killed_leaves_one(store: Store) -> None:
    ready, go = os.pipe()
    if (pid := os.fork()) == 0:
        with changing(store):
            os.write(go, b"x")
            signal.pause()
    os.read(ready, 1)
    assert find_unfinished(store) == []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    [mark] = find_unfinished(store)
    assert os.path.dirname(mark) == store.run_path()
    for fd in (ready, go):
        os.close(fd)
