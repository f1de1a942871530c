"""METADATA, WHEEL and the file name: one project, one version, a format that is known."""

from __future__ import annotations

import email.parser
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs.errors import WheelRefused
from casfs.wheels.filename import is_named_so, parse_wheel_filename
from casfs.wheels.metadata import parse_headers, parse_metadata, parse_requirement
from casfs.wheels.problems import Problems
from casfs.wheels.wheel import Wheel, read_wheel
from tests.make_wheels import INFO, QUIRKS, demo_members, edit, make_wheel, pack, unless_refused


def _read(quirk: str) -> Wheel:
    return read_wheel(QUIRKS[quirk].source(), QUIRKS[quirk].filename)


def test_names_and_version_are_those_of_the_project():
    wheel = _read("other spelling")
    assert (wheel.project, wheel.name, wheel.version, wheel.dist_info) == ("de-mo", "De.Mo", "1.0.0", "De.Mo-1.0.dist-info")


def test_local_versions_are_kept():
    assert _read("local version").version == "2.0+cu118"


def test_tags_are_expanded_and_sorted():
    assert _read("one module").tags == ("py2-none-any", "py3-none-any")
    assert parse_wheel_filename("a-1-3-cp311.cp312-abi3.none-x_1.x_2.whl").tags == tuple(
        sorted(f"{python}-{abi}-{platform}" for python in ("cp311", "cp312") for abi in ("abi3", "none") for platform in ("x_1", "x_2"))
    )


def test_requires_python_is_read_over_continued_lines():
    assert set(str(_read("METADATA with CRLF").requires_python).split(",")) == {">=3.8", "<4"}


@pytest.mark.parametrize("quirk", ["plain", "Requires-Python that is none"])
def test_requires_python_that_says_nothing_is_none(quirk: str):
    assert _read(quirk).requires_python is None


def test_words_in_the_description_are_no_headers():
    made = pack(demo_members(metadata="\nRequires-Python: <2\nName: pip\n"))
    assert read_wheel(made.source(), made.filename).requires_python is None


_WORDS = st.sampled_from(["Name", "name", ":", ": ", " ", "\t", "\n", "\r\n", "\r", "x", "1.0", "\u2028", "\x0b", "-", "é", "From "])


@given(st.lists(_WORDS, max_size=25).map("".join))
def test_headers_are_those_that_email_finds(text: str):
    message = email.parser.Parser(policy=email.policy.compat32).parsestr(text)
    ours = parse_headers(text.encode())
    if not text.startswith((" ", "\t", "From ")):  # mail folders' habits
        assert [value.split() for value in ours.get("name", [])] == [str(value).split() for value in message.get_all("name", [])]


@given(st.binary())
def test_any_bytes_have_some_headers(content: bytes):
    assert all(key == key.lower() and values for key, values in parse_headers(content).items())


@given(st.text() | st.lists(st.sampled_from(["a", "1", "-", ".", "py3", "none", "any", ".whl"]), max_size=12).map("".join))
def test_any_file_name_is_parsed_or_refused(filename: str):
    parsed = unless_refused(parse_wheel_filename, filename)
    assert parsed is None or (parsed.tags and parsed.is_stem(f"{parsed.project}-{parsed.version}"))


@pytest.mark.parametrize(
    "name", ["de_mo-1.0-py2.py3-none-any.whl", "De.Mo-1.0.0-1-py3.py2-none-ANY.whl", "de_mo-1.0-7-py2.py3-none-any.whl"]
)
def test_a_name_means_what_it_says_however_it_is_spelt(name: str):
    parsed = parse_wheel_filename(name)
    assert is_named_so(name, "de-mo", parsed.version, ["py2-none-any", "py3-none-any"])
    for other in ("demo", parsed.version, parsed.tags), ("de-mo", "1.1", parsed.tags), ("de-mo", parsed.version, parsed.tags[:1]):
        assert not is_named_so(name, *other)


def test_a_stem_means_the_project_however_it_is_spelt():
    parsed = parse_wheel_filename("de_mo-1.0-py3-none-any.whl")
    assert all(parsed.is_stem(stem) for stem in ("de_mo-1.0", "De.Mo-1.0.0", "DE-MO-1"))
    assert not any(parsed.is_stem(stem) for stem in ("demo-1.0", "de_mo-1.1", "de_mo", "de_mo-", "-1.0", "de_mo-one", ""))


