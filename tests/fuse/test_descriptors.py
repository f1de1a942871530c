from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from casfs.digest import Digest, digest_bytes
from casfs.errors import StoreDamaged
from casfs.fuse.descriptors import Descriptors

NAMES = [digest_bytes(str(number).encode()) for number in range(8)]


class FakeBlobs:
    """Blobs of a process that may have at most `room` of them open."""

    def __init__(self, room: int = 100, code: int = errno.EMFILE) -> None:
        self.room = room
        self._code = code
        self.opened: list[Digest] = []
        self.fds: dict[int, Digest] = {}

    def open_blob(self, digest: Digest, size: int) -> int:
        if size < 0:
            raise StoreDamaged(digest, "the blob is missing")
        if len(self.live()) >= self.room:
            raise OSError(self._code, os.strerror(self._code))
        fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.opened.append(digest)
        self.fds[fd] = digest
        return fd

    def live(self) -> set[Digest]:
        """Those that are open now."""
        return {digest for fd, digest in self.fds.items() if is_open(fd)}

    def close(self) -> None:
        for fd in self.fds:
            if is_open(fd):
                os.close(fd)


def is_open(fd: int) -> bool:
    try:
        return os.fstat(fd).st_rdev == os.stat("/dev/null").st_rdev
    except OSError:
        return False


@pytest.fixture
def blobs() -> Iterator[FakeBlobs]:
    fake = FakeBlobs()
    yield fake
    fake.close()


def touch(descriptors: Descriptors, *numbers: int) -> None:
    for number in numbers:
        with descriptors.using(NAMES[number], 1):
            pass


def test_a_blob_is_opened_once(blobs: FakeBlobs):
    descriptors = Descriptors(blobs, 4)
    with descriptors.using(NAMES[0], 1) as first, descriptors.using(NAMES[0], 1) as second:
        assert first == second
    touch(descriptors, 0)
    assert blobs.opened == NAMES[:1]
    assert len(descriptors) == 1


def test_the_least_recently_used_is_closed_first(blobs: FakeBlobs):
    descriptors = Descriptors(blobs, 3)
    touch(descriptors, 0, 1, 2, 0, 3)
    assert blobs.live() == {NAMES[0], NAMES[2], NAMES[3]}
    assert len(descriptors) == 3


def test_what_is_in_use_is_never_closed_however_many_are_wanted(blobs: FakeBlobs):
    descriptors = Descriptors(blobs, 2)
    with ExitStack() as stack:
        for name in NAMES[:5]:
            stack.enter_context(descriptors.using(name, 1))
        assert blobs.live() == set(NAMES[:5])
    touch(descriptors, 5)
    assert len(blobs.live()) == 2


def test_a_second_user_keeps_it_open_when_the_first_is_done(blobs: FakeBlobs):
    descriptors = Descriptors(blobs, 1)
    with descriptors.using(NAMES[0], 1):
        touch(descriptors, 0, 1)
        assert NAMES[0] in blobs.live()


def test_a_user_that_fails_lets_go(blobs: FakeBlobs):
    descriptors = Descriptors(blobs, 1)
    with pytest.raises(ZeroDivisionError), descriptors.using(NAMES[0], 1):
        raise ZeroDivisionError
    touch(descriptors, 1)
    assert blobs.live() == {NAMES[1]}


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_where_the_system_has_no_descriptors_left_idle_ones_make_room(code: int):
    blobs = FakeBlobs(room=4, code=code)
    descriptors = Descriptors(blobs, 100)
    try:
        touch(descriptors, 0, 1, 2, 3)
        with descriptors.using(NAMES[4], 1) as fd:
            assert is_open(fd)
        assert blobs.live() == {NAMES[2], NAMES[3], NAMES[4]}
    finally:
        blobs.close()


def test_with_nothing_to_close_the_lack_of_descriptors_is_told():
    blobs = FakeBlobs(room=0)
    with pytest.raises(OSError, match="Too many open files") as caught, Descriptors(blobs, 4).using(NAMES[0], 1):
        pass
    assert caught.value.errno == errno.EMFILE


def test_with_everything_in_use_the_lack_of_descriptors_is_told_and_nobody_loses_his():
    blobs = FakeBlobs(room=1)
    descriptors = Descriptors(blobs, 4)
    try:
        with descriptors.using(NAMES[0], 1) as fd:
            with pytest.raises(OSError, match="Too many open files"), descriptors.using(NAMES[1], 1):
                pass
            assert is_open(fd)
    finally:
        blobs.close()


@pytest.mark.parametrize("size", [-1])
def test_a_damaged_blob_is_not_remembered(blobs: FakeBlobs, size: int):
    descriptors = Descriptors(blobs, 4)
    for _ in range(2):
        with pytest.raises(StoreDamaged), descriptors.using(NAMES[0], size):
            pass
    assert len(descriptors) == 0


def test_close_leaves_only_what_is_in_use(blobs: FakeBlobs):
    descriptors = Descriptors(blobs, 4)
    touch(descriptors, 0, 1)
    with descriptors.using(NAMES[2], 1):
        descriptors.close()
        assert blobs.live() == {NAMES[2]}
    descriptors.close()
    assert blobs.live() == set()
    assert len(descriptors) == 0


def test_closing_does_not_touch_descriptors_of_others(blobs: FakeBlobs, tmp_path: Path):
    """A number is given out again as soon as it is free: closing one twice would close a stranger's file."""
    descriptors = Descriptors(blobs, 1)
    touch(descriptors, 0, 1)
    with open(tmp_path / "stranger", "wb") as stranger:
        descriptors.close()
        descriptors.close()
        assert os.fstat(stranger.fileno()).st_size == 0


class DescriptorsMachine(RuleBasedStateMachine):
    """Users come and go in any order; each sees its own blob, and there are never more open than promised."""

    def __init__(self) -> None:
        super().__init__()
        self.blobs = FakeBlobs(room=6)
        self.descriptors = Descriptors(self.blobs, 3)
        self.users: list[tuple[ExitStack, int, Digest]] = []

    @precondition(lambda self: len(self.users) < 5)
    @rule(name=st.sampled_from(NAMES))
    def begin(self, name: Digest) -> None:
        stack = ExitStack()
        self.users.append((stack, stack.enter_context(self.descriptors.using(name, 1)), name))

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        stack, _, _ = self.users.pop(data.draw(st.integers(0, len(self.users) - 1)))
        stack.close()

    @rule()
    def close(self) -> None:
        self.descriptors.close()

    @invariant()
    def every_user_has_its_blob(self) -> None:
        assert all(is_open(fd) and self.blobs.fds[fd] == name for _, fd, name in self.users)
        used = {name for _, _, name in self.users}
        assert len(self.blobs.live()) == len(self.descriptors)
        assert len(self.blobs.live()) <= max(3, len(used))

    def teardown(self) -> None:
        for stack, _, _ in self.users:
            stack.close()
        self.descriptors.close()
        assert self.blobs.live() == set()


TestDescriptorsMachine = DescriptorsMachine.TestCase
TestDescriptorsMachine.settings = settings(max_examples=40, stateful_step_count=25)
