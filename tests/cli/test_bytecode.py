"""Bytecode by every way to add: wheels, names, locks, and what tools installed; and what commands do where it can't be made."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from casfs.changes.changes import AddOptions
from casfs.cli.bytecode import note_bytecode
from casfs.cli.changes import add_fitting
from casfs.errors import StoreDamaged
from casfs.venv.bytecode.bytecode import BytecodeMaker, Stored
from tests.cli.package_index import PackageIndex
from tests.cli.test_locks import entry, write_lock
from tests.cli.test_names import casfs, index
from tests.make_generations import INTERPRETER, open_workshop
from tests.make_wheels import make_wheel
from tests.mounted.harness import Casfs, site_packages

__all__ = ["casfs", "index"]


def shown(casfs: Casfs) -> list[str]:
    """What a mount has bytecode of, by package."""
    mountpoint = casfs.mount()
    found = sorted(path.parent.parent.name for path in site_packages(mountpoint).rglob("*.pyc"))
    casfs.umount(mountpoint)
    return found


def add_name(casfs: Casfs, index: PackageIndex) -> tuple[str | Path, ...]:
    return ("add", "one")


def add_url(casfs: Casfs, index: PackageIndex) -> tuple[str | Path, ...]:
    return ("add", f"two @ {index.file_url('two-1.0-py3-none-any.whl')}", index.file_url("one-1.0-py3-none-any.whl"))


def add_requirements(casfs: Casfs, index: PackageIndex) -> tuple[str | Path, ...]:
    path = casfs.directory / "requirements.txt"
    path.write_text("one\n")
    return ("add", "-r", path)


def sync(casfs: Casfs, index: PackageIndex) -> tuple[str | Path, ...]:
    return ("sync", write_lock(casfs, entry(index, "one"), entry(index, "two")))


@pytest.mark.parametrize("way", [add_name, add_url, add_requirements, sync])
def test_whatever_way_a_distribution_comes_it_is_compiled(
    casfs: Casfs, index: PackageIndex, way: Callable[[Casfs, PackageIndex], tuple[str | Path, ...]]
) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    words = way(casfs, index)
    assert "bytecode" not in casfs.run(*words, "--no-compile").stderr
    assert shown(casfs) == []
    done = casfs.run("--env", "other", *words)
    assert "bytecode: 2 files, " in done.stderr
    assert "; 1 compiled now\n" in done.stderr  # for both: their sources are equal
    assert "bytecode" not in casfs.run("--env", "third", *words).stderr  # the store has it all
    casfs.environ["CASFS_ENV"] = "third"
    assert shown(casfs) == ["one", "two"]


def test_what_is_there_gains_bytecode_when_a_lock_is_synced_again(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    lock = write_lock(casfs, entry(index, "one"))
    casfs.run("sync", "--no-compile", lock)
    done = casfs.run("sync", lock)
    assert (done.stdout, "1 compiled now" in done.stderr) == ("", True)
    before = casfs.generation()
    casfs.run("sync", "--no-compile", lock)
    assert (shown(casfs), casfs.generation()) == (["one"], before)


def test_an_environment_goes_without_its_bytecode_into_a_lock(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    casfs.run("add", "one", "--no-compile")
    lock = casfs.run("lock").stdout
    casfs.run("compile")
    assert casfs.run("lock").stdout == lock


def fails_by(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def make(maker: BytecodeMaker, manifests: Sequence[Stored]) -> Sequence[Stored]:
        maker.made.compiled = 1
        raise error

    monkeypatch.setattr(BytecodeMaker, "make", make)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreDamaged("blob", "is not what its name says"), "blob: is not what its name says"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x"), "/x: no space left on device"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "too many open files"),
    ],
)
def test_compiling_that_fails_costs_the_bytecode_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    fails_by(monkeypatch, error)
    with open_workshop(tmp_path) as workshop:
        path = str(make_wheel().write_to(workshop.wheels))
        change, made = add_fitting(workshop.environment, INTERPRETER, [path], AddOptions(), is_compiled=True)
        assert [one.project for one in change.after.distributions] == ["demo"]
        assert made.compiled == 0
        note_bytecode(made)
    assert f"nothing is compiled: {said}\n" in capsys.readouterr().err


def test_an_interpreter_that_can_not_be_started_costs_the_bytecode_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interpreter = dataclasses.replace(INTERPRETER, executable=str(tmp_path / "gone"))
    with open_workshop(tmp_path) as workshop:
        path = str(make_wheel().write_to(workshop.wheels))
        change, made = add_fitting(workshop.environment, interpreter, [path], AddOptions(), is_compiled=True)
        assert [one.project for one in change.after.distributions] == ["demo"]
        assert made.files == 0
        note_bytecode(made)
    assert f"nothing is compiled: {interpreter.executable}: can't be run: no such file or directory" in capsys.readouterr().err
