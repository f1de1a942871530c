"""What is known costs what its distributions cost, however many files they have; and nothing that is lost or withdrawn counts as known."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.digest import digest_bytes
from tests.mounted.harness import Casfs

DISTRIBUTIONS = 3
FEW, MANY = 5, 205

SLACK = DISTRIBUTIONS * (MANY - FEW) // 10
"""System calls by which two runs may differ: a bigger file takes more of them to read, but a file of a wheel may not take one."""

_CALLS = re.compile(r"^total +(\d+)$", re.MULTILINE)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Casfs]]:
    """Two stores with as many distributions, of few and of many files."""
    stores = []
    for count in (FEW, MANY):
        (directory := tmp_path / str(count)).mkdir()
        stores.append(Casfs(directory))
    with stores[0], stores[1]:
        for casfs, count in zip(stores, (FEW, MANY), strict=True):
            casfs.add(*[_wheel(casfs, f"demo{number}", count) for number in range(DISTRIBUTIONS)])
            casfs.run("lock", "-o", casfs.directory / "pylock.toml")
        yield stores


def _wheel(casfs: Casfs, name: str, count: int) -> Path:
    return casfs.wheel(name, files={f"{name}/m{number}.py": f"N = {number}, {name!r}\n".encode() for number in range(count)})


def _count_calls(casfs: Casfs, *words: str | Path) -> int:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    report = casfs.directory / "calls"
    traced = ("-f", "-c", "-e", "trace=%file,%desc", "-U", "name,calls", "-o", report)
    subprocess.run(["strace", *traced, *casfs.command(*words)], env=casfs.environ, check=True, capture_output=True)
    found = _CALLS.search(report.read_text())
    assert found
    return int(found[1])


def _grows(pair: list[Casfs], *words: str) -> int:
    """By how many system calls a command does more where there are more files."""
    few, many = (_count_calls(casfs, *(word.replace("HERE", str(casfs.directory)) for word in words)) for casfs in pair)
    return many - few


def test_a_sync_that_changes_nothing_looks_at_no_file(pair: list[Casfs]):
    for casfs in pair:
        casfs.run("sync", casfs.directory / "pylock.toml")
    assert _grows(pair, "sync", "HERE/pylock.toml") < SLACK


def test_a_sync_of_known_wheels_looks_at_no_file(pair: list[Casfs]):
    for casfs in pair:
        casfs.run("--env", "first", "sync", casfs.directory / "pylock.toml")
    assert _grows(pair, "--env", "new", "sync", "HERE/pylock.toml") < SLACK
    assert [casfs.generation("new") for casfs in pair] == [1, 1]


def test_an_add_of_a_known_wheel_looks_at_no_file(pair: list[Casfs]):
    assert _grows(pair, "--env", "new", "add", "HERE/wheels/demo0-1.0-py3-none-any.whl") < SLACK


def test_a_mount_looks_at_no_file(pair: list[Casfs]):
    for casfs in pair:
        casfs.run("mount", casfs.directory / "first")
    grown = [_grows(pair, "mount", f"HERE/{name}") for name in ("second", "third", "fourth")]
    assert min(grown) < SLACK, grown  # on a busy machine a mount waits, and looks more often whether all is ready


@pytest.fixture
def synced(casfs: Casfs) -> Path:
    """A lock that was synced to an environment."""
    casfs.add(casfs.wheel("demo", files={"demo/__init__.py": b"VALUE = 1\n"}, entry_points="[console_scripts]\ndemo = demo:main\n"))
    casfs.run("lock", "-o", lock := casfs.directory / "pylock.toml")
    casfs.run("sync", lock)  # generation 2: the wheel is not asked for by its path any more
    return lock


def _said(casfs: Casfs, lock: Path) -> tuple[str, int]:
    return casfs.run("sync", lock).stdout, casfs.generation()


def test_a_sync_says_the_same_when_it_is_told_again(casfs: Casfs, synced: Path):
    one, other = (casfs.run("sync", synced) for _ in range(2))
    (casfs.store / "environments/default/synced").unlink()
    again = casfs.run("sync", synced)
    assert (one.stdout, one.stderr) == (other.stdout, other.stderr) == (again.stdout, again.stderr)
    assert casfs.generation() == 2


def test_what_changed_since_the_last_sync_is_synced(casfs: Casfs, synced: Path):
    casfs.add(casfs.wheel("other"))
    assert _said(casfs, synced) == ("- other 1.0\n", 4)
    casfs.run("rollback")
    assert _said(casfs, synced) == ("- other 1.0\n", 6)
    text = synced.read_text()
    synced.write_text("lock-version = '1.0'\ncreated-by = 'x'\npackages = []\n")
    assert _said(casfs, synced) == ("- demo 1.0\n", 7)
    synced.write_text(text)
    assert _said(casfs, synced) == ("+ demo 1.0\n", 8)


def test_bytecode_that_is_wanted_now_is_made(casfs: Casfs, synced: Path):
    casfs.run("--env", "bare", "sync", "--no-compile", synced)
    shutil.rmtree(casfs.store / "bytecode")
    casfs.run("--env", "other", "sync", "--no-compile", synced)
    assert "compiled now" in casfs.run("--env", "other", "sync", synced).stderr


@pytest.mark.parametrize("lost", ["VALUE", "INSTALLER", "bytecode"])
def test_what_fsck_found_lost_is_restored_by_a_sync(casfs: Casfs, synced: Path, lost: str):
    contents = {"VALUE": digest_bytes(b"VALUE = 1\n"), "INSTALLER": digest_bytes(b"casfs\n")}
    if lost == "bytecode":
        blobs = [path for path in (casfs.store / "blobs").glob("*/*") if b"<casfs " in path.read_bytes()]
    else:
        blobs = [casfs.blob(contents[lost])]
    for blob in blobs:
        blob.unlink()
    casfs.run("fsck", "--repair", code=3)
    casfs.run("sync", synced)
    assert blobs
    assert all(blob.is_file() for blob in blobs)


def test_a_wheel_that_was_withdrawn_is_no_part_of_what_is_synced(casfs: Casfs, synced: Path):
    [record] = (casfs.store / "wheels").iterdir()
    record.unlink()
    casfs.run("sync", synced)
    assert record.is_file()


def test_what_was_remembered_goes_with_what_it_leads_to(casfs: Casfs, synced: Path):
    stamps = casfs.store / "stamps"
    assert len([*stamps.glob("*.installed")]) == 1
    casfs.run("env", "remove", "default")
    casfs.run("collect")
    assert [*stamps.glob("*.installed")] == []
    assert casfs.run("--env", "new", "sync", synced).stdout == "+ demo 1.0\n"


def test_what_is_remembered_wrongly_is_not_believed(casfs: Casfs, synced: Path):
    [path] = (casfs.store / "stamps").glob("*.installed")
    path.write_bytes(path.read_bytes().replace(b'"count":', b'"count":1'))
    casfs.run("--env", "new", "sync", synced)
    assert casfs.run("fsck").stdout == "no damage\n"
