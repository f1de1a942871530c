"""Adopt: what RECORD proves becomes an environment, the rest is named, and the virtual environment is only read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casfs.changes.absorbed import _Absorption
from casfs.changes.adopt import Adoption
from casfs.changes.changes import create_environment, remove_distributions
from casfs.changes.export import export_generation
from casfs.digest import digest_bytes
from casfs.errors import EnvironmentRefused
from casfs.store.blob_stamps import read_blob_stat_cache
from casfs.store.fsck.check import check_store
from casfs.upper import written
from casfs.upper.written import UpperDirectory
from tests.changes.natives import NativeWorkshop
from tests.changes.test_absorb_hostile import HARMS, SECRET, Harm
from tests.make_generations import INTERPRETER, open_workshop
from tests.make_wheels import hash_field, make_wheel
from tests.mounted.harness import REPOSITORY
from tests.upper.uppers import SITE

INFO = f"{SITE}/demo-1.0.dist-info"
INIT = f"{SITE}/demo/__init__.py"


@pytest.fixture
def native(tmp_path: Path) -> Iterator[NativeWorkshop]:
    with open_workshop(tmp_path) as workshop:
        native = NativeWorkshop(workshop, tmp_path / ".venv")
        native.make()
        yield native


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "outside" / "__init__.py"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


def adopted(done: Adoption) -> dict[str, str]:
    return {one.project: one.version for one in done.after.distributions}


def reasons(done: Adoption) -> str:
    return "\n".join(map(str, (*done.refused, *done.left)))


def test_distributions_that_are_as_recorded_become_a_generation(native: NativeWorkshop):
    native.install("demo", "2.0")
    native.install("other", tool="uv")
    done = native.adopt()
    assert adopted(done) == {"demo": "2.0", "other": "1.0"}
    assert (done.after.number, done.after.command) == (1, f"adopt {native.root}")
    assert reasons(done) == ""
    assert native.workshop.environment.require() == done.after
    lower = native.lower()
    assert {path: facts for path, facts in lower.items() if path.startswith(f"{SITE}/") and "/RECORD" not in path} == {
        path: facts for path, facts in native.files().items() if "/RECORD" not in path
    }


def test_what_the_installer_wrote_stays_and_says_what_was_asked_for(native: NativeWorkshop):
    own = {"REQUESTED": b"", "direct_url.json": b'{"url": "file:///x", "dir_info": {}}'}
    native.install("demo", tool="uv", own=own)
    native.install("needed")
    done = native.adopt()
    assert [(one.name, one.origin, one.requested) for one in done.after.distributions] == [("demo", "uv", True), ("needed", "pip", False)]
    lower = native.lower()
    assert {name: lower[f"{INFO}/{name}"][0] for name in own} == own
    assert lower[f"{INFO}/INSTALLER"][0] == b"uv\n"


def test_scripts_find_their_interpreter_although_the_environment_was_moved(native: NativeWorkshop):
    old = b"#!/where/it/was/made/bin/python3\n"
    files = {"../../../bin/demo": old + b"import sys\n", "../../../bin/demo-script": old + b"print('script')\n"}
    native.install("demo", files=files, entry_points="[console_scripts]\ndemo = demo:main\n")
    native.adopt()
    lower = native.lower()
    assert all(lower[f"bin/{name}"][0].startswith(b"#!/bin/sh -\n") for name in ("demo", "demo-script"))
    assert b"from demo import main" in lower["bin/demo"][0]
    assert lower["bin/demo-script"][0].endswith(b"\nprint('script')\n")


@pytest.mark.parametrize("place", ["here", "through a link", "where it was made", "in one that it was copied from"])
def test_scripts_of_a_wheel_find_their_interpreter_whatever_path_they_name(native: NativeWorkshop, tmp_path: Path, place: str):
    paths = {
        "here": native.root,
        "through a link": tmp_path / "link/.venv",
        "where it was made": Path("/where/it's been made"),
        "in one that it was copied from": tmp_path / "original",
    }
    (tmp_path / "link").symlink_to(native.root.parent)
    (tmp_path / "original").mkdir()
    (tmp_path / "original/pyvenv.cfg").write_text("")
    native.write("bin/activate", b"""VIRTUAL_ENV='/where/it'"'"'s been made'\nexport VIRTUAL_ENV\n""")
    native.install("demo", files={"../../../bin/script": f"#!{paths[place]}/bin/python\nprint('script')\n".encode()})
    done = native.adopt()
    assert done.notes == ()
    content, is_executable = native.lower()["bin/script"]
    assert is_executable
    assert content.startswith(b"#!/bin/sh -\n")
    assert content.endswith(b"\nprint('script')\n")


def test_a_script_for_an_interpreter_that_is_nowhere_stays_so_and_is_told(native: NativeWorkshop):
    lost, usual = b"#!/nowhere/at/all/bin/python\nprint()\n", b"#!/usr/bin/python3\nprint()\n"
    native.install("demo", files={"../../../bin/lost": lost, "../../../bin/usual": usual})
    done = native.adopt()
    assert done.notes == ("demo 1.0: 'bin/lost' is for the Python below '/nowhere/at/all', which is not there, and stays so",)
    assert (native.lower()["bin/lost"][0], native.lower()["bin/usual"][0]) == (lost, usual)


def test_bytecode_is_left_out(native: NativeWorkshop):
    native.install("demo", rows={"demo/__pycache__/__init__.cpython-311.pyc": ("", "")})
    native.write(f"{SITE}/demo/__pycache__/__init__.cpython-311.pyc", b"bytecode")
    native.write(f"{SITE}/__pycache__/six.cpython-311.pyc", b"bytecode")
    done = native.adopt()
    assert (adopted(done), reasons(done)) == ({"demo": "1.0"}, "")
    assert not any(path.endswith(".pyc") for path in native.lower())


def test_files_that_uv_linked_from_its_cache_are_taken(native: NativeWorkshop, tmp_path: Path):
    native.install("demo")
    os.link(native.root / INIT, tmp_path / "in uv's cache")
    assert adopted(native.adopt()) == {"demo": "1.0"}


def test_a_wheel_that_is_known_is_shared(native: NativeWorkshop):
    [known] = native.workshop.add(make_wheel(None, "demo")).ingested
    remove_distributions(native.workshop.environment, ["demo"])
    native.install("demo")
    [one] = native.adopt().after.distributions
    assert (one.wheel, one.files.manifest) == (known.wheel, known.manifest)


def test_blobs_need_not_be_hashed_again_for_the_first_mount(native: NativeWorkshop):
    native.install("demo")
    [one] = native.adopt().after.distributions
    assert read_blob_stat_cache(native.workshop.store.root, one.files.manifest) is not None


def test_what_was_exported_is_adopted_as_it_was(native: NativeWorkshop, tmp_path: Path):
    script = {"demo/__init__.py": b"", "demo-1.0.data/scripts/one": b"#!python\n# -*- coding: latin-1 -*-\nprint()\n"}
    wheels = [make_wheel(script, "demo", entry_points="[console_scripts]\ntwo = demo:main\n"), make_wheel(None, "other")]
    before = native.workshop.add(*wheels).after
    exported = NativeWorkshop(native.workshop, tmp_path / "exported")
    export_generation(native.workshop.store, before, str(exported.root), lambda done, total: None)
    remove_distributions(native.workshop.environment, ["demo", "other"])
    after = exported.adopt().after
    assert [(one.name, one.wheel, one.files, one.installation, one.requested) for one in after.distributions] == [
        (one.name, one.wheel, one.files, one.installation, one.requested) for one in before.distributions
    ]
    assert after.skeleton == before.skeleton


@pytest.mark.parametrize(
    ("harm", "words"),
    [(harm, words) for name, harm, words in HARMS if name != "hard link"],
    ids=[one[0] for one in HARMS if one[0] != "hard link"],
)
def test_a_file_that_is_not_what_record_says(native: NativeWorkshop, secret: Path, harm: Harm, words: str):
    row = (hash_field(SECRET), str(len(SECRET))) if "symbolic" in words or "not there" in words else None
    native.install("demo", rows={"demo/__init__.py": row} if row else None)
    native.install("good")
    harm(native, secret)
    done = native.adopt()
    assert adopted(done) == {"good": "1.0"}
    assert len(done.refused) == 1
    assert words in str(done.refused[0])
    assert "\n" not in str(done.refused[0])
    assert not native.workshop.store.pool.has_blob(digest_bytes(SECRET), len(SECRET))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../../../../outside/__init__.py", "leaves its directory with '..'"),
        ("/etc/passwd", "is an absolute path"),
        ("../../../bin/python", "belongs to the environment itself"),
        ("../../../loop/loop/x", "is not there"),
        ("../../../lib64/x", "is not there"),
        ("good", "is a directory"),
    ],
)
def test_a_row_that_points_where_it_may_not(native: NativeWorkshop, secret: Path, row: str, words: str):
    native.install("demo", rows={row: (hash_field(SECRET), str(len(SECRET)))})
    native.install("good")
    (native.root / "loop").symlink_to(".")
    done = native.adopt()
    assert adopted(done) == {"good": "1.0"}
    assert words in reasons(done)


def test_a_file_that_may_not_be_read(native: NativeWorkshop, monkeypatch: pytest.MonkeyPatch):
    native.install("demo")
    native.install("good")
    open_file = UpperDirectory.open_file

    def refuse(self: UpperDirectory, path: str) -> int:
        if path == INIT:
            raise PermissionError(13, "Permission denied")
        return open_file(self, path)

    monkeypatch.setattr(UpperDirectory, "open_file", refuse)
    done = native.adopt()
    assert adopted(done) == {"good": "1.0"}
    assert reasons(done) == f"demo 1.0: '{INIT}' can't be read: permission denied"


def test_a_directory_that_may_not_be_read_is_named(native: NativeWorkshop, monkeypatch: pytest.MonkeyPatch):
    native.write("share/closed/x", b"")
    open_path = os.open

    def refuse(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "closed":
            raise PermissionError(13, "Permission denied", path)
        return open_path(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as caught:
        native.adopt()
    assert caught.value.filename == f"{native.root}/share/closed"
    assert native.workshop.environment.current() is None


def test_a_file_that_changes_while_it_is_read(native: NativeWorkshop, monkeypatch: pytest.MonkeyPatch):
    native.install("demo")
    native.install("good")
    store_chunks = _Absorption._store_chunks

    def write_meanwhile(self: _Absorption, *arguments: object) -> None:
        store_chunks(self, *arguments)  # type: ignore[arg-type]
        os.utime(native.root / INIT, ns=(1, 1))

    monkeypatch.setattr(_Absorption, "_store_chunks", write_meanwhile)
    with pytest.raises(AssertionError):  # it is not as it was
        native.adopt()
    assert {one.project for one in native.workshop.environment.require().distributions} == {"good"}


def make_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("name", ["RECORD", "METADATA"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path), make_directory], ids=["FIFO", "link", "directory"])
def test_a_dist_info_that_makes_no_sense_is_named_once(native: NativeWorkshop, name: str, make: Callable[[Path], object]):
    native.install("demo", files={})
    native.install("good")
    path = native.root / INFO / name
    path.unlink()
    make(path)
    done = native.adopt()
    assert adopted(done) == {"good": "1.0"}
    assert [error.subject for error in done.refused] == ["demo-1.0.dist-info"]
    assert done.left == []


def test_nothing_is_kept_of_what_is_refused_but_what_others_have_too(native: NativeWorkshop):
    common, only = b"in both\n", b"in one\n"
    native.install("broken", files={"broken/a.py": common, "broken/b.py": only, "broken/c.py": b"recorded\n"})
    native.write(f"{SITE}/broken/c.py", b"editeddd\n")
    native.install("demo", files={"demo/a.py": common})
    done = native.adopt()
    assert adopted(done) == {"demo": "1.0"}
    pool = native.workshop.store.pool
    assert [pool.has_blob(digest_bytes(content), len(content)) for content in (common, only)] == [True, False]


def test_an_editable_install_goes_on_to_use_its_project(native: NativeWorkshop):
    url = b'{"url": "file:///src", "dir_info": {"editable": true}}'
    native.install("demo", files={"__editable__.demo-1.0.pth": b"/src\n"}, own={"direct_url.json": url})
    done = native.adopt()
    assert (adopted(done), reasons(done)) == ({"demo": "1.0"}, "")


def test_a_project_that_is_there_twice_is_left_alone(native: NativeWorkshop):
    native.install("demo", "1.0", {"demo1.py": b""})
    native.install("demo", "2.0", {"demo2.py": b""})
    native.install("good")
    done = native.adopt()
    assert adopted(done) == {"good": "1.0"}
    assert [str(error) for error in done.refused] == [
        f"demo {version}: is installed twice, in different versions" for version in ("1.0", "2.0")
    ]


def test_what_is_of_no_distribution_is_told_in_a_line_each(native: NativeWorkshop):
    native.install("demo")
    site = native.root / SITE
    for name in ("junk.py", "mine/__init__.py", "mine/deep/more.py", "alone/one.py", "old-1.0.egg-info/PKG-INFO", "linked.egg-link"):
        native.write(f"{SITE}/{name}", b"")
    native.write("share/mine", b"")
    native.write("lib/python3.9/x.py", b"")
    native.write("bin/tool", b"", 0o755)
    native.write(f"{INFO}/unlisted", b"")
    os.mkfifo(site / "pipe")
    (site / "away").symlink_to("/etc/passwd")
    (site / "up").symlink_to("../../../../secret")
    (site / "near").symlink_to("junk.py")
    (site / "whole").symlink_to(native.root / "bin")
    os.truncate(native.write("holes", b""), 1 << 42)
    old = "was installed by old means, without a RECORD that its files could be compared with"
    assert {one.path.removeprefix(f"{SITE}/"): one.reason for one in native.adopt().left} == {
        "junk.py": "is a regular file, of no distribution",
        "mine": "has 2 files of no distribution",
        "alone/one.py": "is a regular file, of no distribution",
        "old-1.0.egg-info": old,
        "linked.egg-link": old,
        "share/mine": "is a regular file, of no distribution",
        "lib/python3.9/x.py": "is a regular file, of no distribution",
        "bin/tool": "is a regular file, of no distribution",
        "demo-1.0.dist-info/unlisted": "is a regular file, of no distribution",
        "pipe": "is a FIFO, a socket or a device, of no distribution",
        "away": "is a symbolic link that leads out of the environment",
        "up": "is a symbolic link that leads out of the environment",
        "near": "is a symbolic link, of no distribution",
        "whole": "is a symbolic link, of no distribution",
        "holes": "is a regular file, of no distribution",
    }


def test_names_that_are_not_utf_8_are_told_printably(native: NativeWorkshop):
    Path(f"{native.root}/share-\udcff").write_bytes(b"")
    [left] = native.adopt().left
    assert str(left).isprintable()


def test_an_environment_with_distributions_is_refused(native: NativeWorkshop):
    native.workshop.add(make_wheel(None, "other"))
    native.install("demo")
    with pytest.raises(EnvironmentRefused, match=r"has a distribution already; choose another environment with --env"):
        native.adopt()
    assert native.workshop.environment.current_number() == 1


def test_an_empty_environment_gets_another_generation(native: NativeWorkshop):
    create_environment(native.workshop.environment, INTERPRETER)
    native.install("demo")
    assert native.adopt().after.number == 2


def test_an_environment_that_is_changed_meanwhile_is_refused(native: NativeWorkshop, monkeypatch: pytest.MonkeyPatch):
    native.install("demo")
    environment = native.workshop.environment
    store_chunks = _Absorption._store_chunks

    def change_meanwhile(self: _Absorption, *arguments: object) -> None:
        store_chunks(self, *arguments)  # type: ignore[arg-type]
        create_environment(environment, INTERPRETER)

    monkeypatch.setattr(_Absorption, "_store_chunks", change_meanwhile)
    with pytest.raises(EnvironmentRefused, match="was changed by another process meanwhile"):
        native.adopt()
    assert environment.require().distributions == ()


def test_nothing_is_made_where_nothing_can_be_taken(native: NativeWorkshop):
    native.install("demo", rows={"gone.py": (hash_field(b""), "0")})
    with pytest.raises(EnvironmentRefused, match=r"demo 1.0: .*gone.py' is listed in RECORD but is not there"):
        native.adopt()
    assert not Path(native.workshop.environment.directory).exists()


def test_an_empty_virtual_environment_becomes_an_empty_environment(native: NativeWorkshop):
    done = native.adopt()
    assert (adopted(done), reasons(done)) == ({}, "")


def test_directories_without_end_are_refused(native: NativeWorkshop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(written, "MAX_DEPTH", 8)
    (native.root / "/".join("d" * 9)).mkdir(parents=True)
    with pytest.raises(EnvironmentRefused, match="directories in each other"):
        native.adopt()


KILLED_AT = """
import sys
from pathlib import Path
from casfs.store import publish
from casfs.store.environments import Environment
from casfs.store.store import open_store
from casfs.changes import adopt
from casfs.changes.existing import read_existing
from casfs.upper.written import UpperDirectory
from tests.dying import die_at
from tests.make_generations import INTERPRETER

