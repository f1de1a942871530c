"""The pool: what is under a digest's name is believed only as far as it was looked at."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casfs.digest import ContentHasher, digest_bytes
from casfs.errors import StoreDamaged
from casfs.store.store import Store
from tests.store.making import put_blob

CONTENT = b"some bytes of a file\n"


def blob_path(store: Store) -> Path:
    return Path(store.pool.path(digest_bytes(CONTENT)))


def plant_nothing(path: Path) -> None:
    pass


def plant_longer(path: Path) -> None:
    path.write_bytes(CONTENT + b"!")


def plant_shorter(path: Path) -> None:
    path.write_bytes(CONTENT[:-1])


def plant_empty(path: Path) -> None:
    path.touch()


def plant_directory(path: Path) -> None:
    path.mkdir()


def plant_symlink(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(CONTENT)
    path.symlink_to("elsewhere")


def plant_fifo(path: Path) -> None:
    os.mkfifo(path)


def plant_socket(path: Path) -> None:
    at = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(at)


FILES = [plant_nothing, plant_longer, plant_shorter, plant_empty, plant_symlink, plant_fifo, plant_socket]
EVERYTHING = [*FILES, plant_directory]


@pytest.mark.parametrize("plant", EVERYTHING)
def test_what_is_no_whole_plain_file_is_damage(damaged_store, plant):
    blob_path(damaged_store).parent.mkdir()
    plant(blob_path(damaged_store))
    with pytest.raises(StoreDamaged) as caught:
        damaged_store.pool.open_blob(digest_bytes(CONTENT), len(CONTENT))
    assert caught.value.subject == str(blob_path(damaged_store))
    assert not damaged_store.pool.has_blob(digest_bytes(CONTENT), len(CONTENT))


@pytest.mark.parametrize("plant", FILES)
def test_a_put_heals_a_blob_that_is_no_whole_plain_file(damaged_store, plant):
    blob_path(damaged_store).parent.mkdir()
    plant(blob_path(damaged_store))
    put_blob(damaged_store, CONTENT)
    assert damaged_store.pool.read_blob(digest_bytes(CONTENT), len(CONTENT)) == CONTENT
    assert not blob_path(damaged_store).is_symlink()


def test_a_blob_is_read_as_it_was_put_and_nobody_may_write_it(store):
    digest = put_blob(store, CONTENT)
    assert store.pool.read_blob(digest, len(CONTENT)) == CONTENT
    assert blob_path(store).stat().st_mode & 0o7777 == 0o444


def test_an_empty_blob_is_a_blob(store):
    assert store.pool.read_blob(put_blob(store, b""), 0) == b""


def test_a_second_put_keeps_the_first_blob(store):
    put_blob(store, CONTENT)
    before = blob_path(store).stat()
    with store.batch() as batch:
        assert not store.pool.stage(batch, CONTENT, digest_bytes(CONTENT))
        batch.commit()
    assert blob_path(store).stat().st_ino == before.st_ino


def test_one_batch_stages_equal_contents_once(store):
    with store.batch() as batch:
        assert store.pool.stage(batch, CONTENT, digest_bytes(CONTENT))
        assert not store.pool.stage(batch, CONTENT, digest_bytes(CONTENT))
        batch.commit()


@pytest.mark.parametrize("chunks", [[], [b""], [b"a" * 100_000, b"b"], [CONTENT]])
def test_a_stream_becomes_the_blob_of_its_bytes(store, chunks):
    for is_new in (True, False):
        hasher = ContentHasher()
        with store.batch() as batch:
            assert store.pool.stage_stream(batch, chunks, hasher) is is_new
            batch.commit()
        assert hasher.digest == digest_bytes(b"".join(chunks))
        assert store.pool.read_blob(hasher.digest, hasher.size) == b"".join(chunks)


def test_a_stream_that_fails_leaves_nothing(store):
    def chunks() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError

    with pytest.raises(RuntimeError), store.batch() as batch:
        store.pool.stage_stream(batch, chunks(), ContentHasher())
    assert os.listdir(store.path("blobs")) == []
    assert os.listdir(store.path("tmp")) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(bit=st.integers(0, 8 * len(CONTENT) - 1))
def test_a_flipped_bit_is_never_read(damaged_store, bit):
    digest = put_blob(damaged_store, CONTENT)
    flipped = bytearray(CONTENT)
    flipped[bit // 8] ^= 1 << bit % 8
    os.chmod(blob_path(damaged_store), 0o644)
    blob_path(damaged_store).write_bytes(flipped)
    with pytest.raises(StoreDamaged, match="does not have the bytes"):
        damaged_store.pool.read_blob(digest, len(CONTENT))
    blob_path(damaged_store).write_bytes(CONTENT)
    assert damaged_store.pool.read_blob(digest, len(CONTENT)) == CONTENT


def test_a_system_that_has_no_more_descriptors_is_no_damage(store):
    import resource

    digest = put_blob(store, CONTENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            store.pool.open_blob(digest, len(CONTENT))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
