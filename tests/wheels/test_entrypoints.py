"""Entry points: what importlib.metadata sees, or a refusal; and nothing in them can become code."""

from __future__ import annotations

import ast
import importlib.metadata
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from casfs.paths import path_problem
from casfs.wheels.entrypoints import EntryPoint, parse_entry_points
from casfs.wheels.problems import Problems
from casfs.wheels.wheel import read_wheel
from tests.make_wheels import QUIRKS, unless_refused


class _Installed(importlib.metadata.Distribution):
    """A distribution that has nothing but entry points."""

    def __init__(self, entry_points: str) -> None:
        self._entry_points = entry_points

    def read_text(self, filename: str) -> str | None:
        return self._entry_points if filename == "entry_points.txt" else None

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        raise AssertionError(path)


def _parse(text: str) -> tuple[EntryPoint, ...]:
    problems = Problems("demo.whl")
    entry_points = parse_entry_points(text.encode("utf-8", "surrogatepass"), "entry_points.txt", problems)
    problems.raise_any()
    return entry_points


def test_console_and_gui_scripts_are_read_sorted():
    wheel = read_wheel(QUIRKS["gui and console"].source(), QUIRKS["gui and console"].filename)
    assert wheel.entry_points == (
        EntryPoint("demo", "demo", "main", False),
        EntryPoint("gdemo", "demo", "gui", True),
        EntryPoint("other", "demo.cli", "Main.run", False),
    )


def test_names_keep_their_case_and_their_odd_characters():
    assert [entry_point.name for entry_point in _parse("[console_scripts]\nF2PY=a:b\nf2py=a:b\nx y.z%(a)s=a:b\n")] == [
        "F2PY",
        "f2py",
        "x y.z%(a)s",
    ]


def test_other_groups_may_hold_anything():
    assert _parse("no group\n[plugins]\n../x = ;;\n[console_scripts]\n# comment = x\n") == ()


def test_one_thing_named_twice_is_one_launcher():
    assert _parse("[console_scripts]\na = b:c\n[gui_scripts]\na = b:c [extra]\n") == (EntryPoint("a", "b", "c", False),)


_WORDS = st.sampled_from(
    [
        "[console_scripts]",
        "[gui_scripts]",
        "[other]",
        "\n",
        "\n",
        "a",
        "b",
        " = ",
        "=",
        ":",
        ".",
        "mod:main",
        " [x]",
        "#",
        " ",
        "é",
        "/",
        "\\",
        ";",
    ]
)
_TEXTS = st.lists(_WORDS, max_size=30).map("".join) | st.text()


@given(_TEXTS)
def test_any_text_gives_safe_launchers_or_a_refusal(text: str):
    for entry_point in unless_refused(_parse, text) or ():
        assert path_problem(entry_point.name) is None
        assert "/" not in entry_point.name
        tree = ast.parse(f"from {entry_point.module} import x\nx.{entry_point.attribute}()")
        assert [type(node) for node in tree.body] == [ast.ImportFrom, ast.Expr]


@given(_TEXTS)
def test_what_is_taken_is_what_importlib_sees(text: str):
    if (ours := unless_refused(_parse, text)) is not None:
        theirs = [entry_point for entry_point in _Installed(text).entry_points if entry_point.group in ("console_scripts", "gui_scripts")]
        assert {(one.name, one.module, one.attribute) for one in ours} == {(one.name, one.module, one.attr) for one in theirs}
