"""A host's slots: their numbers hold for whoever serves next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from casfs.errors import StoreDamaged
from casfs.fuse.host import Host, Slot
from casfs.fuse.inodes import ROOT, host_number, slot_number, view_number
from casfs.fuse.view import View


def no_view(environment: str, generation: int) -> View:
    raise AssertionError(f"nobody asked for {environment} {generation}")


def any_view(environment: str, generation: int) -> View:
    return cast(View, [environment, generation])


def test_next_host_knows_the_slots_by_the_same_numbers(tmp_path: Path):
    table = str(tmp_path / "slots")
    first = Host(table, no_view)
    slots = [Slot("one", 0, 0), Slot("two", 0, 0), Slot("one", 7, 8)]
    assert [first.add_slot(slot) for slot in slots] == ["one@0.0", "two@0.0", "one@7.8"]
    after = Host(table, no_view)
    assert after.slots == slots
    assert after.owner_ids(host_number(3, ROOT)) == (7, 8)


def test_slot_that_is_known_is_not_added_again(tmp_path: Path):
    host = Host(str(tmp_path / "slots"), no_view)
    assert host.add_slot(Slot("one", 0, 0)) == host.add_slot(Slot("one", 0, 0))
    assert len(host.slots) == 1


def test_slots_of_generations_have_views_of_their_own_and_do_not_change(tmp_path: Path):
    host = Host(str(tmp_path / "slots"), any_view)
    names = [host.add_slot(Slot("one", 0, 0, generation)) for generation in (0, 1, 2)]
    assert names == ["one@0.0", "one@0.0@1", "one@0.0@2"]
    assert [host.is_pinned(host_number(number, ROOT)) for number in (1, 2, 3)] == [False, True, True]
    assert not host.is_pinned(ROOT)
    views: list[object] = [host.view("one", generation) for generation in (0, 1)]
    assert views == [["one", 0], ["one", 1]]
    assert [name for _, name, _ in host.changing_views()] == ["one"]


def test_the_view_of_an_older_generation_is_dropped_and_made_again(tmp_path: Path):
    host = Host(str(tmp_path / "slots"), any_view)
    host.add_slot(Slot("one", 0, 0, 1))
    before, current, other = host.view("one", 1), host.view("one"), host.view("two", 1)
    host.add_slot(Slot("one", 0, 0, 2))
    assert host.view("one") is current
    assert host.view("two", 1) is other
    assert host.view("one", 1) is not before
    assert host.view("one", 1) == before


def test_removed_environment_is_shown_by_none_of_its_numbers_and_a_new_one_gets_others(tmp_path: Path):
    host = Host(str(tmp_path / "slots"), any_view)
    names = [host.add_slot(slot) for slot in (Slot("one", 0, 0), Slot("two", 0, 0), Slot("one", 0, 0, 1))]
    host.view("one", 1)
    host.retire("one")
    assert (host.slot_names("one"), host.slot_names("two")) == ([], ["two@0.0"])
    for one in (host, Host(str(tmp_path / "slots"), any_view)):
        with pytest.raises(StoreDamaged):
            one.node(host_number(3, ROOT))
        one.forget(host_number(3, ROOT))  # the kernel does so late
        assert one.look_up(ROOT, names[0].encode()) == (None, False)
    assert host.add_slot(Slot("one", 0, 0)) == names[0]
    assert host.slots[3] == Slot("one", 0, 0)
    assert host.slots[1] == Slot("two", 0, 0)


def test_root_lists_nothing_and_keeps_no_miss(tmp_path: Path):
    host = Host(str(tmp_path / "slots"), no_view)
    assert host.listing(ROOT, 0) == ([], False)
    assert host.look_up(ROOT, b"one@0.0") == (None, False)
    assert host.parent(ROOT)[0] == ROOT


def test_number_of_a_slot_that_does_not_exist_is_damage(tmp_path: Path):
    with pytest.raises(StoreDamaged):
        Host(str(tmp_path / "slots"), no_view).node(host_number(1, ROOT))


@pytest.mark.parametrize("slot", [1, 2, (1 << 17) - 1])
@pytest.mark.parametrize("ino", [ROOT, 1 << 20, (1 << 44) - 1, 1 << 62 | 5 << 20, 3 << 61 | 5 << 20])
def test_number_and_slot_are_found_again_in_a_hosts_number(slot: int, ino: int):
    number = host_number(slot, ino)
    assert (slot_number(number), view_number(number)) == (slot, ino)
    assert number < 1 << 63


@pytest.mark.parametrize("wrong", [{"environment": "../../etc"}, {"uid": 10**20}, {"generation": -1}, {"attributes": "x"}, {"more": 1}])
def test_slot_that_an_earlier_version_should_have_refused_shows_nothing_and_keeps_its_number(tmp_path: Path, wrong: dict[str, object]):
    good = {"environment": "one", "uid": 0, "gid": 0, "generation": 0, "attributes": "user"}
    (tmp_path / "slots").write_text(json.dumps([{**good, **wrong}, good]))
    host = Host(str(tmp_path / "slots"), any_view)
    assert [slot.environment for slot in host.slots] == ["", "one"]
    assert host.add_slot(Slot("one", 0, 0)) == "one@0.0"
    assert len(host.slots) == 2
