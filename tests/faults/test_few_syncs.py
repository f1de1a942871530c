"""A command waits for the disk a few times, however much it publishes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.commands import must
from tests.faults.prepared import Prepared
from tests.faults.scene import synthetic_wheel


@pytest.fixture
def wheels(workspace: Path) -> list[Path]:
    return [synthetic_wheel(project, modules=20).write_to(workspace) for project in ("one", "two")]


def count_syncs(prepared: Prepared, store: Path, *words: object) -> int:
    log = store.with_suffix(".log")
    must(prepared.run(store, *words, tracer=("-f", "-o", str(log), "-e", "trace=syncfs")))
    return log.read_text().count("syncfs(")


def test_first_add_of_two_wheels_syncs_the_file_system_four_times(prepared: Prepared, workspace: Path, wheels: list[Path]):
    assert count_syncs(prepared, workspace / "store", "add", "--no-compile", *wheels) <= 4


def test_bytecode_takes_two_more_syncs(prepared: Prepared, workspace: Path, wheels: list[Path]):
    assert count_syncs(prepared, workspace / "store", "add", *wheels) <= 6


def test_what_publishes_only_a_generation_syncs_the_file_system_twice(prepared: Prepared, workspace: Path, wheels: list[Path]):
    must(prepared.run(workspace / "store", "add", *wheels))
    assert count_syncs(prepared, workspace / "store", "remove", "one") <= 2
    assert count_syncs(prepared, workspace / "store", "rollback") <= 2
