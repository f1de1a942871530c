"""Download: one file from a URL, checked before anybody uses it.

Bytes go to the disk as they come, so a large wheel needs no more memory than a small one. A connection that breaks is taken up where it
ended, if the server can; what the lock says of size and SHA-256 decides in the end.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casfs import __version__
from casfs.digest import ContentHasher, Digest
from casfs.errors import FetchFailed
from casfs.fetch.access import Access, split_login
from casfs.store.publish import naming, write_all

if TYPE_CHECKING:
    from requests import Response, Session

_CHUNK_SIZE = 1 << 18
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


def open_session(access: Access) -> Session:
    """Connections that trust what the system and requests' own list trust. Proxies and netrc are what requests finds in the environment."""
    import ssl

    import requests
    from requests.adapters import HTTPAdapter

    class TrustingAdapter(HTTPAdapter):
        def init_poolmanager(self, *words: Any, **options: Any) -> None:
            super().init_poolmanager(*words, **options, ssl_context=ssl.create_default_context())

        def proxy_manager_for(self, *words: Any, **options: Any) -> Any:
            return super().proxy_manager_for(*words, **options, ssl_context=ssl.create_default_context())

    session = requests.Session()
    session.headers.update({"User-Agent": f"casfs/{__version__}", "Accept-Encoding": "identity"})
    session.mount("https://", TrustingAdapter())
    if access.proxy:
        session.proxies.update({"http": access.proxy, "https": access.proxy})
    for host in access.insecure:
        session.mount(f"https://{host}", HTTPAdapter())
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
    return session


def fetch(session: Session, access: Access, download: Download, report: Report, stop: threading.Event) -> None:
    """Download a file to its path. Raises FetchFailed, which names the URL, and OSError of the disk; then the path holds anything.

    Returns early, without a promise, once `stop` is set.
    """
    url, _ = split_login(download.url)
    fd = os.open(download.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        one = _Fetching(session, access, download, fd=fd, report=report, stop=stop)
        for left in range(access.retries, -1, -1):
            try:
                one.attempt()
                break
            except _Broken as problem:
                if not left:
                    raise FetchFailed(url, str(problem)) from None
            if stop.wait(_FIRST_PAUSE_S * 2 ** (access.retries - left)):
                return
        if not stop.is_set():
            one.check(url)
    finally:
        os.close(fd)


class _Fetching:
    """A download in the making: what is on the disk is what was hashed."""

    def __init__(self, session: Session, access: Access, download: Download, *, fd: int, report: Report, stop: threading.Event) -> None:
        self._session, self._access, self._download = session, access, download
        self._fd, self._report, self._stop = fd, report, stop
        self._login = access.login(download.url)
        self._hasher = ContentHasher()

    def attempt(self) -> None:
        """Fetch what is still missing. Raises _Broken if the connection, or the server, fails; FetchFailed if the server means it."""
        import requests

        try:
            with contextlib.closing(self._ask()) as response:
                self._start(response)
                self._read(response)
        except requests.exceptions.SSLError as error:
            raise FetchFailed(split_login(self._download.url)[0], f"can't be fetched safely: {_innermost(error)}") from None
        except requests.RequestException as error:
            raise _Broken(f"can't be fetched: {_innermost(error)}") from None

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
        timeout = (self._access.timeout_s, self._access.timeout_s)
        return self._session.get(url, headers=headers, auth=self._login, stream=True, timeout=timeout, verify=verify)

    def _start(self, response: Response) -> None:
        """Go on where the last try ended, or begin again if the server does."""
        if response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {self._hasher.size}-"):
            return
        self._begin_again()
        if response.status_code in _WORTH_ANOTHER_TRY or response.status_code in {206, 416}:
            raise _Broken(f"can't be fetched: the server answered {response.status_code} {response.reason}".rstrip())
        if response.status_code != 200:
            answer = f"can't be fetched: the server answered {response.status_code} {response.reason}".rstrip()
            raise FetchFailed(split_login(self._download.url)[0], answer)

    def _begin_again(self) -> None:
        with naming(self._download.path):
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.ftruncate(self._fd, 0)
        self._hasher = ContentHasher()

    def _read(self, response: Response) -> None:
        length = response.headers.get("Content-Length", "")
        total = self._download.size or (self._hasher.size + int(length) if length.isdecimal() else 0)
        for chunk in response.iter_content(_CHUNK_SIZE):
            if self._stop.is_set():
                return
            if self._download.size and self._hasher.size + len(chunk) > self._download.size:
                raise FetchFailed(split_login(self._download.url)[0], f"is larger than {self._download.size} bytes, which it should have")
            with naming(self._download.path):
                write_all(self._fd, chunk)
            self._hasher.update(chunk)
            self._report(self._hasher.size, total)

    def check(self, url: str) -> None:
        """Raises FetchFailed unless the file is the one that was asked for."""
        wanted = self._download
        if wanted.size and self._hasher.size != wanted.size:
            raise FetchFailed(url, f"has {self._hasher.size} bytes and should have {wanted.size}")
        if wanted.digest and self._hasher.digest != wanted.digest:
            raise FetchFailed(url, f"has the SHA-256 {self._hasher.digest} and should have {wanted.digest}")


def _innermost(error: BaseException) -> str:
    """The reason at the bottom of what requests and urllib3 wrap around it."""
    while (
        inner := error.__cause__ or error.__context__ or next((one for one in error.args if isinstance(one, BaseException)), None)
    ) is not None:
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).strip() or type(error).__name__
