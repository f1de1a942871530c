"""Locks: held by who may change a store, and by nobody else; who waits says for whom."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casfs.store.environments import Environment
from casfs.store.leases import iter_dead_leases, iter_leases, new_lease, take_lease
from casfs.store.locking import LockBusy, holding, is_held_by_strangers, say_waiting
from casfs.store.shared import exclusive_store_lock, shared_store_lock
from casfs.store.store import Store, open_store
from tests.mounted.harness import REPOSITORY, TIME_LIMIT_S

STRANGER = 12345

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user as well")


@pytest.fixture
def store(place: Path) -> Store:
    """One that strangers can reach."""
    place.chmod(0o755)
    return open_store(place / "store", create=True)


@contextlib.contextmanager
def another_process(work: Callable[[], None], user: int = 0) -> Iterator[int]:
    """A process of another user that has done its work, and lives on."""
    ready, theirs = os.pipe()
    if not (child := os.fork()):
        with contextlib.suppress(BaseException):
            if user:
                os.setresuid(user, user, user)
            work()
            os.write(theirs, b"x")
            signal.pause()
        os._exit(1)
    os.close(theirs)
    try:
        assert os.read(ready, 1) == b"x"
        yield child
    finally:
        os.close(ready)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@contextlib.contextmanager
def locked_by(user: int, path: str, how: int = fcntl.LOCK_EX) -> Iterator[int]:
    """A process of a user, which can read a file, holds its lock."""
    fd = os.open(path, os.O_RDONLY)
    with another_process(lambda: fcntl.flock(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), how), user) as pid:
        os.close(fd)
        yield pid


def is_busy(path: str) -> bool:
    try:
        with holding(path, may_wait=False):
            return False
    except LockBusy:
        return True


def test_lock_keeps_others_out_until_it_is_given_back(store: Store) -> None:
    path = store.path("locks", "one")
    with holding(path):
        assert is_busy(path)
    assert not is_busy(path)
    with holding(path, is_shared=True), holding(path, is_shared=True, may_wait=False):
        assert is_busy(path)
    with pytest.raises(ValueError, match="wrong"), holding(path):
        raise ValueError("wrong")
    assert not is_busy(path)


def test_lock_can_be_opened_by_its_owner_alone(store: Store) -> None:
    before = os.umask(0)
    try:
        with holding(store.path("locks", "one")), Environment(store, "work").locked():
            modes = [
                os.stat(store.path(*parts)).st_mode & 0o777 for parts in (("locks",), ("locks", "one"), ("environments", "work", "lock"))
            ]
    finally:
        os.umask(before)
    assert modes == [0o700, 0o600, 0o600]


@as_root
def test_lock_that_root_makes_belongs_to_the_owner_of_the_store(store: Store) -> None:
    os.chown(store.root, STRANGER, STRANGER)
    with holding(store.path("locks", "one")):
        assert {os.stat(store.path(*parts)).st_uid for parts in (("locks",), ("locks", "one"))} == {STRANGER}


@as_root
@pytest.mark.parametrize("how", [fcntl.LOCK_EX, fcntl.LOCK_SH])
@pytest.mark.parametrize("is_shared", [False, True])
def test_who_may_only_read_keeps_nobody_waiting(store: Store, how: int, is_shared: bool) -> None:
    """Neither while the store is open to all, nor by what they have opened then."""
    path = store.path("locks", "one")
    with holding(path):
        pass
    os.chmod(path, 0o644)
    with locked_by(STRANGER, path, how):
        with holding(path, is_shared=is_shared):
            assert os.stat(path).st_mode & 0o777 == 0o600
        assert not is_busy(path)
    assert os.listdir(store.path("locks")) == ["one"]


def test_lock_that_is_open_to_others_is_not_taken_from_who_may_hold_it(store: Store) -> None:
    path = store.path("locks", "one")
    for is_shared in (False, True):
        with holding(path, is_shared=is_shared):
            os.chmod(path, 0o644)
            assert is_busy(path)
            assert os.stat(path).st_mode & 0o777 == 0o644
        assert not is_busy(path)
        assert os.stat(path).st_mode & 0o777 == 0o600


def test_what_a_killed_replacement_left_is_used_or_removed(store: Store) -> None:
    path = store.path("locks", "one")
    for mode in (0o600, 0o644):
        with holding(path):
            pass
        os.chmod(path, 0o644)
        Path(f"{path}.new").touch(mode)
        os.chmod(f"{path}.new", mode)
        assert not is_busy(path)
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert os.listdir(store.path("locks")) == ["one"]


@as_root
def test_lock_that_was_given_on_by_who_has_ended_is_held_by_who_has_it(store: Store) -> None:
    path = store.path("locks", "one")
    Path(store.path("locks")).mkdir()
    Path(path).touch(0o644)
    fd = os.open(path, os.O_RDONLY)

    def give_on() -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)

    if not (child := os.fork()):
        give_on()
        os._exit(0)
    os.waitpid(child, 0)
    assert not is_held_by_strangers(os.open(path, os.O_RDONLY))
    os.close(fd)
    with locked_by(STRANGER, path):
        assert is_held_by_strangers(os.open(path, os.O_RDONLY))


@as_root
def test_who_may_only_read_a_store_takes_no_lock_in_it(store: Store) -> None:
    with holding(store.path("locks", "one")):
        for path in (store.root, store.path("locks")):
            os.chmod(path, 0o755)
        os.chmod(store.path("locks", "one"), 0o644)

        def read() -> None:
            with holding(store.path("locks", "one")), shared_store_lock(store), exclusive_store_lock(store):
                pass

        with another_process(read, STRANGER):
            assert os.listdir(store.path("locks")) == ["one"]


@as_root
def test_who_may_only_read_makes_no_dead_lease_look_alive(store: Store) -> None:
    held = take_lease(store, new_lease("work", "/nowhere", "now"))
    path = store.run_path(f"{held.lease.id}.json")
    os.chmod(path, 0o644)
    assert [one.id for one in iter_leases(store)] == [held.lease.id]
    os.close(held.fd)
    with locked_by(STRANGER, path):
        assert list(iter_leases(store)) == []
        assert [one.id for one in iter_dead_leases(store)] == [held.lease.id]


WAIT = """
import sys
from casfs.store.locking import holding
for _ in range(2):
    with holding(sys.argv[1]):
        print("has it", flush=True)
        sys.stdin.readline()
