"""Tools work in a writable mount as they do in an environment on a disk, and what they did can be absorbed, removed and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs
from tests.python_versions import VERSIONS, find_python, needs_python
from tests.real.downloads import provide_tools, provide_wheels
from tests.real.writers import CHANGED, MODULES, POETRY, WHEELHOUSE, WRITERS, Workplace
from tests.real.writing import Story, make_scene, tell

pytestmark = pytest.mark.network

DAILY = {
    ("outer-pip", "3.11", "image"),
    ("uv-pip", "3.12", "fuse"),
    ("uv-pip-sync", "3.13", "image"),
    ("uv-sync", "3.11", "fuse"),
    ("poetry", "3.12", "image"),
}
"""Each tool, each Python and each kind of metadata; all that can be made of them are run by `make test-long`."""

ALL = [(tool, version, metadata) for tool in WRITERS for version in VERSIONS for metadata in ("image", "fuse")]


def make_workplace(version: str, directory: Path) -> Workplace:
    tools = provide_tools()
    workplace = Workplace(tools, provide_tools(POETRY), provide_wheels(tools, find_python(version), WHEELHOUSE), directory)
    workplace.prepare()
    return workplace


def marks(one: tuple[str, str, str]) -> list[pytest.MarkDecorator]:
    return [needs_python(one[1])] if one in DAILY else [needs_python(one[1]), pytest.mark.long]


@pytest.fixture(scope="module", params=[pytest.param(one, id="-".join(one), marks=marks(one)) for one in ALL])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    tool, version, metadata = request.param
    directory = tmp_path_factory.mktemp("writing")
    with Casfs(directory) as casfs:
        yield tell(make_scene(casfs, make_workplace(version, directory), version, metadata), tool)


def test_the_tool_ends_well(story: Story) -> None:
    assert {what: said for what, said in story.ends if said.code or "Traceback" in said.errors} == {}


@pytest.mark.parametrize("point", ["before", "changed", "absorbed", "removed"])
def test_the_mounted_environment_is_as_the_native_one(story: Story, point: str) -> None:
    differences = story.looks[point].differences
    assert [one for one in differences if not one.startswith(".lock: ")] == []  # uv's lock goes when the upper layer does


@pytest.mark.parametrize("point", ["changed", "absorbed", "removed"])
def test_tool_and_interpreter_say_the_same_of_both(story: Story, point: str) -> None:
    for native, mounted in story.looks[point].said:
        assert mounted.output.splitlines() == native.output.splitlines()
        assert (mounted.code, mounted.errors) == (native.code, native.errors)


def test_all_can_be_imported(story: Story) -> None:
    for point in ("changed", "absorbed"):
        assert "\n".join(sorted(MODULES)) in [mounted.output for _, mounted in story.looks[point].said]


def test_nothing_but_the_upper_layer_changes(story: Story) -> None:
    before, after = story.store
    assert after == before


def test_no_other_environment_sees_it(story: Story) -> None:
    before, after = story.neighbour
    assert after == before


def test_all_is_there_after_mounting_again(story: Story) -> None:
    assert story.looks["mounted again"].tree == story.looks["changed"].tree


def test_diff_tells_what_the_tool_did(story: Story) -> None:
    told = {one["name"].replace("-", "_"): (one["before"], one["after"]) for one in story.diffs["changed"]["distributions"]}
    told.pop("pip", None)
    before = {"idna": "3.10", "six": "1.16.0"}
    expected = {name: (before.get(name), version) for name, version in CHANGED.items()}
    assert told == {**expected, "invoke": ("3.0.3", None)}
    assert {one["path"] for one in story.diffs["changed"]["files"]} <= {".lock"}  # uv's


def test_absorb_leaves_next_to_nothing_in_the_upper_layer(story: Story) -> None:
    assert sum(story.upper["changed"].values()) > 2_000_000
    assert set(story.upper["absorbed"]) <= {".lock"}
    assert story.diffs["absorbed"]["distributions"] == []
    assert "stays in the upper layer" not in story.said_by_absorb


def test_what_was_absorbed_can_be_uninstalled(story: Story) -> None:
    told = story.diffs["removed"]["distributions"]
    assert [(one["name"], one["before"], one["after"]) for one in told] == [("requests", CHANGED["requests"], None)]
    assert set(story.upper["removed"]) <= {".lock"}
    assert not [path for path in story.looks["removed"].tree if "site-packages/requests" in path]


def test_rollback_brings_back_what_was_uninstalled(story: Story) -> None:
    assert without_lock(story.looks["rolled back"].tree) == without_lock(story.looks["absorbed"].tree)


def test_rollback_brings_back_what_was_there_before_the_tool(story: Story) -> None:
    assert without_lock(story.looks["rolled back to the start"].tree) == without_lock(story.looks["before"].tree)


def without_lock(tree: dict[str, str]) -> dict[str, str]:
    """uv leaves its lock, which belongs to no distribution."""
    return {path: what for path, what in tree.items() if path != ".lock"}
