"""add, remove and rollback leave alone what somebody changed in a mount, and say so in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from casfs.changes.absorb import absorb_upper
from casfs.changes.changes import remove_distributions, roll_back
from casfs.errors import EnvironmentRefused
from casfs.store.uppers import require_upper
from casfs.upper.upper_conflicts import undo_projects
from tests.make_generations import BASE, Workshop
from tests.make_wheels import make_wheel
from tests.upper.uppers import SITE, MountedWorkshop

DEMO, DEMO_2, OTHER = make_wheel(), make_wheel(None, "demo", "2.0"), make_wheel(None, "other")
EITHER = "in the mounted environment; `casfs absorb` keeps that, `casfs reset demo` throws it away"
INIT = f"{SITE}/demo/__init__.py"


@pytest.fixture
def mounted(workshop: Workshop) -> MountedWorkshop:
    workshop.add(DEMO)
    return MountedWorkshop(workshop)


def assert_refused(mounted: MountedWorkshop, words: str) -> None:
    """`add` of another version is refused with these words, and nothing changes."""
    before = mounted.workshop.environment.require()
    with pytest.raises(EnvironmentRefused) as caught:
        mounted.workshop.add(DEMO_2)
    assert str(caught.value) == f"test: {words}"
    assert mounted.workshop.environment.require() == before


def test_what_a_tool_upgraded(mounted: MountedWorkshop):
    mounted.delete(f"{SITE}/demo-1.0.dist-info")
    mounted.install("demo", "3.0", tool="uv")
    assert_refused(mounted, f"demo was installed by uv {EITHER}")


def test_what_a_tool_installed_and_the_generation_has_not(workshop: Workshop):
    workshop.add(OTHER)
    mounted = MountedWorkshop(workshop)
    mounted.install("demo")
    assert_refused(mounted, f"demo was installed by pip {EITHER}")
    with pytest.raises(EnvironmentRefused, match="was installed by pip"):
        remove_distributions(workshop.environment, ["demo"])


def test_what_a_tool_uninstalled(mounted: MountedWorkshop):
    mounted.uninstall("demo")
    assert_refused(mounted, f"demo was uninstalled {EITHER}")


def test_a_file_that_was_edited(mounted: MountedWorkshop):
    path = f"{SITE}/demo/__init__.py"
    mounted.write(path, b"VALUE = 7\n")
    assert_refused(mounted, f"a file of demo was edited in the mounted environment ({path}); `casfs reset demo` throws that away")


def test_a_file_that_was_merely_copied_up_would_hide_the_new_one(mounted: MountedWorkshop):
    path = f"{SITE}/demo/__init__.py"
    mounted.write(path, b"VALUE = 1\n")
    said = f"demo was written to in the mounted environment ({path}), without a change; `casfs absorb` tidies that up"
    assert_refused(mounted, said)
    absorb_upper(mounted.workshop.environment)
    assert mounted.workshop.add(DEMO_2).after.find("demo")


def set_attribute(path: Path) -> None:
    os.setxattr(path, "user.mine", b"1")


def link(path: Path) -> None:
    path.with_name("another name").hardlink_to(path)


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o664), lambda path: path.chmod(0o600), set_attribute, link])
def test_a_file_of_the_same_bytes_that_is_not_as_it_was_stays_until_its_project_is_reset(
    mounted: MountedWorkshop, change: Callable[[Path], None]
):
    change(mounted.write(INIT, b"VALUE = 1\n"))
    said = f"a file of demo was changed in the mounted environment ({INIT}: its mode, names or attributes); "
    said += "`casfs reset demo` throws that away"
    assert_refused(mounted, said)
    absorb_upper(mounted.workshop.environment)
    assert_refused(mounted, said)
    undo_projects(mounted.workshop.environment, ["demo"])
    assert INIT not in mounted.written()
    assert mounted.workshop.add(DEMO_2).after.find("demo")


def test_a_link_whose_owner_changed_is_as_it_was(mounted: MountedWorkshop):
    (mounted.upper / "bin").mkdir()
    (mounted.upper / "bin/python").symlink_to(BASE.executable)
    assert mounted.summary().loose == []
    absorb_upper(mounted.workshop.environment)
    assert mounted.written() == []


@pytest.mark.parametrize("deed", ["edited", "deleted", "installed anew", "upgraded", "uninstalled"])
def test_resetting_a_project_shows_it_as_it_was_and_leaves_all_else(mounted: MountedWorkshop, deed: str):
    mounted.workshop.add(OTHER)
    before = mounted.shown()
    mounted.write(f"{SITE}/other/__init__.py", b"VALUE = 7\n")
    mounted.write("share/mine", b"mine")
    if deed == "edited":
        mounted.write(INIT, b"VALUE = 7\n")
    elif deed == "deleted":
        mounted.delete(f"{SITE}/demo")
    elif deed == "installed anew":
        mounted.install("demo", files={"demo/__init__.py": b"VALUE = 9\n", "../../../bin/more": b"#!/bin/sh\n"})
    else:
        mounted.uninstall("demo")
        if deed == "upgraded":
            (mounted.upper / SITE / "demo").unlink()
            mounted.make_opaque(f"{SITE}/demo")
            mounted.install("demo", "3.0", files={"demo/new.py": b""})
    undo_projects(mounted.workshop.environment, ["demo"])
    assert mounted.shown() == {**before, f"{SITE}/other/__init__.py": (b"VALUE = 7\n", False), "share/mine": (b"mine", False)}
    assert mounted.written() == [f"{SITE}/other/__init__.py", "share/mine"]
    with pytest.raises(EnvironmentRefused, match="nothing of demo was changed in a mount of it"):
        undo_projects(mounted.workshop.environment, ["other", "demo"])


def test_remove_and_rollback_are_refused_too(mounted: MountedWorkshop):
    mounted.workshop.add(DEMO_2)
    mounted.write(f"{SITE}/demo/__init__.py", b"VALUE = 7\n")
    environment = mounted.workshop.environment
    with pytest.raises(EnvironmentRefused, match="a file of demo was edited"):
        remove_distributions(environment, ["demo"])
    with pytest.raises(EnvironmentRefused, match="a file of demo was edited"):
        roll_back(environment, 1)
    assert environment.numbers() == [1, 2]


def test_other_projects_are_free_to_change(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/demo/__init__.py", b"VALUE = 7\n")
    mounted.workshop.add(OTHER)
    remove_distributions(mounted.workshop.environment, ["other"])
    assert roll_back(mounted.workshop.environment, 2).after.find("other")


def test_bytecode_and_files_of_nobody_hinder_nothing(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/demo/__pycache__/__init__.cpython-311.pyc", b"bytecode")
    mounted.write(f"{SITE}/mine.py", b"mine")
    assert mounted.workshop.add(DEMO_2).after.number == 2


def test_the_same_wheel_again_is_no_change(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/demo/__init__.py", b"VALUE = 7\n")
    assert mounted.workshop.add(DEMO).after.number == 1


def test_an_empty_upper_layer_hinders_nothing(mounted: MountedWorkshop):
    require_upper(mounted.workshop.environment)
    assert mounted.workshop.add(DEMO_2).after.number == 2


def test_what_one_tool_did_to_many_is_said_once(workshop: Workshop):
    names = ["alpha", "beta", "demo", "gamma", "other"]
    workshop.add(OTHER)
    mounted = MountedWorkshop(workshop)
    for name in names:
        mounted.install(name, tool="uv")
    with pytest.raises(EnvironmentRefused) as caught:
        workshop.add(*(make_wheel(None, name, "2.0") for name in names))
    [reason] = caught.value.reasons
    many = "`casfs absorb` keeps them, `casfs reset` throws them away"
    assert reason == f"5 distributions were installed by uv in the mounted environment (alpha, beta, demo and 2 more); {many}"
