"""What requirement lines ask for, as far as casfs looks into them itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from casfs.venv.locks.requirements import read_asked


@pytest.mark.parametrize(
    ("lines", "allowed"),
    [
        ([], True),
        (["other>5"], True),
        (["Demo"], True),
        (["demo[more]>=1,<2"], True),
        (["demo>=1.0rc1", "demo<2"], True),
        (["demo>1"], False),
        (["demo>=1", "demo>1"], False),
        (["demo @ https://host.example/demo.whl"], False),
        (["demo", "demo @ https://host.example/demo.whl", "demo"], False),
    ],
)
def test_version_will_do_if_every_line_allows_it(lines: list[str], *, allowed: bool) -> None:
    assert read_asked(lines, ()).allows("demo", "1.0") is allowed


def test_pre_release_that_is_there_will_do() -> None:
    assert read_asked(["demo>=1"], ()).allows("demo", "2.0rc1")


def test_paths_and_urls_are_places_and_no_projects(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("./there[more]  # words\n-e ./editable\n--no-index\nhttps://host.example/demo.whl\n")
    asked = read_asked(["./here", "demo"], [str(path)])
    assert asked.projects.keys() == {"demo"}
    assert asked.places == {"./here", "./there[more]", "https://host.example/demo.whl"}
