"""Check: every damage is found and named, with whom it hits; and nothing else is called damage."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casfs.digest import ContentHasher
from casfs.store.fsck import blobs as check_blobs
from casfs.store.fsck.check import check_store
from casfs.store.fsck.damage import DamageKind, Totals
from casfs.store.leases import new_lease, take_lease
from casfs.store.wheel_stamps import write_stamp
from tests.store.damaging import PLANTS, plant_manifest
from tests.store.harm import flip, make_fifo, remove, shorten, write
from tests.store.making import publish_files, put_blob
from tests.store.scene import ONLY, SHARED


def test_an_empty_store_is_good(store):
    assert check_store(store).totals == Totals()


ADD_MEANWHILE = """
import sys
from pathlib import Path
from casfs.store.environments import Environment
from casfs.store.store import open_store
from tests.make_wheels import make_wheel
from tests.store.making import ingest, install, publish_generation
place = Path(sys.argv[1])
store = open_store(place / "store")
for number in range(1, 31):
    [one] = ingest(store, place, make_wheel({"demo/a.py": b"same", "demo/b.py": b"%d" % number}, "demo", f"{number}.0"))
    publish_generation(Environment(store, f"env{number % 4}"), install(store, one))
"""


@pytest.mark.parametrize("is_fast", [False, True])
def test_what_is_added_meanwhile_is_no_damage(store, place, is_fast):
    with subprocess.Popen([sys.executable, "-c", ADD_MEANWHILE, str(place)], cwd=Path(__file__).parents[2]) as child:
        counts = []
        while child.poll() is None:
            report = check_store(store, is_fast=is_fast)
            assert report.damages == ()
            counts.append(report.totals.manifests)
    assert child.returncode == 0
    assert counts == sorted(counts)
    assert check_store(store).totals.generations == 30


@pytest.mark.parametrize("is_fast", [False, True])
def test_a_good_store_is_good_and_counted(scene, is_fast):
    blobs = [path for path in Path(scene.store.path("blobs")).rglob("*") if path.is_file()]
    report = check_store(scene.store, is_fast=is_fast)
    assert report.damages == ()
    assert report.lost == frozenset()
    assert report.totals == Totals(
        blobs=len(blobs),
        bytes=sum(path.stat().st_size for path in blobs),
        manifests=7,  # three wheels, what installing them added, a skeleton
        wheels=3,
        numbers=7,
        environments=3,
        generations=4,
    )


@pytest.mark.parametrize("is_fast", [False, True], ids=["whole", "fast"])
@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_damage_is_found_and_named(damaged_scene, plant, is_fast):
    planted = plant.act(damaged_scene)
    report = check_store(damaged_scene.store, is_fast=is_fast)
    found = [one for one in report.damages if (one.kind, one.path) == (planted.kind, str(planted.path))]
    assert len(found) == 1, report.damages
    assert planted.words in found[0].reason
    assert found[0].environments == planted.environments


def test_all_damages_are_found_at_once(damaged_scene):
    flip(damaged_scene.blob(SHARED))
    remove(damaged_scene.blob(ONLY))
    make_fifo(damaged_scene.manifest(damaged_scene.other))
    write(damaged_scene.number(damaged_scene.demo), "")
    write(damaged_scene.wheel(damaged_scene.newer), "")
    write(Path(damaged_scene.environment("plain").path(1)), "")
    damaged_scene.path("blobs", "note.txt").touch()
    assert sorted(one.kind for one in check_store(damaged_scene.store).damages) == sorted(
        [
            DamageKind.BLOB,
            DamageKind.MISSING_BLOB,
            DamageKind.MANIFEST,
            DamageKind.NUMBER,
            DamageKind.WHEEL,
            DamageKind.ENVIRONMENT,
            DamageKind.STRANGER,
        ]
    )


def test_manifests_that_lost_something_are_known(damaged_scene):
    remove(damaged_scene.blob(ONLY))
    assert check_store(damaged_scene.store).lost == {damaged_scene.demo.manifest, damaged_scene.newer.manifest}


def test_a_damage_names_a_few_files_and_counts_the_others(damaged_store):
    publish_files(damaged_store, {f"file{number}": b"same" for number in range(10)})
    [blob] = [path for path in Path(damaged_store.path("blobs")).rglob("*") if path.is_file()]
    shorten(blob)
    [damage] = check_store(damaged_store).damages
    assert damage.reason == "the blob has 3 bytes instead of 4; needed by demo 1.0 (file0), demo 1.0 (file1), demo 1.0 (file2) and 7 more"


def test_a_damaged_blob_that_nobody_needs_is_damage(damaged_store):
    flip(Path(damaged_store.pool.path(put_blob(damaged_store, b"orphan"))))
    for is_fast in (False, True):
        [damage] = check_store(damaged_store, is_fast=is_fast).damages
        assert damage.reason == "the blob does not have the bytes that its name promises; no manifest mentions it"


def test_what_nothing_refers_to_is_counted(store):
    put_blob(store, b"orphan")
    publish_files(store, {"file": b"content"})
    totals = check_store(store).totals
    assert (totals.orphan_blobs, totals.orphan_manifests) == (1, 1)


def test_what_is_derived_is_never_damage(scene):
    scene.path("interpreters", "any").write_text("nonsense")
    scene.path("stamps", "any").write_text("nonsense")
    write_stamp(scene.store, "/wheel", [0, 0, 0, 0, 0], scene.demo.wheel)
    Path(scene.environment("work").index_path(1)).unlink()
    write(Path(scene.environment("work").index_path(2)), "nonsense")
    scene.path("numbers", "by-project", "demo", f"{scene.demo.number:06x}").unlink()
    assert check_store(scene.store).damages == ()


def test_what_dead_processes_leave_is_never_damage(scene):
    scene.path("tmp", "0123456789abcdef").mkdir()
    scene.path("tmp", "0123456789abcdef", "1").touch()
    scene.path("run", "0123456789ab.json").write_text("{}")
    scene.path("environments", "started").mkdir()
    scene.path("environments", "started", "lock").touch()
    scene.path("environments", "empty", "current").unlink()
    report = check_store(scene.store)
    assert report.damages == ()
    assert report.totals.leftovers == 1
    assert report.totals.environments == 4


def test_a_live_mount_and_a_running_add_are_no_damage(scene):
    held = take_lease(scene.store, new_lease("work", "/mnt", "2026-01-02T03:04:05+00:00"))
    with scene.store.batch() as batch:
        batch.add(scene.store.path("blobs", "ab", "cd"), b"staged")
        assert check_store(scene.store).damages == ()
    held.end()


def test_a_check_changes_nothing(scene):
    def look() -> dict[Path, int]:
        return {path: path.lstat().st_mtime_ns for path in Path(scene.store.root).rglob("*")}

    before = look()
    check_store(scene.store)
    assert look() == before


def test_fast_compares_what_manifests_promise_without_sha256(scene, monkeypatch):
    """Unless something differs, the SHA-256 of a blob that a manifest mentions is not computed."""
    orphan = put_blob(scene.store, b"orphan")
    hashed = []

    def note(path: str) -> ContentHasher:
        hashed.append(path)
        return real(path)

    real = check_blobs.hash_file
    monkeypatch.setattr(check_blobs, "hash_file", note)
    check_store(scene.store, is_fast=True)
    assert hashed == [scene.store.pool.path(orphan)]


@pytest.mark.parametrize("is_fast", [False, True])
def test_two_manifests_that_disagree_show_who_lies(damaged_scene, is_fast):
    content = damaged_scene.newer.content
    checksums = "0" * 32 + content.checksums[32:]
    _, path = plant_manifest(damaged_scene, replace(content, checksums=checksums))
    liars = [one.path for one in check_store(damaged_scene.store, is_fast=is_fast).damages if one.kind is DamageKind.MANIFEST]
    assert liars == [str(path)]


def test_progress_ends_with_all_bytes(scene):
    put_blob(scene.store, b"orphan")
    told = []
    totals = check_store(scene.store, progress=lambda done, total: told.append((done, total))).totals
    assert told[-1][0] == totals.bytes
    assert all(done <= total for done, total in told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data(), is_fast=st.booleans())
def test_any_flipped_bit_is_found(damaged_scene, data, is_fast):
    """In any file that is not derived."""
    places = ("blobs", "manifests", "wheels", "format")
    files = [path for name in places for path in sorted([damaged_scene.path(name), *damaged_scene.path(name).rglob("*")]) if path.is_file()]
    path = data.draw(st.sampled_from([path for path in files if path.stat().st_size]))
    content = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    write(path, content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :])
    assert check_store(damaged_scene.store, is_fast=is_fast).damages
    write(path, content)
    assert check_store(damaged_scene.store, is_fast=is_fast).damages == ()


def test_a_directory_that_can_not_be_listed_is_damage(damaged_store, monkeypatch):
    put_blob(damaged_store, b"content")
    real = os.scandir

    def fail(path):
        if str(path).endswith("/wheels"):
            raise OSError(5, "Input/output error", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", fail)
    [damage] = check_store(damaged_store).damages
    assert (damage.kind, damage.reason) == (DamageKind.LAYOUT, "can't be listed: Input/output error")


def test_a_blob_that_can_not_be_read_is_damage(damaged_store, monkeypatch):
    digest = put_blob(damaged_store, b"content")
    put_blob(damaged_store, b"other")
    real = check_blobs._iter_chunks

    def fail(path):
        if path == damaged_store.pool.path(digest):
            raise OSError(5, "Input/output error", path)
        return real(path)

    monkeypatch.setattr(check_blobs, "_iter_chunks", fail)
    [damage] = check_store(damaged_store).damages
    assert damage.reason == "the blob can't be read: Input/output error; no manifest mentions it"
