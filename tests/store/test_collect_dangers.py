"""What a collection must not touch: what is needed, what is damaged, what lies elsewhere."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from casfs.digest import digest_bytes
from casfs.errors import StoreRefused
from casfs.store.environments import Environment
from casfs.store.gc.gc import CollectOptions, collect
from casfs.store.gc.needed import Needed
from casfs.store.gc.removing import Remover
from casfs.store.generations import format_index
from casfs.store.store import open_store
from tests.faults.commands import snapshot
from tests.store.collecting import collect_all, nobody_seeing
from tests.store.making import install
from tests.store.scene import Scene


def test_damaged_store_keeps_its_generations_too(damaged_scene: Scene):
    """The generation before may be the only one that is whole."""
    scene = damaged_scene
    scene.manifest(scene.newer).unlink()
    before = snapshot(Path(scene.store.root))
    with pytest.raises(StoreRefused, match=r"nothing is collected from a damaged store: .* missing; `casfs fsck` tells more"):
        collect_all(scene.store)
    assert snapshot(Path(scene.store.root)) == before


@pytest.mark.parametrize("harm", ["lost", "no link", "nonsense"])
def test_nothing_goes_while_nobody_knows_what_an_environment_shows(damaged_scene: Scene, harm: str):
    current = damaged_scene.path("environments", "work", "current")
    if harm == "lost":
        damaged_scene.path("environments", "work", "generations", "2.toml").unlink()
    else:
        current.unlink()
        current.write_text("2") if harm == "no link" else current.symlink_to("elsewhere")
    before = snapshot(Path(damaged_scene.store.root))
    with pytest.raises(StoreRefused, match=re.escape(str(current))):
        collect_all(damaged_scene.store)
    assert snapshot(Path(damaged_scene.store.root)) == before


def test_what_the_lock_file_says_is_needed_whatever_the_index_says(damaged_scene: Scene):
    """The index is derived, and may be forged."""
    scene, work = damaged_scene, damaged_scene.environment("work")
    lock = Path(work.path(2)).read_bytes()
    other = scene.environment("empty").require()
    Path(work.index_path(2)).write_bytes(format_index(other, lock))
    collect_all(scene.store)
    assert scene.manifest(scene.newer).exists()
    assert scene.blob(b"2\n").exists()


DIGEST = digest_bytes(b"somebody else's")


@pytest.mark.parametrize(
    ("link", "inside", "name"),
    [
        ("blobs", DIGEST[:2], DIGEST[2:]),
        (f"blobs/{DIGEST[:2]}", "", DIGEST[2:]),
        (f"manifests/{DIGEST[:2]}", "", DIGEST[2:]),
        ("wheels", "", DIGEST),
        ("stamps", "", f"{DIGEST}.blobs"),
        ("bytecode", f"cpython-311-a70d0d0a/sources/{DIGEST[:2]}", DIGEST[2:]),
        ("environments/work/generations", "", "1.toml"),
        ("environments/work", "generations", "1.index"),
    ],
)
def test_no_symbolic_link_is_followed_to_what_is_removed(damaged_scene: Scene, link: str, inside: str, name: str):
    elsewhere = damaged_scene.place / "elsewhere"
    path = damaged_scene.path(link)
    if path.exists():
        path.rename(elsewhere)
    place = elsewhere / inside
    place.mkdir(parents=True, exist_ok=True)
    if not (place / name).exists():
        (place / name).write_bytes(b"somebody else's")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(elsewhere)
    collect_all(damaged_scene.store)
    assert (place / name).exists()


def test_directory_behind_a_link_is_not_removed(damaged_scene: Scene):
    """What an earlier casfs made of manifests are directories."""
    twin = damaged_scene.place / "elsewhere" / "twin"
    twin.mkdir(parents=True)
    damaged_scene.path("twins").mkdir()
    damaged_scene.path("twins", "ab").symlink_to(twin.parent)
    damaged_scene.path("twins", "cd").mkdir()
    damaged_scene.path("twins", "cd", "twin").symlink_to(twin)
    remover = Remover(damaged_scene.store.root, is_dry=False)
    for shard in ("ab", "cd"):
        assert remover.remove_directories(str(damaged_scene.path("twins", shard)), ["twin"]) == 0
    assert twin.is_dir()


def test_directory_under_the_name_of_a_blob_is_left_to_fsck(damaged_scene: Scene):
    planted = damaged_scene.path("blobs", DIGEST[:2], DIGEST[2:])
    planted.mkdir(parents=True)
    collect_all(damaged_scene.store)
    assert planted.is_dir()


def test_dry_run_says_what_goes_and_removes_nothing(scene: Scene):
    before = snapshot(Path(scene.store.root))
    said = collect(scene.store, CollectOptions(unused_wheels=True, keep=1, is_dry=True), nobody_seeing)
    assert snapshot(Path(scene.store.root)) == before
    done = collect_all(scene.store)
    assert (done.generations, done.wheels, done.manifests, done.blobs, done.size) == (
        (said.generations, said.wheels, said.manifests, said.blobs, said.size)
    )
    assert done.generations == done.wheels == 1


def test_no_clock_is_asked_what_is_needed(scene: Scene):
    """Files are of any time: of before casfs, of a time to come, and all of one."""
    twin = open_store(Path(shutil.copytree(scene.store.root, scene.place / "twin", symlinks=True)))
    for path in Path(twin.root).rglob("*"):
        os.utime(path, (4e9, 4e9) if path.stat().st_ino % 2 else (0, 0), follow_symlinks=False)
    assert collect_all(twin) == collect_all(scene.store)
    assert snapshot(Path(twin.root)) == snapshot(Path(scene.store.root))


def test_generation_in_place_of_another_is_seen_where_times_are_whole_seconds(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """Such a disk may give it the inode, and so all that tells one file from another."""
    work = scene.environment("work")
    needed = Needed(scene.store, with_all_wheels=False, is_dropped=lambda path: path == work.path(1))
    look = os.lstat

    def look_at_coarse_disk(path: str) -> os.stat_result:
        found = look(path)
        if path != work.path(2):
            return found
        return SimpleNamespace(st_ino=7, st_ctime_ns=1_000_000_000, st_mode=found.st_mode)  # type: ignore[return-value]

    monkeypatch.setattr(os, "lstat", look_at_coarse_disk)
    needed.look()
    assert not needed.has_manifest(scene.demo.manifest)
    scene.path("environments", "work").rename(scene.place / "removed")
    with work.locked():
        generation = Environment(scene.store, "plain").require()
        work.publish(replace(generation, number=2, distributions=(install(scene.store, scene.demo),)))
    needed.look()
    assert needed.has_manifest(scene.demo.manifest)
