"""Downloads from servers that mean harm: each wait and each size has an end, and what a good server sends comes all the same."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casfs.errors import FetchFailed
from casfs.resolve.access import Access
from casfs.resolve.download import THREAD_NAME, Download, fetch_all
from casfs.resolve.limits import Limits, Pace
from casfs.wheels.source import MAX_WHEEL_SIZE

SHORT = Limits(silence_s=0.2, retries=0)
BODY = b"a good body" * 1000
OK = b"HTTP/1.1 200 OK\r\n"

Talk = Iterator[bytes]


@contextlib.contextmanager
def server(talk: Callable[[], Talk]) -> Iterator[str]:
    """A server that hears a request and says what `talk` yields, to every client; its URL. It ends when the client hangs up, or we do."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                client.recv(1 << 16)
                for part in talk():
                    client.sendall(part)
                    if over.wait({0: 60, 1: 0.01}.get(len(part), 0)):
                        return

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/one.whl"
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def download(url: str, path: Path, limits: Limits = SHORT, size: int = 0) -> bytes:
    fetch_all([Download(url, str(path), size=size)], Access({}, limits=limits), lambda *_: None)
    return path.read_bytes()


def byte_by_byte(text: bytes) -> Talk:
    return (bytes([one]) for one in text)


def nothing() -> Talk:
    """Silence, until the test is over."""
    return iter([b""])


def endless() -> Talk:
    return itertools.repeat(bytes(1 << 16))


