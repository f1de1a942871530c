"""What a build has to say is told only if it fails, whichever command builds, and whatever of."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.package_index import PackageIndex
from tests.cli.projects import commit_project, make_project, pack_project
from tests.cli.test_names import casfs, index, leftovers
from tests.make_wheels import make_wheel
from tests.mounted.harness import Casfs

__all__ = ["casfs", "index"]

_TABLE = '[project]\nname = "mine"\nversion = "1.0"\n'


def _directory(project: Path, index: PackageIndex) -> str:
    return str(project)


def _source_distribution(project: Path, index: PackageIndex) -> str:
    index.offer_file("mine-1.0.tar.gz", pack_project(project, "mine"))
    return "mine"


def _repository(project: Path, index: PackageIndex) -> str:
    commit_project(project)
    return f"mine @ git+file://{project}"


KINDS = (_directory, _source_distribution, _repository)


def talkative(directory: Path, ending: str = "") -> Path:
    """A project whose build says something, and then does what `ending` says."""
    project = make_project(directory, make_wheel(None, "mine"), table=_TABLE)
    backend = (project / "backend.py").read_text()
    told = backend.replace('return _take("plain"', f'print("many words")\n    {ending}\n    return _take("plain"')
    (project / "backend.py").write_text(told)
    return project


def commands(tmp_path: Path, what: str) -> list[list[str | Path]]:
    (tmp_path / "requirements.txt").write_text(what)
    return [["sync", tmp_path / "requirements.txt"], ["add", what], ["pool", "warm", what], ["run", "--with", what, "--", "true"]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_build_that_succeeds_says_nothing(
    casfs: Casfs, index: PackageIndex, tmp_path: Path, kind: Callable[[Path, PackageIndex], str]
) -> None:
    for words in commands(tmp_path, kind(talkative(tmp_path / "p"), index)):
        done = casfs.run(*words)
        assert "many words" not in done.stdout + done.stderr
        assert "uilding" not in done.stderr


def test_a_terminal_is_told_what_is_being_built(casfs: Casfs, index: PackageIndex, tmp_path: Path) -> None:
    what = _source_distribution(talkative(tmp_path / "p"), index)
    ours, theirs = pty.openpty()
    try:
        casfs.run("add", what, capture_output=False, stdout=subprocess.DEVNULL, stderr=theirs)
        assert b"building mine 1.0\r\n" in os.read(ours, 1 << 16)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_build_that_fails_says_all_and_what_was_built(
    casfs: Casfs, index: PackageIndex, tmp_path: Path, kind: Callable[[Path, PackageIndex], str]
) -> None:
    project = talkative(tmp_path / "p", 'raise ValueError("oh no")')
    for words in commands(tmp_path, kind(project, index)):
        said = casfs.run(*words, code=1).stderr
        assert "many words" in said
        assert "ValueError: oh no" in said
        [last] = [line for line in said.splitlines() if line.startswith("casfs: ") and "can't be built" in line]
        assert (str(project) if kind is not _source_distribution else index.file_url("mine-1.0.tar.gz")) in last
    assert leftovers(casfs) == []


def test_of_a_long_log_the_end_is_shown_and_all_is_kept(casfs: Casfs, index: PackageIndex, tmp_path: Path) -> None:
    lines = 'print("\\n".join(f"line {n}" for n in range(500)), file=sys.stderr)'  # nobody orders what comes through two pipes
    project = talkative(tmp_path / "p", f'import sys; {lines}; raise ValueError("oh no")')
    (tmp_path / "kept").mkdir()
    said = casfs.run(
        "add", _source_distribution(project, index), code=1, environ={"TMPDIR": str(tmp_path / "kept")}, capture_output=True
    ).stderr
    assert len(said.splitlines()) < 30
    assert "ValueError: oh no" in said
    [log] = (tmp_path / "kept").glob("casfs-build-*.log")
    assert f"(all of it: {log})" in said
    assert all(f"line {n}\n" in log.read_text() for n in range(500))


def test_what_uv_says_of_a_requirement_is_about_the_requirement(casfs: Casfs) -> None:
    said = casfs.run("add", "six=1", code=1).stderr
    assert "six=1" in said
    assert "`-`" not in said
    assert said.startswith("casfs: six=1: ")


def test_poetry_without_its_plugin_is_told_apart(casfs: Casfs, tmp_path: Path) -> None:
    (tmp_path / "poetry").write_text("#!/bin/sh\necho 'The requested command export does not exist.' >&2\nexit 1\n")
    (tmp_path / "poetry").chmod(0o755)
    (tmp_path / "poetry.lock").write_text("")
    (tmp_path / "pyproject.toml").write_text("")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    said = casfs.run("sync", tmp_path / "poetry.lock", code=1, environ={"PATH": path}).stderr
    assert said.startswith(f"casfs: {tmp_path}/poetry.lock: ")
    assert "`poetry self add poetry-plugin-export`" in said
    assert said.count("\n") == 1