@pytest.mark.parametrize(
    ("version", "spelt"), [("0.1.1.post2209", "0.1.1-2209"), ("1.0.post1", "1.0-1"), ("1.0b1", "1.0-beta-1"), ("1.0+abc.1", "1.0+abc-1")]
)
def test_a_version_with_hyphens_is_the_same_version(version: str, spelt: str):
    """In METADATA, and in the name of a .dist-info directory."""
    parsed = parse_wheel_filename(f"de_mo-{version}-py3-none-any.whl")
    assert parsed.is_about("De.Mo", spelt)
    assert parsed.is_stem(f"de-mo-{spelt}")
    assert not parsed.is_about("de-mo", f"{spelt}0")
    assert not parsed.is_stem(f"demo-{spelt}")


def test_a_number_too_long_for_python_is_no_version():
    huge = "9" * 5000  # int() refuses more than 4,300 digits
    assert not parse_wheel_filename("demo-1.0-py3-none-any.whl").is_stem(f"demo-{huge}")
    wheel = pack(demo_members(metadata=f"Requires-Python: >={huge}\n"))
    assert read_wheel(wheel.source(), wheel.filename).name == "demo"


def _parse(metadata: str) -> str:
    """What is wrong with a METADATA of these headers; "" if nothing is."""
    problems = Problems("demo-1.0-py3-none-any.whl")
    content = f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n{metadata}\n\nWords.\n".encode()
    parse_metadata(content, "METADATA", parse_wheel_filename("demo-1.0-py3-none-any.whl"), problems)
    try:
        problems.raise_any()
    except WheelRefused as refusal:
        return "; ".join(refusal.reasons)
    return ""


@pytest.mark.parametrize(
    "line",
    [
        "foo>=1.0.*,garbage!!",
        "idna garbage!!",
        "",
        "idna>=x; extra == 'z'",
        "idna; foo == 'z'",
        "idna @ not a url",
        "idna~=2",
        "a; " + "(" * 5000,
    ],
)
def test_requirement_that_nobody_can_read_is_refused_and_named(line: str):
    assert _parse(f"Requires-Dist: idna\nRequires-Dist: {line}").startswith("'METADATA': has a line that is not a requirement: ")


@pytest.mark.parametrize(
    ("line", "means"),
    [
        ("idna>=1.0.*", "idna>=1.0"), ("idna (>=2.0<9)", "idna<9,>=2.0"), ("idna>='2.0'", "idna>=2.0"), ("idna >= 2.7'", "idna>=2.7"),
        ("idna>dev", "idna>0.0.0dev"), ("idna>=2.0,", "idna>=2.0"), ("idna!=~2.1", "idna!=2.1.*"), ("idna!=3.0*", "idna!=3.0.*"),
        ("idna>=2,; os_name == '1'", 'idna>=2; os_name == "1"'), ("idna>='2'; os_name<'1.*'", 'idna>=2; os_name < "1.*"'),
    ],
)  # fmt: skip
def test_requirement_of_an_old_wheel_means_what_it_meant(line: str, means: str):
    assert str(parse_requirement(line)) == means
    assert _parse(f"Requires-Dist: {line}") == ""


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("x:\n" * 100_000, "has more than 100000 lines of headers"),
        ("Summary: x\n" + " x\n" * 100_000, "has more than 100000 lines of headers"),
        ("Requires-Dist: x\n" * 10_001, "has 10001 lines Requires-Dist; the limit is 10000"),
        ("Requires-Python: " + ">1," * 4_000, "has a Requires-Python of 12000 characters; the limit is 10000"),
        ("Requires-Dist: x" + ">1," * 4_000 + ">1", "has a line that is not a requirement"),
    ],
)
def test_headers_without_an_end_are_refused_by_a_limit_that_is_told(metadata: str, words: str):
    assert words in _parse(metadata)


def test_lines_of_a_header_are_joined_once():
    """Not anew with each line: a million of them would take a minute."""
    assert parse_headers(b"Summary: a\n b\n\t\n c\nName: x\n") == {"summary": ["a b c"], "name": ["x"]}


def test_byte_order_mark_hides_the_headers_as_it_does_from_pip():
    made = pack(edit(demo_members(), f"{INFO}/METADATA", content=b"\xef\xbb\xbfMetadata-Version: 2.1\nName: demo\nVersion: 1.0\n"))
    with pytest.raises(WheelRefused, match="begins with a byte order mark"):
        read_wheel(made.source(), made.filename)


def test_a_wheel_of_many_files_reads_no_content_but_its_own_descriptions():
    made = make_wheel({"demo/big.bin": bytes(range(256)) * 40_000})
    source = made.source()
    read_wheel(source, made.filename)
    assert source.bytes_read < 10_000
