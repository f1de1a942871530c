"""Stamps of blobs: what was written is known, what was changed shows, and what is wrong with a stamp costs only time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casfs.digest import Digest, digest_bytes
from casfs.store.blob_stamps import UNKNOWN, blob_facts, hash_blob, new_stamps, read_blob_stat_cache, write_blob_stat_cache
from casfs.store.ingest import MadeFiles, ingest_files
from casfs.store.manifests import Description, Kind, Manifest, NewFile
from casfs.store.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


def publish(store: Store, *contents: bytes, name: str = "demo") -> tuple[Digest, Manifest]:
    files = [NewFile(f"lib/{number}", content, Kind.FILE) for number, content in enumerate(contents)]
    [(digest, manifest, _)] = ingest_files(store, [MadeFiles(Description(name, name, "1"), files)])
    return digest, manifest


def facts_of(store: Store, content: bytes) -> object:
    return blob_facts(store.pool.path(digest_bytes(content)))


def test_blobs_that_were_written_with_a_manifest_are_known(store: Store) -> None:
    digest, manifest = publish(store, b"one", b"two")
    stamps = read_blob_stat_cache(store.root, digest)
    assert stamps
    found = {manifest.digest(row): stamps.facts(row) for row in range(2)}
    assert found == {digest_bytes(content): facts_of(store, content) for content in (b"one", b"two")}


def test_of_blobs_that_were_there_before_nothing_is_known(store: Store) -> None:
    publish(store, b"old")
    digest, manifest = publish(store, b"new", b"old", name="other")
    stamps = read_blob_stat_cache(store.root, digest)
    assert stamps
    known = {manifest.digest(row): stamps.facts(row) != UNKNOWN for row in range(2)}
    assert known == {digest_bytes(b"new"): True, digest_bytes(b"old"): False}


@pytest.mark.parametrize("change", ["content", "times", "replaced", "link"])
def test_a_file_that_was_touched_has_other_facts(tmp_path: Path, change: str) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"bytes")
    before = blob_facts(str(path))
    if change == "content":
        path.write_bytes(b"BYTES")
    elif change == "times":
        os.utime(path, ns=(1, 1))
    elif change == "replaced":
        (tmp_path / "other").write_bytes(b"bytes")
        (tmp_path / "other").rename(path)
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to("elsewhere")
    assert blob_facts(str(path)) != before


def test_hashing_tells_right_bytes_from_wrong_ones(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"bytes")
    assert hash_blob(str(path), digest_bytes(b"bytes")) == blob_facts(str(path))
    assert hash_blob(str(path), digest_bytes(b"other")) is None


def test_stamps_grow_to_the_row_that_is_remembered(store: Store) -> None:
    stamps = new_stamps()
    stamps.remember(3, (1, 2, 3, 4, 5))
    assert [stamps.facts(row) for row in range(5)] == [UNKNOWN] * 3 + [(1, 2, 3, 4, 5), UNKNOWN]
    digest = digest_bytes(b"any")
    write_blob_stat_cache(store, digest, stamps)
    again = read_blob_stat_cache(store.root, digest)
    assert again
    assert again.facts(3) == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("harm", [b"", b"\0", b"\xff" * 16, b"\0" * 57])
def test_damaged_stamps_are_none(store: Store, harm: bytes) -> None:
    digest, _ = publish(store, b"one")
    [path] = Path(store.path("stamps")).glob("*.blobs")
    path.write_bytes(harm)
    assert read_blob_stat_cache(store.root, digest) is None


def test_stamps_that_cannot_be_written_fail_nothing(store: Store) -> None:
    os.rmdir(store.path("stamps"))
    write_blob_stat_cache(store, digest_bytes(b"any"), new_stamps())
    digest, _ = publish(store, b"one")
    assert read_blob_stat_cache(store.root, digest) is None
