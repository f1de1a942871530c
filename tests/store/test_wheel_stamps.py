"""Stamps: believed only while nothing about the file could have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casfs.digest import digest_bytes
from casfs.store.wheel_stamps import file_facts, read_stamp, write_stamp

DIGEST = digest_bytes(b"wheel")
OLD = time.time_ns() - 3_000_000_000
FACTS = [1, 2, 3, OLD, OLD]


def only_stamp(store) -> Path:
    [stamp] = Path(store.path("stamps")).iterdir()
    return stamp


def test_a_file_at_rest_is_known_again(store):
    write_stamp(store, "/wheel", FACTS, DIGEST)
    assert read_stamp(store, "/wheel", FACTS) == DIGEST


def test_another_file_is_not_known(store):
    write_stamp(store, "/wheel", FACTS, DIGEST)
    assert read_stamp(store, "/other", FACTS) is None


@pytest.mark.parametrize("changed", range(len(FACTS)))
def test_a_stamp_of_a_file_that_changed_is_not_believed(store, changed):
    write_stamp(store, "/wheel", FACTS, DIGEST)
    facts = [fact + (index == changed) for index, fact in enumerate(FACTS)]
    assert read_stamp(store, "/wheel", facts) is None


@pytest.mark.parametrize("recent", [3, 4])
def test_a_file_that_changed_recently_is_not_stamped(store, recent):
    facts = [fact if index != recent else time.time_ns() - 1_000_000_000 for index, fact in enumerate(FACTS)]
    write_stamp(store, "/wheel", facts, DIGEST)
    assert read_stamp(store, "/wheel", facts) is None


def test_a_file_from_the_future_is_not_stamped(store):
    facts = [*FACTS[:3], time.time_ns() + 10**12, OLD]
    write_stamp(store, "/wheel", facts, DIGEST)
    assert read_stamp(store, "/wheel", facts) is None


def test_a_new_stamp_replaces_the_old_one(store):
    write_stamp(store, "/wheel", FACTS, DIGEST)
    write_stamp(store, "/wheel", [*FACTS[:2], 4, *FACTS[3:]], digest_bytes(b"other"))
    assert read_stamp(store, "/wheel", FACTS) is None
    assert read_stamp(store, "/wheel", [*FACTS[:2], 4, *FACTS[3:]]) == digest_bytes(b"other")


def test_a_torn_stamp_is_not_believed(store):
    write_stamp(store, "/wheel", FACTS, DIGEST)
    whole = only_stamp(store).read_bytes()
    for length in range(len(whole)):
        only_stamp(store).write_bytes(whole[:length])
        assert read_stamp(store, "/wheel", FACTS) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_damaged_stamp_is_not_believed(store, at, bit):
    write_stamp(store, "/wheel", FACTS, DIGEST)
    content = bytearray(only_stamp(store).read_bytes())
    content[at % len(content)] ^= 1 << bit
    only_stamp(store).write_bytes(content)
    assert read_stamp(store, "/wheel", FACTS) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"digest": 1, "facts": []}', b"\xff"])
def test_a_stamp_that_makes_no_sense_is_not_believed(store, body):
    from casfs.digest import checksum_bytes

    write_stamp(store, "/wheel", FACTS, DIGEST)
    only_stamp(store).write_bytes(checksum_bytes(body).encode() + b"\n" + body)
    assert read_stamp(store, "/wheel", FACTS) is None


def test_a_stamp_that_can_not_be_written_is_no_error(damaged_store):
    os.rmdir(damaged_store.path("stamps"))
    write_stamp(damaged_store, "/wheel", FACTS, DIGEST)
    assert read_stamp(damaged_store, "/wheel", FACTS) is None


def test_any_change_of_a_file_changes_its_facts(place):
    path = place / "wheel"
    path.write_bytes(b"one")
    os.utime(path, ns=(OLD, OLD))
    with open(path, "rb") as file:
        seen = [file_facts(file.fileno())]
        path.write_bytes(b"two")
        seen.append(file_facts(file.fileno()))
        os.utime(path, ns=(OLD, OLD + 1))
        seen.append(file_facts(file.fileno()))
        path.write_bytes(b"longer")
        seen.append(file_facts(file.fileno()))
    path.rename(place / "old")
    path.write_bytes(b"longer")
    with open(path, "rb") as file:
        seen.append(file_facts(file.fileno()))
    assert len({tuple(facts) for facts in seen}) == len(seen)
    assert seen[0][3] == OLD


def test_a_path_that_is_not_utf8_can_be_stamped(store):
    path = os.fsdecode(b"/wheel\xff")
    write_stamp(store, path, FACTS, DIGEST)
    assert read_stamp(store, path, FACTS) == DIGEST
