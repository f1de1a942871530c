"""A wheel that its owner changes while it is added: what is installed is one version of it, whole, or nothing."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.commands import Contents, Done, check_clean, read_contents
from tests.faults.prepared import Prepared
from tests.make_wheels import MadeWheel, pack, wheel_members
from tests.wheels.zip_writer import ZipMember

ROUNDS = 10

_SIZE = 2 << 20


def make_large_wheel(fill: bytes) -> MadeWheel:
    """A good wheel of stored members, so that versions of it that differ in their bytes have one size and one layout."""
    members = [ZipMember(f"demo/m{number}.bin", fill * (_SIZE // len(fill)), method=0) for number in range(4)]
    return pack([member.but(method=0) for member in wheel_members(members)])


@pytest.fixture(scope="module")
def versions() -> tuple[MadeWheel, MadeWheel]:
    one, other = make_large_wheel(b"one "), make_large_wheel(b"two ")
    assert len(one.content) == len(other.content)
    return one, other


@pytest.fixture(scope="module")
def known(prepared: Prepared, memory: Path, versions: tuple[MadeWheel, MadeWheel]) -> list[dict[str, str]]:
    """What each version is when nobody changes it: the digests of its own files."""
    directory = memory / "undisturbed"
    directory.mkdir()
    found = []
    for number, wheel in enumerate(versions):
        prepared.run(directory / f"store{number}", "add", wheel.write_to(directory))
        found.append(own_files(read_contents(directory / f"store{number}")))
    assert found[0] != found[1]
    return found


def own_files(contents: Contents) -> dict[str, str]:
    """The distribution without what depends on where its wheel lies."""
    return {path: digest for path, digest in contents["demo 1.0"].items() if not path.endswith(("RECORD", "direct_url.json"))}


@contextlib.contextmanager
def changing(change: Callable[[int], None]) -> Iterator[None]:
    """While a thread makes change after change."""
    is_over = threading.Event()

    def work() -> None:
        for number in itertools.count():
            if is_over.is_set():
                return
            change(number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def overwrite(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, content, 0)
    finally:
        os.close(fd)


def replace(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.rename(path)


def truncate(path: Path, content: bytes) -> None:
    os.truncate(path, len(content) // 2)
    path.write_bytes(content)


@pytest.mark.parametrize("write", [overwrite, replace, truncate])
def test_changing_wheel_is_refused_or_taken_in_one_version(
    write: Callable[[Path, bytes], None],
    workspace: Path,
    prepared: Prepared,
    versions: tuple[MadeWheel, MadeWheel],
    known: list[dict[str, str]],
):
    wheel = versions[0].write_to(workspace)
    ends = []
    for number in range(ROUNDS):
        store = workspace / f"store{number}"
        with changing(lambda count: write(wheel, versions[count % 2].content)):
            done = prepared.run(store, "add", wheel)
        check_is_one_version(store, done, known, prepared)
        ends.append(done.code)
        write(wheel, versions[1].content)
        assert prepared.run(store, "add", wheel).code == 0
        assert own_files(read_contents(store)) == known[1], "the wheel as it is now, whatever was remembered of it"
        check_clean(store, prepared.run)
    assert write is replace or 1 in ends, "some round must have met a change"


def check_is_one_version(store: Path, done: Done, known: list[dict[str, str]], prepared: Prepared) -> None:
    check_clean(store, prepared.run)
    contents = read_contents(store)
    if done.code:
        assert done.code == 1  # one problem, or all that the mixture of two versions has
        assert "Traceback" not in done.errors
        assert contents == {}
    else:
        assert own_files(contents) in known


def test_descriptor_that_the_owner_of_a_wheel_keeps_does_not_reach_the_pool(
    workspace: Path, prepared: Prepared, versions: tuple[MadeWheel, MadeWheel], known: list[dict[str, str]]
):
    wheel, store = versions[0].write_to(workspace), workspace / "store"
    fd = os.open(wheel, os.O_RDWR)
    try:
        assert prepared.run(store, "add", wheel).code == 0
        os.pwrite(fd, bytes(len(versions[0].content)), 0)
        os.ftruncate(fd, 1)
    finally:
        os.close(fd)
    assert own_files(read_contents(store)) == known[0]
    check_clean(store, prepared.run)
