from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casfs.daemon.control import (
    MAX_REPLY,
    VERSION,
    Reply,
    Request,
    ask_daemon,
    format_message,
    parse_reply,
    parse_request,
    raise_problem,
    socket_path,
)
from casfs.errors import CasfsError, MountRefused
from casfs.fuse.operations import Operations
from casfs.store.leases import Lease
from casfs.store.store import Store, open_store

COUNTS = st.integers(0, 2**63 - 1)
PROCESSES = st.integers(0, 2**22)
USERS = st.integers(0, 2**32 - 2)
TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
NAMES = st.from_regex("[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
REPLIES = st.builds(
    Reply,
    problem=st.text(),
    generations=st.dictionaries(NAMES, COUNTS),
    slot=NAMES,
    worker=PROCESSES,
    supervisor=PROCESSES,
    restarts=COUNTS,
    reason=st.text(),
    uptime_s=st.floats(0, 1e9),
    requests=st.dictionaries(TEXTS, COUNTS),
    latency=st.dictionaries(TEXTS, st.lists(st.floats(0, 1e9), min_size=2, max_size=2)),
    casfs_version=TEXTS,
    descriptors=COUNTS,
    supervisor_resident_bytes=COUNTS,
    open_blobs=COUNTS,
    resident_bytes=COUNTS,
)
JSON = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()), st.lists, max_leaves=5)
FIELDS = st.sampled_from(
    ["command", "version", "problem", "generations", "slot", "worker", "uptime_s", "requests", "open_blobs", "resident_bytes", "x"]
)


@given(st.builds(Request, TEXTS, NAMES, USERS, USERS, COUNTS))
def test_a_request_arrives_as_it_was_sent(request: Request):
    assert parse_request(format_message(request)) == request


def test_a_request_names_no_field_that_a_daemon_of_an_earlier_version_may_not_know():
    assert json.loads(format_message(Request("upgrade"))) == {"command": "upgrade", "version": VERSION}
    assert json.loads(format_message(Request("show", "one", uid=7))) == {
        "command": "show",
        "environment": "one",
        "uid": 7,
        "version": VERSION,
    }


@given(REPLIES)
def test_a_reply_arrives_as_it_was_sent(reply: Reply):
    assert parse_reply(format_message(reply)) == reply


@given(REPLIES)
def test_a_message_is_one_line(reply: Reply):
    line = format_message(reply)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()


@given(st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode), st.dictionaries(FIELDS, JSON).map(json.dumps).map(str.encode)))
@example(b"")
@example(b"{}")
@example(b"null")
@example(b'{"version": 1}')
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"9" * 10_000)
@example(b"\xff\xfe{}")
@example(b'{"command": "status", "self": 1}')
@example(b'{"command": "\\ud800"}')
def test_garbage_is_a_value_error_and_nothing_else(line: bytes):
    for parse, kind in ((parse_request, Request), (parse_reply, Reply)):
        with contextlib.suppress(ValueError):
            assert isinstance(parse(line), kind)


@pytest.mark.parametrize("version", [0, VERSION + 1, -1])
def test_another_version_is_refused_by_number(version: int):
    with pytest.raises(ValueError, match=f"speaks version {version}, not {VERSION}"):
        parse_request(format_message(Request("status", version=version)))


@pytest.mark.parametrize(
    "text",
    ['{"command": "status", "extra": 1}', '{"command": 1}', '{"command": "status", "version": "1"}', '["status"]', '"status"'],
)
def test_an_unknown_field_or_a_wrong_type_is_refused(text: str):
    with pytest.raises(
        ValueError, match=r"has the unknown field 'extra'|has a field '(command|version)' of a wrong type|is not a JSON object"
    ):
        parse_request(text.encode())


