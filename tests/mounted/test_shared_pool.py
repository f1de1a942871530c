"""Shared pools under real mounts: files come from a store that this one may only read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.store.pending_changes import changing
from casfs.store.shared import use_shared_pools
from casfs.store.store import open_store
from tests.make_wheels import make_wheel
from tests.mounted.harness import TIME_LIMIT_S, Casfs, run_python, site_packages
from tests.mounted.plain_user import HOME, PlainUser

SOURCE = b"VALUE = 'from the shared pool'\n"


@pytest.fixture
def shared(casfs: Casfs, template: Path, tmp_path: Path) -> Path:
    """A store that has demo 1.0."""
    path = tmp_path / "shared"
    shutil.copytree(template, path, symlinks=True)
    casfs.run("--store", path, "add", casfs.wheel("demo", files={"demo.py": SOURCE, "more.py": b"MORE = 1\n"}))
    return path


def demo(casfs: Casfs) -> Path:
    """The wheel, as it was added to the shared pool."""
    return casfs.wheel("demo", files={"demo.py": SOURCE, "more.py": b"MORE = 1\n"})


def private_files(casfs: Casfs) -> set[bytes]:
    """What the private pool holds."""
    return {path.read_bytes() for path in (casfs.store / "blobs").rglob("??/*") if path.is_file()}


def test_mount_shows_blobs_that_only_the_shared_pool_has(casfs: Casfs, shared: Path) -> None:
    said = casfs.add("--shared-pool", shared, demo(casfs))
    assert f"{shared} is a shared pool of {casfs.store} from now on" in said.stderr
    assert "new to the pool: nothing" in said.stderr
    mountpoint = casfs.mount()
    assert run_python(mountpoint, "import demo; print(demo.VALUE)") == "from the shared pool"
    assert SOURCE not in private_files(casfs)
    assert os.listdir(casfs.store / "wheels") == []
    assert f"relies on the shared pool {shared} for" in casfs.run("fsck").stderr


def test_mount_that_runs_already_has_a_new_shared_pool_at_the_next_change(casfs: Casfs, shared: Path) -> None:
    mountpoint = casfs.mount()
    assert casfs.run("pool", "add", shared).stdout == f"+ {shared}\n"
    assert casfs.add(demo(casfs)).stderr.count("may still show") == 0
    assert run_python(mountpoint, "import demo; print(demo.VALUE)") == "from the shared pool"


def test_worker_that_takes_over_reads_the_shared_pool_as_well(casfs: Casfs, shared: Path) -> None:
    casfs.run("pool", "add", shared)
    casfs.add(demo(casfs))
    mountpoint = casfs.mount()
    assert (site_packages(mountpoint) / "demo.py").read_bytes() == SOURCE
    [mount] = casfs.status()
    os.kill(mount["worker"], signal.SIGKILL)
    assert (site_packages(mountpoint) / "more.py").read_bytes() == b"MORE = 1\n"


def test_good_shared_copy_is_shown_in_place_of_a_damaged_private_one(casfs: Casfs, shared: Path) -> None:
    casfs.add(demo(casfs))
    casfs.run("pool", "add", shared)
    [private] = [path for path in (casfs.store / "blobs").rglob("??/*") if path.read_bytes() == SOURCE]
    private.rename(casfs.directory / "kept")
    private.write_bytes(b"rot")
    mountpoint = casfs.mount()
    assert (site_packages(mountpoint) / "demo.py").read_bytes() == SOURCE
    assert f"{private}: the blob has 3 bytes" in casfs.log()
    (casfs.directory / "kept").rename(private)


def test_missing_shared_pool_is_named_at_once_and_does_not_keep_a_mount_from_ending(casfs: Casfs, shared: Path) -> None:
    casfs.add("--shared-pool", shared, demo(casfs))
    mountpoint = casfs.mount()
    shared.rename(casfs.directory / "away")
    missing = f"{shared}: can't be a shared pool of {casfs.store}: {shared} is missing\n"
    for words in (
        ("add", demo(casfs)),
        ("remove", "demo"),
        ("rollback",),
        ("mount", casfs.directory / "other"),
        ("run", "true"),
        ("fsck",),
    ):
        said = casfs.run(*words, code=1)
        assert said.stderr == f"casfs: {missing}"
        assert said.stdout == ""
    for name in ("list", "generations", "diff"):
        said = casfs.run(name)
        assert said.stderr.startswith(f"casfs: warning: {missing}")
        assert ("demo" in said.stdout) is (name != "diff")
    assert str(mountpoint) in casfs.run("status").stdout
    assert casfs.run("pool", "list").stdout == f"{shared}\n"
    casfs.umount(mountpoint)
    (casfs.directory / "away").rename(shared)


def test_wheels_of_a_removed_shared_pool_can_be_added_again(casfs: Casfs, shared: Path) -> None:
    casfs.add("--shared-pool", shared, demo(casfs))
    assert casfs.run("pool", "remove", "--force", shared).stdout == f"- {shared}\n"
    assert casfs.run("pool", "list").stdout == ""
    done = casfs.run("fsck", code=3)
    assert done.stdout
    assert "environment 'default': demo 1.0 is in no pool of the store any more; `casfs pool add`" in done.stderr
    casfs.add(demo(casfs))
    assert run_python(casfs.mount(), "import demo; print(demo.VALUE)") == "from the shared pool"


def test_shared_pool_that_an_environment_needs_is_not_removed_by_mistake(casfs: Casfs, shared: Path) -> None:
    casfs.run("pool", "add", shared)
    way = f"`casfs pool remove --force {shared}` removes it anyway"
    assert casfs.run("pool", "remove", shared).stdout == f"- {shared}\n"  # nobody needs it yet
    casfs.run("pool", "add", shared)
    casfs.add(demo(casfs))
    refusal = f"casfs: {shared}: environment 'default' needs it for demo 1.0, which no other pool has; {way}\n"
    assert casfs.run("pool", "remove", shared, code=1).stderr == refusal
    casfs.run("remove", "demo")
    assert casfs.run("pool", "remove", shared, code=1).stderr == refusal.replace(
        "environment", f"generation {casfs.generation() - 1} of environment"
    )
    assert casfs.run("pool", "list").stdout == f"{shared}\n"


def test_pool_is_not_removed_beneath_a_change_that_may_need_it(casfs: Casfs, shared: Path) -> None:
    """The removal waits, and looks only then who needs the pool; other changes go on."""
    casfs.run("pool", "add", shared)
    words = casfs.command("pool", "remove", shared)
    with changing(open_store(casfs.store)):
        removal = subprocess.Popen(words, env=casfs.environ, stderr=subprocess.PIPE, text=True)
        assert removal.stderr
        assert removal.stderr.readline().startswith("waiting for other commands that use the store: ")
        casfs.add(demo(casfs))
    _, said = removal.communicate(timeout=TIME_LIMIT_S)
    assert (removal.returncode, "needs it for demo 1.0" in said) == (1, True)
    assert casfs.run("pool", "list").stdout == f"{shared}\n"


def test_change_that_begins_after_a_removal_does_without_the_pool(casfs: Casfs, shared: Path) -> None:
    """Also if its command has read the config before."""
    casfs.run("pool", "add", shared)
    store = open_store(casfs.store)
    use_shared_pools(store)
    casfs.run("pool", "remove", shared)
    assert [*store.shared] == [str(shared)]
    with changing(store):
        assert [*store.shared] == []


def test_pool_of_which_a_wheel_of_ours_has_a_few_files_is_not_needed(casfs: Casfs, shared: Path) -> None:
    casfs.add("--shared-pool", shared, casfs.wheel("demo", "2.0", files={"demo.py": SOURCE, "own.py": b"OWN = 2\n"}))
    casfs.run("pool", "remove", shared)
    assert casfs.run("fsck").stdout == "no damage\n"


def test_shared_pool_that_collects_keeps_what_its_wheels_bring_and_takes_nothing_from_others(casfs: Casfs, shared: Path) -> None:
    casfs.add("--shared-pool", shared, demo(casfs))
    casfs.run("--store", shared, "env", "remove", "default")
    assert casfs.run("--store", shared, "collect").stdout.startswith("freed ")
    assert casfs.run("fsck").stdout == "no damage\n"
    assert run_python(casfs.mount(), "import demo; print(demo.VALUE)")


def test_pool_that_is_gone_is_removed_only_by_force(casfs: Casfs, shared: Path) -> None:
    casfs.add("--shared-pool", shared, demo(casfs))
    shared.rename(casfs.directory / "away")
    assert "needs it for demo 1.0" in casfs.run("pool", "remove", shared, code=1).stderr
    assert "needs it for demo 1.0, which is missing now" in casfs.run("pool", "remove", "--force", shared).stderr
    (casfs.directory / "away").rename(shared)
    casfs.run("pool", "add", shared)


def test_environment_that_is_in_no_pool_any_more_is_refused_in_one_line(casfs: Casfs, shared: Path) -> None:
    casfs.add("--shared-pool", shared, demo(casfs))
    casfs.run("pool", "remove", "--force", shared)
    for words in (("mount", casfs.directory / "mount"), ("run", "--", "true")):
        [line] = casfs.run(*words, code=1).stderr.splitlines()
        assert line.startswith("casfs: default: demo 1.0 is in no pool of the store any more; `casfs pool add`")
    assert casfs.status() == []
    casfs.run("pool", "add", shared)
    assert run_python(casfs.mount(), "import demo; print(demo.VALUE)") == "from the shared pool"


def test_environment_of_a_pool_that_was_emptied_is_refused(casfs: Casfs) -> None:
    (casfs.store / "blobs").rename(casfs.directory / "away")
    (casfs.store / "blobs").mkdir()
    said = casfs.run("mount", casfs.directory / "mount", code=1).stderr
    assert said.startswith("casfs: default: what makes it a virtual environment is in no pool of the store any more; ")
    (casfs.store / "blobs").rmdir()
    (casfs.directory / "away").rename(casfs.store / "blobs")


def test_environment_of_a_shared_pool_is_listed_and_removed_also_without_it(casfs: Casfs, shared: Path) -> None:
    casfs.add("--shared-pool", shared, demo(casfs))
    mountpoint = casfs.mount(data_path="")
    (site_packages(mountpoint) / "mine.py").touch()
    assert "is in use" in casfs.run("env", "remove", "default", code=1).stderr
    casfs.umount(mountpoint)
    assert "what was written into its mounts would be lost" in casfs.run("env", "remove", "default", code=1).stderr
    shared.rename(casfs.directory / "away")
    done = casfs.run("env", "list")
    assert "default" in done.stdout
    assert f"warning: {shared}: can't be a shared pool" in done.stderr
    casfs.run("env", "remove", "--yes", "default")
    (casfs.directory / "away").rename(shared)


# --- a plain user, who may not write to it ---


@pytest.fixture
def user() -> Iterator[PlainUser]:
    """A plain user beside a store of root's that has demo 1.0 and is closed to others."""
    with PlainUser() as one:
        make_wheel({"demo.py": SOURCE}, "demo", "1.0").write_to(one.path(""))
        make_wheel({"straggler.py": b"VALUE = 2\n"}, "straggler", "1.0").write_to(one.path(""))
        one.casfs("--store", f"{HOME}/shared", "add", "--python", sys.executable, "demo-1.0-py3-none-any.whl", as_root=True)
        yield one


