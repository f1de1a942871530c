"""What a failing system call leaves behind, and whether its message says where to look."""

from __future__ import annotations

import errno
import os
import tempfile
from io import FileIO
from pathlib import Path

import pytest

from casfs.store import publish
from casfs.store.store import Store
from tests.make_wheels import make_wheel
from tests.store.making import ingest as ingest_wheel


class Died(Exception):
    pass


def fail(*args: object) -> int:
    """A call on a descriptor: its error names no file."""
    raise OSError(errno.ENOSPC, "No space left on device")


class BrokenFile(FileIO):
    read = fail


def test_error_of_a_write_names_the_staged_file(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "write", fail)
    with store.batch() as batch, pytest.raises(OSError, match="No space left") as caught:
        batch.add(store.path("blobs/x"), b"content")
    assert caught.value.filename == f"{batch.directory}/1"


def test_error_of_a_sync_names_the_staging_directory(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(publish, "sync_file_system", fail)
    with store.batch() as batch:
        batch.add(store.path("blobs/x"), b"content")
        with pytest.raises(OSError, match="No space left") as caught:
            batch.commit()
    assert caught.value.filename == batch.directory


def test_error_of_a_link_names_the_link(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "symlink", fail)
    with store.batch() as batch, pytest.raises(OSError, match="No space left") as caught:
        batch.add_link(store.path("current"), "generations/1.toml")
    assert caught.value.filename == f"{batch.directory}/1"


def test_error_of_reading_a_wheel_names_it(store: Store, place: Path, monkeypatch: pytest.MonkeyPatch):
    wheel = make_wheel()
    monkeypatch.setattr("casfs.store.ingest.FileIO", BrokenFile)
    with pytest.raises(OSError, match="No space left") as caught:
        ingest_wheel(store, place, wheel)
    assert caught.value.filename == str(place / wheel.filename)


def test_error_of_writing_its_copy_names_the_staging_directory(store: Store, place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        ingest_wheel(store, place, make_wheel())
    assert Path(caught.value.filename).parent == Path(store.path("tmp"))


def test_copy_of_a_wheel_goes_with_the_batch_where_it_needs_a_name(store: Store, place: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a file system without O_TMPFILE, when the process dies before it removes the name."""

    def make_named(dir: str) -> None:  # noqa: A002  # as the standard library calls it
        Path(dir, "copy").write_bytes(b"half a wheel")
        raise Died

    monkeypatch.setattr(tempfile, "TemporaryFile", make_named)
    with pytest.raises(Died):
        ingest_wheel(store, place, make_wheel())
    assert os.listdir(store.path("tmp")) == []
