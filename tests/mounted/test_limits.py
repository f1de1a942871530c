"""What a daemon survives: few descriptors, garbage on its control socket, many clients."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mounted.harness import TIME_LIMIT_S, Casfs, clean_environ, is_alive, make_template, site_packages

COUNT = 3_000


def content(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest() * 3


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Casfs, Path]]:
    """A daemon that may have 64 descriptors, and 3,000 different files."""
    directory = tmp_path_factory.mktemp("limits")
    with Casfs(directory, make_template(directory / "template")) as casfs:
        casfs.add(casfs.wheel("demo", files={f"demo/{number}": content(number) for number in range(COUNT)}))
        mountpoint = directory / "mount"
        casfs.run("mount", "--data-path", "fuse", mountpoint, prefix=["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"])
        yield casfs, mountpoint


def check_files(directory: Path) -> None:
    for number in range(COUNT):
        assert (directory / str(number)).read_bytes() == content(number)


def test_more_files_than_descriptors_are_all_readable(scene: tuple[Casfs, Path]) -> None:
    casfs, mountpoint = scene
    [status] = casfs.status()
    pid = status["worker"]
    assert "64" in [line.split()[3] for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max open files")]
    check_files(site_packages(mountpoint) / "demo")
    assert len(os.listdir(f"/proc/{pid}/fd")) < 64
    [status] = casfs.status()
    assert 0 < status["open_blob_count"] < 64


def test_files_held_open_cost_the_daemon_nothing(scene: tuple[Casfs, Path]) -> None:
    _, mountpoint = scene
    directory = site_packages(mountpoint) / "demo"
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context((directory / str(number)).open("rb", buffering=0)) for number in range(500)]
        for number, file in reversed([*enumerate(files)]):
            assert file.read() == content(number)


def test_parallel_readers_share_few_descriptors(scene: tuple[Casfs, Path]) -> None:
    casfs, mountpoint = scene
    casfs.umount(mountpoint)
    casfs.run("mount", "--data-path", "fuse", mountpoint, prefix=["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"])
    command = ["sh", "-c", "ls | xargs -P 8 -n 250 sha256sum | sort | sha256sum"]
    done = subprocess.run(command, cwd=site_packages(mountpoint) / "demo", capture_output=True, text=True, check=True)
    lines = sorted(f"{hashlib.sha256(content(number)).hexdigest()}  {number}\n" for number in range(COUNT))
    assert done.stdout.split()[0] == hashlib.sha256("".join(lines).encode()).hexdigest()


class Control:
    """The control socket of the only daemon of a store, as a stranger may use it."""

    def __init__(self, casfs: Casfs) -> None:
        [self.lease] = casfs.leases()
        self._leases = casfs.store / "run"

    def connect(self) -> socket.socket:
        fd = os.open(self._leases, os.O_PATH)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(f"/proc/self/fd/{fd}/{self.lease['id']}.sock")
            connection.settimeout(TIME_LIMIT_S)
            return connection
        except OSError:
            connection.close()
            raise
        finally:
            os.close(fd)

    def send(self, message: bytes, *, ends: bool = True) -> bytes:
        """What the daemon answers to these bytes."""
        with self.connect() as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(message)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        return b""

    def check_status(self) -> None:
        """The daemon answers properly."""
        answer = json.loads(self.send(b'{"command": "status"}\n', ends=False))
        assert answer["problem"] == ""
        assert is_alive(self.lease["pid"])


@pytest.fixture
def control(scene: tuple[Casfs, Path]) -> Control:
    return Control(scene[0])


NAMES = st.sampled_from(["command", "version", "x"]) | st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


# The fixture is one daemon, which is to outlive all of the examples.
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode() + b"\n"))
def test_garbage_is_answered_or_cut_off_and_nothing_else(control: Control, message: bytes) -> None:
    answer = control.send(message)
    assert not answer or json.loads(answer)["problem"] or b"status" in message or b"switch" in message
    control.check_status()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\n",
        b'{"command": "status"}',
        b'{"command": "sta',
        b"x" * 1_000_000,
        b"[" * 60_000 + b"\n",
        b"9" * 60_000 + b"\n",
        b'{"command": "' + b"a" * 60_000 + b'"}\n',
        b'{"command": "status", "version": 99}\n',
        b'{"command": "status"}\n' * 1000,
        b"\xff\xfe\0\n",
        b'{"command": "\\ud800"}\n',
    ],
    ids=lambda message: message[:24].decode("latin-1"),
)
def test_odd_message_ends_only_its_own_connection(control: Control, message: bytes) -> None:
    control.send(message)
    control.check_status()


def test_idle_connections_keep_nobody_out(scene: tuple[Casfs, Path], control: Control) -> None:
    """More of them than the daemon has descriptors."""
    with contextlib.ExitStack() as stack:
        for number in range(80):
            connection = stack.enter_context(control.connect())
            connection.sendall(b'{"comm' if number % 2 else b"")
        check_files(site_packages(scene[1]) / "demo")
        control.check_status()
    control.check_status()


def test_status_comes_under_load(scene: tuple[Casfs, Path], control: Control) -> None:
    source = (
        "import os, sys\n"
        "names = os.listdir(sys.argv[1])\n"
        "while True:\n"
        "    for name in names:\n"
        "        open(os.path.join(sys.argv[1], name), 'rb').read(); os.listdir(sys.argv[1] + '/..')\n"
    )
    command = [sys.executable, "-c", source, str(site_packages(scene[1]) / "demo")]
    readers = [subprocess.Popen(command, env=clean_environ()) for _ in range(3)]
    try:
        for _ in range(20):
            control.check_status()
        assert all(reader.poll() is None for reader in readers)
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


def test_many_at_once_ask_for_switches_and_status(scene: tuple[Casfs, Path], control: Control) -> None:
    problems: list[object] = []

    def ask() -> None:
        try:
            for _ in range(20):
                assert json.loads(control.send(b'{"command": "switch", "environment": "default"}\n'))["problem"] == ""
                control.check_status()
        except BaseException as problem:
            problems.append(problem)
            raise

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert scene[0].log() == ""
