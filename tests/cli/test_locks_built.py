"""lock and sync of what was built here: the lock says what it was built of, and that is enough to have it again, for other tools too."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.cli.package_index import PackageIndex
from tests.cli.projects import commit_project, make_editable, make_project, offer, pack_project
from tests.cli.test_changes import listed
from tests.cli.test_locks import UV
from tests.cli.test_names import casfs, index, leftovers
from tests.make_wheels import MadeWheel, make_wheel
from tests.mounted.harness import Casfs

__all__ = ["casfs", "index"]


@pytest.fixture
def pylock(casfs: Casfs, index: PackageIndex) -> Path:
    """A lock of an environment with something of every kind, each named as its kind."""
    directory = casfs.directory
    index.offer("wheel")
    for name in ("sdist", "archive", "directory", "vcs", "part"):
        table = f'[project]\nname = "{name}"\nversion = "1.0"\n'
        project = make_project(directory / name, make_wheel(None, name), table=table)
        packed = pack_project(project, name)
        if name == "sdist":
            index.offer_file("sdist-1.0.tar.gz", packed)
        elif name == "archive":
            (directory / "archive-1.0.tar.gz").write_bytes(packed)
        elif name == "part":
            index.offer_file("whole.tar.gz", pack_project(project, "whole/inner"))
    commit_project(directory / "vcs")
    subprocess.run(["git", "-C", directory / "vcs", "tag", "feature/x"], check=True)
    editable = make_editable(directory / "editable", "editable")
    words: list[str | Path] = [
        "wheel",
        "sdist",
        directory / "archive-1.0.tar.gz",
        directory / "directory",
        f"vcs @ git+file://{directory}/vcs@feature/x",
        f"part @ {index.file_url('whole.tar.gz')}#subdirectory=inner-1.0",
    ]
    casfs.add(*words, "-e", editable)
    path = directory / "pylock.toml"
    casfs.run("lock", "--output", path)
    return path


def packages(path: Path) -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in tomllib.loads(path.read_text())["packages"]}


def test_lock_says_what_was_built_of_what(casfs: Casfs, index: PackageIndex, pylock: Path) -> None:
    directory = casfs.directory
    commit = subprocess.run(
        ["git", "-C", directory / "vcs", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    archive = hashlib.sha256((directory / "archive-1.0.tar.gz").read_bytes()).hexdigest()
    found = packages(pylock)
    assert found.keys() == {"wheel", "sdist", "archive", "directory", "vcs", "part", "editable"}
    assert found["sdist"]["sdist"] == {
        "url": index.file_url("sdist-1.0.tar.gz"),
        "hashes": {"sha256": index.digests["sdist-1.0.tar.gz"]},
    }
    assert found["archive"]["archive"] == {"path": f"{directory}/archive-1.0.tar.gz", "hashes": {"sha256": archive}}
    assert found["directory"] == {"name": "directory", "directory": {"path": f"{directory}/directory"}}
    assert found["editable"] == {"name": "editable", "directory": {"path": f"{directory}/editable", "editable": True}}
    assert found["vcs"]["vcs"] == {
        "type": "git",
        "url": f"file://{directory}/vcs",
        "requested-revision": "feature/x",
        "commit-id": commit,
    }
    assert found["part"]["archive"] == {
        "url": index.file_url("whole.tar.gz"),
        "subdirectory": "inner-1.0",
        "hashes": {"sha256": index.digests["whole.tar.gz"]},
    }


def test_sync_of_that_lock_makes_the_same(casfs: Casfs, pylock: Path) -> None:
    casfs.run("--env", "other", "sync", pylock)
    assert casfs.run("--env", "other", "list", "--json").stdout == casfs.run("list", "--json").stdout
    assert casfs.run("--env", "other", "lock").stdout == pylock.read_text()
    before = casfs.generation()
    assert casfs.run("sync", pylock).stdout == ""
    assert casfs.generation() == before
    assert leftovers(casfs) == []


def test_sync_says_the_same_of_the_same_state(casfs: Casfs, pylock: Path) -> None:
    """Whether what it names has to be built, or is there."""
    said = [casfs.run("--env", name, "sync", "--no-compile", pylock).stderr for name in ("other", "other", "third")]
    assert {one.partition("; new")[0] for one in said} == {"21 files, 1.2 kB"}, said


def test_sync_builds_what_may_have_changed_and_nothing_else(casfs: Casfs, index: PackageIndex, pylock: Path) -> None:
    for name in ("directory", "vcs"):
        offer(casfs.directory / name, "plain", make_wheel(None, name, "2.0"))
    index.fetched()
    assert casfs.run("sync", pylock).stdout == "~ directory 1.0 -> 2.0\n"
    assert index.fetched() == []


def packed_later(wheel: MadeWheel) -> MadeWheel:
    """The same files in an archive that says another time of each."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, (1999, 12, 31, 23, 59, 58)), old.read(name))
    return MadeWheel(wheel.filename, packed.getvalue())


def test_what_is_built_anew_and_came_out_the_same_is_no_change(casfs: Casfs, tmp_path: Path) -> None:
    """A build backend writes the time of day into the archive."""
    project = make_project(tmp_path / "mine", make_wheel(None, "mine"), table='[project]\nname = "mine"\nversion = "1.0"\n')
    (tmp_path / "requirements.txt").write_text(str(project))
    casfs.add(project)
    before = casfs.generation()
    offer(project, "plain", packed_later(make_wheel(None, "mine")))
    assert casfs.run("sync", tmp_path / "requirements.txt").stdout == ""
    assert casfs.add(project).stdout == "= mine 1.0\n"
    assert casfs.generation() == before
    offer(project, "plain", make_wheel({"mine.py": b"VALUE = 2\n"}, "mine"))
    assert casfs.run("sync", tmp_path / "requirements.txt").stdout == f"~ mine 1.0 (from {project})\n"


def test_uv_makes_the_same_of_it(casfs: Casfs, pylock: Path) -> None:
    plain = casfs.directory / "plain"
    for words in (("venv", "--python", sys.executable, plain), ("pip", "sync", pylock, "--preview", "--python", plain)):
        subprocess.run([UV, *map(str, words)], env=casfs.environ, check=True, capture_output=True, text=True)
    listing = [UV, "pip", "list", "--format", "json", "--python", str(plain)]
    found = json.loads(subprocess.run(listing, env=casfs.environ, check=True, capture_output=True, text=True).stdout)
    assert {one["name"]: one["version"] for one in found} == listed(casfs)
    assert [one["name"] for one in found if "editable_project_location" in one] == ["editable"]


def test_login_of_a_repository_is_in_no_lock(casfs: Casfs, index: PackageIndex, pylock: Path) -> None:
    """Nor is it in what the environment remembers."""
    text = pylock.read_text().replace("file:///", "file://somebody:secret@localhost/")
    lock = casfs.directory / "pylock.login.toml"
    lock.write_text(text)
    casfs.run("--env", "other", "sync", lock)
    said = casfs.run("--env", "other", "lock").stdout + casfs.run("--env", "other", "show", "vcs", "--files").stdout
    assert "secret" not in said
    assert "commit-id" in said
