"""Ingest: all of a wheel or nothing, and a wheel that is known costs nothing."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import CancelledError
from itertools import starmap
from pathlib import Path
from types import SimpleNamespace

import pytest

from casfs.digest import Digest, digest_bytes, parse_digest
from casfs.errors import StoreDamaged, WheelRefused
from casfs.paths import SITE_PACKAGES
from casfs.store import ingest as ingest_module
from casfs.store import unpack as unpack_module
from casfs.store import wheel_stamps
from casfs.store.fsck.check import check_store
from casfs.store.fsck.repair import repair
from casfs.store.ingest import ALL_WHEELS, KnownWheel, MadeFiles, Request, ingest_files, ingest_wheels
from casfs.store.manifests import Kind, NewFile, read_manifest
from casfs.store.numbers import find_number
from casfs.store.quarantine import note_failed_read
from casfs.store.scrub import Scrub
from casfs.store.store import Store, open_store
from casfs.wheels.inflate import read_content
from casfs.wheels.source import MAX_WHEEL_SIZE
from tests.make_wheels import DEMO, INFO, QUIRKS, MadeWheel, make_wheel, pack, wheel_members, with_record
from tests.store.making import ANY_WHEEL, about, ingest
from tests.store.racing import run_both
from tests.wheels.hostile_corpus import HOSTILE, LYING_CONTENT
from tests.wheels.zip_writer import ZipEnd, ZipMember, write_zip

INGEST = """
import sys
from pathlib import Path
from casfs.store.store import open_store
from casfs.store.ingest import ingest_wheels
from tests.store.making import ANY_WHEEL
store = open_store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(ingest_wheels(store, sys.argv[2:], ANY_WHEEL)[0].manifest)
"""

LYING = pack(with_record(lambda rows: [(DEMO.name, "sha256=" + "A" * 43, "10"), *rows[1:]]))


def everything(store: Store) -> list[Path]:
    """All files of the store but stamps."""
    return sorted(path for path in Path(store.root).rglob("*") if not path.is_dir() and "stamps" not in path.parts)


def test_a_wheel_becomes_blobs_and_a_manifest(store, place):
    content = {"demo/__init__.py": b"VALUE = 1\n", "demo-1.0.data/scripts/run": b"#!/bin/sh\n", "demo/large": b"\0" * 3_000_000}
    wheel = make_wheel(content, entry_points="[console_scripts]\ndemo = demo:main\n")
    [one] = ingest(store, place, wheel)
    assert (one.wheel, one.wheel_size, one.was_known) == (digest_bytes(wheel.content), len(wheel.content), False)
    assert one.content == read_manifest(store, one.manifest)
    assert one.number == find_number(store, one.manifest)
    found = {file.path: (store.pool.read_blob(file.digest, file.size), file.kind) for file in one.content.iter_files()}
    assert found[f"{SITE_PACKAGES}/demo/__init__.py"] == (b"VALUE = 1\n", Kind.FILE)
    assert found[f"{SITE_PACKAGES}/demo/large"] == (b"\0" * 3_000_000, Kind.FILE)
    assert found["bin/run"] == (b"#!/bin/sh\n", Kind.EXECUTABLE)
    assert one.new_files == len(found)
    assert one.new_bytes == sum(len(content) for content, _ in found.values())
    described = one.content.description
    assert (described.project, described.version, described.wheel) == ("demo", "1.0", one.wheel)
    assert described.entry_points == (("demo", "demo", "main"),)


@pytest.mark.parametrize("wheel", QUIRKS.values(), ids=QUIRKS)
def test_an_odd_wheel_is_taken(store, place, wheel):
    [one] = ingest(store, place, wheel)
    assert one.content.names


HOSTILE_FILES = [one for one in (*HOSTILE, *LYING_CONTENT) if "/" not in one.wheel.filename]  # no file has such a name


@pytest.mark.parametrize("hostile", HOSTILE_FILES, ids=lambda hostile: hostile.kind)
def test_a_hostile_wheel_publishes_nothing(store, place, hostile):
    before = everything(store)
    with pytest.raises(WheelRefused):
        ingest(store, place, hostile.wheel)
    assert everything(store) == before


def test_a_known_wheel_is_not_unpacked(store, place):
    [first] = ingest(store, place, make_wheel())
    before = everything(store)
    [second] = ingest(store, place, make_wheel())
    assert (second.was_known, second.new_files, second.new_bytes) == (True, 0, 0)
    assert (second.manifest, second.content, second.number) == (first.manifest, first.content, first.number)
    assert everything(store) == before


def test_a_known_wheel_is_known_wherever_it_lies(store, place):
    [first] = ingest(store, place, make_wheel())
    (place / "elsewhere").mkdir()
    [second] = ingest(store, place / "elsewhere", make_wheel())
    assert second.was_known
    assert (second.manifest, second.path) == (first.manifest, f"{place}/elsewhere/demo-1.0-py3-none-any.whl")


def test_which_python_a_known_wheel_is_for_is_said_by_its_name_alone(store, place):
    asked: list[tuple[str, ...]] = []
    request = Request(lambda path, about: asked.append(about.tags))
    content = make_wheel().content
    names = ("demo-1.0-cp313-cp313-linux_x86_64.whl", "demo-1.0-py3-none-any.whl", "demo-1.0-cp313-cp313-linux_x86_64.whl")
    for name in names:
        ingest(store, place, MadeWheel(name, content), request=request)
    assert asked == [("cp313-cp313-linux_x86_64",), ("py3-none-any",), ("cp313-cp313-linux_x86_64",)]


@pytest.mark.parametrize("name", ["demo.txt", "demo-1.1-py3-none-any.whl", "other-1.0-py3-none-any.whl"])
def test_a_known_wheel_under_a_false_name_is_refused(store, place, name):
    ingest(store, place, make_wheel())
    with pytest.raises(WheelRefused):
        ingest(store, place, MadeWheel(name, make_wheel().content))


def test_a_known_wheel_at_rest_is_not_even_read(store, place, monkeypatch):
    path = make_wheel().write_to(place)
    later = path.stat().st_mtime_ns + 10_000_000_000
    monkeypatch.setattr(wheel_stamps, "time", SimpleNamespace(time_ns=lambda: later))
    [first] = ingest_wheels(store, [str(path)], ANY_WHEEL)
    monkeypatch.setattr(ingest_module, "_copy_hashing", None)  # what reads the wheel
    [second] = ingest_wheels(store, [str(path)], ANY_WHEEL)
    assert (second.was_known, second.manifest, second.wheel_size) == (True, first.manifest, first.wheel_size)


def test_a_known_wheel_needs_no_file(store, place):
    wheel = make_wheel()
    [first] = ingest(store, place, wheel)
    (place / wheel.filename).unlink()
    [second] = ingest_wheels(store, [KnownWheel(wheel.filename, first.wheel, 123)], ANY_WHEEL)
    assert (second.was_known, second.manifest, second.wheel_size) == (True, first.manifest, 123)


def _read_in_vain(store: Store, digest: Digest, size: int) -> None:
    with pytest.raises(StoreDamaged) as caught:
        store.pool.open_blob(digest, size)
    assert note_failed_read(store, caught.value)
    assert not note_failed_read(store, caught.value)


_NOTICE = {
    "fsck": lambda store, digest, size: repair(store, check_store(store)),
    "scrub": lambda store, digest, size: [list(Scrub(store).compare(one)) for one in _manifests(store)],
    "a read": _read_in_vain,
}


def _manifests(store: Store) -> list[Digest]:
    return [parse_digest(f"{path.parent.name}{path.name}") for path in Path(store.path("manifests")).glob("*/*")]


@pytest.mark.parametrize("notice", _NOTICE.values(), ids=_NOTICE)
@pytest.mark.parametrize("harm", [Path.unlink, lambda blob: (blob.chmod(0o644), blob.write_bytes(b"more than before"))])
def test_a_known_wheel_whose_blobs_were_found_lost_is_unpacked_again(store, place, harm, notice):
    path = make_wheel().write_to(place)
    [first] = ingest_wheels(store, [str(path)], ANY_WHEEL)
    blob = Path(store.pool.path(first.content.digest(0)))
    before = blob.read_bytes()
    harm(blob)
    notice(store, first.content.digest(0), first.content.sizes[0])
    with pytest.raises(WheelRefused, match="not in the store any more"):
        ingest_wheels(store, [KnownWheel(path.name, first.wheel, first.wheel_size)], ANY_WHEEL)
    [again] = ingest_wheels(store, [str(path)], ANY_WHEEL)
    assert (again.was_known, again.manifest, again.new_files) == (False, first.manifest, 1)
    assert blob.read_bytes() == before


@pytest.mark.parametrize("filename", ["demo-1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"])
def test_a_wheel_that_is_not_known_so_is_refused_without_its_file(store, place, filename):
    """Nobody has seen it, or it was seen under a name that says something else."""
    content = make_wheel().content if filename.startswith("other") else make_wheel(None, "demo", "2.0").content
    ingest(store, place, make_wheel())
    with pytest.raises(WheelRefused, match="is not in the store any more"):
        ingest_wheels(store, [KnownWheel(filename, digest_bytes(content))], ANY_WHEEL)


def test_a_wheel_that_changed_is_read_again(store, place, monkeypatch):
    path = make_wheel().write_to(place)
    later = path.stat().st_mtime_ns + 10_000_000_000
    monkeypatch.setattr(wheel_stamps, "time", SimpleNamespace(time_ns=lambda: later))
    [first] = ingest_wheels(store, [str(path)], ANY_WHEEL)
    make_wheel({"demo/__init__.py": b"VALUE = 2\n"}).write_to(place)
    [second] = ingest_wheels(store, [str(path)], ANY_WHEEL)
    assert not second.was_known
    assert second.wheel != first.wheel


def test_files_that_the_pool_has_are_not_new(store, place):
    ingest(store, place, make_wheel({"demo/a.py": b"same", "demo/b.py": b"other"}, version="1.0"))
    [second] = ingest(store, place, make_wheel({"demo/a.py": b"same", "demo/c.py": b"new"}, version="2.0"))
    new = {"c.py", "METADATA"}  # WHEEL says the same in both
    assert second.new_files == len(new)


def test_of_several_wheels_all_are_taken_in_their_order(store, place):
    wheels = [make_wheel({f"{name}.py": name.encode()}, name) for name in ("one", "two", "three")]
    assert [one.content.description.project for one in ingest(store, place, *wheels)] == ["one", "two", "three"]


def test_of_several_wheels_none_is_taken_if_one_is_refused(store, place):
    before = everything(store)
    with pytest.raises(WheelRefused, match="RECORD"):
        ingest(store, place, make_wheel({"other.py": b""}, "other"), LYING)
    assert everything(store) == before


def test_one_wheel_twice_is_taken_once(store, place):
    path = str(make_wheel().write_to(place))
    one, two = ingest_wheels(store, [path, path], ANY_WHEEL)
    assert (one.manifest, one.number) == (two.manifest, two.number)


def test_what_the_caller_refuses_publishes_nothing(store, place):
    before = everything(store)

    def refuse(path, described):
        raise WheelRefused(path, f"no {described.project}, please")

    for _ in range(2):
        with pytest.raises(WheelRefused, match="no demo, please"):
            ingest(store, place, make_wheel(), request=Request(refuse))
        assert everything(store) == before


def test_the_caller_is_asked_about_a_known_wheel_too(store, place):
    ingest(store, place, make_wheel())
    asked = []
    ingest(store, place, make_wheel(), request=Request(lambda path, described: asked.append((path, described.project))))
    assert asked == [(f"{place}/demo-1.0-py3-none-any.whl", "demo")]


def test_a_lying_record_is_taken_only_if_allowed_and_remembered(store, place):
    allowing = Request(ANY_WHEEL.accept, allow_record_mismatch=True)
    with pytest.raises(WheelRefused, match="RECORD"):
        ingest(store, place, LYING)
    for was_known in (False, True):
        [one] = ingest(store, place, LYING, request=allowing)
        assert one.was_known is was_known
        [problem] = one.content.description.tolerated
        assert DEMO.name in problem
    with pytest.raises(WheelRefused, match=DEMO.name):
        ingest(store, place, LYING)


def test_progress_ends_with_all_bytes(store, place):
    told = []
    request = Request(ANY_WHEEL.accept, progress=lambda name, done, total: told.append((name, done, total)))
    [one] = ingest(store, place, make_wheel({"a": b"1" * 1000, "b": b"2" * 300_000}), request=request)
    total = one.content.total_size
    assert told.pop() == (ALL_WHEELS, 1, 1)
    assert told[-1] == ("demo 1.0", total, total)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_file_too_large_for_memory_is_streamed(store, place, monkeypatch):
    monkeypatch.setattr(unpack_module, "_WHOLE_SIZE", 1000)
    content = bytes(range(256)) * 4000
    [one] = ingest(store, place, make_wheel({"large": content, "again": content}))
    found = {file.path: store.pool.read_blob(file.digest, file.size) for file in one.content.iter_files()}
    assert found[f"{SITE_PACKAGES}/large"] == found[f"{SITE_PACKAGES}/again"] == content


def plant_directory(path: Path) -> None:
    path.mkdir()


def plant_socket(path: Path) -> None:
    at = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(at)


@pytest.fixture
def large_wheel(place):
    """A wheel that is worth workers: many small members, some alike, and one that is streamed."""
    content = {f"demo/{number}.bin": b"%d" % (number // 2) * 7000 for number in range(400)}
    return str(make_wheel({**content, "demo/large.bin": bytes(range(256)) * 40_000}).write_to(place))


@pytest.fixture
def two_processors(monkeypatch):
    """On any machine there are two; and the one other thread of a test run is its watchdog, which holds no lock."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(unpack_module, "may_fork", lambda: True)


