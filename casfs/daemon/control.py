"""Control: what a casfs command says to the daemon of a mount, and hears from it.

One JSON object and a newline each way over a Unix socket that lies beside the lease; one request a connection. The client here is plain
blocking code, so that commands need no event loop; the server is in `daemon`.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, fields

from casfs.errors import CasfsError, MountRefused
from casfs.store.leases import Lease, iter_leases
from casfs.store.runtime_files import read_fields
from casfs.store.store import Store

VERSION = 1
MAX_REQUEST = 4096  # bytes
MAX_REPLY = 4 << 20  # a status names every environment that the host shows

_ATTEMPTS = 4
_TIMEOUTS_S = {"status": 5.0, "switch": 30.0, "show": 30.0, "forget": 5.0, "stop": 5.0, "upgrade": 5.0}
"""A worker under load answers in milliseconds, and one that hangs is replaced within 3 seconds; a switch of generations reads manifests,
and on a slow disk it takes its time. A host that has just been started is asked to show something while it is still being loaded."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a command wants: "status", "show" an environment, "switch" to its generation that is current now, "forget" one that is removed,
    "stop", or "upgrade" to the program as it is now.
    """

    command: str
    environment: str = ""
    uid: int = 0
    gid: int = 0
    generation: int = 0  # to show; 0: the one that is current
    attributes: str = "user"  # namespace in which an overlay is told where blobs are
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Reply:
    """What the daemon says. `problem` is empty when it did what was asked."""

    problem: str = ""
    generations: dict[str, int] = field(default_factory=dict)  # by environment
    slot: str = ""  # the directory of the daemon's mount that shows what was asked for
    uptime_s: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)
    latency: dict[str, list[float]] = field(default_factory=dict)  # kind of request -> [p50, p99] in microseconds
    open_blobs: int = 0
    resident_bytes: int = 0
    worker: int = 0  # its process
    supervisor: int = 0  # its process
    restarts: int = 0  # workers that were replaced
    reason: str = ""  # why the last one was
    casfs_version: str = ""  # that the worker runs
    descriptors: int = 0  # of the worker
    supervisor_resident_bytes: int = 0


def format_message(message: Request | Reply) -> bytes:
    """One line. A request says only what differs from the default: a daemon of an earlier version, which may not know the other fields,
    understands it, and so can be upgraded."""
    said = asdict(message)
    if isinstance(message, Request):
        said = {one.name: said[one.name] for one in fields(message) if one.name == "version" or said[one.name] != one.default}
    return json.dumps(said).encode() + b"\n"


def parse_request(line: bytes) -> Request:
    """The request in a line. Raises ValueError."""
    data = _parse_json(line)
    version = data.get("version", VERSION) if isinstance(data, dict) else VERSION
    if isinstance(version, int) and version != VERSION:
        raise ValueError(f"speaks version {version}, not {VERSION}")
    request = read_fields(Request, data)
    if request.command in {"show", "switch", "forget"} and not request.environment:
        raise ValueError("names no environment")
    return request


def parse_reply(line: bytes) -> Reply:
    """The reply in a line. Raises ValueError."""
    return read_fields(Reply, _parse_json(line))


def _parse_json(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None


def socket_path(directory_fd: int, lease_id: str, suffix: str = ".sock") -> str:
    """Path of a control socket through a descriptor of run/: a socket's address has room for 107 bytes only (unix(7))."""
    return f"/proc/self/fd/{directory_fd}/{lease_id}{suffix}"


def ask_daemon(store: Store, lease: Lease, request: Request) -> Reply:
    """The reply of the daemon that holds `lease`. A worker that dies before it answers is replaced, and asked again.

    Raises MountRefused if there is none.
    """
    directory_fd = os.open(store.run_path(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        answers = (_exchange(socket_path(directory_fd, lease.id), request) for _ in range(_ATTEMPTS))
        if not (answer := next(filter(None, answers), b"")):
            raise ConnectionError("it breaks off")
        return parse_reply(answer)
    except (OSError, ValueError) as error:
        raise MountRefused(lease.mountpoint, f"its daemon (process {lease.pid}) does not answer: {error}") from None
    finally:
        os.close(directory_fd)


def _exchange(address: str, request: Request) -> bytes:
    """The line that answers a request; nothing if whoever took the request died."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUTS_S[request.command])
        connection.connect(address)
        try:
            connection.sendall(format_message(request))
            with connection.makefile("rb") as answer:
                return answer.readline(MAX_REPLY)
        except (BrokenPipeError, ConnectionResetError):
            return b""


def raise_problem(lease: Lease, reply: Reply) -> None:
    """Raises CasfsError if the daemon could not do what was asked."""
    if reply.problem:
        raise CasfsError(lease.mountpoint, reply.problem)


_PAUSES_S = (0.1, 0.5, 3.0)  # a worker that died is replaced in milliseconds, one that hangs within 3 seconds


def switch_generation(store: Store, lease: Lease, environment: str) -> None:
    """Let a daemon show the current generation of an environment. A worker that dies meanwhile is replaced, and its successor is asked.

    Raises CasfsError. A daemon that has ended has nothing to show.
    """
    for pause_s in _PAUSES_S:
        try:
            raise_problem(lease, ask_daemon(store, lease, Request("switch", environment)))
            return
        except MountRefused:
            time.sleep(pause_s)
            if lease.id not in {one.id for one in iter_leases(store)}:
                return
    raise_problem(lease, ask_daemon(store, lease, Request("switch", environment)))
