"""A store of the format before becomes one of this, whatever lives in it, and whoever is stopped on the way."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from casfs.store import migration
from casfs.store.fsck.check import check_store
from casfs.store.locking import holding
from casfs.store.migration import FORMAT, OLD_FORMAT, migrate_store
from casfs.store.store import Store, open_store
from tests.store.collecting import collect_all
from tests.store.racing import run_both

OPEN = """
import sys
from casfs.store.store import open_store
print("ready", flush=True)
sys.stdin.readline()
print(open_store(sys.argv[1]).run)
"""


@pytest.fixture
def old(place: Path) -> Path:
    """A store of the format before, with a mount's record in it that means nothing any more."""
    root = Path(open_store(place / "store", create=True).root)
    (root / "run").rename(root / "leases")
    (root / "leases/0123456789abcdef.place").write_text("{}")
    (root / "leases/dead.log").write_text("it died")
    (root / "format").write_text(OLD_FORMAT)
    return root


def check_is_new(root: Path) -> None:
    assert (root / "format").read_text() == FORMAT
    assert sorted(os.listdir(root / "run")) == ["0123456789abcdef.mount", "dead.log"]
    assert os.readlink(root / "leases") == "run"
    assert open_store(root).run == "run"
    assert check_store(open_store(root)).damages == ()


def test_the_first_use_migrates(old: Path):
    assert open_store(old).run_path("dead.log") == f"{old}/run/dead.log"
    check_is_new(old)


@pytest.mark.parametrize("step", ["rename", "symlink", "_write_format"])
def test_what_stops_on_the_way_is_finished_by_the_next(old: Path, monkeypatch: pytest.MonkeyPatch, step: str):
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(migration if step.startswith("_") else os, step, stop)
        with pytest.raises(KeyboardInterrupt):
            migrate_store(str(old))
    open_store(old)
    check_is_new(old)


def test_a_record_that_a_command_of_the_version_before_writes_late_is_found(old: Path):
    open_store(old)
    (old / "leases/fedcba9876543210.place").write_text("{}")
    open_store(old)
    assert "fedcba9876543210.mount" in os.listdir(old / "run")


def test_a_command_of_the_version_before_that_mounts_is_waited_for(old: Path):
    (old / "locks").mkdir(exist_ok=True)
    with holding(f"{old}/locks/places"):
        command = [sys.executable, "-c", OPEN, str(old)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        (old / "leases/fedcba9876543210.place").write_text("{}")
        assert (old / "format").read_text() == OLD_FORMAT
    assert child.communicate()[0] == "run\n"
    assert "fedcba9876543210.mount" in os.listdir(old / "run")


def test_two_at_once_migrate_once(old: Path):
    assert [output.split() for output in run_both(OPEN, str(old))] == [[b"run"], [b"run"]]
    check_is_new(old)


def test_while_a_process_of_the_version_before_lives_it_stays_as_it_is(old: Path):
    with (old / "leases/abcdef012345.json").open("w") as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        store = open_store(old)
        assert (store.run, store.run_path("x")) == ("leases", f"{old}/leases/x")
        assert sorted(os.listdir(old / "leases")) == ["0123456789abcdef.place", "abcdef012345.json", "dead.log"]
        assert (old / "format").read_text() == OLD_FORMAT
        assert check_store(store).damages == ()
    (old / "leases/abcdef012345.json").unlink()
    open_store(old)
    check_is_new(old)


def test_a_store_that_may_not_be_written_is_used_by_its_old_name(old: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*given: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    assert open_store(old).run == "leases"


def test_a_copy_of_an_old_store_forgets_what_was_mounted(old: Path, place: Path):
    shutil.copytree(old, place / "copy")
    (place / "copy/identity").write_text("[1, 2]")
    assert os.listdir(open_store(place / "copy").run_path()) == []


def test_a_collection_removes_the_old_name(old: Path):
    collect_all(open_store(old))
    assert not (old / "leases").is_symlink()
    assert isinstance(open_store(old), Store)
