"""Twins on a disk: made once, whole or not at all, and not where they can't be."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casfs.digest import digest_bytes
from casfs.errors import InvalidValue
from casfs.mount.kernel import attach_mount, make_mount, unmount
from casfs.store.environments import Environment
from casfs.store.fsck.check import check_store
from casfs.store.manifests import Kind, format_manifest, manifest_path, read_manifest
from casfs.venv.changes import AddOptions, add_wheels
from casfs.venv.tree import FileNode, file_time_ns
from casfs.venv.twins import twins
from casfs.venv.twins.check import check_twins
from casfs.venv.twins.files import lay_out
from casfs.venv.twins.plan import TwinDirectory
from casfs.venv.twins.twins import build_stack, find_stack, twin_path
from tests.make_generations import BASE, INTERPRETER, Workshop, accept_any, make_row, open_workshop
from tests.make_wheels import make_wheel

ONE = make_wheel({"one/__init__.py": b"one = 1\n", "one-1.0.data/scripts/one": b"#!/bin/sh\n"}, "one")
TWO = make_wheel({"two/__init__.py": b"two = 2\n"}, "two")
MANY = make_wheel({f"many/f{number}.py": b"" for number in range(300)}, "many")


def build(workshop: Workshop) -> list[str]:
    stack = build_stack(workshop.store, workshop.environment.require())
    assert stack is not None
    return stack


@contextmanager
def file_system(kind: str, place: Path, *options: tuple[str, str | int | None]) -> Iterator[Path]:
    """A small file system of its own."""
    mount_fd = make_mount(kind, options)
    try:
        attach_mount(mount_fd, str(place))
        yield place
    finally:
        unmount(str(place), is_lazy=True)
        os.close(mount_fd)


def what_is_left(workshop: Workshop) -> list[str]:
    """All that lies in the store's twins/ and tmp/."""
    return [path for name in ("twins", "tmp") for path in map(str, Path(workshop.store.path(name)).glob("*/*"))]


def test_a_file_has_size_time_mode_and_the_path_of_its_blob_but_no_bytes(workshop):
    workshop.add(ONE)
    layer = workshop.environment.require().distributions[0].files
    build(workshop)
    row = make_row("bin/one", b"#!/bin/sh\n", Kind.EXECUTABLE)
    manifest = read_manifest(workshop.store, layer.manifest)
    time_ns = file_time_ns(manifest, manifest.names.index("one"))
    path = f"{twin_path(workshop.store, layer.manifest, BASE.directory)}/bin/one"
    found = os.stat(path)
    assert (found.st_mode, found.st_size, found.st_mtime_ns) == (stat.S_IFREG | 0o755, row.size, time_ns)
    assert os.getxattr(path, "trusted.overlay.metacopy") == b""
    assert os.getxattr(path, "trusted.overlay.redirect") == f"/{row.digest[:2]}/{row.digest[2:]}".encode()
    assert Path(path).read_bytes() == b"\0" * row.size


def test_nothing_is_found_before_it_is_built(workshop):
    workshop.add(ONE, TWO)
    assert find_stack(workshop.store, workshop.environment.require()) is None
    assert build(workshop) == find_stack(workshop.store, workshop.environment.require())


def test_the_later_distribution_lies_above(workshop):
    workshop.add(ONE, TWO)
    first, second = workshop.environment.require().distributions
    layers = [second.installation, second.files, first.installation, first.files]
    assert build(workshop)[1:] == [twin_path(workshop.store, layer.manifest, BASE.directory) for layer in layers]


def test_what_was_built_stays_as_it_is(workshop):
    workshop.add(ONE)
    before = {path: os.stat(path).st_ino for path in build(workshop)}
    workshop.add(TWO)
    after = {path: os.stat(path).st_ino for path in build(workshop)}
    shared = before.keys() & after.keys()
    assert {Path(path).parent.name for path in before.keys() - after.keys()} == {"tops"}
    assert all(before[path] == after[path] for path in shared)


def test_generations_that_show_the_same_share_all(workshop):
    workshop.add(ONE)
    stack = build(workshop)
    other = Environment(workshop.store, "other")
    add_wheels(other, INTERPRETER, [str(ONE.write_to(workshop.wheels))], accept_any, AddOptions())
    assert find_stack(workshop.store, other.require()) == stack


def test_a_copy_without_attributes_is_not_believed_and_made_anew(workshop):
    """It has all names and sizes, and would be shown with no bytes."""
    workshop.add(ONE, TWO)
    stack = build(workshop)
    for path in stack:
        os.rename(path, f"{path}.good")
        subprocess.run(["cp", "-r", "--preserve=mode,timestamps", f"{path}.good", path], check=True)
        shutil.rmtree(f"{path}.good")
    assert find_stack(workshop.store, workshop.environment.require()) is None
    assert len(check_store(workshop.store, check_twins=check_twins).damages) == len(stack)
    assert build(workshop) == stack
    assert os.listdir(workshop.store.path("tmp")) == []


def test_a_twin_under_another_name_is_not_believed(workshop):
    workshop.add(ONE, TWO)
    stack = build(workshop)
    shutil.rmtree(stack[2])
    os.rename(stack[4], stack[2])
    assert find_stack(workshop.store, workshop.environment.require()) is None
    assert build(workshop) == stack


def test_two_who_build_at_once_both_succeed(workshop):
    workshop.add(ONE, TWO, MANY)
    with ThreadPoolExecutor(2) as threads:
        one, other = (threads.submit(build, workshop) for _ in range(2))
    assert one.result() == other.result() == find_stack(workshop.store, workshop.environment.require())
    assert os.listdir(workshop.store.path("tmp")) == []


