"""Entry points: what importlib.metadata sees, or a refusal; and nothing in them can become code."""

from __future__ import annotations

import ast
import importlib.metadata

from hypothesis import given
from hypothesis import strategies as st

from casfs.errors import WheelRefused
from casfs.paths import path_problem
from casfs.wheels.entrypoints import EntryPoint, parse_entry_points
from casfs.wheels.problems import Problems
from casfs.wheels.wheel import read_wheel
from tests.make_wheels import QUIRKS


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
    assert _parse("no group\n[plugins]\na\n../x = ;;\n[console_scripts]\n# comment = x\n") == ()


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
    try:
        entry_points = _parse(text)
    except WheelRefused as refusal:
        assert refusal.reasons
        return
    for entry_point in entry_points:
        assert path_problem(entry_point.name) is None
        assert "/" not in entry_point.name
        tree = ast.parse(f"from {entry_point.module} import x\nx.{entry_point.attribute}()")
        assert [type(node) for node in tree.body] == [ast.ImportFrom, ast.Expr]


@given(_TEXTS)
def test_what_is_taken_is_what_importlib_sees(text: str):
    try:
        ours = {entry_point.name: (entry_point.module, entry_point.attribute) for entry_point in _parse(text)}
    except WheelRefused as refusal:
        assert refusal.reasons
        return
    scripts = [pair for pair in importlib.metadata.Sectioned.section_pairs(text) if pair.name in ("console_scripts", "gui_scripts")]
    theirs = [importlib.metadata.EntryPoint(name=pair.value.name, value=pair.value.value, group="x") for pair in scripts]
    assert ours == {entry_point.name: (entry_point.module, entry_point.attr) for entry_point in theirs}
