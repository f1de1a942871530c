"""Commands that a server runs: nobody can tell them from others but by the time that they take."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import casfs as package
from casfs.cli.client import connect
from tests.mounted.harness import REPOSITORY, TIME_LIMIT_S, Casfs, is_alive, is_readable, wait_for_end

_CLIENT = """
import sys
from casfs.cli.client import ask_servers
if (code := ask_servers(sys.argv[1:])) is None:
    sys.exit(99)
sys.exit(code)
"""

HERE = 99
"""What the client ends with if no server ran the command."""

STRANGER = 12345


@dataclass
class Served:
    """A store with a mount, whose daemon has a server."""

    casfs: Casfs
    environ: dict[str, str]

    def start(self, *words: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Give a server a command."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "cwd": REPOSITORY, **options}
        environ = {**self.environ, **options.pop("environ", {})}
        command = [*options.pop("prefix", ()), sys.executable, "-c", _CLIENT, *map(str, words)]
        return subprocess.Popen(command, env=environ, text=True, **options)

    def run(self, *words: str | Path, **options: Any) -> tuple[int, str, str]:
        """The same, up to its end."""
        with self.start(*words, **options) as process:
            out, err = process.communicate(timeout=TIME_LIMIT_S)
            return process.returncode, out, err

    def run_alone(self, *words: str | Path, **options: Any) -> tuple[int, str, str]:
        """The same command in a process of its own."""
        environ = {**self.environ, "CASFS_SERVER": "0", **options.pop("environ", {})}
        done = subprocess.run(
            self.casfs.command(*words),
            env=environ,
            check=False,
            **{"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "cwd": REPOSITORY, **options},
        )
        return done.returncode, done.stdout, done.stderr

    @property
    def socket(self) -> Path:
        (found,) = (self.casfs.store / "run").glob("*.commands")
        return found

    @property
    def server(self) -> int:
        """Its process."""
        needle = os.fsencode(self.casfs.store)
        (found,) = [pid for pid, words in _iter_programs() if needle in words and b"answer" in words and os.getsid(pid) == pid]
        return found

    def command(self) -> int:
        """The process of the one command that runs."""
        (found,) = Path(f"/proc/{self.server}/task/{self.server}/children").read_text().split()
        return int(found)


def _iter_programs() -> Iterator[tuple[int, list[bytes]]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_bytes().split(b"\0")
        except OSError:
            continue


def wait_for(condition: Callable[[], object]) -> None:
    """Look until it is so."""
    for _ in range(20_000):
        if condition():
            return
        is_readable(_NEVER[0], 0.01)
    raise AssertionError("it does not come to be so")


_NEVER = os.pipe()


def serve(casfs: Casfs, environ: dict[str, str]) -> Served:
    """A mount whose daemon has a server, which answers."""
    served = Served(casfs, environ)
    casfs.add(casfs.wheel("demo", files={"demo/__init__.py": b"VALUE = 1\n"}))
    assert served.run_alone("mount", casfs.directory / "mount", environ={"CASFS_SERVER": "1"})[0] == 0
    wait_for(lambda: served.run("list")[0] == 0)
    return served


@pytest.fixture
def served(casfs: Casfs) -> Served:
    return serve(casfs, {**casfs.environ, "CASFS_SERVER": "1"})


@pytest.fixture
def held(served: Served) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A command that waits for what it reads, and the descriptor into which that is to be written."""
    with hold(served) as both:
        yield both


@contextlib.contextmanager
def hold(served: Served, **options: Any) -> Iterator[tuple[subprocess.Popen[str], int]]:
    fifo = served.casfs.directory / "fifo"
    os.mkfifo(fifo)
    with served.start("mount", "--list", fifo, **options) as process, open(fifo, "wb", 0) as file:
        try:
            yield process, file.fileno()
        finally:
            process.kill()


def give(fd: int, text: str) -> None:
    """Write it, and no more: the other end is told."""
    os.write(fd, text.encode())
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)


WORDS: list[tuple[str, ...]] = [
    ("list",),
    ("list", "--json"),
    ("--env", "none", "list"),
    ("list", "--nonsense"),
    ("list", "--help"),
    ("generations",),
    ("env", "list"),
    ("show", "demo"),
    ("show", "nothing"),
    ("diff",),
    ("lock",),
    ("remove", "nothing"),
    ("rollback", "77"),
    ("add", "no.whl"),
    ("-q", "sync", "none.toml"),
    ("mount", "/sys/none"),
]


