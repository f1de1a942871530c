"""Every hostile wheel is refused with a reason that names what is wrong; every odd but good one is taken as pip takes it."""

from __future__ import annotations

import io
import zipfile

import pytest

from casfs.digest import ContentHasher
from casfs.errors import WheelRefused
from casfs.wheels.inflate import iter_content
from casfs.wheels.record import record_problem
from casfs.wheels.source import WheelSource
from casfs.wheels.wheel import Wheel, read_wheel
from tests.make_wheels import QUIRKS, Hostile, MadeWheel
from tests.wheels.hostile_corpus import HOSTILE, LYING_CONTENT

_ALL = [*HOSTILE, *LYING_CONTENT]


def _unpack(source: WheelSource, wheel: Wheel) -> dict[str, bytes]:
    """Content of each file by its name in the archive, compared with RECORD as an ingest does."""
    contents = {}
    for file in wheel.files:
        content = b"".join(iter_content(source, file.member))
        if file.record:
            hasher = ContentHasher(file.record.algorithm)
            hasher.update(content)
            if problem := record_problem(file.record, hasher.size, hasher.record_hash):
                raise WheelRefused(wheel.filename, problem)
        contents[file.member.name] = content
    return contents


def _read(made: MadeWheel) -> dict[str, bytes]:
    source = made.source()
    return _unpack(source, read_wheel(source, made.filename))


@pytest.mark.parametrize("hostile", _ALL, ids=lambda hostile: hostile.kind)
def test_hostile_wheel_is_refused_with_the_member_and_the_reason(hostile: Hostile):
    with pytest.raises(WheelRefused) as refusal:
        _read(hostile.wheel)
    for word in hostile.words:
        assert word in str(refusal.value)
    assert str(refusal.value).replace("\n  ", "").isprintable()


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.kind)
def test_hostile_wheel_is_refused_without_unpacking_its_files(hostile: Hostile):
    source = hostile.wheel.source()
    with pytest.raises(WheelRefused):
        read_wheel(source, hostile.wheel.filename)


@pytest.mark.parametrize("hostile", _ALL, ids=lambda hostile: hostile.kind)
def test_only_lies_of_record_can_be_tolerated(hostile: Hostile):
    source = hostile.wheel.source()
    try:
        wheel = read_wheel(source, hostile.wheel.filename, allow_record_mismatch=True)
    except WheelRefused:
        assert not hostile.record_only
    else:
        assert hostile.record_only == bool(wheel.tolerated)
        assert hostile.record_only or hostile in LYING_CONTENT
        assert not hostile.record_only or any(hostile.words[0] in problem for problem in wheel.tolerated)


def test_each_hostile_kind_is_there_once():
    kinds = [hostile.kind for hostile in _ALL]
    assert len(kinds) == len(set(kinds)) >= 37


@pytest.mark.parametrize("quirk", QUIRKS)
def test_odd_wheel_is_taken_with_the_bytes_that_zipfile_reads(quirk: str):
    made = QUIRKS[quirk]
    archive = zipfile.ZipFile(io.BytesIO(made.content))
    contents = _read(made)
    assert contents == {name: archive.read(name) for name in contents}
    assert f"{read_wheel(made.source(), made.filename).dist_info}/METADATA" in contents


def test_all_problems_are_told_at_once():
    hostile = next(hostile for hostile in HOSTILE if hostile.kind == "everything wrong at once")
    with pytest.raises(WheelRefused) as refusal:
        read_wheel(hostile.wheel.source(), hostile.wheel.filename)
    assert refusal.value.subject == hostile.wheel.filename
    assert len(refusal.value.reasons) >= 5
    assert len(set(refusal.value.reasons)) == len(refusal.value.reasons)
