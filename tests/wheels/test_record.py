"""RECORD: parsed exactly, or refused; never believed where it can't be checked."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs.errors import RecordRefused, WheelRefused
from casfs.wheels.archive import Member
from casfs.wheels.problems import Problems
from casfs.wheels.record import RecordEntry, match_record, parse_record, record_problem
from casfs.wheels.wheel import read_wheel
from tests.make_wheels import DEMO, INFO, QUIRKS, demo_members, format_rows, hash_field, pack, unless_refused, with_record
from tests.wheels.zip_writer import ZipMember

_ENTRIES = st.builds(
    lambda path, algorithm, content, size: RecordEntry(path, algorithm, hashlib.new(algorithm, content).digest(), size),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1).filter(lambda path: not path.startswith(("/", "./"))),
    st.sampled_from(["sha256", "sha384", "sha512"]),
    st.binary(),
    st.none() | st.integers(0, 10**18 - 1),
)


def _row(entry: RecordEntry, *, hexadecimal: bool = False) -> tuple[str, str, str]:
    value = entry.digest.hex() if hexadecimal else base64.urlsafe_b64encode(entry.digest).rstrip(b"=").decode()
    return entry.path, f"{entry.algorithm}={value}", "" if entry.size is None else str(entry.size)


def _parse(content: bytes) -> dict[str, RecordEntry | None]:
    problems = Problems("demo.whl")
    rows = parse_record(content, INFO, problems)
    problems.raise_any()
    return rows


@given(st.lists(_ENTRIES, unique_by=lambda entry: entry.path), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_written_rows_are_read_back(entries: list[RecordEntry], line_end: str, hexadecimal: bool):
    content = format_rows([_row(entry, hexadecimal=hexadecimal) for entry in entries], line_end)
    assert _parse(content) == {entry.path: entry for entry in entries}


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_rows_or_a_refusal(content: bytes):
    rows = unless_refused(_parse, content) or {}
    assert all(entry is None or entry.path == path for path, entry in rows.items())


@given(st.lists(st.lists(st.text(st.sampled_from('sha256=-,"\n 0123456789abcdefA_é')), min_size=1, max_size=4)))
def test_any_rows_are_rows_or_a_refusal(rows: list[list[str]]):
    parsed = unless_refused(_parse, format_rows(rows))
    assert parsed is None or set(parsed) == {row[0] for row in rows}


@given(st.binary(max_size=99), st.binary(max_size=99))
def test_other_bytes_never_pass_for_those_in_record(claimed: bytes, real: bytes):
    entry = RecordEntry("demo/x", "sha256", hashlib.sha256(claimed).digest(), len(claimed))
    problem = record_problem(entry, len(real), hashlib.sha256(real).digest())
    assert (problem is None) == (claimed == real)
    assert problem is None or problem.startswith("'demo/x': ")


def test_a_row_without_a_size_promises_only_the_hash():
    entry = RecordEntry("demo/x", "sha256", hashlib.sha256(b"x").digest(), None)
    assert record_problem(entry, 1, hashlib.sha256(b"x").digest()) is None


def test_only_record_and_its_signatures_need_no_hash():
    rows = _parse(f"{INFO}/RECORD,,\n{INFO}/RECORD.jws,,\n{INFO}/RECORD.p7s,,\n".encode())
    assert list(rows.values()) == [None, None, None]
    for path in (f"{INFO}/METADATA", "demo/RECORD", f"{INFO}/deep/RECORD", "RECORD"):
        with pytest.raises(WheelRefused, match="has no hash"):
            _parse(f"{path},,\n".encode())


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (lambda row: ("/" + row[0], *row[1:]), "RECORD has paths that begin with / or ./ (4)"),
        (lambda row: ("./" + row[0], *row[1:]), "RECORD has paths that begin with / or ./ (4)"),
        (
            lambda row: (row[0], row[1].replace("-", "+").replace("_", "/") + "=" * bool(row[1]), row[2]),
            "RECORD has hashes that are padded, or in the base64 that is not for URLs (3)",
        ),
    ],
)
def test_record_that_is_written_oddly_means_the_same(change, remark: str):
    made = pack(with_record(lambda rows: [change(row) for row in rows]))
    odd, plain = (read_wheel(one.source(), one.filename) for one in (made, pack(demo_members())))
    assert odd.remarks == (remark,)
    assert [file.record for file in odd.files] == [file.record for file in plain.files]
    assert plain.remarks == ()


def test_problems_of_record_are_in_its_order():
    problems = Problems("demo.whl")
    rows: dict[str, RecordEntry | None] = {f"demo/{number}": RecordEntry(f"demo/{number}", "sha256", b"", 0) for number in range(20)}
    match_record(rows, [], INFO, problems)
    with pytest.raises(RecordRefused) as refusal:
        problems.raise_any()
    assert [reason.partition(":")[0] for reason in refusal.value.reasons] == [repr(path) for path in rows]


def test_refusal_for_record_alone_is_told_from_others():
    for members, kind in ((with_record(lambda rows: rows[1:]), RecordRefused), (demo_members(ZipMember("../x")), WheelRefused)):
        made = pack(members)
        with pytest.raises(WheelRefused) as refusal:
            read_wheel(made.source(), made.filename)
        assert type(refusal.value) is kind


@pytest.mark.parametrize("row", ["\n", "x,,\n"], ids=["empty", "the same"])
def test_rows_are_counted_whatever_they_say(row: str):
    with pytest.raises(WheelRefused, match="has more than 100000 rows"):
        _parse(row.encode() * 100_002)


def test_a_signature_with_a_hash_is_held_to_it():
    rows = _parse(format_rows([(f"{INFO}/RECORD.jws", hash_field(b"{}"), "2")]))
    assert rows[f"{INFO}/RECORD.jws"] == RecordEntry(f"{INFO}/RECORD.jws", "sha256", hashlib.sha256(b"{}").digest(), 2)


def test_a_ghost_row_gives_no_entry_even_when_it_is_tolerated():
    problems = Problems("demo.whl", allow_record_mismatch=True)
    ghost = RecordEntry("demo/secret", "sha256", hashlib.sha256(b"secret").digest(), 6)
    assert match_record({"demo/secret": ghost}, [], INFO, problems) == {}
    assert problems.tolerated == ("'demo/secret': is listed in RECORD but is not in the archive",)


def test_a_tolerated_wrong_size_is_told_once():
    problems = Problems("demo.whl", allow_record_mismatch=True)
    entry = RecordEntry("x", "sha256", hashlib.sha256(b"12").digest(), 3)
    matched = match_record({"x": entry}, [Member("x", 0, 0, 2, 2, 0, 0)], INFO, problems)
    assert record_problem(matched["x"], 2, hashlib.sha256(b"12").digest()) is None
    assert problems.tolerated == ("'x': has 2 bytes, but RECORD says 3",)


def test_a_tolerated_wheel_says_what_it_got_wrong_and_keeps_the_rest():
    made = pack(with_record(lambda rows: [("ghost", "md5=x", ""), *rows[1:]]))
    wheel = read_wheel(made.source(), made.filename, allow_record_mismatch=True)
    assert len(wheel.tolerated) == 3
    entries = {file.member.name: file.record for file in wheel.files}
    assert entries[DEMO.name] is None
    assert entries[f"{INFO}/METADATA"] is not None


def test_a_true_wheel_tolerates_nothing():
    for made in QUIRKS.values():
        assert read_wheel(made.source(), made.filename, allow_record_mismatch=True).tolerated == ()
