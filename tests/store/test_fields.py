"""Values out of JSON: each field is checked where it enters."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs.store.leases import Lease, iter_dead_leases, iter_leases, lease_path, new_lease, take_lease
from casfs.store.runtime_files import read_fields
from casfs.store.store import Store


@dataclass(frozen=True, slots=True)
class Sample:
    path: str
    uid: int = 0
    pid: int = 0
    environment: str = ""
    why: str = ""
    seconds: float = 0.0
    is_read_only: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
)


def test_value_is_read_as_it_was_written():
    sample = Sample("/mnt/\udcff", 1000, 77, "one", "why\0", 0.5, True, {"a": 1}, {"b": [1.0, 2]})
    assert read_fields(Sample, json.loads(json.dumps(asdict(sample)))) == sample
    assert read_fields(Sample, {"path": ""}) == Sample("")


@given(st.one_of(JSON, st.dictionaries(st.sampled_from(sorted(asdict(Sample("")))), JSON)))
def test_garbage_is_a_value_error_and_nothing_else(data: object):
    with contextlib.suppress(ValueError):
        assert isinstance(read_fields(Sample, data), Sample)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", "a\0b"),
        ("path", "\ud800"),
        ("path", 1),
        ("uid", -1),
        ("uid", 2**32 - 1),
        ("uid", True),
        ("uid", "0"),
        ("pid", 2**22 + 1),
        ("environment", ".."),
        ("seconds", float("nan")),
        ("seconds", -1.0),
        ("is_read_only", 1),
        ("counts", {"a": -1}),
        ("counts", {"a\0": 1}),
        ("counts", []),
        ("times", {"a": [float("inf")]}),
        ("times", {"a": 1.0}),
        ("other", 1),
    ],
)
def test_impossible_field_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"field '{name}'"):
        read_fields(Sample, {"path": "/", name: value})


def test_missing_field_is_named():
    with pytest.raises(ValueError, match="lacks the field 'path'"):
        read_fields(Sample, {})


@pytest.mark.parametrize("wrong", [{"pid": 0}, {"pid": -1}, {"environment": "../x"}, {"id": "../x"}, {"mountpoint": "\0"}, {"more": 1}])
def test_lease_of_which_a_field_is_impossible_is_nobodys(store: Store, wrong: dict[str, object]):
    held = take_lease(store, new_lease("work", "/nowhere", "now"))
    with open(lease_path(store, held.lease.id), "r+", encoding="utf-8") as file:
        said = {**json.load(file), **wrong}
        file.seek(0)
        json.dump(said, file)
        file.truncate()
    assert list(iter_leases(store)) == []
    held.end()
    assert list(iter_dead_leases(store)) == []


def test_lease_of_an_earlier_version_is_read(store: Store):
    held = take_lease(store, Lease("0" * 12, 77, "", "/run/casfs/x", "now"))
    assert list(iter_leases(store)) == [held.lease]
    held.end()
