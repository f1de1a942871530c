"""pool warm: what requirements need is in the pool, compiled, before anybody adds it; what can't be had stops nothing else."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from casfs.store.store import open_store
from tests.cli.package_index import PackageIndex, is_missing
from tests.cli.test_names import casfs, index, leftovers
from tests.mounted.harness import Casfs, site_packages
from tests.python_versions import find_python, needs_python

__all__ = ["casfs", "index"]


def bytecode(casfs: Casfs) -> dict[str, int]:
    """Compiled sources by target, as "cpython-311"."""
    folders = (casfs.store / "bytecode").iterdir()
    return {folder.name.rpartition("-")[0]: sum(path.is_symlink() for path in folder.glob("sources/*/*")) for folder in folders}


def test_what_was_warmed_is_added_without_fetching_or_compiling(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    done = casfs.run("pool", "warm", "one")
    assert sorted(done.stdout.splitlines()) == ["+ one 1.0", "+ two 1.0"]
    assert sorted(index.fetched()) == ["one-1.0-py3-none-any.whl", "two-1.0-py3-none-any.whl"]
    added = casfs.add("one")
    assert "new to the pool: nothing" in added.stderr
    assert "compiled" not in added.stderr
    assert index.fetched() == []
    assert list(site_packages(casfs.mount(data_path="")).glob("one/__pycache__/*.pyc"))


def test_no_environment_is_made_or_changed(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    before, names = casfs.generation(), os.listdir(casfs.store / "environments")
    casfs.run("pool", "warm", "one")
    assert (casfs.generation(), os.listdir(casfs.store / "environments"), leftovers(casfs)) == (before, names, [])


def test_requirements_that_exclude_each_other_are_both_there(casfs: Casfs, index: PackageIndex, tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        index.offer("base", version)
        index.offer(f"needs{version[0]}", needs=f"base=={version}")
    popular = tmp_path / "popular.txt"
    popular.write_text("needs1  # the old one\nneeds2\n\n")
    casfs.run("pool", "warm", "-r", popular, "--jobs", "2")
    index.fetched()
    for name in ("needs1", "needs2"):
        casfs.run("--env", name, "add", name)
    assert index.fetched() == []


def test_what_can_not_be_had_is_told_and_the_rest_is_there(casfs: Casfs, index: PackageIndex) -> None:
    for name in ("good", "gone", "better"):
        index.offer(name)
    index.faults["gone-1.0-py3-none-any.whl"] = is_missing
    done = casfs.run("pool", "warm", "good", "unknown", "gone", "better", code=1)
    assert sorted(done.stdout.splitlines()) == ["+ better 1.0", "+ good 1.0"]
    assert "unknown: " in done.stderr
    assert "gone-1.0-py3-none-any.whl" in done.stderr
    assert leftovers(casfs) == []


@needs_python("3.12")
def test_each_interpreter_gets_its_own_bytecode_of_the_same_files(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    other = find_python("3.12")
    casfs.run("pool", "warm", "one", "--python", sys.executable, "--python", other)
    assert index.fetched() == ["one-1.0-py3-none-any.whl"]
    assert bytecode(casfs) == {f"cpython-{sys.version_info.major}{sys.version_info.minor}": 1, "cpython-312": 1}


def test_without_compiling_there_is_no_bytecode(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    casfs.run("pool", "warm", "--no-compile", "one")
    assert not (casfs.store / "bytecode").exists() or bytecode(casfs) == {}


@pytest.mark.parametrize("words", [[], ["--jobs", "0", "one"], ["--jobs", "many", "one"]])
def test_wrong_usage_is_told(casfs: Casfs, words: list[str]) -> None:
    assert "usage: casfs pool warm" in casfs.run("pool", "warm", *words, code=2).stderr


def test_a_store_that_is_not_there_is_made(casfs: Casfs, index: PackageIndex, tmp_path: Path) -> None:
    index.offer("one")
    casfs.run("--store", tmp_path / "new", "pool", "warm", "one")
    assert json.loads(casfs.run("--store", tmp_path / "new", "env", "list", "--json").stdout) == []
    assert len(os.listdir(open_store(tmp_path / "new").path("wheels"))) == 1


def test_hashes_are_compared_as_add_does(casfs: Casfs, index: PackageIndex, tmp_path: Path) -> None:
    for name in ("one", "two"):
        index.offer(name)
    path = tmp_path / "requirements.txt"
    good = f"two==1.0 --hash=sha256:{index.digests['two-1.0-py3-none-any.whl']}\n"
    path.write_text(f"one==1.0 --hash=sha256:{'0' * 64}\n{good}")
    done = casfs.run("pool", "warm", "-r", path, code=1)
    assert done.stdout == "+ two 1.0\n"
    assert "is not one of those" in done.stderr
    assert index.fetched() == ["two-1.0-py3-none-any.whl"]


def test_hashes_of_what_is_needed_stand_in_other_lines(casfs: Casfs, index: PackageIndex, tmp_path: Path) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    path = tmp_path / "requirements.txt"
    path.write_text("".join(f"{name.partition('-')[0]}==1.0 --hash=sha256:{digest}\n" for name, digest in index.digests.items()))
    assert sorted(casfs.run("pool", "warm", "-r", path).stdout.splitlines()) == ["+ one 1.0", "+ two 1.0"]


def test_requirements_file_that_can_not_be_read_is_an_error(casfs: Casfs, tmp_path: Path) -> None:
    """Also one that another file includes."""
    path = tmp_path / "requirements.txt"
    missing = tmp_path / "missing.txt"
    path.write_text("-r missing.txt\n")
    for one in (missing, path):
        done = casfs.run("--store", tmp_path / "new", "pool", "warm", "-r", one, code=1)
        assert done.stderr == f"casfs: {missing}: no such file or directory\n"
    assert not (tmp_path / "new").exists()


def test_editable_project_of_a_file_is_passed_over_and_told(casfs: Casfs, index: PackageIndex, tmp_path: Path) -> None:
    index.offer("one")
    path = tmp_path / "requirements.txt"
    path.write_text("-e /nowhere\none\n")
    done = casfs.run("pool", "warm", "-r", path)
    assert done.stdout == "+ one 1.0\n"
    assert done.stderr.startswith(f"casfs: warning: {path}, line 1: -e file:///nowhere is passed over")


def test_options_of_a_file_count(casfs: Casfs, index: PackageIndex, tmp_path: Path) -> None:
    index.offer("one")
    index.offer("one", "2.0rc1")
    (tmp_path / "constraints.txt").write_text("one<2\n")
    path = tmp_path / "requirements.txt"
    for text, version in (("--pre\none\n", "2.0rc1"), ("--pre\n-c constraints.txt\none", "1.0")):
        path.write_text(text)
        assert casfs.run("pool", "warm", "-r", path).stdout == f"+ one {version}\n"


def test_word_of_several_lines_is_refused(casfs: Casfs, tmp_path: Path) -> None:
    done = casfs.run("--store", tmp_path / "new", "pool", "warm", "two\n--find-links /nowhere", code=1)
    assert done.stderr == "casfs: 'two\\n--find-links /nowhere': is not a requirement, a path or a URL\n"


def test_login_of_what_fails_is_not_told(casfs: Casfs, tmp_path: Path) -> None:
    done = casfs.run("pool", "warm", "one @ http://u:secret@127.0.0.1:9/one-1.0-py3-none-any.whl", code=1, environ={"UV_HTTP_RETRIES": "0"})
    [line] = [line for line in done.stderr.splitlines() if line.startswith("casfs: warning")]
    assert line.startswith("casfs: warning: one @ http://127.0.0.1:9/one-1.0-py3-none-any.whl: ")
    assert "secret" not in done.stderr
