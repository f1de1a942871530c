"""Archives: what we read is what zipfile reads, or nothing."""

from __future__ import annotations

import io
import os
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casfs.errors import WheelRefused
from casfs.paths import path_problem
from casfs.wheels.archive import count_directories, find_clashes, read_archive
from casfs.wheels.extra import BadExtra, widen
from casfs.wheels.inflate import iter_content
from casfs.wheels.problems import Problems
from casfs.wheels.source import FileSource
from casfs.wheels.wheel import read_wheel
from tests.make_wheels import DEMO, QUIRKS, BytesSource, demo_members, make_wheel, pack, unless_refused
from tests.wheels.zip_writer import ZipEnd, ZipMember, write_zip


def _contents(content: bytes) -> dict[str, bytes]:
    """Files of the archive as we read it."""
    source = BytesSource(content, "x.whl")
    problems = Problems("x.whl")
    members = read_archive(source, problems)
    problems.raise_any()
    return {member.name: b"".join(iter_content(source, member)) for member in members}


def _zipfile_contents(content: bytes) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


_ORIGINALS = [made.content for made in QUIRKS.values() if len(made.content) < 4000]
_HEADERS = [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\7\x08"]
_NUMBERS = [(0).to_bytes(2, "little"), b"\1\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\1\0\0\0", bytes(8)]


@st.composite
def _mutants(draw: st.DrawFn) -> bytes:
    """A good archive after one to four edits; most of them in a header, where they matter."""
    content = bytearray(draw(st.sampled_from(_ORIGINALS)))
    starts = [at for header in _HEADERS for at in range(len(content)) if content.startswith(header, at)]
    for _ in range(draw(st.integers(1, 4))):
        at = min(draw(st.sampled_from(starts)) + draw(st.integers(0, 60)), len(content) - 1)
        piece = draw(st.one_of(st.sampled_from(_NUMBERS + _HEADERS), st.binary(min_size=1, max_size=4)))
        kind = draw(st.sampled_from(["replace", "replace", "flip", "insert", "delete", "copy"]))
        if kind == "replace":
            content[at : at + len(piece)] = piece
        elif kind == "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            content[at:at] = piece
        elif kind == "delete":
            del content[at : at + len(piece)]
        else:
            other = draw(st.sampled_from(starts))
            content[at : at + 30] = content[other : other + 30]
    return bytes(content)


@given(_mutants())
@settings(max_examples=1500)
def test_mutated_archive_is_refused_or_read_as_zipfile_reads_it(content: bytes):
    contents = unless_refused(_contents, content)
    assert contents is None or contents == _zipfile_contents(content)


@given(st.binary(max_size=200))
@example(b"PK\5\6" + bytes(18))
def test_arbitrary_bytes_are_an_empty_archive_or_refused(content: bytes):
    contents = unless_refused(_contents, content)
    assert contents is None or contents == _zipfile_contents(content) == {}


@given(_mutants())
@settings(max_examples=300)
def test_mutated_wheel_is_refused_or_whole(content: bytes):
    source = BytesSource(content, "demo-1.0-py3-none-any.whl")
    wheel = unless_refused(read_wheel, source, source.name)
    assert wheel is None or {file.member.name for file in wheel.files} <= set(zipfile.ZipFile(io.BytesIO(content)).namelist())


_NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(st.dictionaries(_NAMES, st.binary(max_size=50), max_size=8), st.booleans())
def test_any_names_are_read_as_written_or_refused(files: dict[str, bytes], stored: bool):
    content = write_zip([ZipMember(name, content, method=0 if stored else 8) for name, content in files.items()])
    contents = unless_refused(_contents, content)
    assert contents is None or contents == {name: content for name, content in files.items() if not name.endswith("/")}


@given(st.dictionaries(_NAMES, st.binary(max_size=50), max_size=8))
def test_what_zipfile_writes_is_read_or_refused_for_its_names(files: dict[str, bytes]):
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            with archive.open(zipfile.ZipInfo(f"x/{name}"), "w", force_zip64=True) as member:
                member.write(content)
    contents = unless_refused(_contents, output.getvalue())
    names = [f"x/{name}" for name in files]
    if contents is None:
        assert any(path_problem(name) for name in names) or find_clashes(names)
    else:
        assert contents == _zipfile_contents(output.getvalue())


def test_link_without_a_target_is_an_empty_file_as_with_pip():
    link = ZipMember("demo/link", b"", mode=0o120777)
    made = pack(demo_members(link))
    wheel = read_wheel(made.source(), made.filename)
    [file] = [file for file in wheel.files if file.member.name == link.name]
    assert (file.member.size, file.executable) == (0, False)
    assert wheel.remarks == ("symbolic links without a target become empty files (1)",)
    made = pack(demo_members(link.but(content=b"x")))
    with pytest.raises(WheelRefused, match="is a symbolic link"):
        read_wheel(made.source(), made.filename)


def test_hostile_archive_is_read_from_a_file_as_from_memory(tmp_path):
    made = make_wheel({"demo/big.bin": os.urandom(3 << 20)})
    fd = os.open(made.write_to(tmp_path), os.O_RDONLY)
    try:
        source = FileSource(fd, made.filename)
        assert read_wheel(source, made.filename) == read_wheel(made.source(), made.filename)
    finally:
        os.close(fd)


def test_file_source_gives_exactly_what_was_asked_for_or_refuses(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDONLY)
    try:
        source = FileSource(fd, "x.whl")
        assert source.size == 10
        assert source.read_at(3, 4) == b"3456"
        assert source.read_at(10, 0) == b""
        with pytest.raises(WheelRefused, match=r"x\.whl: ends 3 bytes too early"):
            source.read_at(8, 5)
    finally:
        os.close(fd)


def test_65536_members_need_zip64_and_are_read():
    members = [ZipMember(f"{i}", method=0) for i in range(65_536)]
    assert len(_contents(write_zip(members, ZipEnd(zip64=True)))) == 65_536


def test_many_problems_are_cut_short():
    members = [DEMO.but(name=f"../{i}") for i in range(1000)]
    with pytest.raises(WheelRefused) as refusal:
        _contents(write_zip(members))
    assert len(refusal.value.reasons) == 101
    assert refusal.value.reasons[-1] == "and 900 more problems"


def test_long_names_are_cut_short_in_messages():
    with pytest.raises(WheelRefused) as refusal:
        _contents(write_zip([DEMO.but(name="n" * 60_000)]))
    assert len(str(refusal.value)) < 500


_SMALL_PATHS = st.sets(st.lists(st.sampled_from(["a", "b", "a b", "a-b"]), min_size=1, max_size=4).map("/".join))


@given(_SMALL_PATHS, _SMALL_PATHS)
def test_a_path_clashes_exactly_when_it_is_a_directory_too(files: set[str], directories: set[str]):
    paths = files | {f"{path}/" for path in directories}
    assert set(find_clashes(paths)) == {path for path in files if any(other.startswith(f"{path}/") for other in paths)}


@given(_SMALL_PATHS, _SMALL_PATHS)
def test_directories_are_counted_once(files: set[str], directories: set[str]):
    paths = files | {f"{path}/" for path in directories}
    assert count_directories(paths) == len({path[:i] for path in paths for i, character in enumerate(path) if character == "/"})


def test_zip64_field_gives_only_what_its_header_asks_for():
    assert widen((0xFFFFFFFF, 5, 0xFFFFFFFF), b"\1\0\x10\0" + (7).to_bytes(8, "little") + (9).to_bytes(8, "little")) == [7, 5, 9]
    assert list(widen((1, 2, 3), b"")) == [1, 2, 3]


def test_zip64_field_that_gives_more_must_leave_no_doubt_which_is_which():
    three = b"\1\0\x18\0" + b"".join(value.to_bytes(8, "little") for value in (7, 8, 3))
    assert widen((0xFFFFFFFF, 0xFFFFFFFF, 3), three) == [7, 8, 3]
    with pytest.raises(BadExtra, match="contradicts"):
        widen((7, 8, 0xFFFFFFFF), three)


@given(st.lists(st.integers(0, 0xFFFFFFFF), min_size=2, max_size=3), st.binary(max_size=40))
def test_extra_fields_are_understood_or_refused(values: list[int], extra: bytes):
    try:
        wide = widen(values, extra)
    except BadExtra:
        return
    assert all(value in (0xFFFFFFFF, wider) for value, wider in zip(values, wide, strict=True))


def test_executable_is_what_pip_calls_executable():
    modes = {0o100644: False, 0o100744: True, 0o100654: True, 0o100645: True, 0o755: False, 0: False}
    made = pack(demo_members(*[ZipMember(f"demo/{mode:o}", mode=mode) for mode in modes]))
    files = {file.member.name: file.executable for file in read_wheel(made.source(), made.filename).files}
    assert {mode: files[f"demo/{mode:o}"] for mode in modes} == modes