store, root, name, moment, count = sys.argv[1:]
owner = {"publish": Environment, "sync_file_system": publish}.get(name, adopt)
die_at(owner, name, moment, int(count))
with UpperDirectory(root) as upper_directory:
    adopt.adopt(Environment(open_store(Path(store)), "test"), INTERPRETER, read_existing(upper_directory), upper_directory)
"""

SYNCS = 10
"""How often an adoption of one distribution syncs: before and after each batch of names."""


@pytest.mark.parametrize(
    ("step", "moment", "count"),
    [
        ("decide", "after", 1),
        ("publish", "before", 1),
        ("publish", "after", 1),
        *(("sync_file_system", "before", n + 1) for n in range(SYNCS)),
    ],
)
def test_killed_at_any_step_it_is_there_whole_or_not_at_all(native: NativeWorkshop, step: str, moment: str, count: int):
    workshop = native.workshop
    native.install("demo")
    command = [sys.executable, "-c", KILLED_AT, workshop.store.root, str(native.root), step, moment, str(count)]
    assert subprocess.run(command, cwd=REPOSITORY, check=False, timeout=240).returncode == -9
    assert check_store(workshop.store).damages == ()
    if workshop.environment.current() is None:
        native.adopt()
    assert {one.project for one in workshop.environment.require().distributions} == {"demo"}
