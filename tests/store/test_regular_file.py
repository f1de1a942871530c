"""Small files of the store: plain ones are read, whatever else has their name is damage and holds nobody up."""

from __future__ import annotations

import os

import pytest

from casfs.digest import Digest
from casfs.errors import StoreDamaged
from casfs.store.environments import Environment
from casfs.store.manifests import manifest_path, read_manifest
from casfs.store.numbers import number_path, read_number
from casfs.store.regular_file import describe_kind, read_plain_file


def test_a_plain_file_is_read(place):
    (place / "file").write_bytes(b"x" * 100_000)
    assert read_plain_file(f"{place}/file") == b"x" * 100_000


def test_a_missing_file_is_missing(place):
    with pytest.raises(FileNotFoundError):
        read_plain_file(f"{place}/file")


def test_a_file_below_a_file_is_damage(place):
    (place / "file").write_bytes(b"")
    with pytest.raises(StoreDamaged, match="not a directory"):
        read_plain_file(f"{place}/file/below")


def test_kinds_have_names(place):
    os.mkfifo(place / "fifo")
    (place / "link").symlink_to("fifo")
    kinds = [describe_kind(os.lstat(path).st_mode) for path in (place, place / "fifo", place / "link", __file__)]
    assert kinds == ["a directory", "a FIFO", "a symbolic link", "a regular file"]


@pytest.mark.parametrize(
    ("path", "read"),
    [
        (lambda store: manifest_path(store, Digest("ab" * 32)), lambda store: read_manifest(store, Digest("ab" * 32))),
        (lambda store: number_path(store, 0xABCDEF), lambda store: read_number(store, 0xABCDEF)),
        (lambda store: Environment(store, "work").path(1), lambda store: Environment(store, "work").read(1)),
    ],
    ids=["manifest", "number", "generation"],
)
@pytest.mark.parametrize(
    ("plant", "kind"),
    [(os.mkfifo, "FIFO"), (os.mkdir, "directory"), (lambda path: os.symlink("/dev/zero", path), "symbolic link")],
    ids=["fifo", "directory", "link"],
)
def test_what_is_no_plain_file_is_damage(damaged_store, path, read, plant, kind):
    os.makedirs(os.path.dirname(path(damaged_store)))
    plant(path(damaged_store))
    with pytest.raises(StoreDamaged, match=kind):
        read(damaged_store)
