"""A store behaves alike on every file system: what goes is gone, and nothing stays in tmp/."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.changes.atomic_directory import atomic_directory
from casfs.store.uppers import remove_tree
from tests.faults.commands import snapshot
from tests.faults.cut_disk import FILE_SYSTEMS, cut_disk
from tests.mounted.harness import Casfs, run_python, site_packages


@pytest.fixture(params=[*FILE_SYSTEMS, "tmpfs"])
def place(workspace: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A new directory on each file system."""
    if request.param == "tmpfs":
        yield workspace
        return
    with cut_disk(workspace, request.param) as disk:
        (disk.path / "place").mkdir()
        yield disk.path / "place"


def make_tree(top: Path) -> None:
    for path in ("a/b/c/d/e", "a/f/g", "h", "i/j"):
        (top / path).mkdir(parents=True)
        (top / path / "file").write_text("words")


def test_a_tree_is_removed_whole(place: Path):
    make_tree(place / "tree")
    remove_tree(str(place / "tree"))
    assert os.listdir(place) == []


def test_what_could_not_be_finished_is_removed_whole(place: Path):
    def fail() -> None:
        with atomic_directory(str(place / "plain")):
            [begun] = place.iterdir()
            make_tree(begun)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(place) == []


def test_an_environment_that_was_written_into_goes_with_all_that_it_had(place: Path):
    with Casfs(place) as casfs:
        for version in ("1.0", "2.0"):
            casfs.add(casfs.wheel("demo", version, {"demo/__init__.py": version.encode()}))
            mountpoint = casfs.mount(data_path="")
            make_tree(site_packages(mountpoint) / "mine")
            assert run_python(mountpoint, "import demo; print(demo.__file__)")
            casfs.umount(mountpoint)
            casfs.run("reset", "--yes")
        casfs.run("collect", "--keep", "1")
        assert [path.name for path in (casfs.store / "environments/default/generations").glob("*.toml")] == ["2.toml"]
        casfs.run("env", "remove", "default", "--yes")
        casfs.run("collect", "--unused-wheels")
        assert os.listdir(casfs.store / "tmp") == os.listdir(casfs.store / "environments") == []
        assert [path for path in (casfs.store / "blobs").rglob("*") if path.is_file()] == []


def test_a_store_on_a_read_only_disk_can_be_read_exported_and_used_from_behind_another(workspace: Path):
    with cut_disk(workspace) as disk:
        with Casfs(disk.path) as theirs:
            theirs.add(theirs.wheel("demo", files={"demo.py": b"VALUE = 1\n"}))
        remount(disk.path, "ro")
        before = snapshot(disk.path)
        for words in (
            ["mount", workspace / "venv"],
            ["run", "true"],
            ["remove", "demo"],
            ["add", disk.path / "wheels/demo-1.0-py3-none-any.whl"],
        ):
            said = theirs.run(*words, code=1).stderr
            assert said.startswith(f"casfs: {theirs.store}: is on a read-only disk, "), said
            assert f"`casfs --store DIR pool add {theirs.store}`" in said
            assert said.count("\n") == 1
        assert "demo" in theirs.run("list").stdout
        theirs.run("export", workspace / "plain")
        (workspace / "own").mkdir()
        with Casfs(workspace / "own") as own:
            own.run("pool", "add", theirs.store)
            own.add(disk.path / "wheels/demo-1.0-py3-none-any.whl")
            assert run_python(own.mount(data_path=""), "import demo; print(demo.VALUE)") == "1"
        assert snapshot(disk.path) == before


def remount(path: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", path], check=True)
