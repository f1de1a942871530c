"""Download: one file from a URL, checked before anybody uses it.

Bytes go to the disk as they come, so a large wheel needs no more memory than a small one. A connection that breaks is taken up where it
ended, if the server can, and so is what an earlier command has left; what the lock says of size and SHA-256 decides in the end.

Many come side by side (`fetch_all`): one that fails ends them all; so does Ctrl-C, at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casfs.descriptors import closing_fd
from casfs.digest import ContentHasher, Digest
from casfs.errors import FetchFailed
from casfs.resolve.access import Access, split_login
from casfs.resolve.connection import Line
from casfs.store.publish import naming, room_problem, write_all
from casfs.wheels.source import too_large

if TYPE_CHECKING:
    from requests import Response
import queue
from collections.abc import Sequence

_CHUNK_SIZE = 1 << 15
_READ_SIZE = 1 << 20
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
_FIRST_PAUSE_S = 0.2  # it doubles with each try

Report = Callable[[int, int], None]
"""Called with bytes that are done, and bytes in all (0: nobody knows yet)."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file to fetch. `digest` None: nobody says what it must be; `size` 0: nobody says how large it is."""

    url: str
    path: str
    digest: Digest | None = None
    size: int = 0


class _Broken(Exception):
    """This try failed, and another may not."""


def fetch(line: Line, access: Access, download: Download, report: Report, stop: threading.Event) -> None:
    """Download a file to its path. Raises FetchFailed, which names the URL, and OSError of the disk; then the path holds anything.

    Returns early, without a promise, once `stop` is set.
    """
    url, _ = split_login(download.url)
    limits = access.limits
    if download.size > limits.body:
        raise FetchFailed(url, too_large(download.size, limits.body))
    with closing_fd(os.open(download.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)) as fd:
        one = _Fetching(line, access, download, fd=fd, report=report, stop=stop)
        line.pace.begin_file()
        goes_on = one.go_on()
        for left in range(limits.retries, -1, -1):
            try:
                if not one.is_whole:
                    one.attempt()
                if stop.is_set() or not (problem := one.problem()):
                    return
                one.begin_again()  # nobody keeps what is wrong
                if not goes_on or not left:
                    raise FetchFailed(url, problem)
                goes_on = False
            except _Broken as broken:
                if not left or line.pace.is_overdue(one.size):
                    raise FetchFailed(url, str(broken)) from None
            if stop.wait(_FIRST_PAUSE_S * 2 ** (limits.retries - left)):
                return


class _Fetching:
    """A download in the making: what is on the disk is what was hashed."""

    def __init__(self, line: Line, access: Access, download: Download, *, fd: int, report: Report, stop: threading.Event) -> None:
        self._line, self._access, self._download = line, access, download
        self._fd, self._report, self._stop = fd, report, stop
        self._login = access.login(download.url)
        self._hasher = ContentHasher()

    def go_on(self) -> bool:
        """Whether an earlier command has left something of the file. It is hashed, and the rest is asked for."""
        while chunk := os.read(self._fd, _READ_SIZE):
            self._hasher.update(chunk)
        if self._download.size and self.size > self._download.size:
            self.begin_again()
        self._report(self.size, self._download.size)
        return self.size > 0

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self._hasher.size

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return bool(self.size) and self._hasher.digest == self._download.digest

    def attempt(self) -> None:
        """Fetch what is still missing. Raises _Broken if the connection, or the server, fails; FetchFailed if the server means it."""
        import requests
        import urllib3

        problem: Exception | None = None
        self._line.begin_try()
        try:
            with contextlib.closing(self._ask()) as response:
                self._start(response)
                self._read(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            problem = error
        finally:
            why_cut = self._line.end_try()
        if why_cut:  # then a body without a length looks whole
            raise _Broken(f"can't be fetched: {why_cut}")
        if isinstance(problem, requests.exceptions.SSLError):
            raise FetchFailed(split_login(self._download.url)[0], f"can't be fetched safely: {_innermost(problem)}")
        if problem:
            raise _Broken(f"can't be fetched: {_innermost(problem)}")

    def _ask(self) -> Response:
        response = self._get()
        if response.status_code == 401 and (login := self._access.ask_keyring(self._download.url)):
            response.close()
            self._login = login
            response = self._get()
        return response

    def _get(self) -> Response:
        url, _ = split_login(self._download.url)
        headers = {"Range": f"bytes={self._hasher.size}-"} if self._hasher.size else {}
        verify: bool | str = not self._access.is_insecure(url) and (self._access.certificates or True)
        timeout = self._access.limits.silence_s
        return self._line.session.get(url, headers=headers, auth=self._login, stream=True, timeout=timeout, verify=verify)

    def _start(self, response: Response) -> None:
        """Go on where the last try ended, or begin again if the server does."""
        self._line.pace.come(self._hasher.size)
        if response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {self._hasher.size}-"):
            return
        self.begin_again()
        if response.status_code in _WORTH_ANOTHER_TRY or response.status_code in {206, 416}:
            raise _Broken(f"can't be fetched: the server answered {response.status_code} {response.reason}".rstrip())
        if response.status_code != 200:
            answer = f"can't be fetched: the server answered {response.status_code} {response.reason}".rstrip()
            raise FetchFailed(split_login(self._download.url)[0], answer)

    def begin_again(self) -> None:
        """Forget what is there."""
        with naming(self._download.path):
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.ftruncate(self._fd, 0)
        self._hasher = ContentHasher()

    def _read(self, response: Response) -> None:
        total = self._download.size or self._promised(response)
        self._refuse_size(total, self._promised(response))
        # As they come, decoded by nobody: a wheel is packed already. This reads chunk sizes of bounded length, which `stream` does not.
        while chunk := response.raw.read(_CHUNK_SIZE, decode_content=False):
            if self._stop.is_set():
                return
            self._refuse_size(total, self._hasher.size + len(chunk))
            with naming(self._download.path):
                write_all(self._fd, chunk)
            self._hasher.update(chunk)
            self._line.pace.come(self._hasher.size)
            self._report(self._hasher.size, total)

    def _promised(self, response: Response) -> int:
        """How large the file is, as the server says; 0: it does not."""
        length = response.headers.get("Content-Length", "")
        return self._hasher.size + int(length) if length.isdecimal() and len(length) < 20 else 0

    def _refuse_size(self, total: int, size: int) -> None:
        """Raises FetchFailed for a size that is not, or can't be, that of the file."""
        url, limit = split_login(self._download.url)[0], self._access.limits.body
        if self._download.size and size > self._download.size:
            raise FetchFailed(url, f"is larger than {self._download.size} bytes, which it should have")
        if size > limit:
            raise FetchFailed(url, too_large(size, limit))
        if self._hasher.size == 0 and (problem := room_problem(os.path.dirname(self._download.path), total)):
            raise FetchFailed(url, problem)

    def problem(self) -> str:
        """Why the file is not the one that was asked for; "" if it is."""
        wanted = self._download
        if wanted.size and self.size != wanted.size:
            return f"has {self.size} bytes and should have {wanted.size}"
        if wanted.digest and self._hasher.digest != wanted.digest:
            return f"has the SHA-256 {self._hasher.digest} and should have {wanted.digest}"
        return ""


def _innermost(error: BaseException) -> str:
    """The reason at the bottom of what requests and urllib3 wrap around it."""
    while (
        inner := error.__cause__ or error.__context__ or next((one for one in error.args if isinstance(one, BaseException)), None)
    ) is not None:
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).strip() or type(error).__name__


