"""`casfs run --with`: the environment and something more, for one command; what was fetched for it stays in the pool, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.package_index import PackageIndex, make_environ
from tests.cli.projects import make_editable
from tests.mounted.harness import Casfs
from tests.mounted.test_run import output, run

__all__ = ["run"]

VERSIONS = "import one, demo; print(one.VERSION, demo.VALUE)"


@pytest.fixture
def index(run: Casfs) -> Iterator[PackageIndex]:
    """One that the commands know, and no other. It offers one 1.0, which needs two."""
    for name in [name for name in run.environ if name.startswith(("PIP_", "UV_")) or name.lower().endswith("_proxy")]:
        del run.environ[name]
    with PackageIndex() as one:
        run.environ |= make_environ(run.directory, one)
        one.offer("one", needs="two")
        one.offer("two")
        yield one


def test_what_is_asked_for_is_there_beside_the_environment_and_gone_with_the_command(run: Casfs, index: PackageIndex) -> None:
    before = run.generation()
    done = run.run("run", "--with", "one", "--", "python", "-c", VERSIONS)
    assert (done.stdout, done.stderr) == ("1.0 1\n", "")
    assert len(index.fetched()) == 2
    assert run.generation() == before
    assert "ModuleNotFoundError" in run.run("run", "python", "-c", "import one", code=1).stderr
    assert os.listdir(run.store / "environments") == ["default"]
    assert output(run, "--with", "one", "--", "python", "-c", VERSIONS) == "1.0 1"
    assert index.fetched() == []  # the pool has them now


def test_it_counts_before_what_the_environment_has(run: Casfs, index: PackageIndex) -> None:
    index.offer("one", "0.5")
    run.add("one")
    assert output(run, "--with", "one<1", "python", "-c", VERSIONS) == "0.5 1"
    assert output(run, "python", "-c", VERSIONS) == "1.0 1"


def test_what_is_there_already_is_enough(run: Casfs, index: PackageIndex) -> None:
    run.add("one")
    index.offer("one", "2.0")
    index.fetched()
    assert output(run, "--with", "one", "python", "-c", VERSIONS) == "1.0 1"
    assert index.fetched() == []


def test_with_wheels_it_is_beside_them_alone(run: Casfs, index: PackageIndex) -> None:
    wheel = run.wheel("other", files={"other.py": b"VALUE = 3\n"})
    source = "import importlib.util, other, one; print(other.VALUE, importlib.util.find_spec('demo'))"
    assert output(run, "--with", "one", wheel, "--", "python", "-c", source) == "3 None"


def test_projects_and_requirements_files_can_be_had_too(run: Casfs, index: PackageIndex, tmp_path: Path) -> None:
    project = make_editable(tmp_path / "project")
    (tmp_path / "requirements.txt").write_text("one\n")
    words = ("--with-editable", project, "--with-requirements", tmp_path / "requirements.txt")
    assert output(run, *words, "python", "-c", "import mine, one; print(mine.__file__)") == f"{project}/src/mine.py"


@pytest.mark.parametrize(
    ("words", "code"),
    [(("--with", "nothere"), 1), (("--env", "nothere", "--with", "one"), 1), (("--with", "one\n"), 1), (("--with", ""), 1)],
)
def test_what_can_not_be_had_runs_nothing(run: Casfs, index: PackageIndex, words: tuple[str, ...], code: int) -> None:
    done = run.run("run", *words, "echo", "ran", code=code)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("casfs: ")


def test_command_is_still_needed(run: Casfs, index: PackageIndex) -> None:
    assert "name a command" in run.run("run", "--with", "one", code=2).stderr
    assert index.fetched() == []
