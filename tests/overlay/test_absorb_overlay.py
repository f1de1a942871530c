"""Absorb after writes through a real overlay: whatever tools did, the next overlay shows what the one before it showed."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from casfs.changes.absorb import absorb_upper
from casfs.overlay import kernel
from casfs.overlay.overlayfs import Layers, make_overlay
from casfs.store.fsck.check import check_store
from casfs.store.uppers import require_upper
from casfs.venv.bytecode_names import is_bytecode
from tests.make_generations import Workshop, open_workshop
from tests.make_wheels import format_rows, hash_field, make_wheel
from tests.upper.uppers import SITE, MountedWorkshop

PROJECTS = ("alpha", "beta", "gamma")
VERSIONS = ("1.0", "2.0")
MODULES = ("__init__.py", "a.py", "deep/b.py")


def files_of(project: str, version: str) -> dict[str, bytes]:
    """Relative to site-packages. Versions and projects share some of their paths and some of their bytes."""
    more = {f"{project}/only_in_{version}.py": b"", "shared/common.txt": b"the same for all\n", f"shared/{version}.txt": project.encode()}
    return {**{f"{project}/{name}": f"{project} {version} {name}\n".encode() for name in MODULES}, **more}


WHEELS = [make_wheel(files_of(project, "1.0"), project, "1.0") for project in PROJECTS[:2]]

PATHS = [f"{SITE}/{project}/{name}" for project in PROJECTS for name in MODULES]
PATHS += [f"{SITE}/{project}" for project in PROJECTS] + [f"{SITE}/shared", f"{SITE}/shared/common.txt", f"{SITE}/alpha-1.0.dist-info"]
PATHS += [f"{SITE}/mine.py", "share/mine", "pyvenv.cfg", f"{SITE}/alpha/__pycache__/a.cpython-311.pyc"]

Step = Callable[[Path], None]


def write(path: str, content: bytes, mode: int) -> Step:
    def step(mount: Path) -> None:
        with contextlib.suppress(OSError):  # a file is in the way, or a directory
            (mount / path).parent.mkdir(parents=True, exist_ok=True)
            (mount / path).write_bytes(content)
            (mount / path).chmod(mode)

    return step


def remove(path: str) -> Step:
    def step(mount: Path) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (mount / path).unlink() if not (mount / path).is_dir() else shutil.rmtree(mount / path)

    return step


def move(path: str, other: str) -> Step:
    """As shutil.move does it: the kernel refuses to rename directories of a lower layer."""

    def step(mount: Path) -> None:
        if (mount / path).exists() and not (mount / other).exists() and not other.startswith(f"{path}/"):
            with contextlib.suppress(NotADirectoryError, FileExistsError):
                (mount / other).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(mount / path, mount / other)

    return step


def make_directory(path: str) -> Step:
    def step(mount: Path) -> None:
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            (mount / path).mkdir(parents=True)

    return step


def install(project: str, version: str) -> Step:
    """As a tool does: what is there of the project goes first."""

    def step(mount: Path) -> None:
        uninstall(project)(mount)
        info = f"{project}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n\nSome words about it.\n".encode()
        files = {**files_of(project, version), f"{info}/METADATA": metadata, f"{info}/INSTALLER": b"pip\n"}
        rows = [(path, hash_field(content), str(len(content))) for path, content in files.items()]
        files[f"{info}/RECORD"] = format_rows([*rows, (f"{info}/RECORD", "", "")])
        for path, content in files.items():
            write(f"{SITE}/{path}", content, 0o644)(mount)

    return step


def uninstall(project: str) -> Step:
    """Every file of RECORD, and the directories that are empty then."""

    def step(mount: Path) -> None:
        site = mount / SITE
        for record in list(site.glob(f"{project}-*.dist-info/RECORD")):
            listed = [site / row[0] for row in csv.reader(record.read_text().splitlines())]
            for path in listed:
                with contextlib.suppress(OSError):
                    path.unlink()
            for parent in sorted({parent for path in listed for parent in path.parents if site in parent.parents}, reverse=True):
                with contextlib.suppress(OSError):
                    parent.rmdir()

    return step


def steps() -> st.SearchStrategy[list[Step]]:
    paths, projects, versions = st.sampled_from(PATHS), st.sampled_from(PROJECTS), st.sampled_from(VERSIONS)
    contents = st.sampled_from([b"", b"mine\n", b"the same for all\n", b"alpha 1.0 a.py\n"])
    one = st.one_of(
        st.builds(install, projects, versions),
        st.builds(uninstall, projects),
        st.builds(write, paths, contents, st.sampled_from([0o644, 0o755, 0o600])),
        st.builds(remove, paths),
        st.builds(move, paths, paths),
        st.builds(make_directory, paths),
        st.builds(remove, st.sampled_from([f"{SITE}/{project}-1.0.dist-info" for project in PROJECTS])),
    )
    return st.lists(one, min_size=1, max_size=6)


@contextlib.contextmanager
def mounted(workshop: Workshop, place: Path) -> Iterator[Path]:
    """The environment in a real overlay: the tree as regular files below its upper layer."""
    lower, target = place / "lower", place / "mount"
    for path, (content, is_executable) in MountedWorkshop(workshop).lower().items():
        (lower / path).parent.mkdir(parents=True, exist_ok=True)
        (lower / path).write_bytes(content)
        (lower / path).chmod(0o755 if is_executable else 0o644)
    (lower / SITE).mkdir(parents=True, exist_ok=True)
    target.mkdir(exist_ok=True)
    upper = require_upper(workshop.environment)
    kernel.attach_mount(fd := make_overlay(Layers([str(lower)], [], upper.files, upper.new_work())), str(target))
    os.close(fd)
    try:
        yield target
    finally:
        kernel.unmount(str(target), is_lazy=False)
        shutil.rmtree(lower)


def look(mount: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file that a mount shows, but bytecode and the RECORD of what is installed, which absorbing writes anew."""
    found = {}
    for directory, _, names in os.walk(mount):
        for name in names:
            path = Path(directory, name)
            shown = str(path.relative_to(mount))
            if not is_bytecode(shown) and not shown.endswith(".dist-info/RECORD"):
                found[shown] = (path.read_bytes(), bool(path.stat().st_mode & 0o111))
    return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps(), min_size=1, max_size=3))
