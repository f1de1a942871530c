"""Numbers: each means one manifest for ever."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs.digest import Digest, digest_bytes
from casfs.errors import StoreDamaged
from casfs.store.fsck.check import check_store
from casfs.store.manifests import Manifest, build_manifest, format_manifest
from casfs.store.numbers import assign_numbers, find_number, iter_slots, number_path, read_number
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


def test_a_number_is_found_from_both_sides(store):
    digest, _, number = publish_files(store, {"a": b"1"})
    assert number == int(digest[:6], 16)
    assert find_number(store, digest) == number
    assert read_number(store, number) == digest


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


def test_a_record_of_a_version_before_names_its_manifest(store):
    """It says which rows had an older identity, too; nobody asks for that any more."""
    digest, _, number = publish_files(store, {"a": b"1"})
    path = Path(number_path(store, number))
    path.unlink()
    path.write_text(json.dumps({"manifest": digest, "inherited": [[0, 1, 0]]}))
    assert read_number(store, number) == digest
    assert check_store(store).damages == ()


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", '{"manifest": 1}', '{"manifest": "ab"}', "[" * 100_000],
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
