"""Export: all that a mount shows, as regular files; and whatever happens, all of it or nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casfs.changes import export as export_module
from casfs.changes.atomic_directory import atomic_directory
from casfs.changes.export import Exported, clone_file, export_generation
from casfs.errors import EnvironmentRefused, StoreDamaged
from casfs.store.fsck.check import check_store
from casfs.store.generations import Generation
from casfs.store.manifests import Kind
from casfs.store.store import Store
from casfs.venv.reading import LayerReader
from casfs.venv.tree import DirectoryNode, FileNode, Tree
from tests.make_generations import Workshop, open_workshop, walk
from tests.make_wheels import make_wheel
from tests.mounted.harness import REPOSITORY
from tests.upper.uppers import SITE

CONTENT = b"VALUE = 1\n" * 1000


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Workshop]:
    with open_workshop(tmp_path) as workshop:
        files = {"demo/__init__.py": CONTENT, "demo/deep/er/data": b"", "demo-1.0.data/scripts/demo-script": b"#!python\n"}
        workshop.add(make_wheel(files, "demo", entry_points="[console_scripts]\ndemo = demo:main\n"), make_wheel(None, "other"))
        yield workshop


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "beside" / ".venv"


def export(work: Workshop, target: Path) -> Exported:
    return export_generation(work.store, work.environment.require(), str(target), lambda done, total: None)


def read_exported(target: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and content of everything."""
    found = {"": target, **{str(path.relative_to(target)): path for path in target.rglob("*")}}
    return {name: (path.lstat().st_mode, path.lstat().st_mtime_ns, read_content(path)) for name, path in found.items()}


def read_content(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(os.readlink(path))
    return path.read_bytes() if path.is_file() else b""


MODES = {Kind.FILE: stat.S_IFREG | 0o644, Kind.EXECUTABLE: stat.S_IFREG | 0o755, Kind.SYMLINK: stat.S_IFLNK | 0o777}


def read_shown(store: Store, generation: Generation) -> dict[str, tuple[int, int, bytes]]:
    """The same, as a mount shows it."""
    shown = {}
    for path, node in walk(Tree(generation), LayerReader(store)).items():
        if isinstance(node, DirectoryNode):
            shown[path] = (stat.S_IFDIR | 0o755, node.mtime_ns, b"")
        else:
            assert isinstance(node, FileNode)
            shown[path] = (MODES[node.kind], node.mtime_ns, store.pool.read_blob(node.digest, node.size))
    return shown


def names_beside(target: Path) -> list[str]:
    return sorted(os.listdir(target.parent)) if target.parent.exists() else []


def test_it_is_what_a_mount_shows(work: Workshop, target: Path):
    mask = os.umask(0o077)
    try:
        done = export(work, target)
    finally:
        os.umask(mask)
    shown = read_shown(work.store, work.environment.require())
    assert read_exported(target) == shown
    assert (target / SITE / "demo/__init__.py").read_bytes() == CONTENT
    files = [content for mode, _, content in shown.values() if not stat.S_ISDIR(mode)]
    assert (done.files, done.size) == (len(files), sum(map(len, files)))
    assert names_beside(target) == [".venv"]


def test_its_files_are_its_own(work: Workshop, target: Path):
    export(work, target)
    (target / SITE / "demo/__init__.py").write_bytes(b"edited")
    assert check_store(work.store).damages == ()


def test_an_empty_directory_is_filled(work: Workshop, target: Path):
    target.mkdir(parents=True)
    export(work, target)
    assert (target / "pyvenv.cfg").is_file()


def test_progress_ends_with_all_of_it(work: Workshop, target: Path):
    seen = []
    generation = work.environment.require()
    done = export_generation(work.store, generation, str(target), lambda done, total: seen.append((done, total)))
    assert [one for one, _ in seen] == sorted(one for one, _ in seen)
    assert seen[-1][0] == done.size
    assert done.size <= seen[-1][1]


def test_a_file_system_that_shares_blocks_is_said_to(work: Workshop, target: Path, monkeypatch: pytest.MonkeyPatch):
    def share(target: int, request: int, source: int) -> int:
        return os.write(target, os.pread(source, 1 << 20, 0))

    monkeypatch.setattr(fcntl, "ioctl", share)
    done = export(work, target)
    links = sum(path.lstat().st_size for path in target.rglob("*") if path.is_symlink())
    assert done.shared == done.size - links
    assert read_exported(target) == read_shown(work.store, work.environment.require())


def fill_directory(path: Path) -> None:
    path.mkdir()
    (path / "mine").touch()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (fill_directory, "is not empty \\(it holds 'mine'\\)"),
        (lambda path: path.touch(), "is there already, and is not a directory"),
        (lambda path: path.symlink_to("nowhere"), "is there already, and is not a directory"),
    ],
    ids=["full", "file", "link"],
)
def test_a_place_that_is_taken_is_refused(work: Workshop, target: Path, make: Callable[[Path], object], words: str):
    target.parent.mkdir()
    make(target)
    with pytest.raises(EnvironmentRefused, match=words):
        export(work, target)
    assert names_beside(target) == [".venv"]