def test_what_workers_unpack_is_what_one_process_unpacks(store, place, large_wheel, two_processors, monkeypatch):
    before = os.umask(0o077)
    try:
        [one] = ingest_wheels(store, [large_wheel], ANY_WHEEL)
    finally:
        os.umask(before)
    files = list(one.content.iter_files())
    contents = {file.path: store.pool.read_blob(file.digest, file.size) for file in files}
    assert contents[f"{SITE_PACKAGES}/demo/399.bin"] == b"199" * 7000
    assert contents[f"{SITE_PACKAGES}/demo/large.bin"] == bytes(range(256)) * 40_000
    assert {os.stat(store.pool.path(file.digest)).st_mode & 0o777 for file in files} == {0o444}
    other = open_store(place / "other", create=True)
    monkeypatch.setattr(unpack_module, "may_fork", lambda: False)
    [alone] = ingest_wheels(other, [large_wheel], ANY_WHEEL)
    assert (alone.content.digests, alone.new_files, alone.new_bytes) == (one.content.digests, one.new_files, one.new_bytes)


def test_a_hostile_member_among_many_publishes_nothing(store, place, two_processors):
    content = {f"demo/{number}.bin": b"%d" % number * 7000 for number in range(400)}
    members = wheel_members([*starmap(ZipMember, content.items())])
    members[200] = members[200].but(central={"crc": 1}, local={"crc": 1})
    path = str(pack(members).write_to(place))
    before = everything(store)
    with pytest.raises(WheelRefused, match="another CRC"):
        ingest_wheels(store, [path], ANY_WHEEL)
    assert everything(store) == before
    assert os.listdir(store.path("tmp")) == []


