"""collect: what removed environments have left goes, and what is shown works on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, run_python

IMPORT = "import demo; print(demo.VALUE)"


def add(casfs: Casfs, name: str, version: str = "1.0", value: int = 1) -> None:
    casfs.run("--env", name, "add", casfs.wheel("demo", version, {"demo.py": b"VALUE = %d\n" % value}))


def count_files(store: Path, *places: str) -> int:
    return sum(path.is_file() for place in places for path in (store / place).rglob("*"))


@pytest.mark.parametrize("data_path", ["fuse", ""], ids=["fuse", "default"])
def test_removed_environment_is_collected_while_another_one_is_mounted(casfs: Casfs, data_path: str) -> None:
    add(casfs, "kept")
    before = count_files(casfs.store, "blobs", "manifests", "wheels")
    mountpoint = casfs.mount("--env", "kept", data_path=data_path)
    mounted = count_files(casfs.store, "blobs", "manifests", "wheels")
    add(casfs, "gone", "2.0", 2)
    casfs.run("env", "remove", "gone")
    assert casfs.run("collect").stdout.startswith("freed ")
    assert casfs.run("collect", "--unused-wheels").stdout.startswith("freed ")
    assert before <= count_files(casfs.store, "blobs", "manifests", "wheels") == mounted
    assert run_python(mountpoint, IMPORT) == "1"
    assert casfs.run("collect", "--unused-wheels").stdout == "nothing to collect\n"
    assert casfs.run("fsck").stdout == "no damage\n"


def test_wheels_that_no_environment_has_stay_and_are_named(casfs: Casfs) -> None:
    add(casfs, "gone")
    casfs.run("env", "remove", "gone")
    casfs.run("collect")
    done = casfs.run("collect")
    assert done.stdout == "nothing to collect\n"
    assert done.stderr == "kept for the next `casfs add`: 1 wheel that no environment uses; `casfs collect --unused-wheels` removes them\n"


def test_a_dry_run_removes_nothing_and_says_what_would_go(casfs: Casfs) -> None:
    add(casfs, "gone")
    casfs.run("env", "remove", "gone")
    before = count_files(casfs.store, ".")
    planned = casfs.run("collect", "--unused-wheels", "--dry-run").stdout
    assert planned.startswith("would free ")
    assert "1 wheel" in planned
    assert count_files(casfs.store, ".") == before
    assert casfs.run("collect", "--unused-wheels").stdout == planned.replace("would free", "freed")


def test_older_generations_go_if_that_is_wished_but_not_under_a_mount(casfs: Casfs) -> None:
    for version in (1, 2, 3):
        add(casfs, "default", f"{version}.0", version)
    mountpoint = casfs.mount()
    done = casfs.run("collect", "--keep", "1", "--unused-wheels")
    assert (done.stdout, done.stderr) == (
        "nothing to collect\n",
        "environment 'default' is mounted, or may still be seen, so it keeps all its generations\n",
    )
    casfs.umount(mountpoint)
    assert "2 wheels" in casfs.run("collect", "--keep", "1", "--unused-wheels").stdout
    assert len(casfs.run("generations").stdout.splitlines()) == 3
    assert "no generation" in casfs.run("rollback", "1", code=1).stderr
    assert run_python(casfs.mount(), IMPORT) == "3"
    assert casfs.run("fsck").stdout == "no damage\n"


def test_a_rollback_after_a_collection_tells_what_is_left(casfs: Casfs) -> None:
    for version in (1, 2, 3):
        add(casfs, "default", f"{version}.0", version)
    casfs.run("rollback", "1")
    casfs.run("collect", "--keep", "2", "--unused-wheels")
    assert "`casfs rollback` undoes that" in casfs.run("rollback").stderr
    assert run_python(casfs.mount(), IMPORT) == "3"
    assert "`casfs rollback 4` goes further back" in casfs.run("rollback", "5").stderr


def test_what_a_running_command_sees_stays(casfs: Casfs) -> None:
    add(casfs, "default")
    collecting = f"{sys.executable} -m casfs --store {casfs.store} collect --keep 1 --unused-wheels"
    upgrade = f"{sys.executable} -m casfs --store {casfs.store} add {casfs.wheel('demo', '2.0', {'demo.py': b'VALUE = 2'})}"
    done = casfs.run("run", "--", "sh", "-ec", f"{upgrade}; {collecting}; python -c '{IMPORT}'")
    assert done.stdout.splitlines()[-2:] == ["nothing to collect", "1"]


def test_what_was_collected_can_be_added_again(casfs: Casfs) -> None:
    add(casfs, "gone")
    casfs.run("env", "remove", "gone")
    casfs.run("collect", "--unused-wheels")
    assert count_files(casfs.store, "wheels") == 0
    add(casfs, "default")
    assert run_python(casfs.mount(), IMPORT) == "1"
    assert os.listdir(casfs.store / "tmp") == []


def test_nothing_is_collected_if_a_needed_shared_pool_is_missing(casfs: Casfs, tmp_path: Path) -> None:
    add(casfs, "default")
    (casfs.store / "config.toml").write_text(f'shared-pools = ["{tmp_path}/nowhere"]\n')
    before = count_files(casfs.store, ".")
    [line] = casfs.run("collect", "--unused-wheels", code=1).stderr.splitlines()
    assert "nowhere" in line
    assert count_files(casfs.store, ".") == before
    (casfs.store / "config.toml").unlink()