def tree_of(path: Path) -> dict[str, int]:
    """Every file and directory, and when it changed."""
    return {str(one): one.lstat().st_mtime_ns for one in path.rglob("*")}


def test_plain_user_reads_a_pool_of_roots_and_keeps_stragglers_to_themselves(user: PlainUser) -> None:
    said = user.casfs("pool", "add", f"{HOME}/shared", code=1)
    assert said.stderr.startswith(f"casfs: {HOME}/shared: can't be a shared pool of ")
    assert said.stderr.endswith("can't be read: permission denied\n")

    user.run("chmod", "-R", "a+rX", f"{HOME}/shared", as_root=True)
    before = tree_of(user.path("shared"))
    user.casfs("pool", "add", f"{HOME}/shared")
    user.casfs("add", "--python", sys.executable, "demo-1.0-py3-none-any.whl", "straggler-1.0-py3-none-any.whl")
    user.casfs("mount", "venv")
    printed = user.run(f"{HOME}/venv/bin/python", "-c", "import demo, straggler; print(demo.VALUE, straggler.VALUE)").stdout
    assert printed == "from the shared pool 2\n"
    assert len(os.listdir(user.path(".local/share/casfs/wheels"))) == 1
    assert user.casfs("fsck").returncode == 0
    assert tree_of(user.path("shared")) == before
    user.casfs("umount", "venv")