def test_a_worker_that_is_killed_is_told_and_leaves_nothing(store, large_wheel, two_processors, monkeypatch):
    us = os.getpid()

    def die(source, member, limit):
        if os.getpid() != us and member.name.endswith("/77.bin"):
            os.kill(os.getpid(), signal.SIGKILL)
        return read_content(source, member, limit)

    monkeypatch.setattr(unpack_module, "read_content", die)
    before = everything(store)
    with pytest.raises(WheelRefused, match=r"is not unpacked: a process that worked on it was ended by signal 9$"):
        ingest_wheels(store, [large_wheel], ANY_WHEEL)
    assert everything(store) == before
    assert os.listdir(store.path("tmp")) == []


def test_interrupt_while_workers_unpack_leaves_nothing(store, large_wheel, two_processors):
    def interrupt(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_wheels(store, [large_wheel], Request(ANY_WHEEL.accept, progress=interrupt))
    assert os.listdir(store.path("tmp")) == []


NO_FILES = {"nothing": lambda path: None, "directory": plant_directory, "fifo": os.mkfifo, "socket": plant_socket}


@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_refused_at_once(store, place, plant):
    path = place / "demo-1.0-py3-none-any.whl"
    plant(path)
    with pytest.raises(WheelRefused) as caught:
        ingest_wheels(store, [str(path)], ANY_WHEEL)
    assert caught.value.subject == str(path)


def hopeless(path: Path, size: int) -> str:
    """A file of nothing but a hole and an end that is right."""
    with path.open("wb") as file:
        file.seek(size)
        file.write(write_zip([], ZipEnd(zip64=True, shift=size, locator_offset=size)))
    return str(path)


def test_what_is_not_worth_a_copy_is_refused_before_it_is_copied(store, place, monkeypatch):
    """By its end, by the limit, by the room that there is."""

    def copy(file, copy_fd):
        raise AssertionError

    monkeypatch.setattr(ingest_module, "_copy_hashing", copy)
    disk = os.statvfs(place)
    more = disk.f_blocks * disk.f_frsize + (1 << 30)
    path = place / "demo-1.0-py3-none-any.whl"
    with pytest.raises(WheelRefused, match=f"has {MAX_WHEEL_SIZE + 98} bytes; the limit is {MAX_WHEEL_SIZE} "):
        ingest_wheels(store, [hopeless(path, MAX_WHEEL_SIZE)], ANY_WHEEL)
    with pytest.raises(WheelRefused, match=f"needs {more + 98} bytes, and the disk of the store has only"):
        ingest_wheels(store, [hopeless(path, more)], Request(ANY_WHEEL.accept, max_wheel_size=2 * more))
    os.truncate(path, 1 << 40)
    with pytest.raises(WheelRefused, match="no end record"):
        ingest_wheels(store, [str(path)], ANY_WHEEL)


def test_a_wheel_as_large_as_the_limit_is_taken(store, place):
    path, size = str(make_wheel().write_to(place)), len(make_wheel().content)
    with pytest.raises(WheelRefused, match="the limit is"):
        ingest_wheels(store, [path], Request(ANY_WHEEL.accept, max_wheel_size=size - 1))
    assert ingest_wheels(store, [path], Request(ANY_WHEEL.accept, max_wheel_size=size))


@pytest.mark.parametrize("size", [10, 300_000, 40 << 20], ids=["small", "large", "as a stream"])
def test_unpacking_ends_when_nobody_wants_it_any_more(store, place, size):
    path = make_wheel({f"demo/{number}": bytes([number]) * size for number in range(3)}).write_to(place)
    request = Request(ANY_WHEEL.accept)
    request.stop.set()
    before = everything(store)
    with pytest.raises(CancelledError):
        ingest_wheels(store, [str(path)], request)
    assert everything(store) == before
    assert os.listdir(store.path("tmp")) == []


def test_interrupt_while_a_wheel_is_unpacked_leaves_nothing(store, place):
    path = make_wheel({f"demo/{number}": bytes([number]) * 300_000 for number in range(30)}).write_to(place)

    def interrupt(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_wheels(store, [str(path)], Request(ANY_WHEEL.accept, progress=interrupt))
    assert os.listdir(store.path("tmp")) == []
    assert ingest_wheels(store, [str(path)], ANY_WHEEL)


def test_a_wheel_that_changes_while_it_is_read_is_refused(store, place, monkeypatch):
    path = make_wheel().write_to(place)
    copy = ingest_module._copy_hashing

    def change_and_copy(file, copy_fd):
        os.utime(path, ns=(1, 1))
        return copy(file, copy_fd)

    monkeypatch.setattr(ingest_module, "_copy_hashing", change_and_copy)
    with pytest.raises(WheelRefused, match="changed while it was read"):
        ingest_wheels(store, [str(path)], ANY_WHEEL)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"ab" * 32])
