"""Commands that show what is in an environment, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs


@pytest.fixture
def app(casfs: Casfs) -> Casfs:
    """An environment in which `app` needs `lib` with an extra, which brings `fast`; `lib` and `app` need `base`; `alone` nothing."""

    def make(name: str, metadata: str = "", version: str = "1.0") -> Path:
        return casfs.wheel(name, version, {f"{name}/__init__.py": b""}, metadata=metadata)

    casfs.add(make("base"), make("fast"), make("alone"))
    casfs.add(make("lib", 'Provides-Extra: quick\nRequires-Dist: base>=1\nRequires-Dist: fast; extra == "quick"\n'))
    casfs.add(
        make("app", 'Requires-Dist: lib[quick]<2\nRequires-Dist: base\nRequires-Dist: gone; python_version < "3"\nRequires-Dist: lost\n')
    )
    return casfs


def test_a_tree_shows_what_requires_what_once(app: Casfs):
    assert app.run("tree").stdout.splitlines() == [
        "alone 1.0",
        "app 1.0",
        "├── base 1.0",
        "├── lib 1.0",
        "│   ├── base 1.0",
        "│   └── fast 1.0",
        "└── lost (missing)",
    ]
    assert app.run("tree", "--depth", "1", "app").stdout.splitlines()[-2:] == ["├── lib 1.0", "└── lost (missing)"]


def test_an_inverted_tree_and_why_show_who_requires(app: Casfs):
    lines = ["fast 1.0", "└── lib 1.0", "    └── app 1.0"]
    assert app.run("tree", "--invert", "fast").stdout.splitlines() == lines
    assert app.run("why", "fast").stdout.splitlines() == lines
    facts = json.loads(app.run("why", "base", "--json").stdout)
    assert [(one["name"], one["specifier"]) for one in facts["required_by"]] == [("app", ""), ("lib", ">=1")]
    assert "did you mean" in app.run("why", "alon", code=1).stderr


def test_what_was_shown_is_not_shown_again(casfs: Casfs):
    for name, other in (("one", "two"), ("two", "one")):
        casfs.add(casfs.wheel(name, files={f"{name}/__init__.py": b""}, metadata=f"Requires-Dist: {other}\n"))
    done = casfs.run("tree")
    assert done.stdout.splitlines() == ["one 1.0", "└── two 1.0", "    └── one 1.0 (*)"]


def test_history_says_what_each_generation_changed(casfs: Casfs):
    for version in ("1.0", "2.0"):
        casfs.add(casfs.wheel("demo", version, {"demo/__init__.py": version.encode()}))
    casfs.run("rollback")
    lines = casfs.run("history").stdout.splitlines()
    marks = [(line.split()[:2], line.split("  ")[-1]) for line in lines if line[0] in "*o"]
    assert marks == [(["*", "4"], "rollback to 2"), (["o", "3"], "add demo 2.0"), (["o", "2"], "add demo 1.0"), (["o", "1"], "create")]
    assert lines[1] == "│   ~ demo 2.0 -> 1.0"
    facts = json.loads(casfs.run("history", "--json", "-n", "1").stdout)
    assert facts[0]["changes"] == [{"name": "demo", "before": "2.0", "after": "1.0"}]


def test_two_generations_are_compared(casfs: Casfs):
    casfs.add(casfs.wheel("demo", "1.0", {"demo/__init__.py": b"1"}))
    casfs.add(casfs.wheel("other", "1.0", {"other/__init__.py": b"1"}))
    done = casfs.run("diff", "2", "3")
    assert done.stdout == "+ other 1.0\n"
    assert "generation 2 to 3: +" in done.stderr
    assert casfs.run("diff", "3", "2").stdout == "- other 1.0\n"
    assert json.loads(casfs.run("diff", "2", "--json").stdout)["changes"][0]["after"] == "1.0"
    assert "there is no generation 9" in casfs.run("diff", "9", code=1).stderr
    casfs.run("diff", "1", "2", "3", code=2)
