"""Numbers: each means one manifest for ever, and a file that did not change keeps the identity that it had."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs.digest import Digest, digest_bytes
from casfs.errors import StoreDamaged
from casfs.store.ingest import MadeFiles, ingest_files
from casfs.store.manifests import Kind, Manifest, NewFile, build_manifest, format_manifest
from casfs.store.numbers import assign_numbers, find_number, iter_slots, number_path, read_number
from casfs.store.store import Store
from tests.store.making import about, publish_files, publish_undated
from tests.store.racing import run_both

ASSIGN = """
import sys
from pathlib import Path
from casfs.store.store import open_store
from tests.store.making import publish_files
store = open_store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    publish_files(store, {"file": b"%d" % number}, "project%d" % number)
"""


@functools.cache
def colliding_manifests() -> tuple[Manifest, Manifest]:
    """Two manifests of one project whose digests begin with the same 24 bits."""
    seen: dict[str, Manifest] = {}
    for number in range(100_000):
        manifest = build_manifest(about(version=str(number)), [])
        if (other := seen.setdefault(digest_bytes(format_manifest(manifest))[:6], manifest)) is not manifest:
            return other, manifest
    raise LookupError


def identities(store: Store, manifest: Manifest, number: int) -> dict[str, tuple[int, int]]:
    """For each file its identity: its own place, or what it inherits."""
    record = read_number(store, number)
    assert record is not None
    return {file.path: record.inherited.get(index, (number, index)) for index, file in enumerate(manifest.iter_files())}


def test_a_number_is_found_from_both_sides(store):
    digest, _, number = publish_files(store, {"a": b"1"})
    assert number == int(digest[:6], 16)
    assert find_number(store, digest) == number
    record = read_number(store, number)
    assert record is not None
    assert record.manifest == digest


def test_what_has_no_number_is_not_found(store):
    assert find_number(store, digest_bytes(b"")) is None
    assert read_number(store, 1) is None


def test_a_manifest_keeps_its_number(store):
    assert [publish_files(store, {"a": b"1"})[2] for _ in range(3)] == [publish_files(store, {"a": b"1"})[2]] * 3


def test_two_manifests_that_want_one_slot_get_different_numbers(store):
    [(one, _, first)], [(two, _, second)] = [publish_undated(store, manifest) for manifest in colliding_manifests()]
    assert one[:6] == two[:6]
    assert second == first + 1
    assert [find_number(store, digest) for digest in (one, two)] == [first, second]


def test_two_manifests_of_one_batch_that_want_one_slot_get_different_numbers(store):
    one, other = colliding_manifests()
    numbers = [number for _, _, number in publish_undated(store, one, other, one)]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0]]


def test_every_slot_but_zero_is_probed_once():
    unseen = bytearray(b"\1") * 2**24
    for slot in iter_slots(Digest("abcdef" + "0" * 58)):
        assert unseen[slot]
        unseen[slot] = 0
    assert unseen.find(1) == 0
    assert unseen.count(1) == 1


@given(st.integers(0, 2**24 - 1))
def test_probing_begins_with_the_first_bits(first):
    assert next(iter_slots(Digest(f"{first:06x}".ljust(64, "0")))) == (first or 1)


def test_the_last_slot_is_followed_by_the_first(damaged_store):
    manifest = build_manifest(about(), [])
    digests = [Digest("ffffff" + str(number) * 58) for number in range(3)]
    assert assign_numbers(damaged_store, [(digest, manifest) for digest in digests]) == [0xFFFFFF, 1, 2]
    assert [find_number(damaged_store, digest) for digest in digests] == [0xFFFFFF, 1, 2]


def test_a_file_that_did_not_change_keeps_its_identity(store):
    old_files = {"same": b"1", "changed": b"1", "made executable": b"1", "moved": b"1", "d/same": b"1"}
    _, old, old_number = publish_files(store, old_files, version="1")
    new_files = {"same": b"1", "changed": b"2", "made executable": b"1", "moved to here": b"1", "d/same": b"1", "a/new": b"1"}
    _, new, new_number = publish_files(store, new_files, version="2", executable=["made executable"])
    before, after = identities(store, old, old_number), identities(store, new, new_number)
    kept = {path for path in after if after[path] == before.get(path)}
    assert kept == {"same", "d/same"}
    assert {number for path, (number, _) in after.items() if path not in kept} == {new_number}


def test_a_symlink_is_not_the_file_with_its_bytes(store):
    for kind in (Kind.FILE, Kind.SYMLINK):
        [(_, manifest, number)] = ingest_files(store, [MadeFiles(about(version=kind.name), [NewFile("a", b"b", kind)])])
        assert identities(store, manifest, number) == {"a": (number, 0)}


def test_an_identity_is_the_oldest_one(store):
    made = [publish_files(store, {"same": b"1", "other": version.encode()}, version=version) for version in "123"]
    assert [identities(store, manifest, number)["same"] for _, manifest, number in made] == [(made[0][2], 1)] * 3


def test_a_file_that_came_back_has_another_time_and_so_another_identity(store):
    publish_files(store, {"a": b"1"}, version="1")
    publish_files(store, {"a": b"2"}, version="2")
    _, third, number = publish_files(store, {"a": b"1"}, version="3")
    assert identities(store, third, number) == {"a": (number, 0)}


def test_projects_inherit_nothing_from_each_other(store):
    publish_files(store, {"a": b"1"}, "one")
    _, manifest, number = publish_files(store, {"a": b"1"}, "two")
    assert identities(store, manifest, number) == {"a": (number, 0)}


def test_no_two_files_share_an_identity(store):
    seen: dict[tuple[int, int], tuple[str, str, Kind]] = {}
    for version in range(6):
        files = {f"{name}": b"%d" % (version // period) for name, period in (("a", 1), ("b", 2), ("c", 3), ("d", 6))}
        _, manifest, number = publish_files(store, files, version=str(version), executable=["d"] if version % 2 else [])
        for file in manifest.iter_files():
            identity = identities(store, manifest, number)[file.path]
            facts = (file.path, file.digest, file.kind)
            assert seen.setdefault(identity, facts) == facts


def test_a_damaged_ancestor_only_costs_what_it_would_give(damaged_store):
    _, _, first = publish_files(damaged_store, {"a": b"1"}, version="1")
    os.chmod(number_path(damaged_store, first), 0o644)
    Path(number_path(damaged_store, first)).write_text("{")
    _, manifest, number = publish_files(damaged_store, {"a": b"1", "b": b""}, version="2")
    assert identities(damaged_store, manifest, number) == {"a": (number, 0), "b": (number, 1)}


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", '{"manifest": 1}', '{"manifest": "ab"}', json.dumps({"manifest": "ab" * 32, "inherited": [1]}), "[" * 100_000],
    ids=lambda content: content[:20],
)
def test_a_record_that_makes_no_sense_is_damage(damaged_store, content):
    path = Path(number_path(damaged_store, 1))
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(StoreDamaged, match="can't be read"):
        read_number(damaged_store, 1)


def test_processes_that_assign_at_once_agree(store):
    run_both(ASSIGN, store.root)
    found = sorted(Path(store.path("numbers")).glob("[0-9a-f][0-9a-f]/*"))
    assert len(found) == 20