def test_a_known_wheel_whose_record_is_wrong_is_unpacked_again(store, place, content):
    [first] = ingest(store, place, make_wheel())
    record = Path(store.path("wheels", first.wheel))
    record.unlink()
    record.write_bytes(content)
    [second] = ingest(store, place, make_wheel())
    assert not second.was_known
    assert second.manifest == first.manifest
    assert record.read_text() == f"{first.manifest}\n"


def test_a_known_wheel_that_lost_its_manifest_is_unpacked_again(store, place):
    [first] = ingest(store, place, make_wheel())
    os.unlink(store.path("manifests", first.manifest[:2], first.manifest[2:]))
    with pytest.raises(StoreDamaged):
        read_manifest(store, first.manifest)
    [second] = ingest(store, place, make_wheel())
    assert (second.was_known, second.manifest, second.number) == (False, first.manifest, first.number)


def test_processes_that_ingest_one_wheel_at_once_both_succeed(store, place):
    path = make_wheel({f"demo/{number}.py": b"%d" % number for number in range(300)}).write_to(place)
    assert len(set(run_both(INGEST, store.root, str(path)))) == 1


def test_made_files_get_one_manifest_for_each_group(store):
    groups = [
        MadeFiles(about("one"), [NewFile("bin/run", b"#!", Kind.EXECUTABLE), NewFile("link", b"bin", Kind.SYMLINK)], ["empty/directory"]),
        MadeFiles(about("two"), [NewFile("bin/run", b"#!", Kind.EXECUTABLE)]),
        MadeFiles(about("two"), [NewFile("bin/run", b"#!", Kind.EXECUTABLE)]),
    ]
    one, two, three = ingest_files(store, groups)
    assert two == three
    assert [(file.path, file.kind) for file in one[1].iter_files()] == [("link", Kind.SYMLINK), ("bin/run", Kind.EXECUTABLE)]
    assert "empty/directory" in one[1].directories
    assert one[2] != two[2]
    assert INFO not in one[1].directories
