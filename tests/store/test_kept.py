"""Downloads that are kept: after what, how many, and how they are taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casfs.digest import Digest, digest_bytes
from casfs.errors import FetchFailed, WheelRefused
from casfs.store import kept
from casfs.store.kept import keeping_downloads, list_kept, take_kept
from casfs.store.store import Store


def fetch(store: Store, content: bytes, error: BaseException, *, name: str = "") -> Digest:
    """As a command that has fetched a file, and then ends by an error."""
    digest = digest_bytes(content)
    with store.batch() as batch:
        path = Path(batch.directory, name or digest)
        path.mkdir()
        (path / "one.whl").write_bytes(content)
        with pytest.raises(type(error)), keeping_downloads(store, batch.directory):
            raise error
    assert os.listdir(store.path("tmp")) == []
    return digest


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), FetchFailed("other.whl", "can't be fetched")], ids=repr)
def test_what_was_fetched_when_a_command_ended_is_there_for_the_next(store: Store, error: BaseException) -> None:
    digest = fetch(store, b"content", error)
    with store.batch() as batch:
        taken, again = Path(batch.directory, "taken"), Path(batch.directory, "again")
        take_kept(store, digest, str(taken))
        assert taken.read_bytes() == b"content"
        take_kept(store, digest, str(again))
        assert not again.exists()
    assert list_kept(store) == []


@pytest.mark.parametrize("error", [WheelRefused("one.whl", "lies"), OSError(28, "no space")], ids=repr)
def test_nothing_is_kept_of_what_is_refused_or_on_a_full_disk(store: Store, error: BaseException) -> None:
    fetch(store, b"content", error)
    assert list_kept(store) == []


def test_only_what_has_bytes_and_a_digest_is_kept(store: Store) -> None:
    fetch(store, b"", KeyboardInterrupt())
    fetch(store, b"content", KeyboardInterrupt(), name="3")
    assert list_kept(store) == []


def test_the_oldest_go_when_more_is_kept_than_there_is_room_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_KEPT_BYTES", 20)
    found = []
    for number in range(4):
        found.append(fetch(store, b"%d" % number * 9, KeyboardInterrupt()))
        os.utime(store.path("downloads", found[-1]), (number, number))
    assert list_kept(store) == [found[3], found[2]]
