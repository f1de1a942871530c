"""Commands that run at the same time, on one store and on one environment."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.commands import Done, all_generations, casfs, check_clean, check_refusal, read_contents
from tests.faults.prepared import Prepared
from tests.faults.scene import Scene, check_is_synthetic, synthetic_wheel

ROUNDS = 5

Words = tuple[object, ...]


def run_together(store: Path, commands: list[Words], prepared: Prepared | None = None) -> list[Done]:
    """Each in a process of its own, all at once."""
    run = prepared.run if prepared else casfs
    with ThreadPoolExecutor(len(commands)) as threads:
        return [future.result() for future in [threads.submit(run, store, *words) for words in commands]]


def check_all_succeeded(done: list[Done]) -> None:
    for one in done:
        assert one.code == 0, one.errors


@pytest.fixture(params=range(ROUNDS))
def store(request: pytest.FixtureRequest, workspace: Path) -> Path:
    """A store that is not there yet: the first to come makes it. One for each round."""
    return workspace / "store"


@pytest.fixture(scope="module")
def wheels(memory: Path) -> dict[str, Path]:
    """demo in five versions, and five other projects."""
    directory = memory / "parallel"
    directory.mkdir()
    made = [synthetic_wheel("demo", f"{number}.0") for number in range(5)] + [synthetic_wheel(f"other{number}") for number in range(5)]
    return {wheel.filename.partition("-py3")[0].replace("-", " "): wheel.write_to(directory) for wheel in made}


def test_one_wheel_added_to_one_environment_at_once(store: Path, wheels: dict[str, Path], prepared: Prepared):
    check_all_succeeded(run_together(store, [("add", wheels["demo 1.0"])] * 4, prepared))
    assert read_contents(store).keys() == {"demo 1.0"}
    check_is_synthetic(read_contents(store), "demo", "1.0")
    assert len(all_generations(store)) == 1, "only the first one changed anything"
    check_clean(store, prepared.run)


def test_one_wheel_added_to_many_environments_at_once(store: Path, wheels: dict[str, Path], prepared: Prepared):
    names = ["one", "two", "three", "four"]
    check_all_succeeded(run_together(store, [("--env", name, "add", wheels["demo 1.0"]) for name in names], prepared))
    for name in names:
        check_is_synthetic(read_contents(store, name), "demo", "1.0")
    check_clean(store, prepared.run)


def test_versions_of_one_project_added_to_one_environment_at_once(store: Path, wheels: dict[str, Path], prepared: Prepared):
    versions = [f"{number}.0" for number in range(4)]
    check_all_succeeded(run_together(store, [("add", wheels[f"demo {version}"]) for version in versions], prepared))
    generations = all_generations(store)
    assert sorted(generations) == [1, 2, 3, 4]
    shown = [one for contents in generations.values() for one in contents]
    assert sorted(shown) == [f"demo {version}" for version in versions], "each was there, alone, in one generation"
    for version, contents in zip((one.split()[1] for one in shown), generations.values(), strict=True):
        check_is_synthetic(contents, "demo", version)
    check_clean(store, prepared.run)


def test_projects_added_to_one_environment_at_once_are_all_there(store: Path, wheels: dict[str, Path], prepared: Prepared):
    names = [f"other{number} 1.0" for number in range(4)]
    check_all_succeeded(run_together(store, [("add", wheels[name]) for name in names], prepared))
    assert read_contents(store).keys() == set(names)
    generations = all_generations(store)
    assert [len(generations[number]) for number in sorted(generations)] == [1, 2, 3, 4], "nobody's change is lost"
    check_clean(store, prepared.run)


def test_add_remove_and_rollback_at_once_make_whole_generations(upgrade: Scene, store: Path, wheels: dict[str, Path], prepared: Prepared):
    upgrade.copy(store)
    done = run_together(store, [("add", wheels["other1 1.0"]), ("rollback", 1), ("remove", "demo"), ("add", wheels["demo 2.0"])], prepared)
    for one in done:
        if one.code:
            check_refusal(one)
    generations = all_generations(store)
    assert sorted(generations) == list(range(1, 2 + sum(not one.code for one in done))), "each that succeeded made one generation"
    assert generations[1] == upgrade.old
    for contents in generations.values():
        for name in contents:
            check_is_synthetic(contents, *name.split())
    check_clean(store, prepared.run)


def test_real_processes_that_make_the_store_at_once(workspace: Path, wheels: dict[str, Path]):
    projects = [wheels[f"other{number} 1.0"] for number in range(5)]
    for number in range(3):
        store = workspace / f"store{number}"
        check_all_succeeded(run_together(store, [("--env", f"e{one % 2}", "add", *projects) for one in range(4)]))
        for name in ("e0", "e1"):
            assert read_contents(store, name).keys() == {f"other{number} 1.0" for number in range(5)}
        check_clean(store)
        shutil.rmtree(store)