def test_a_command_says_and_answers_what_it_does_in_a_process_of_its_own(served: Served):
    for words in WORDS:
        assert served.run(*words) == served.run_alone(*words), words


def test_a_command_has_its_callers_directory_umask_and_variables(served: Served, tmp_path: Path):
    there = tmp_path / "there"
    there.mkdir()
    assert served.run("lock", "-o", "pylock.toml", cwd=there, umask=0o077)[0] == 0
    assert (there / "pylock.toml").stat().st_mode & 0o777 == 0o600
    code, _, said = served.run("list", environ={"CASFS_ENV": "other"})
    assert (code, "other" in said) == (1, True)


def test_a_command_has_its_callers_limits(served: Served, tmp_path: Path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    with (tmp_path / "out").open("w") as out:
        code = served.run("list", stdout=out, preexec_fn=limit)[0]
    assert (code, (tmp_path / "out").read_text()) == (1, "")


def test_a_command_reads_its_callers_standard_input(served: Served):
    with served.start("mount", "--list", "-", stdin=subprocess.PIPE) as process:
        process.communicate(f"default {served.casfs.directory}/second\n", timeout=TIME_LIMIT_S)
        assert process.returncode == 0
    assert (served.casfs.directory / "second/pyvenv.cfg").is_file()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, -signal.SIGUSR1)])
def test_a_signal_to_the_caller_ends_the_command(held: tuple[subprocess.Popen[str], int], number: int, code: int):
    process, _ = held
    process.send_signal(number)
    assert process.wait(TIME_LIMIT_S) == code


def test_what_the_caller_ignores_the_command_ignores(served: Served):
    with hold(served, preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)):
        lines = Path(f"/proc/{served.command()}/status").read_text().splitlines()
    ignored = next(line for line in lines if line.startswith("SigIgn"))
    assert int(ignored.split()[1], 16) >> signal.SIGTERM - 1 & 1


def test_the_command_stops_and_goes_on_with_its_caller(served: Served, held: tuple[subprocess.Popen[str], int]):
    process, fd = held
    both = (process.pid, served.command())
    process.send_signal(signal.SIGTSTP)
    wait_for(lambda: [_state(pid) for pid in both] == ["T", "T"])
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: "T" not in [_state(pid) for pid in both])
    give(fd, f"default {served.casfs.directory}/second\n")
    assert process.wait(TIME_LIMIT_S) == 0


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_command_ends_with_a_caller_that_is_killed(served: Served, held: tuple[subprocess.Popen[str], int]):
    command = served.command()
    held[0].kill()
    wait_for_end(command)
    assert served.run("list")[0] == 0


def test_a_command_goes_on_when_its_server_is_killed_and_the_next_one_needs_none(served: Served, held: tuple[subprocess.Popen[str], int]):
    process, fd = held
    server = served.server
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not is_alive(server))
    give(fd, f"default {served.casfs.directory}/second\n")
    assert process.wait(TIME_LIMIT_S) == 0
    assert (served.casfs.directory / "second/pyvenv.cfg").is_file()
    assert served.run("list")[0] == HERE
    assert served.run_alone("list", environ={"CASFS_SERVER": "1"})[0] == 0


def test_a_command_that_a_signal_ended_ends_its_caller_alike(served: Served, held: tuple[subprocess.Popen[str], int]):
    os.kill(served.command(), signal.SIGKILL)
    assert held[0].wait(TIME_LIMIT_S) == -signal.SIGKILL


def test_a_program_that_was_changed_is_not_served_by_the_old_one(casfs: Casfs, tmp_path: Path):
    shutil.copytree(Path(package.__file__).parent, tmp_path / "program/casfs")
    environ = {**casfs.environ, "CASFS_SERVER": "1", "PYTHONPATH": str(tmp_path / "program"), "PYTHONSAFEPATH": "1"}
    served = serve(casfs, environ)
    assert served.run("list", environ={"PYTHONPATH": str(REPOSITORY)})[0] == HERE
    assert served.run("list")[0] == 0
    (tmp_path / "program/casfs/paths.py").touch()
    server = served.server
    assert served.run("list")[0] == HERE
    wait_for(lambda: not is_alive(server))
    assert served.run_alone("list", environ={"CASFS_SERVER": "1"})[0] == 0


