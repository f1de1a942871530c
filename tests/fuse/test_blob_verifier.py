"""BlobVerifier: a blob that was written to is given to nobody, and one that was only moved about still is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casfs.digest import digest_bytes
from casfs.errors import StoreDamaged
from casfs.fuse.blob_verifier import BlobVerifier
from casfs.fuse.view import NeedsRead
from casfs.store.blobs import LocalPool
from casfs.store.ingest import MadeFiles, ingest_files
from casfs.store.manifests import Description, Kind, NewFile
from casfs.store.store import open_store
from casfs.venv.tree import FileNode

CONTENT = b"right"


class Scene:
    """A store with one blob, and how often its soundness had to read something."""

    def __init__(self, directory: Path) -> None:
        self.store = open_store(directory / "store", create=True)
        [(_, manifest, number)] = ingest_files(
            self.store, [MadeFiles(Description("demo", "demo", "1"), [NewFile("lib/file", CONTENT, Kind.FILE)])]
        )
        self.node = FileNode((number, 0), manifest.digest(0), len(CONTENT), Kind.FILE, 0)
        self.blob = Path(self.store.pool.path(self.node.digest))
        self.verifier = BlobVerifier(self.store)
        self.reads = 0

    def is_unchanged(self) -> bool:
        while True:
            try:
                return self.verifier.is_verified(self.node)
            except NeedsRead as unread:
                self.reads += 1
                unread.read()

    def problem(self) -> str:
        while True:
            try:
                self.verifier.require(self.node)
                return ""
            except NeedsRead as unread:
                unread.read()
            except StoreDamaged as error:
                return str(error)

    def write(self, content: bytes) -> None:
        self.blob.chmod(0o644)
        self.blob.write_bytes(content)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def share(scene: Scene, directory: Path, content: bytes) -> Path:
    """A shared pool behind the scene's own with something under the blob's name."""
    pool = LocalPool(str(directory / "shared"))
    path = Path(pool.path(scene.node.digest))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    scene.store.pool.shared = [pool]
    return path


def test_a_blob_as_it_was_written_is_sound_and_never_hashed(scene: Scene) -> None:
    assert scene.is_unchanged()
    assert scene.reads == 1  # the stamps
    assert scene.is_unchanged()
    assert scene.reads == 1
    assert scene.problem() == ""


def test_a_blob_that_was_touched_is_hashed_once_and_sound(scene: Scene) -> None:
    os.utime(scene.blob)
    assert scene.is_unchanged()
    assert scene.is_unchanged()
    assert scene.reads == 2


def test_other_bytes_are_refused_until_they_are_right_again(scene: Scene) -> None:
    scene.write(b"wrong")
    assert not scene.is_unchanged()
    assert "does not have the bytes" in scene.problem()
    reads = scene.reads
    assert not scene.is_unchanged()
    assert scene.reads == reads  # hashed once
    scene.write(CONTENT)
    assert scene.is_unchanged()


@pytest.mark.parametrize("content", [b"", b"rig", b"right and more"])
def test_another_size_needs_no_hash(scene: Scene, content: bytes) -> None:
    scene.write(content)
    assert not scene.is_unchanged()
    assert scene.reads == 1
    assert f"not a regular file of {len(CONTENT)} bytes" in scene.problem()


def test_what_is_no_plain_file_is_refused(scene: Scene) -> None:
    scene.blob.rename(scene.blob.with_suffix(".away"))
    assert not scene.is_unchanged()
    assert "is missing" in scene.problem()
    scene.blob.symlink_to(scene.blob.with_suffix(".away"))
    assert not scene.is_unchanged()
    assert "not a regular file" in scene.problem()


def test_an_overlay_takes_the_first_file_of_the_name_whatever_it_is(scene: Scene, tmp_path: Path) -> None:
    share(scene, tmp_path, CONTENT)
    scene.write(b"rig")
    assert not scene.is_unchanged()  # the kernel would read it
    assert scene.problem() == ""  # we read the other one
    scene.blob.unlink()
    assert scene.is_unchanged()


def test_a_shared_copy_is_hashed_as_ours_is(scene: Scene, tmp_path: Path) -> None:
    scene.blob.unlink()
    path = share(scene, tmp_path, b"wrong")
    assert not scene.is_unchanged()
    path.write_bytes(CONTENT)
    assert scene.is_unchanged()


def test_a_number_that_nobody_has_is_damage(scene: Scene) -> None:
    node = FileNode((1, 0), digest_bytes(CONTENT), 5, Kind.FILE, 0)
    with pytest.raises(NeedsRead) as caught:
        scene.verifier.is_verified(node)
    with pytest.raises(StoreDamaged, match="nothing has the number"):
        caught.value.read()