def test_a_mount_shows_the_same_after_each_absorb(rounds: list[list[Step]]):
    place = Path(tempfile.mkdtemp(prefix="casfs-test-"))
    try:
        with open_workshop(place) as workshop:
            workshop.add(*WHEELS)
            for round_ in rounds:
                with mounted(workshop, place) as mount:
                    for step in round_:
                        step(mount)
                    before, has_site = look(mount), (mount / SITE).is_dir()
                if has_site:
                    absorb_upper(workshop.environment)
                with mounted(workshop, place) as mount:
                    assert look(mount) == before
                assert MountedWorkshop(workshop).shown().keys() >= before.keys()
            assert check_store(workshop.store).damages == ()
    finally:
        shutil.rmtree(place)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PROJECTS), st.sampled_from((None, *VERSIONS))), min_size=1, max_size=6))
@example([("gamma", "1.0"), ("gamma", None)])
def test_what_tools_did_is_absorbed_whole(changes: list[tuple[str, str | None]]):
    """Projects that dispute no path leave nothing in the upper layer."""
    place = Path(tempfile.mkdtemp(prefix="casfs-test-"))
    wanted = {"alpha": "1.0", "beta": "1.0"}
    try:
        with open_workshop(place) as workshop:
            workshop.add(*(make_wheel({f"{name}/__init__.py": b""}, name) for name in wanted))
            with mounted(workshop, place) as mount:
                for project, version in changes:
                    uninstall(project)(mount)
                    wanted.pop(project, None)
                    if version is not None:
                        install_alone(project, version, mount)
                        wanted[project] = version
            done = absorb_upper(workshop.environment)
            assert done is not None
            assert done.refused == ()
            assert {one.project: one.version for one in done.after.distributions} == wanted
            assert MountedWorkshop(workshop).written() == []
    finally:
        shutil.rmtree(place)


def install_alone(project: str, version: str, mount: Path) -> None:
    """A distribution that shares no path with others."""
    info = f"{project}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n\n".encode()
    files = {f"{project}/__init__.py": b"", f"{project}/{version}.py": b"", f"{info}/METADATA": metadata}
    rows = [(path, hash_field(content), str(len(content))) for path, content in files.items()]
    files[f"{info}/RECORD"] = format_rows([*rows, (f"{info}/RECORD", "", "")])
    for path, content in files.items():
        write(f"{SITE}/{path}", content, 0o644)(mount)
