"""Opening a store: only what is one, of the format that this version knows."""

from __future__ import annotations

import os

import pytest

from casfs.errors import StoreRefused
from casfs.store.migration import FORMAT
from casfs.store.store import DIRECTORIES, open_store


def test_a_new_store_is_private_and_complete(place):
    store = open_store(place / "new/store", create=True)
    assert os.stat(store.root).st_mode & 0o777 == 0o700
    assert sorted(os.listdir(store.root)) == sorted([*DIRECTORIES, "format", "identity"])
    assert open_store(place / "new/store").root == store.root


def test_an_empty_directory_becomes_a_store(place):
    (place / "store").mkdir()
    assert open_store(place / "store", create=True).root == f"{place}/store"


def test_opening_creates_nothing_unless_asked(place):
    with pytest.raises(StoreRefused, match="is not a casfs store"):
        open_store(place / "store")
    assert not (place / "store").exists()


def test_a_store_whose_making_was_stopped_is_made_whole(place):
    (place / "store/blobs").mkdir(parents=True)
    open_store(place / "store", create=True)
    assert open_store(place / "store").root == f"{place}/store"


def test_a_directory_with_something_else_is_refused(place):
    (place / "precious").write_bytes(b"")
    with pytest.raises(StoreRefused, match="precious"):
        open_store(place, create=True)
    assert os.listdir(place) == ["precious"]


@pytest.mark.parametrize("text", ["", "casfs store 3\n", "casfs store 1", FORMAT + "x", "\0"])
def test_another_format_is_refused(place, text):
    open_store(place / "store", create=True)
    (place / "store/format").write_text(text)
    for create in (False, True):
        with pytest.raises(StoreRefused, match="has the format"):
            open_store(place / "store", create=create)


def test_a_file_is_refused(place):
    (place / "file").write_bytes(b"")
    with pytest.raises(StoreRefused, match="is not a directory"):
        open_store(place / "file")
