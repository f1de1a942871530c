"""fsck of twins: whatever a mount would show wrongly is found and named, set aside by repair, and made anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from casfs.mount.kernel import attach_mount, make_mount, unmount
from casfs.store.fsck.check import check_store
from casfs.store.fsck.damage import DamageKind, Report, TwinTotals
from casfs.store.fsck.repair import repair
from casfs.venv.twins.check import check_twins
from casfs.venv.twins.twins import build_stack, find_stack
from tests.make_generations import BASE, Workshop
from tests.make_wheels import make_wheel

NS = make_wheel({"ns/one.py": b"one = 1\n", "demo/__init__.py": b"V = 1\n", "demo-1.0.data/scripts/run": b"#!/bin/sh\n"})
OTHER = make_wheel({"ns/two.py": b"two = 2\n"}, "other")
SITE = f"lib/{BASE.directory}/site-packages"


def check(workshop: Workshop) -> Report:
    return check_store(workshop.store, check_twins=check_twins)


@pytest.fixture
def stack(workshop: Workshop) -> list[str]:
    workshop.add(NS, OTHER)
    stack = build_stack(workshop.store, workshop.environment.require())
    assert stack is not None
    return stack


Harm = Callable[[Path], None]


def keeping_time(harm: Harm) -> Harm:
    """The same, but the time of the directory tells nothing."""

    def act(path: Path) -> None:
        before = path.parent.stat()
        harm(path)
        os.utime(path.parent, ns=(before.st_atime_ns, before.st_mtime_ns))

    return act


def set_attribute(name: str, value: bytes) -> Harm:
    return lambda path: os.setxattr(path, f"trusted.overlay.{name}", value)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def lengthen(path: Path) -> None:
    before = path.stat()
    os.truncate(path, before.st_size + 1)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_elsewhere(path: Path) -> None:
    before = path.lstat()
    path.unlink()
    path.symlink_to("/etc")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)


MODULE = f"{SITE}/demo/__init__.py"

OF_A_TWIN: dict[str, tuple[str, Harm, str]] = {
    "size": (MODULE, lengthen, f"{MODULE} has 7 bytes instead of 6"),
    "time": (MODULE, touch, f"{MODULE} has another time"),
    "mode": (MODULE, lambda path: path.chmod(0o666), f"{MODULE} has the mode 0666 instead of 0644"),
    "executable": ("bin/run", lambda path: path.chmod(0o644), "bin/run has the mode 0644 instead of 0755"),
    "owner": (MODULE, lambda path: os.chown(path, 1001, 0), f"{MODULE} belongs to 1001:0"),
    "no blob": (MODULE, lambda path: os.removexattr(path, "trusted.overlay.redirect"), f"{MODULE} has a wrong attribute"),
    "bytes of its own": (MODULE, lambda path: os.removexattr(path, "trusted.overlay.metacopy"), f"{MODULE} has a wrong attribute"),
    "another blob": (MODULE, set_attribute("redirect", b"/ab/" + b"cd" * 31), f"{MODULE} has a wrong attribute trusted.overlay.redirect"),
    "lost": (MODULE, keeping_time(Path.unlink), f"{MODULE} is missing"),
    "another kind": (MODULE, keeping_time(replace_by_directory), f"{MODULE} is a directory instead of a plain file"),
    "stranger": (f"{SITE}/demo/new.py", keeping_time(Path.touch), f"'{SITE}/demo/new.py' does not belong there"),
    "directory lost": (f"{SITE}/demo", keeping_time(shutil.rmtree), f"{SITE}/demo is missing"),
    "strange directory": (f"{SITE}/new", keeping_time(Path.mkdir), f"'{SITE}/new' does not belong there"),
    "directory opaque": (SITE, set_attribute("opaque", b"y"), f"{SITE} has a wrong attribute trusted.overlay.opaque"),
    "directory redirected": (f"{SITE}/ns", set_attribute("redirect", b"/bin"), f"{SITE}/ns has a wrong attribute"),
    "directory's time": (f"{SITE}/ns", touch, f"{SITE}/ns has another time"),
    "directory's mode": (".", lambda path: path.chmod(0o700), ". has the mode 0700 instead of 0755"),
}

OF_A_TOP: dict[str, tuple[str, Harm, str]] = {
    "time": (SITE, touch, f"{SITE} has another time"),
    "link": ("bin/python", keeping_time(link_elsewhere), "bin/python points elsewhere"),
    "file": ("pyvenv.cfg", lengthen, "pyvenv.cfg has"),
    "namespace lost": (f"{SITE}/ns", keeping_time(Path.rmdir), f"{SITE}/ns is missing"),
    "namespace hides": (f"{SITE}/ns", set_attribute("opaque", b"y"), f"{SITE}/ns has a wrong attribute"),
}


def must_be_found_and_mended(workshop: Workshop, twin: str, words: str) -> None:
    [damage] = check(workshop).damages
    assert (damage.kind, damage.path, damage.environments) == (DamageKind.TWIN, twin, ("test",))
    assert words in damage.reason
    [done] = repair(workshop.store, check(workshop))
    assert done.path == twin
    assert check(workshop).damages == ()
    generation = workshop.environment.require()
    assert find_stack(workshop.store, generation) is None
    assert build_stack(workshop.store, generation) == find_stack(workshop.store, generation) is not None


@pytest.mark.parametrize("name", OF_A_TWIN)
def test_a_wrong_twin_is_found_and_made_anew(workshop, stack, name):
    path, harm, words = OF_A_TWIN[name]
    harm(Path(stack[-1], path))
    must_be_found_and_mended(workshop, stack[-1], words)


@pytest.mark.parametrize("name", OF_A_TOP)
def test_a_wrong_top_is_found_and_made_anew(workshop, stack, name):
    path, harm, words = OF_A_TOP[name]
    harm(Path(stack[0], path))
    must_be_found_and_mended(workshop, stack[0], words)


def test_a_file_is_no_twin(workshop, stack):
    shutil.rmtree(stack[-1])
    Path(stack[-1]).touch()
    must_be_found_and_mended(workshop, stack[-1], "is a plain file instead of a directory")


def test_a_file_is_no_place_for_twins(workshop, stack):
    twins = workshop.store.path("twins")
    shutil.rmtree(twins)
    Path(twins).touch()
    [damage] = check(workshop).damages
    assert (damage.kind, damage.path) == (DamageKind.TWIN, twins)
    assert build_stack(workshop.store, workshop.environment.require()) is None
    repair(workshop.store, check(workshop))
    assert build_stack(workshop.store, workshop.environment.require()) is not None


def test_many_problems_of_one_twin_are_counted(workshop, stack):
    for directory, _, files in os.walk(stack[-1]):
        for name in files:
            os.chmod(f"{directory}/{name}", 0o600)
    [damage] = check(workshop).damages
    assert damage.reason.endswith("; and 2 more")  # of five files
    repair(workshop.store, check(workshop))


@pytest.mark.parametrize("place", ["note", "ab", "ab/note", "tops/note", "tops2/"])
def test_strangers_are_damage(workshop, stack, place):
    path = Path(workshop.store.path("twins"), place)
    path.parent.mkdir(exist_ok=True)
    if place.endswith("/"):
        path.mkdir()
    elif not path.exists():
        path.touch()
    assert [(one.kind, one.path) for one in check(workshop).damages] == [(DamageKind.STRANGER, str(path))]
    repair(workshop.store, check(workshop))


def test_a_store_without_twins_is_whole(workshop):
    workshop.add(NS)
    report = check(workshop)
    assert (report.damages, report.totals.twins) == ((), TwinTotals())


def test_good_twins_are_counted(workshop, stack):
    assert check(workshop).totals.twins == TwinTotals(len(stack), 0)


def test_what_nothing_uses_is_no_damage(workshop, stack):
    Path(stack[0]).with_name("ab" * 32).mkdir()
    nobodys = Path(workshop.store.path("twins", "ab", f"{'cd' * 31}-python3.11"))
    nobodys.mkdir(parents=True)
    report = check(workshop)
    assert (report.damages, report.totals.twins) == ((), TwinTotals(len(stack) + 2, 2))


def test_deleting_all_twins_loses_nothing(workshop, stack):
    shutil.rmtree(workshop.store.path("twins"))
    assert check(workshop).damages == ()
    assert build_stack(workshop.store, workshop.environment.require()) == stack


def test_a_damaged_manifest_is_not_reported_twice(workshop, stack):
    digest = workshop.environment.require().distributions[0].files.manifest
    path = Path(workshop.store.path("manifests", digest[:2], digest[2:]))
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"{}")
    assert DamageKind.TWIN not in {one.kind for one in check(workshop).damages}
    path.write_bytes(good)


def test_repair_does_not_disturb_who_has_the_twin_mounted(workshop, stack, tmp_path):
    layers = [("lowerdir+", path) for path in stack]
    strict = [("source", "casfs"), ("metacopy", "on"), ("redirect_dir", "on")]
    mount_fd = make_mount("overlay", [*strict, *layers, ("datadir+", workshop.store.pool.directory)], is_read_only=True)
    attach_mount(mount_fd, str(tmp_path))
    os.close(mount_fd)
    try:
        os.chmod(Path(stack[-1], "bin/run"), 0o600)
        repair(workshop.store, check(workshop))
        assert not os.path.exists(stack[-1])
        assert (tmp_path / MODULE).read_bytes() == b"V = 1\n"
        assert sorted(os.listdir(tmp_path / SITE / "ns")) == ["one.py", "two.py"]
    finally:
        unmount(str(tmp_path), is_lazy=True)