@pytest.mark.parametrize(
    "field",
    [
        {"environment": "../../etc"},
        {"environment": ""},
        {"environment": "a\0"},
        {"environment": "\ud800"},
        {"uid": 10**20},
        {"uid": -1},
        {"uid": 2**32 - 1},
        {"uid": True},
        {"gid": 1.0},
        {"generation": -1},
        {"generation": 2**63},
        {"attributes": "security"},
        {"attributes": "user\0"},
    ],
)
@pytest.mark.parametrize("command", ["show", "switch", "forget"])
def test_request_of_which_a_field_is_impossible_is_refused(command: str, field: dict[str, object]):
    with pytest.raises(ValueError, match=f"{next(iter(field))}|names no environment"):
        parse_request(json.dumps({"command": command, "environment": "one", "version": VERSION, **field}).encode())


@pytest.mark.parametrize(
    "field", [{"worker": -1}, {"supervisor": 2**40}, {"worker": True}, {"slot": "../x"}, {"slot": "a/b"}, {"slot": ".."}]
)
def test_reply_of_which_a_field_is_impossible_is_none(field: dict[str, object]):
    with pytest.raises(ValueError, match=next(iter(field))):
        parse_reply(json.dumps(field).encode())


def test_a_request_must_ask_for_something():
    with pytest.raises(ValueError, match="lacks the field 'command'"):
        parse_request(b"{}")


def test_the_status_of_a_very_busy_host_fits_a_message():
    kinds = {name: 2**63 for name in dir(Operations) if not name.startswith("_")}
    environments = {"e" * 100 + str(number): 2**31 for number in range(20_000)}
    assert len(format_message(Reply(generations=environments, requests=kinds, reason="r" * 1000))) < MAX_REPLY


def test_a_socket_in_a_deep_store_still_has_a_short_address(tmp_path: Path):
    """unix(7): an address has room for 107 bytes and a zero."""
    lease = "f" * 12
    deep = tmp_path.joinpath(*["d" * 200] * 5)
    deep.mkdir(parents=True)
    fd = os.open(deep, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert len(socket_path(2**31 - 1, lease).encode()) < 108
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(socket_path(fd, lease))
        assert (deep / f"{lease}.sock").is_socket()
    finally:
        os.close(fd)


LEASE = Lease("0123456789ab", 1234, "test", "/mnt/here", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path.joinpath(*["d" * 100] * 3), create=True)


@contextlib.contextmanager
def answering(store: Store, *answers: bytes) -> Iterator[list[bytes]]:
    """A daemon that gives these answers, one a connection; what it heard."""
    heard: list[bytes] = []
    fd = os.open(store.run_path(), os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(socket_path(fd, LEASE.id))
        listener.listen(1)

        def answer() -> None:
            for one in answers:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as lines:
                    heard.append(lines.readline())
                    connection.sendall(one)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield heard
        finally:
            thread.join()
            os.close(fd)


def test_a_question_is_answered(store: Store):
    reply = Reply(generations={"test": 7}, requests={"lookup": 3})
    with answering(store, format_message(reply)) as heard:
        assert ask_daemon(store, LEASE, Request("status")) == reply
    assert parse_request(heard[0]) == Request("status")


@pytest.mark.parametrize("answer", [b"", b"\n", b"no\n", b'{"problem":', b'{"x":' + b"1" * MAX_REPLY + b"}\n"])
def test_an_answer_that_is_none_names_the_mountpoint_and_the_process(store: Store, answer: bytes):
    with answering(store, answer), pytest.raises(MountRefused, match=r"daemon \(process 1234\) does not answer") as caught:
        ask_daemon(store, LEASE, Request("status"))
    assert caught.value.subject == "/mnt/here"


def test_a_daemon_that_is_gone_does_not_answer_and_nothing_stays_open(store: Store):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(MountRefused, match="does not answer"):
        ask_daemon(store, LEASE, Request("switch"))
    assert os.listdir("/proc/self/fd") == before


def test_a_problem_that_the_daemon_tells_is_raised_with_the_mountpoint():
    with pytest.raises(CasfsError, match="/mnt/here: failed"):
        raise_problem(LEASE, Reply("failed"))
    raise_problem(LEASE, Reply())
