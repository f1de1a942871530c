"""The summary of an upper layer: by distribution, without what is no difference, and reading no more than what was written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.store.uppers import require_upper
from casfs.upper.merged import MergedView
from casfs.upper.summary import Summary, summarise
from casfs.upper.written import UpperDirectory
from casfs.venv.reading import LayerReader
from casfs.venv.tree import Tree
from tests.make_generations import open_workshop
from tests.make_wheels import make_wheel
from tests.upper.uppers import SITE, MountedWorkshop

OTHER = make_wheel({"other/__init__.py": b"", "other/more.py": b"MORE = 1\n", "other/deep/a.py": b"", "other/deep/b.py": b""}, "other")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[MountedWorkshop]:
    with open_workshop(tmp_path) as workshop:
        workshop.add(OTHER, make_wheel(None, "third"))
        yield MountedWorkshop(workshop)


def summary_of(mounted: MountedWorkshop) -> Summary:
    with mounted.view() as view:
        return summarise(view)


def changes(summary: Summary) -> dict[str, tuple[str | None, str | None, str]]:
    return {one.name: (one.before, one.after, one.tool) for one in summary.projects.values() if one.tool}


def edits(summary: Summary) -> dict[str, list[tuple[str, str]]]:
    return {
        one.name: [(file.action, file.path.removeprefix(f"{SITE}/")) for file in one.edited]
        for one in summary.projects.values()
        if one.edited
    }


def loose(summary: Summary) -> list[tuple[str, str]]:
    return [(file.action, file.path) for file in summary.loose]


def test_an_empty_upper_layer(mounted: MountedWorkshop):
    require_upper(mounted.workshop.environment)
    summary = summary_of(mounted)
    assert summary.is_empty
    assert (summary.projects, summary.loose, summary.size) == ({}, [], 0)


def test_what_a_tool_installed_counts_as_one_thing(mounted: MountedWorkshop):
    mounted.install("demo", "2.0", {"demo/a.py": b"12345", "demo/b.py": b""}, tool="uv")
    summary = summary_of(mounted)
    assert changes(summary) == {"demo": (None, "2.0", "uv")}
    assert (summary.projects["demo"].files, summary.loose) == (6, [])
    assert summary.projects["demo"].size == summary.size > 5


def test_what_a_tool_uninstalled(mounted: MountedWorkshop):
    mounted.uninstall("other")
    summary = summary_of(mounted)
    assert [(one.name, one.before, one.after) for one in summary.projects.values()] == [("other", "1.0", None)]
    assert (edits(summary), loose(summary)) == ({}, [])


def test_an_upgrade(mounted: MountedWorkshop):
    mounted.uninstall("other")
    (mounted.upper / SITE / "other").unlink()
    mounted.make_opaque(f"{SITE}/other")
    mounted.install("other", "2.0")
    summary = summary_of(mounted)
    assert changes(summary) == {"other": ("1.0", "2.0", "pip")}
    assert (edits(summary), loose(summary)) == ({}, [])


def test_edited_and_deleted_files_are_named_with_their_distribution(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/other/more.py", b"MORE = 2\n")
    mounted.delete(f"{SITE}/other/deep")
    mounted.delete(f"{SITE}/third/__init__.py")
    summary = summary_of(mounted)
    assert edits(summary) == {
        "other": [("deleted", "other/deep"), ("edited", "other/more.py")],
        "third": [("deleted", "third/__init__.py")],
    }
    assert changes(summary) == {}


def test_what_a_directory_made_again_hides_is_deleted(mounted: MountedWorkshop):
    mounted.make_opaque(f"{SITE}/other")
    mounted.write(f"{SITE}/other/more.py", b"MORE = 1\n")
    mounted.write(f"{SITE}/other/new.py", b"")
    summary = summary_of(mounted)
    assert edits(summary) == {"other": [("deleted", "other/__init__.py"), ("deleted", "other/deep")]}
    assert loose(summary) == [("added", f"{SITE}/other/new.py")]


def test_files_of_no_distribution(mounted: MountedWorkshop):
    mounted.write("share/mine", b"mine")
    mounted.write("pyvenv.cfg", b"edited")
    mounted.delete("bin/activate")
    (mounted.upper / "link").symlink_to("/nowhere")
    assert loose(summary_of(mounted)) == [
        ("deleted", "bin/activate"),
        ("added", "link"),
        ("edited", "pyvenv.cfg"),
        ("added", "share/mine"),
    ]


def test_another_mode_is_a_change(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/other/more.py", b"MORE = 1\n", 0o600)
    assert edits(summary_of(mounted)) == {"other": [("changed", "other/more.py")]}


def test_a_file_with_the_same_bytes_and_executable_bit_is_no_difference(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/other/more.py", b"MORE = 1\n")
    summary = summary_of(mounted)
    assert summary.is_empty
    assert summary.projects["other"].copied == [f"{SITE}/other/more.py"]


def test_an_executable_bit_is_a_difference(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/other/more.py", b"MORE = 1\n", 0o755)
    assert edits(summary_of(mounted)) == {"other": [("edited", "other/more.py")]}


def test_bytecode_is_only_counted(mounted: MountedWorkshop):
    for name in ("more", "__init__"):
        mounted.write(f"{SITE}/other/__pycache__/{name}.cpython-311.pyc", b"12345")
    summary = summary_of(mounted)
    assert summary.is_empty
    assert (summary.bytecode_files, summary.bytecode_size) == (2, 10)


def test_a_dist_info_that_nobody_understands_is_told(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/demo-1.0.dist-info/METADATA", b"nonsense")
    summary = summary_of(mounted)
    assert [error.subject for error in summary.unreadable] == ["demo-1.0.dist-info"]
    assert loose(summary) == [("added", f"{SITE}/demo-1.0.dist-info/METADATA")]


def test_odd_files_are_named_and_never_opened(mounted: MountedWorkshop):
    (mounted.upper / SITE / "other").mkdir(parents=True)
    os.mkfifo(mounted.upper / SITE / "other/more.py")
    assert edits(summary_of(mounted)) == {"other": [("edited", "other/more.py")]}


def test_manifests_of_what_nobody_touched_are_not_read(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/other/more.py", b"MORE = 2\n")
    mounted.install("demo")
    store = mounted.workshop.store
    read: list[str] = []
    tree, reader = Tree(mounted.workshop.environment.require()), LayerReader(mounted.workshop.store)

    def fill(tree: Tree, layers: list[int]) -> None:
        read.extend(one.project for layer in layers if (one := tree.layers[layer].distribution))
        reader.fill(tree, layers)

    with UpperDirectory(str(mounted.upper)) as upper_directory:
        summarise(MergedView(upper_directory, tree, fill, store.pool))
    assert set(read) == {"other"}


@pytest.mark.parametrize(("content", "expected"), [("", []), ("word", [("added", ".lock")])])
def test_the_empty_lock_of_uv_is_nothing(mounted: MountedWorkshop, content: str, expected: list[tuple[str, str]]):
    Path(require_upper(mounted.workshop.environment).files, ".lock").write_text(content)
    assert loose(summary_of(mounted)) == expected
