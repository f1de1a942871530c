"""`casfs collect` and commands that change environments, at once in several processes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.collecting import COLLECT
from tests.faults.commands import Done, check_clean, must, read_contents
from tests.faults.prepared import Prepared
from tests.faults.scene import check_is_synthetic, synthetic_wheel

VERSIONS = ("1.0", "2.0", "3.0")


class Town:
    """A store with two environments that change and a third that comes and goes, and in which somebody always collects."""

    def __init__(self, prepared: Prepared, directory: Path) -> None:
        self._prepared = prepared
        self._store = directory / "store"
        self._wheels = {version: synthetic_wheel("demo", version).write_to(directory) for version in VERSIONS}
        must(self._run("--env", "a", "add", self._wheels["1.0"]))

    def _run(self, *words: object) -> Done:
        return self._prepared.run(self._store, *words)

    def live(self, rounds: int) -> None:
        """So many rounds, in each of which all of it happens at once. Every command must succeed."""
        versions = itertools.cycle(VERSIONS)
        for _ in range(rounds):
            now = next(versions), next(versions)
            changes = [("--env", "a", "add", self._wheels[now[0]]), ("--env", "b", "add", self._wheels[now[1]])]
            self._do_together([*changes, COLLECT, ("collect",)])
            self._check(now)
            self._do_together([("--env", "c", "add", self._wheels[now[0]]), COLLECT, ("--env", "b", "rollback"), COLLECT], may_fail=(2,))
            self._do_together([("env", "remove", "c"), COLLECT, ("--env", "a", "compile", "--optimize", "2"), ("fsck",)])

    def _do_together(self, commands: Sequence[Sequence[object]], may_fail: Sequence[int] = ()) -> None:
        with ThreadPoolExecutor(len(commands)) as pool:
            done = list(pool.map(lambda words: self._run(*words), commands))
        for number, one in enumerate(done):
            if number not in may_fail:
                must(one)

    def _check(self, versions: Sequence[str]) -> None:
        check_clean(self._store, self._prepared.run)
        for name, version in zip(("a", "b"), versions, strict=True):
            check_is_synthetic(read_contents(self._store, name), "demo", version)


def test_collections_beside_changes_lose_nothing_and_make_nothing_fail(prepared: Prepared, workspace: Path):
    """A rollback may come to nothing: of the generations before, a collection leaves none."""
    Town(prepared, workspace).live(3)


@pytest.mark.long
def test_many_collections_beside_changes_lose_nothing_and_make_nothing_fail(prepared: Prepared, workspace: Path):
    Town(prepared, workspace).live(40)