def test_a_place_that_is_taken_meanwhile_is_refused(work: Workshop, target: Path):
    def take(done: int, total: int) -> None:
        target.mkdir(exist_ok=True)
        (target / "mine").touch()

    with pytest.raises(EnvironmentRefused, match="another process has made it meanwhile"):
        export_generation(work.store, work.environment.require(), str(target), take)
    assert os.listdir(target) == ["mine"]
    assert names_beside(target) == [".venv"]


def test_a_name_as_long_as_one_may_be(work: Workshop, target: Path):
    long = target.with_name("ü" * 127)
    export(work, long)
    assert names_beside(target) == [long.name]


def blob_of(work: Workshop) -> Path:
    walked = walk(Tree(work.environment.require()), LayerReader(work.store))
    node = walked[f"{SITE}/demo/__init__.py"]
    assert isinstance(node, FileNode)
    return Path(work.store.pool.path(node.digest))


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_damaged_blob_is_an_error(work: Workshop, target: Path, is_shared: bool, monkeypatch: pytest.MonkeyPatch):
    blob = blob_of(work)
    mode, content = blob.stat().st_mode, blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(content[:-1] + b"?")
    if is_shared:
        monkeypatch.setattr(fcntl, "ioctl", lambda target, request, source: os.write(target, os.pread(source, 1 << 20, 0)))
    with pytest.raises(StoreDamaged, match="does not have the bytes that its name promises") as caught:
        export(work, target)
    assert caught.value.subject == str(blob)
    assert names_beside(target) == []
    blob.write_bytes(content)
    blob.chmod(mode)
    export(work, target)  # it is hashed, since its times are not what they were
    assert read_exported(target) == read_shown(work.store, work.environment.require())


def test_a_missing_blob_is_an_error(work: Workshop, target: Path):
    blob = blob_of(work)
    blob.rename(blob.with_suffix(".away"))
    with pytest.raises(StoreDamaged, match="the blob is missing"):
        export(work, target)
    assert names_beside(target) == []
    blob.with_suffix(".away").rename(blob)


def test_a_blob_that_changes_while_it_is_copied_is_an_error(work: Workshop, target: Path, monkeypatch: pytest.MonkeyPatch):
    blob = blob_of(work)
    content = blob.read_bytes()

    def write_meanwhile(source: int, target: int, size: int) -> bool:
        if size == len(content):
            blob.chmod(0o644)
            blob.write_bytes(b"?" * size)
        return clone_file(source, target, size)

    monkeypatch.setattr(export_module, "clone_file", write_meanwhile)
    with pytest.raises(StoreDamaged, match="does not have the bytes"):
        export(work, target)
    blob.write_bytes(content)
    blob.chmod(0o444)


def fail(*arguments: object, **options: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["mkdir", "symlink", "copy_file_range", "fchmod", "utime", "rename"])
def test_a_full_disk_leaves_nothing_and_names_the_place(work: Workshop, target: Path, monkeypatch: pytest.MonkeyPatch, call: str):
    target.parent.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "ioctl", lambda *arguments: fail_with_unsupported())
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left") as caught:
            export(work, target)
    assert str(caught.value.filename).startswith(str(target))
    assert ".casfs-" not in str(caught.value)
    assert names_beside(target) == []


def test_a_place_that_can_not_be_replaced_is_named(work: Workshop, target: Path, monkeypatch: pytest.MonkeyPatch):
    """As if something were mounted on it."""
    rename = os.rename

    def refuse(source: str, place: str, **options: int) -> None:
        if place == target.name:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), source, None, place)
        rename(source, place, **options)

    target.mkdir(parents=True)
    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="busy") as caught:
        export(work, target)
    assert (caught.value.filename, caught.value.filename2) == (str(target), None)
    assert names_beside(target) == [".venv"]


def fail_with_unsupported() -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def test_a_place_where_nobody_may_write_is_named(work: Workshop):
    with pytest.raises(OSError) as caught:
        export(work, Path("/proc/1/environment"))
    assert caught.value.filename == "/proc/1/environment"


KILLED_AT = """
import os, sys
from pathlib import Path
from casfs.store.environments import Environment
from casfs.store.store import open_store
from casfs.changes import atomic_directory
from casfs.changes import export as export_module
from tests.dying import die_at

store, target, name, moment, count = sys.argv[1:]
die_at({"rename": os, "clone_file": export_module}.get(name, atomic_directory), name, moment, int(count))
environment = Environment(open_store(Path(store)), "test")
export_module.export_generation(environment.store, environment.require(), target, lambda done, total: None)
"""

STEPS = [("_make", "after", 1), ("clone_file", "after", 1), ("clone_file", "before", 8), ("sync_file_system", "before", 1)]