def test_nothing_has_its_name_before_all_of_it_is_on_the_disk(workshop, monkeypatch):
    workshop.add(ONE)
    before = []

    def sync(fd: int) -> None:
        staged = {path.name for path in Path(workshop.store.path("tmp")).rglob("*")}
        before.append((os.path.exists(workshop.store.path("twins")), {"pyvenv.cfg", "__init__.py", "RECORD"} <= staged))

    monkeypatch.setattr(twins, "sync_file_system", sync)
    build(workshop)
    assert before == [(False, True)]


DIE = """
import os, signal, sys
from pathlib import Path
from casfs.store.environments import Environment
from casfs.store.store import open_store
from casfs.venv.twins import twins
store = open_store(Path(sys.argv[1]))
twins.sync_file_system = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
twins.build_stack(store, Environment(store, "test").require())
"""


def test_who_is_killed_leaves_no_twin_and_the_next_one_sweeps(workshop):
    workshop.add(ONE)
    child = subprocess.run([sys.executable, "-c", DIE, workshop.store.root], check=False, cwd=Path(__file__).parents[2])
    assert child.returncode == -signal.SIGKILL
    assert find_stack(workshop.store, workshop.environment.require()) is None
    assert check_store(workshop.store, check_twins=check_twins).damages == ()
    build(workshop)
    assert os.listdir(workshop.store.path("tmp")) == []


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("strict_umask")
def test_modes_do_not_depend_on_who_builds(workshop):
    workshop.add(ONE, TWO)
    for top in build(workshop):
        for directory, _, files in os.walk(top):
            assert stat.S_IMODE(os.stat(directory).st_mode) == 0o755
            assert {stat.S_IMODE(os.lstat(f"{directory}/{name}").st_mode) for name in files} <= {0o644, 0o755, 0o777}


EVIL_NAMES = ["../../evil", "..", ".", "", "/dev/shm/evil", "a/b", "nul\0"]


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.SYMLINK])
@pytest.mark.parametrize("name", EVIL_NAMES)
def test_no_manifest_leads_outside(tmp_path, name, kind):
    """Whoever keeps a shared pool may write manifests; root lays them out."""
    row = make_row("any", b"22", kind)
    plan = [TwinDirectory("", 1, [], [("good", FileNode((1, 0), row.digest, row.size, Kind.FILE, 1))])]
    evil = [TwinDirectory("", 1, [], [(name, FileNode((1, 0), row.digest, row.size, kind, 1))]), TwinDirectory("", 1, [name], [])]
    for number, one in enumerate(evil):
        with pytest.raises(InvalidValue):
            lay_out([one], str(tmp_path / f"twin{number}"), b"", lambda node: b"22")
        assert os.listdir(tmp_path / f"twin{number}") == []
    lay_out(plan, str(tmp_path / "twin"), b"", lambda node: b"22")
    assert sorted(os.listdir(tmp_path)) == ["twin", "twin0", "twin1"]


@pytest.mark.parametrize("column", ["names", "sizes", "kinds"])
def test_a_manifest_that_makes_no_sense_gives_no_twins(workshop, column):
    workshop.add(ONE)
    generation = workshop.environment.require()
    one = generation.distributions[0]
    manifest = read_manifest(workshop.store, one.files.manifest)
    values: dict[str, Any] = {"names": [1] * len(manifest.names), "sizes": ["1"] * len(manifest.sizes), "kinds": "9" * len(manifest.kinds)}
    content = format_manifest(replace(manifest, **{column: values[column]}))
    digest = digest_bytes(content)
    path = Path(manifest_path(workshop.store, digest))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    senseless = replace(one, files=replace(one.files, manifest=digest))
    assert build_stack(workshop.store, replace(generation, distributions=(senseless,))) is None
    assert what_is_left(workshop) == []
    path.unlink()


def test_no_interpreter_leads_outside(workshop):
    workshop.add(ONE)
    generation = workshop.environment.require()
    elsewhere = replace(generation, interpreter=replace(generation.interpreter, directory="../../evil"))
    assert find_stack(workshop.store, elsewhere) is build_stack(workshop.store, elsewhere) is None


def test_a_full_disk_is_told_and_nothing_half_built_is_left(tmp_path):
    with file_system("tmpfs", tmp_path, ("nr_inodes", "250")) as place, open_workshop(place) as workshop:
        workshop.add(MANY)
        with pytest.raises(OSError, match="No space left") as caught:
            build_stack(workshop.store, workshop.environment.require())
        assert caught.value.errno == errno.ENOSPC
        assert str(caught.value.filename).startswith(workshop.store.path("twins"))
        assert what_is_left(workshop) == []


def test_a_disk_without_trusted_attributes_gets_no_twins(tmp_path):
    with file_system("ramfs", tmp_path) as place, open_workshop(place) as workshop:
        workshop.add(ONE)
        assert build_stack(workshop.store, workshop.environment.require()) is None
        assert what_is_left(workshop) == []


def test_a_damaged_manifest_gives_no_twins(workshop):
    workshop.add(ONE, TWO)
    generation = workshop.environment.require()
    digest = generation.distributions[1].files.manifest
    path = Path(workshop.store.path("manifests", digest[:2], digest[2:]))
    good = path.read_bytes()
    path.unlink()
    assert build_stack(workshop.store, generation) is None
    assert what_is_left(workshop) == []
    path.write_bytes(good)
    path.chmod(0o444)