THREAD_NAME = "casfs fetches"

_THREADS = 4
_LOOK_EVERY_S = 0.1
_END_WAIT_S = 1.0  # a thread that waits for the system's resolver longer than this is left to die with the process


class _Work:
    """What the threads share."""

    def __init__(self, downloads: Sequence[Download], access: Access) -> None:
        self.access = access
        self.lines = [Line(access) for _ in range(min(_THREADS, len(downloads)))]
        self.stop = threading.Event()
        self.count = len(downloads)
        self.ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._sizes = {download.path: (0, download.size) for download in downloads}
        self._done, self._total = 0, sum(download.size for download in downloads)
        self._waiting: queue.SimpleQueue[Download] = queue.SimpleQueue()
        for download in sorted(downloads, key=lambda one: -one.size):
            self._waiting.put(download)

    def run(self, line: Line) -> None:
        """The whole life of a thread."""
        while not self.stop.is_set():
            try:
                download = self._waiting.get_nowait()
            except queue.Empty:
                break
            self.ended.put(self._fetch(line, download))
        line.close()

    def _fetch(self, line: Line, download: Download) -> BaseException | None:
        def report(done: int, total: int) -> None:
            with self._lock:
                before = self._sizes[download.path]
                self._sizes[download.path] = (done, total)
                self._done, self._total = self._done + done - before[0], self._total + total - before[1]

        try:
            fetch(line, self.access, download, report, self.stop)
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            return error
        return None

    def sizes(self) -> tuple[int, int]:
        """Bytes that are done, and bytes in all as far as is known."""
        with self._lock:
            return self._done, self._total


ReportAll = Callable[[int, int, int, int], None]
"""Called with bytes that are done, bytes in all (as far as is known), files that are done, and files in all."""


def fetch_all(downloads: Sequence[Download], access: Access, report: ReportAll) -> None:
    """Download all files. Raises what the first one that failed raised; then some files may be there, whole or not."""
    work = _Work(downloads, access)
    threads = [threading.Thread(target=work.run, args=(line,), name=THREAD_NAME, daemon=True) for line in work.lines]
    try:
        for thread in threads:
            thread.start()
        for number in range(len(downloads)):
            if (problem := _wait_for_one(work, report, number)) is not None:
                raise problem
    finally:
        work.stop.set()
        for line in work.lines:
            line.cut("it is not needed any more")
        for thread in threads:
            if thread.is_alive():
                thread.join(_END_WAIT_S)


def _wait_for_one(work: _Work, report: ReportAll, ended: int) -> BaseException | None:
    while True:
        report(*work.sizes(), ended, work.count)
        for line in work.lines:
            if reason := line.pace.look():
                line.cut(reason)
        try:
            return work.ended.get(timeout=_LOOK_EVERY_S)
        except queue.Empty:
            continue
