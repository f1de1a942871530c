"""A directory above a mount is renamed, as people rename projects: the mount goes along, and so does what casfs knows of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, iter_mountpoints, site_packages, wait_for_end


@pytest.fixture(params=["", "fuse"], ids=["default", "fuse"])
def renamed(request: pytest.FixtureRequest, casfs: Casfs) -> Path:
    """Where the mount is now."""
    casfs.add(casfs.wheel("demo"))
    casfs.mount(name="project/.venv", data_path=request.param)
    os.rename(casfs.directory / "project", casfs.directory / "new name")
    return casfs.directory / "new name" / ".venv"


def test_a_mount_is_listed_where_it_was_moved_to(casfs: Casfs, renamed: Path) -> None:
    assert [mount["mountpoint"] for mount in casfs.status()] == [str(renamed)]


def test_a_change_is_seen_where_the_mount_was_moved_to(casfs: Casfs, renamed: Path) -> None:
    casfs.add(casfs.wheel("other", files={"other.py": b"VALUE = 2\n"}))
    assert (site_packages(renamed) / "other.py").read_bytes() == b"VALUE = 2\n"
    assert list(iter_mountpoints(casfs.directory)) == [renamed]


def test_a_mount_is_ended_where_it_was_moved_to(casfs: Casfs, renamed: Path) -> None:
    os.rename(renamed.parent, casfs.directory / "third")
    casfs.umount(casfs.directory / "third" / ".venv")
    assert casfs.status() == []
    assert not list(iter_mountpoints(casfs.directory))


def test_another_mount_may_take_the_old_path(casfs: Casfs, renamed: Path) -> None:
    casfs.run("--env", "second", "add", casfs.wheel("other"))
    casfs.run("--env", "second", "mount", casfs.directory / "project" / ".venv")
    assert {mount["mountpoint"]: mount["environment"] for mount in casfs.status()} == {
        str(renamed): "default",
        str(casfs.directory / "project" / ".venv"): "second",
    }


def test_after_the_death_of_all_processes_it_comes_back_where_it_was_moved_to(casfs: Casfs, renamed: Path) -> None:
    [mount] = casfs.status()
    os.rename(renamed.parent, casfs.directory / "third")
    for process in (mount["supervisor"], mount["worker"]):
        os.kill(process, 19)
    for process in (mount["supervisor"], mount["worker"]):
        os.kill(process, 9)
    for process in (mount["supervisor"], mount["worker"]):
        wait_for_end(process)
    assert [mount["mountpoint"] for mount in casfs.status()] == [str(casfs.directory / "third" / ".venv")]
    assert (site_packages(casfs.directory / "third" / ".venv") / "demo-1.0.dist-info" / "RECORD").read_bytes()


@pytest.mark.parametrize("data_path", ["", "fuse"], ids=["default", "fuse"])
@pytest.mark.parametrize("is_swap", [True, False], ids=["changed places", "one took the place of the other"])
def test_each_mount_shows_its_own_environment_wherever_it_was_moved_to(casfs: Casfs, data_path: str, is_swap: bool) -> None:
    for name in ("old", "new"):
        casfs.run("--env", name, "add", casfs.wheel(name, files={f"{name}.py": b"VALUE = 1\n"}))
        casfs.mount("--env", name, name=f"{name}/.venv", data_path=data_path)
    old, new, aside = (casfs.directory / name for name in ("old", "new", "aside"))
    new.rename(aside)
    old.rename(new)
    if is_swap:
        aside.rename(old)
    places = {"old": new / ".venv", "new": (old if is_swap else aside) / ".venv"}
    for name, place in places.items():
        casfs.run("--env", name, "add", casfs.wheel(f"{name}_more", files={f"{name}_more.py": b""}))
        shown = {one.name for one in site_packages(place).glob("*.py")}
        assert shown == {f"{name}.py", f"{name}_more.py"}
    assert {mount["environment"]: mount["mountpoint"] for mount in casfs.status()} == {name: str(place) for name, place in places.items()}
    casfs.run("umount", "--all")
    assert not list(iter_mountpoints(casfs.directory))


def test_all_mounts_end_wherever_they_were_moved_to(casfs: Casfs, renamed: Path) -> None:
    casfs.run("umount", "--all")
    assert not list(iter_mountpoints(casfs.directory))