"""


def test_who_waits_says_for_whom_and_then_goes_on(store: Store) -> None:
    path = store.path("locks", "one")
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(contextlib.ExitStack())
        lock.enter_context(holding(path))
        command = [sys.executable, "-c", WAIT, path]
        process = stack.enter_context(
            subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        assert process.stderr
        said = process.stderr.readline()
        assert said.startswith("waiting for other commands that use the store: ")
        assert f"(process {os.getpid()}) holds {path}" in said
        lock.close()
        assert process.communicate("\n\n", timeout=TIME_LIMIT_S) == ("has it\nhas it\n", "")


def test_that_somebody_waits_is_said_once_for_all_locks_of_a_store(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casfs.store.locking._told", set())
    for name in ("one", "other"):
        with holding(path := store.path("locks", name)):
            say_waiting(path)
    assert [record.getMessage().endswith("/locks/one") for record in caplog.records] == [True]


def test_block_within_a_block_waits_for_nobody(store: Store) -> None:
    """Not even if somebody waits for both to end."""
    with shared_store_lock(store):
        with another_process(lambda: None) as _, holding(store.path("locks", "turn")), shared_store_lock(store):
            assert is_busy(store.path("locks", "changes"))
        assert is_busy(store.path("locks", "changes"))
    assert not is_busy(store.path("locks", "changes"))


STREAM = """
import sys
from casfs.store.shared import shared_store_lock
from casfs.store.store import open_store
store = open_store(sys.argv[1])
print("begun", flush=True)
while True:
    with shared_store_lock(store):
        pass
"""


def test_stream_of_changes_keeps_a_collection_waiting_for_a_moment_only(store: Store) -> None:
    command = [sys.executable, "-c", STREAM, store.root]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)) for _ in range(8)]
        try:
            for stream in streams:
                assert stream.stdout
                stream.stdout.readline()
            for _ in range(5):
                with exclusive_store_lock(store):
                    assert is_busy(store.path("locks", "changes"))
        finally:
            for stream in streams:
                stream.kill()