def test_who_sees_other_mounts_or_wants_no_server_has_none(served: Served):
    assert served.run("list", prefix=["unshare", "--mount"])[0] == HERE
    assert served.run("list", prefix=["setpriv", "--bounding-set=-sys_admin"])[0] == HERE
    assert served.run("list", prefix=["ionice", "-c", "3"])[0] == HERE
    assert served.run("list", environ={"CASFS_SERVER": "0"})[0] == HERE
    assert served.run("--no-server", "list")[0] == HERE
    assert served.run("collect")[0] == HERE
    assert served.run("lock", "-o", "/dev/fd/1")[0] == HERE
    assert served.run("list")[0] == 0


def test_a_server_hears_only_its_own_user(served: Served):
    assert served.socket.stat().st_mode & 0o777 == 0o600
    served.socket.chmod(0o666)
    place = os.open(served.socket, os.O_PATH)

    def knock() -> None:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"/proc/self/fd/{place}")
            assert peer.recv(1) == b""

    assert _run_as_stranger(knock) == 0
    os.close(place)
    assert served.run("list")[0] == 0


def test_a_client_speaks_only_to_its_own_user(tmp_path: Path):
    path = tmp_path / "x.commands"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert _run_as_stranger(listener.listen) == 0
        with pytest.raises(PermissionError):
            connect(str(path))
        (tmp_path / "link").symlink_to(path)
        listener.listen()
        connect(str(path)).close()
        with pytest.raises(OSError):
            connect(str(tmp_path / "link"))


def _run_as_stranger(call: Callable[[], object]) -> int:
    """Wait status of a process of another user that calls it."""
    if not (pid := os.fork()):
        code = 1
        try:
            os.setgroups([])
            os.setuid(STRANGER)
            call()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def test_a_server_that_hangs_keeps_nothing_that_the_caller_has_open(served: Served):
    server = served.server
    os.kill(server, signal.SIGSTOP)
    try:
        assert served.run("list") == (HERE, "", "")  # whoever reads these is told of their end
        code, _, _ = served.run_alone("--env", "new", "add", served.casfs.wheel("other"), environ={"CASFS_SERVER": "1"})
    finally:
        os.kill(server, signal.SIGCONT)
    assert code == 0
    wait_for(lambda: served.run("list")[0] == 0)
    assert served.casfs.generation("new") == 1


def test_a_socket_that_another_user_made_is_not_even_knocked_at(tmp_path: Path):
    path = tmp_path / "x.commands"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        os.chown(path, STRANGER, STRANGER)
        with pytest.raises(PermissionError):
            connect(str(path))
        assert not is_readable(listener.fileno(), 0)


def test_a_command_has_its_callers_oom_score(served: Served):
    with hold(served, prefix=["choom", "-n", "321", "--"]):
        assert Path(f"/proc/{served.command()}/oom_score_adj").read_text() == "321\n"


def test_an_unbuffered_caller_is_served(served: Served):
    assert served.run("list", environ={"PYTHONUNBUFFERED": "1"}) == served.run_alone("list")


def test_a_change_in_another_control_group_is_the_callers_own(served: Served):
    with other_control_group() as enter:
        assert served.run("list", preexec_fn=enter)[0] == 0
        assert served.run("add", served.casfs.wheel("other"), preexec_fn=enter)[0] == HERE


@contextlib.contextmanager
def other_control_group() -> Iterator[Callable[[], None]]:
    """What moves the process that calls it into a control group of its own."""
    found = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] in {"cgroup", "cgroup2"}]
    group = next((path for one in found if (path := _make_group(one))), None)
    if group is None:
        pytest.skip("no control group can be made here")

    def enter() -> None:
        (group / "cgroup.procs").write_text("0")

    try:
        yield enter
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def _make_group(hierarchy: str) -> Path | None:
    group = Path(hierarchy) / f"casfs-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return None
    if pid := os.fork():
        if os.waitpid(pid, 0)[1] == 0:
            return group
        group.rmdir()
        return None
    try:  # not each takes processes: cpusets need CPUs first
        (group / "cgroup.procs").write_text("0")
        os._exit(0)
    finally:
        os._exit(1)


def test_an_upgraded_daemon_has_a_server_of_the_new_program(served: Served):
    before = served.server
    served.casfs.run("daemon", "upgrade", environ={"CASFS_SERVER": "1"})
    wait_for(lambda: not is_alive(before))
    wait_for(lambda: served.run("list")[0] == 0)


def test_a_server_ends_with_its_daemon(served: Served):
    server = served.server
    served.casfs.umount(served.casfs.directory / "mount")
    wait_for(lambda: not is_alive(server))
    assert not [*(served.casfs.store / "run").glob("*.commands")]
