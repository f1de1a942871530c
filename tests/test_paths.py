from __future__ import annotations

import os
import posixpath
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casfs.errors import InvalidValue
from casfs.paths import MAX_COMPONENT, MAX_PATH, parse_environment_name, parse_path, path_problem

GOOD_COMPONENT = st.text(
    st.characters(exclude_characters="/\\", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=MAX_COMPONENT // 4
).filter(lambda text: text not in (".", ".."))
GOOD_PATH = st.lists(GOOD_COMPONENT, min_size=1, max_size=5).map("/".join)
NASTY = st.lists(st.sampled_from(["/", "..", ".", "a", "\\", "\0", "\n", "\x7f", "\x9b", "é", "\ud800", " "]), max_size=8).map("".join)


@given(GOOD_PATH)
@example("a/..b/c..")
@example("...")
@example(" ")
@example("日本語/e\u0301.py")
@example("d" * MAX_COMPONENT)
@example("/".join(["d" * 99] * 30))
def test_an_honest_path_is_good(path: str):
    assert path_problem(path) is None
    assert parse_path(path) == path


@given(st.one_of(st.text(), NASTY, GOOD_PATH))
def test_a_good_path_stays_below_its_directory_and_survives_the_file_system(path: str):
    if path_problem(path) is not None:
        with pytest.raises(InvalidValue) as caught:
            parse_path(path)
        assert caught.value.subject == repr(path)
        return
    assert posixpath.normpath(f"/top/{path}") == f"/top/{path}"
    assert posixpath.join("/top", path) == f"/top/{path}"
    assert PurePosixPath(path).parts == tuple(path.split("/"))
    encoded = os.fsencode(path)
    assert os.fsdecode(encoded) == path
    assert len(encoded) <= MAX_PATH < 4096
    assert all(0 < len(part) <= 255 for part in encoded.split(b"/"))
    assert not set(encoded) & {0, 10, 13, 27, 127}


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "has an empty or '.' component"),
        ("/etc/passwd", "is an absolute path"),
        ("//a", "is an absolute path"),
        ("..", "leaves its directory with '..'"),
        ("a/../../b", "leaves its directory with '..'"),
        ("a/..", "leaves its directory with '..'"),
        ("a//b", "has an empty or '.' component"),
        ("a/", "has an empty or '.' component"),
        ("./a", "has an empty or '.' component"),
        ("a/./b", "has an empty or '.' component"),
        ("..\\a", "has a backslash in its name"),
        ("C:\\a", "has a backslash in its name"),
        ("a\0b", "has a control character in its name"),
        ("a\nb", "has a control character in its name"),
        ("\x1b[31m", "has a control character in its name"),
        ("a\x7f", "has a control character in its name"),
        ("a\x85", "has a control character in its name"),
        ("a\udcff", "is not valid UTF-8"),
        ("d" * (MAX_COMPONENT + 1), f"has a component longer than {MAX_COMPONENT} bytes"),
        ("é" * (MAX_COMPONENT // 2 + 1), f"has a component longer than {MAX_COMPONENT} bytes"),
        ("a/" * (MAX_PATH // 2) + "bc", f"is longer than {MAX_PATH} bytes"),
    ],
)
def test_a_bad_path_is_refused_for_its_reason(path: str, problem: str):
    assert path_problem(path) == problem


def test_the_limits_themselves_are_allowed():
    assert path_problem("/".join(["d" * MAX_COMPONENT] * (MAX_PATH // (MAX_COMPONENT + 1)))) is None
    assert path_problem("a/" * (MAX_PATH // 2 - 1) + "bc") is None


@pytest.mark.parametrize("name", ["default", "a", "9", "My_env-1.2", "a" * 100])
def test_environment_names(name: str):
    assert parse_environment_name(name) == name


@given(st.one_of(st.text(max_size=5), NASTY, st.sampled_from(["", ".", "..", "-a", "_a", ".a", "a/b", "a b", "a\n", "é", "a" * 101])))
def test_a_name_that_is_accepted_is_one_harmless_component(name: str):
    try:
        parse_environment_name(name)
    except InvalidValue:
        return
    assert path_problem(name) is None
    assert "/" not in name
    assert name.isascii()
    assert name[0] not in ".-"


def test_a_name_that_is_refused_is_quoted():
    with pytest.raises(InvalidValue) as caught:
        parse_environment_name("a\nb")
    assert caught.value.subject == r"'a\nb'"
