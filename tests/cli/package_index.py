"""A package index on loopback: what it offers, what goes wrong with it, and what it was asked for."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import struct
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from tests.make_wheels import MadeWheel, make_wheel

_JSON = "application/vnd.pypi.simple.v1+json"


class PackageIndex:
    """Wheels by project, as PEP 691 (or, with `is_html`, PEP 503) with PEP 658 metadata, so that a resolver asks for no wheel."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}  # what the index says; "" for nothing
        self.faults: dict[str, Callable[[_Handler, bytes], None]] = {}  # by file name
        self.asked: list[str] = []
        self.login: tuple[str, str] | None = None
        self.is_html = False
        self.silence = threading.Event()
        index = self

        class Handler(_Handler):
            offers = index

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> PackageIndex:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.silence.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/simple"

    def file_url(self, name: str) -> str:
        return f"http://{self.host}/files/{name}"

    def offer(self, name: str, version: str = "1.0", needs: str = "", size: int = 0) -> MadeWheel:
        """A wheel that needs what `needs` says, with about `size` bytes of incompressible content."""
        files = {f"{name}/__init__.py": f"VERSION = {version!r}\n".encode()}
        if size:
            files[f"{name}/data"] = hashlib.shake_128(name.encode()).digest(size)
        metadata = "".join(f"Requires-Dist: {one}\n" for one in needs.split())
        wheel = make_wheel(files, name, version, metadata=metadata.rstrip("\n"))
        self.offer_file(wheel.filename, wheel.content)
        return wheel

    def offer_file(self, filename: str, content: bytes) -> None:
        self.files[filename] = content
        self.digests[filename] = hashlib.sha256(content).hexdigest()

    def fetched(self) -> list[str]:
        """Names of the files that were asked for since last time, metadata aside."""
        names = [path.rpartition("/")[2] for path in self.asked if path.startswith("/files/") and not path.endswith(".metadata")]
        self.asked.clear()
        return names

    def page(self, project: str) -> tuple[str, bytes] | None:
        """Content type and body of a project's page."""
        names = [name for name in self.files if name.split("-")[0] == project]
        if not names:
            return None
        if self.is_html:
            links = "".join(f'<a href="/files/{name}{self._fragment(name)}" data-core-metadata="true">{name}</a>\n' for name in names)
            return "text/html", f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
        files = [self._describe(name) for name in names]
        return _JSON, json.dumps({"meta": {"api-version": "1.1"}, "name": project, "versions": [], "files": files}).encode()

    def _fragment(self, name: str) -> str:
        return f"#sha256={self.digests[name]}" if self.digests[name] else ""

    def _describe(self, name: str) -> dict[str, object]:
        hashes = {"sha256": self.digests[name]} if self.digests[name] else {}
        is_wheel = name.endswith(".whl")
        return {"filename": name, "url": f"/files/{name}", "hashes": hashes, "size": len(self.files[name]), "core-metadata": is_wheel}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    offers: PackageIndex

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        index = self.offers
        index.asked.append(self.path)
        if index.login and self.headers.get("Authorization") != "Basic " + base64.b64encode(":".join(index.login).encode()).decode():
            self.answer(401, b"", **{"WWW-Authenticate": 'Basic realm="index"'})
            return
        parts = self.path.strip("/").split("/")
        if parts[0] == "simple" and len(parts) == 2 and (page := index.page(parts[1])):
            self.answer(200, page[1], **{"Content-Type": page[0]})
        elif parts[0] == "files":
            self._serve_file(parts[1])
        else:
            self.answer(404, b"")

    def _serve_file(self, name: str) -> None:
        index = self.offers
        if name.endswith(".metadata") and (wheel := index.files.get(name.removesuffix(".metadata"))):
            self.answer(200, _metadata(wheel))
        elif (content := index.files.get(name)) is None:
            self.answer(404, b"")
        elif fault := index.faults.get(name):
            fault(self, content)
        else:
            self.answer(200, content)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _metadata(wheel: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")))


# --- what can go wrong with a file


def is_cut(handler: _Handler, content: bytes) -> None:
    """Half of it comes, then the connection ends."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


def is_short(handler: _Handler, content: bytes) -> None:
    """Half of it comes, and the server calls that all."""
    handler.answer(200, content[: len(content) // 2])


def is_other(handler: _Handler, content: bytes) -> None:
    """Something of the same size comes."""
    handler.answer(200, bytes(len(content)))


def is_missing(handler: _Handler, content: bytes) -> None:
    handler.answer(404, b"not here")


def is_in_trouble(handler: _Handler, content: bytes) -> None:
    handler.answer(500, b"oh no")


def is_reset(handler: _Handler, content: bytes) -> None:
    """The connection is reset before a word is said (RST, by way of SO_LINGER 0)."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()
    handler.rfile.close()
    handler.wfile = io.BytesIO()


def is_silent(handler: _Handler, content: bytes) -> None:
    """Half of it comes, and then nothing more until the test is over."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.offers.silence.wait(60)
    handler.close_connection = True


def is_endless(handler: _Handler, content: bytes) -> None:
    """More comes than the index said."""
    handler.answer(200, content * 3)


def once(fault: Callable[[_Handler, bytes], None]) -> Callable[[_Handler, bytes], None]:
    """The fault the first time; then the file, from where it is asked for."""
    done: list[object] = []

    def serve(handler: _Handler, content: bytes) -> None:
        if not done:
            done.append(True)
            fault(handler, content)
        else:
            with_ranges(handler, content)

    return serve


def with_ranges(handler: _Handler, content: bytes) -> None:
    """No fault: the file, from where it is asked for."""
    start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
    if start >= len(content):
        handler.answer(416, b"")
    elif start:
        handler.answer(206, content[start:], **{"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"})
    else:
        handler.answer(200, content)


def make_environ(directory: Path, index: PackageIndex) -> dict[str, str]:
    """Variables by which pip and uv know this index and nothing else."""
    return {
        "HOME": str(directory),
        "NO_PROXY": "127.0.0.1",
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_CACHE_DIR": str(directory / "uv"),
        "UV_HTTP_RETRIES": "1",
        "UV_INDEX_URL": index.url,
        "UV_NO_CONFIG": "1",
    }
