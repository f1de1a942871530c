"""Line: what one thread fetches with. Another thread can cut it, whatever the first one waits for: a handshake, headers or a body."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import warnings
from typing import TYPE_CHECKING, Any

from casfs import __version__
from casfs.resolve.access import Access
from casfs.resolve.limits import Pace

if TYPE_CHECKING:
    from requests import Response, Session
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, PoolManager
    from urllib3.connection import HTTPConnection


class Line:
    """A session, its pace, and a second descriptor of each of its connections."""

    def __init__(self, access: Access) -> None:
        self.pace = Pace(access.limits)
        self._lock = threading.Lock()
        self._twins: list[tuple[HTTPConnection, socket.socket]] = []
        self._why_cut = ""
        self.session = _open_session(access, self)

    def begin_try(self) -> None:
        """Ask anew."""
        with self._lock:
            self._why_cut = ""
        self.pace.begin_try()

    def end_try(self) -> str:
        """Wait for nothing. Answers why the line was cut meanwhile; "" if it was not."""
        self.pace.rest()
        with self._lock:
            for _, twin in (gone := [one for one in self._twins if one[0].sock is None]):
                twin.close()
            self._twins = [one for one in self._twins if one not in gone]
            return self._why_cut

    def watch(self, connection: HTTPConnection, new: socket.socket) -> None:
        """A connection is there. Of a descriptor that TLS takes over, only a second one can still be shut down."""
        with self._lock:
            self._twins.append((connection, socket.socket(fileno=os.dup(new.fileno()))))
        if self._why_cut:
            self.cut(self._why_cut)

    def cut(self, reason: str) -> None:
        """End every connection (shutdown(2)): whoever waits for one goes on with an error. For another thread."""
        with self._lock:
            self._why_cut = self._why_cut or reason
            for _, twin in self._twins:
                with contextlib.suppress(OSError):
                    twin.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let the connections go."""
        self.session.close()
        with self._lock:
            for _, twin in self._twins:
                twin.close()
            self._twins = []


def _open_session(access: Access, line: Line) -> Session:
    """Connections that trust what the system and requests' own list trust. Proxies and netrc are what requests finds in the environment."""
    import ssl

    import requests

    session = requests.Session()
    session.headers.update({"User-Agent": f"casfs/{__version__}", "Accept-Encoding": "identity"})
    session.max_redirects = access.limits.redirects
    session.hooks["response"].append(_pass_over_body)
    session.mount("http://", _adapter(line))
    session.mount("https://", _adapter(line, ssl_context=ssl.create_default_context()))
    if access.proxy:
        session.proxies.update({"http": access.proxy, "https": access.proxy})
    for host in access.insecure:
        session.mount(f"https://{host}", _adapter(line))
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
    return session


def _pass_over_body(response: Response, *_: object, **__: object) -> None:
    """What is redirected has a body that requests would read to its end, if it has one."""
    if response.is_redirect:
        response.close()


def _adapter(line: Line, **more: Any) -> HTTPAdapter:
    """An adapter whose connections, to hosts or to proxies, the line watches."""
    from requests.adapters import HTTPAdapter

    class Watched(HTTPAdapter):
        def init_poolmanager(self, *words: Any, **options: Any) -> None:
            super().init_poolmanager(*words, **(options | more))
            _watch_pools(self.poolmanager, line)

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            is_new = proxy not in self.proxy_manager
            manager = super().proxy_manager_for(proxy, **(options | more))
            if is_new:
                _watch_pools(manager, line)
            return manager

    return Watched()


def _watch_pools(manager: PoolManager, line: Line) -> None:
    manager.pool_classes_by_scheme = {scheme: _watched_pool(pool, line) for scheme, pool in manager.pool_classes_by_scheme.items()}


def _watched_pool(pool: type[HTTPConnectionPool], line: Line) -> type[HTTPConnectionPool]:
    kind: Any = pool.ConnectionCls

    class Connection(kind):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            new: socket.socket = super()._new_conn()
            line.watch(self, new)
            return new

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})