TALKS: dict[str, tuple[Callable[[], Talk], str]] = {
    "silence": (nothing, "no answer|timed out"),
    "status that drips": (lambda: itertools.chain([b"HTTP/1.1 2"], itertools.repeat(b"0")), "no answer"),
    "headers that drip": (lambda: itertools.chain([OK], itertools.cycle(byte_by_byte(b"X: y\r\n"))), "no answer"),
    "a header too long": (lambda: itertools.chain([OK, b"X: "], itertools.repeat(b"y" * 4096)), "got more than 65536 bytes"),
    "headers too many": (lambda: itertools.chain([OK], itertools.repeat(b"X: y\r\n" * 50)), "got more than 100 headers"),
    "answers that are none": (lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 99), "no answer"),
    "body that drips": (lambda: itertools.chain([OK, b"Content-Length: 99999\r\n\r\n"], itertools.repeat(b"x")), "only [0-9]+ bytes came"),
    "body that stops": (lambda: itertools.chain([OK, b"Content-Length: 99999\r\n\r\nxx"], nothing()), "timed out|only [0-9]+ bytes came"),
    "body of no known size that drips": (lambda: itertools.chain([OK, b"\r\n"], itertools.repeat(b"x")), "only [0-9]+ bytes came"),
    "chunks that drip": (
        lambda: itertools.chain([OK, b"Transfer-Encoding: chunked\r\n\r\n"], itertools.cycle(byte_by_byte(b"1\r\nx\r\n"))),
        "only [0-9]+ bytes came",
    ),
    "chunk size without an end": (
        lambda: itertools.chain([OK, b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"1" * 4096)),
        "can't be fetched",
    ),
    "redirections without an end": (lambda: iter([b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"]), "10 redirects"),
    "redirection with a body without an end": (
        lambda: itertools.chain([b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"], endless()),
        "10 redirects",
    ),
    "error with a body without an end": (lambda: itertools.chain([b"HTTP/1.1 404 Not Found\r\n\r\n"], endless()), "answered 404"),
}


@pytest.mark.parametrize("name", TALKS)
def test_server_that_means_harm_is_given_up(tmp_path: Path, name: str) -> None:
    talk, words = TALKS[name]
    with server(talk) as url, pytest.raises(FetchFailed, match=words) as caught:
        download(url, tmp_path / "one.whl")
    assert caught.value.subject == url
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


def test_all_tries_together_have_an_end(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def talk() -> Talk:
        asked.append(b"")
        return iter([b"HTTP/1.1 500 Oh no\r\nContent-Length: 0\r\n\r\n"])

    with server(talk) as url, pytest.raises(FetchFailed, match="answered 500"):
        download(url, tmp_path / "one.whl", Limits(retries=2))
    assert len(asked) == 3


@pytest.mark.parametrize("head", [b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n"], ids=["plain", "chunked"])
def test_body_without_an_end_is_read_up_to_the_limit(tmp_path: Path, head: bytes) -> None:
    body = endless() if head == b"\r\n" else itertools.repeat(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
    with server(lambda: itertools.chain([OK, head], body)) as url, pytest.raises(FetchFailed, match="the limit is 1000000"):
        download(url, tmp_path / "one.whl", Limits(body=1_000_000))
    assert os.stat(tmp_path / "one.whl").st_size <= 1_000_000


def test_nothing_is_read_of_a_body_that_is_said_to_be_too_large(tmp_path: Path) -> None:
    with server(lambda: itertools.chain([OK, b"Content-Length: 2000000\r\n\r\n"], nothing())) as url:
        with pytest.raises(FetchFailed, match="has 2000000 bytes; the limit is 1000000"):
            download(url, tmp_path / "one.whl", Limits(body=1_000_000))
        with pytest.raises(FetchFailed, match="is larger than 1000 bytes"):
            download(url, tmp_path / "two.whl", size=1000)
        with pytest.raises(FetchFailed, match="has 5000000 bytes; the limit is 1000000"):
            download(url, tmp_path / "three.whl", Limits(body=1_000_000), size=5_000_000)


def test_nothing_is_read_of_what_the_disk_has_no_room_for(tmp_path: Path) -> None:
    size = 1 << 60
    head = f"Content-Length: {size}\r\n\r\n".encode()
    with (
        server(lambda: itertools.chain([OK, head], nothing())) as url,
        pytest.raises(FetchFailed, match=f"needs {size} bytes, and the disk"),
    ):
        download(url, tmp_path / "one.whl", Limits(body=1 << 61))


GOOD = {
    "length": [OK, f"Content-Length: {len(BODY)}\r\n\r\n".encode(), BODY],
    "no length": [OK, b"\r\n", BODY],
    "chunked": [OK, b"Transfer-Encoding: chunked\r\n\r\n", *(b"%x\r\n%b\r\n" % (len(one), one) for one in (BODY[:9], BODY[9:], b""))],
    "said to be packed": [OK, f"Content-Encoding: gzip\r\nContent-Length: {len(BODY)}\r\n\r\n".encode(), BODY],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_body_comes_as_it_is(tmp_path: Path, name: str) -> None:
    with server(lambda: iter(GOOD[name])) as url:
        assert download(url, tmp_path / "one.whl", Limits(), len(BODY)) == BODY


# --- what is fast enough


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def started(clock: Clock, limits: Limits | None = None) -> Pace:
    pace = Pace(limits or Limits(), clock)
    pace.begin_file()
    pace.begin_try()
    return pace


def test_answer_is_waited_for_as_long_as_the_limit_says(clock: Clock) -> None:
    pace = started(clock)
    clock.now = 60
    assert pace.look() == ""
    clock.now = 61
    assert pace.look() == "no answer within 60 seconds"
    pace.rest()
    assert pace.look() == ""


@pytest.mark.parametrize(("speed", "is_enough"), [(2_000, True), (1_900, False)])
def test_speed_is_measured_over_a_window(clock: Clock, speed: int, is_enough: bool) -> None:
    """A body that comes at once is followed by one that comes slowly, or stops for less than the window."""
    pace = started(clock)
    size, found = 1_000_000, []
    for second in range(300):
        clock.now = second
        pace.come(size)
        found.append(pace.look())
        size += speed * 30 if second % 30 == 0 else 0
    assert (found.count("") == 300) is is_enough
    assert found[:60] == [""] * 60


def test_tries_of_a_file_count_together(clock: Clock) -> None:
    pace = started(clock)
    for second in range(0, 700, 50):
        clock.now = second
        pace.begin_try()
        pace.come(0)
        assert bool(pace.look()) is (second > 600)
    assert pace.is_overdue(0)
    assert not pace.is_overdue(200_000)  # 100 seconds at the least speed


def test_limit_of_bytes_is_that_of_wheels() -> None:
    assert Limits().body == MAX_WHEEL_SIZE