@pytest.mark.parametrize(("step", "moment", "count"), [*STEPS, ("rename", "before", 1), ("rename", "after", 1)])
def test_killed_at_any_step_it_is_there_whole_or_not_at_all(work: Workshop, target: Path, step: str, moment: str, count: int):
    command = [sys.executable, "-c", KILLED_AT, work.store.root, str(target), step, moment, str(count)]
    assert subprocess.run(command, cwd=REPOSITORY, check=False, timeout=240).returncode == -9
    is_there = target.exists()
    assert is_there == ((step, moment) == ("rename", "after"))
    if not is_there:
        assert len(names_beside(target)) == 1
        export(work, target)
    assert names_beside(target) == [".venv"]  # what was left beside is gone
    assert read_exported(target) == read_shown(work.store, work.environment.require())


def test_what_somebody_else_is_filling_is_not_swept(work: Workshop, target: Path):
    def export_while_filling() -> None:
        with atomic_directory(str(target)) as other:
            export(work, target)
            assert (target.parent / other.name).is_dir()

    target.parent.mkdir()
    with pytest.raises(EnvironmentRefused, match="meanwhile"):
        export_while_filling()
    assert names_beside(target) == [".venv"]
    assert (target / "pyvenv.cfg").is_file()


def elsewhere(target: Path) -> Path:
    """A directory that root alone may write to, as far as whoever owns the parent of the target is concerned."""
    target.parent.mkdir(exist_ok=True)
    place = target.parent.parent / "elsewhere"
    for path in (place, place / SITE / "demo/deep/er", place / SITE / "other"):
        path.mkdir(parents=True, exist_ok=True)
    return place


def put_link_in_place(target: Path, path: str, place: Path) -> Path:
    """What the owner of the parent can do at any time: the staging directory is moved away, and `path` in the new one leads elsewhere."""
    [staging] = target.parent.glob(".*.casfs-*")
    staging.rename(target.parent / "moved")
    link = staging / path
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(place / path)
    return staging


@pytest.mark.parametrize("path", ["", "lib", SITE, f"{SITE}/demo"])
@pytest.mark.parametrize("count", [1, 3])
def test_nothing_is_written_through_a_link_that_is_put_in_its_place(work: Workshop, target: Path, path: str, count: int):
    place = elsewhere(target)
    before = read_exported(place)
    done = 0

    def swap(size: int, total: int) -> None:
        nonlocal done
        done += 1
        if done == count:
            put_link_in_place(target, path, place)

    with pytest.raises(EnvironmentRefused, match=r"another process has removed '\.\.venv\.casfs-"):
        export_generation(work.store, work.environment.require(), str(target), swap)
    assert read_exported(place) == before
    assert not target.exists()


@pytest.mark.parametrize("path", ["lib", SITE])
def test_nothing_is_written_through_a_link_within_it(work: Workshop, target: Path, path: str):
    place = elsewhere(target)
    before = read_exported(place)

    def fill() -> None:
        with atomic_directory(str(target)) as staging:
            link = target.parent / staging.name / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(place / path)
            with staging.below(f"{SITE}/demo"):
                (place / "entered").touch()

    with pytest.raises(NotADirectoryError) as caught:
        fill()
    assert str(caught.value.filename).startswith(f"{target}/lib")
    assert read_exported(place) == before
    assert names_beside(target) == []


def test_a_directory_above_that_becomes_a_link_is_not_followed(work: Workshop, target: Path):
    place = elsewhere(target)
    before = read_exported(place)
    target.parent.rmdir()
    target.parent.symlink_to(place)
    for path in (target, target / "deeper"):
        with pytest.raises(NotADirectoryError) as caught:
            export(work, path)
        assert caught.value.filename == str(path)
    assert read_exported(place) == before


def test_a_directory_of_somebody_else_in_its_place_is_not_filled(work: Workshop, target: Path, monkeypatch: pytest.MonkeyPatch):
    """It may come between the making of one and its opening."""
    target.parent.mkdir()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(PermissionError, match="belongs to another user") as caught:
        export(work, target)
    assert caught.value.filename == str(target)
    assert not [path for path in target.parent.rglob("*") if not path.is_dir()]


def test_what_is_swept_is_ours_and_no_link_is_followed(work: Workshop, target: Path):
    place = elsewhere(target)
    before = read_exported(place)
    link, left, open_to_all = (target.parent / f".{target.name}.casfs-{digit * 16}" for digit in "012")
    link.symlink_to(place)
    (left / "deep").mkdir(parents=True)
    (left / "deep/link").symlink_to(place)
    (left / "link").symlink_to(place)
    left.chmod(0o700)
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (open_to_all / "lib").symlink_to(place)
    export(work, target)
    assert read_exported(place) == before
    assert names_beside(target) == [link.name, open_to_all.name, ".venv"]


@pytest.mark.parametrize("path", ["", "environments/plain", "new/deeper/plain"])
def test_a_place_within_the_store_is_refused(work: Workshop, path: str):
    place = os.path.join(work.store.root, path).rstrip("/")
    before = sorted(os.listdir(work.store.root))
    with pytest.raises(EnvironmentRefused, match=f"{place}: is within the store {work.store.root}; choose another place"):
        export(work, Path(place))
    assert sorted(os.listdir(work.store.root)) == before
