"""Repair: damage is set aside, never deleted, and adding the same wheels again makes the store whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from casfs.store.fsck.check import check_store
from casfs.store.fsck.damage import DamageKind
from casfs.store.fsck.numbers import RETIRED
from casfs.store.fsck.repair import repair
from casfs.store.numbers import assign_numbers, find_number, number_path, read_number
from tests.store.damaging import PLANTS, Planted
from tests.store.harm import flip, make_fifo, remove, write
from tests.store.making import publish_files, publish_undated
from tests.store.scene import ONLY, SHARED, add_again
from tests.store.test_numbers import colliding_manifests

HEALED = [plant for plant in PLANTS if plant.is_healed]
NOT_HEALED = [plant for plant in PLANTS if not plant.is_healed and "lost" not in plant.name]


@pytest.mark.parametrize("plant", HEALED, ids=str)
def test_repair_and_adding_the_wheels_again_make_the_store_whole(scene, plant):
    plant.act(scene)
    assert repair(scene.store, check_store(scene.store))
    add_again(scene.store, scene.place)
    assert check_store(scene.store).damages == ()
    assert check_store(scene.store, is_fast=True).damages == ()


def facts(path: Path) -> tuple[int, ...]:
    """What changes when somebody changes a file; that it was read does not count."""
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@pytest.mark.parametrize("plant", NOT_HEALED, ids=str)
def test_what_only_its_owner_can_decide_is_left_alone(damaged_scene, plant):
    planted: Planted = plant.act(damaged_scene)
    before = facts(planted.path)
    repair(damaged_scene.store, check_store(damaged_scene.store))
    assert facts(planted.path) == before
    assert check_store(damaged_scene.store).damages


@pytest.mark.parametrize("name", ["blobs", "manifests"])
def test_what_wheels_alone_can_not_restore_is_still_damage(damaged_scene, name):
    """Skeletons and launchers: adding to a new environment makes them anew."""
    damaged_scene.path(name).rename(damaged_scene.place / "elsewhere")
    repair(damaged_scene.store, check_store(damaged_scene.store))
    add_again(damaged_scene.store, damaged_scene.place)
    assert {one.kind for one in check_store(damaged_scene.store).damages} <= {DamageKind.MISSING_BLOB, DamageKind.MISSING_MANIFEST}


def test_without_damage_nothing_is_done(scene):
    before = {path: path.lstat().st_mtime_ns for path in Path(scene.store.root).rglob("*")}
    assert repair(scene.store, check_store(scene.store)) == ()
    assert {path: path.lstat().st_mtime_ns for path in Path(scene.store.root).rglob("*")} == before


def test_damaged_bytes_are_kept(scene):
    flip(scene.blob(SHARED))
    wrong = scene.blob(SHARED).read_bytes()
    done = repair(scene.store, check_store(scene.store))
    [action] = [one.action for one in done if one.path == str(scene.blob(SHARED))]
    inside = scene.blob(SHARED).relative_to(scene.store.root)
    assert action == f"moved to quarantine/{inside}"
    assert scene.path("quarantine", str(inside)).read_bytes() == wrong
    add_again(scene.store, scene.place)


def test_what_is_set_aside_twice_is_kept_twice(scene):
    for _ in range(2):
        flip(scene.blob(SHARED))
        repair(scene.store, check_store(scene.store))
        add_again(scene.store, scene.place)
    inside = scene.blob(SHARED).relative_to(scene.store.root)
    assert scene.path("quarantine", str(inside)).exists()
    assert scene.path("quarantine", f"{inside}.2").exists()


def test_quarantine_is_private(scene):
    flip(scene.blob(SHARED))
    repair(scene.store, check_store(scene.store))
    assert scene.path("quarantine").stat().st_mode & 0o777 == 0o700
    add_again(scene.store, scene.place)


def test_only_wheels_that_lost_something_are_forgotten(scene):
    remove(scene.blob(ONLY))  # of both versions of demo
    repair(scene.store, check_store(scene.store))
    kept = [scene.wheel(one).exists() for one in (scene.demo, scene.newer, scene.other)]
    assert kept == [False, False, True]
    demo, newer, other = add_again(scene.store, scene.place)
    assert (demo.was_known, newer.was_known, other.was_known) == (False, False, True)
    assert (demo.new_files, newer.new_files) == (1, 0)


def test_a_blob_that_somebody_healed_meanwhile_is_kept(scene):
    good = scene.blob(SHARED).read_bytes()
    flip(scene.blob(SHARED))
    report = check_store(scene.store)
    write(scene.blob(SHARED), good)
    repair(scene.store, report)
    assert scene.blob(SHARED).read_bytes() == good
    add_again(scene.store, scene.place)


def test_a_number_that_a_generation_knows_gets_its_manifest_again(scene):
    write(scene.number(scene.demo), "torn")
    repair(scene.store, check_store(scene.store))
    assert find_number(scene.store, scene.demo.manifest) == scene.demo.number


def test_a_number_that_nobody_knows_is_nobodys_for_ever(store):
    digest, manifest, number = publish_files(store, {"file": b"content"})
    write(Path(number_path(store, number)), "torn")
    report = check_store(store)
    assert [one.kind for one in report.damages] == [DamageKind.NUMBER]
    repair(store, report)
    assert read_number(store, number) == RETIRED
    assert find_number(store, digest) is None
    assert assign_numbers(store, [(digest, manifest)]) == [number + 1]


def test_a_gap_that_hides_a_number_is_closed(store):
    [(_, _, first)], [(second_digest, _, second)] = [publish_undated(store, manifest) for manifest in colliding_manifests()]
    Path(number_path(store, first)).unlink()
    Path(store.path("numbers", "by-project", "demo", f"{first:06x}")).unlink()
    assert find_number(store, second_digest) is None
    [damage] = check_store(store).damages
    assert (damage.kind, damage.path) == (DamageKind.NUMBER, number_path(store, second))
    repair(store, check_store(store))
    assert find_number(store, second_digest) == second


def test_repair_of_everything_at_once(scene):
    for plant in (flip, make_fifo):
        plant(scene.blob(SHARED))
        plant(scene.manifest(scene.demo))
        plant(scene.number(scene.other))
        repair(scene.store, check_store(scene.store))
        add_again(scene.store, scene.place)
    assert check_store(scene.store).damages == ()
