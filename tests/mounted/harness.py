"""casfs as a user has it: commands in processes of their own, real mounts, and the promise that nothing of it outlives a test."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from casfs.changes.changes import create_environment
from casfs.interpreters.interpreter import probe_base
from casfs.interpreters.known import know_interpreter
from casfs.store.environments import Environment
from casfs.store.store import open_store
from tests.make_wheels import make_wheel
from tests.prepared import Prepared

REPOSITORY = Path(__file__).parent.parent.parent
PYTHON_DIRECTORY = f"python{sys.version_info.major}.{sys.version_info.minor}"

TIME_LIMIT_S = 240
"""A command that takes longer hangs."""

_MNT_DETACH = 2  # umount(2)
_libc = ctypes.CDLL(None, use_errno=True)


def clean_environ(**more: str) -> dict[str, str]:
    """The environment of a command: nothing of ours decides for it."""
    kept = {name: value for name, value in os.environ.items() if name not in {"CASFS_STORE", "CASFS_ENV", "PYTHONPATH", "VIRTUAL_ENV"}}
    return {**kept, "LC_ALL": "C.UTF-8", "CASFS_SERVER": "0", **more}


@functools.cache
def _prepared() -> Prepared:
    """For all commands of this process; it ends with it."""
    prepared = Prepared(clean_environ())
    atexit.register(prepared.end)
    return prepared


class Casfs:
    """A store and the command that works on it. Leaving the block ends its mounts and daemons, whatever happened."""

    def __init__(self, directory: Path, template: Path | None = None) -> None:
        """`directory` is for this store, its wheels and its mountpoints alone; `template` is a store to begin with."""
        self.directory = directory
        self.store = directory / "store"
        if template:
            shutil.copytree(template, self.store, symlinks=True)
        self.environ = clean_environ(CASFS_STORE=str(self.store), CASFS_SCRUB_RATE="0")  # a test that damages a blob says when it is found
        self._wheels = directory / "wheels"
        self._wheels.mkdir()
        self._count = 0

    def __enter__(self) -> Casfs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if (self.store / "format").exists():
            self.run("daemon", "stop", "--force", code=None)
        end_mounts(self.directory)
        for pid in self.daemons():
            wait_for_end(pid)
        if kind is None and (self.store / "format").exists():
            assert self.run("fsck", "--fast").returncode == 0
            assert list((self.store / "run").glob("anchor-*")) == [], "a mount that nobody sees was left behind"

    def run(self, *words: str | Path, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; it must end with `code` (None: any).

        One that is to be started in no special way runs in a fork of a process that is prepared for it.
        """
        environ: Mapping[str, str] = {**self.environ, **options.pop("environ", {})}
        if options.keys() <= {"cwd", "timeout"} and (prepared := _prepared()).fits(environ):
            done = prepared.run(words, environ, options.get("cwd", os.getcwd()), options.get("timeout", TIME_LIMIT_S))
        else:
            command = [*options.pop("prefix", ()), *self.command(*words)]
            options = {"capture_output": True, "text": True, "timeout": TIME_LIMIT_S, **options}
            done = subprocess.run(command, env=environ, check=False, **options)
        if code is not None and done.returncode != code:
            raise AssertionError(f"{' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def command(self, *words: str | Path) -> list[str]:
        """The command line of a command."""
        return [sys.executable, "-m", "casfs", *map(str, words)]

    def wheel(self, name: str, version: str = "1.0", files: Mapping[str, bytes] | None = None, **more: Any) -> Path:
        """A wheel to add."""
        return make_wheel(files, name, version, **more).write_to(self._wheels)

    def add(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("add", *words)

    def generation(self, name: str = "default") -> int:
        """Number of the current generation."""
        return int(Path(os.readlink(self.store / "environments" / name / "current")).stem)

    def start_rollbacks(self, count: int) -> subprocess.Popen[str]:
        """So many rollbacks, each to the generation before, one after the other in one process: 20 times faster than starting each."""
        source = (
            "import sys\n"
            "from casfs.cli.main import main\n"
            "for _ in range(int(sys.argv[1])):\n"
            "    try:\n"
            "        main(['rollback'])\n"
            "    except SystemExit as end:\n"
            "        assert not end.code\n"
        )
        command = [sys.executable, "-c", source, str(count)]
        return subprocess.Popen(command, env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)

    def mount(self, *words: str | Path, name: str = "", data_path: str = "fuse") -> Path:
        """casfs mount at a new mountpoint; where it is. `data_path` "" is what a user gets who asks for nothing."""
        self._count += 1
        mountpoint = self.directory / (name or f"mount{self._count}")
        asked = ["--data-path", data_path] if data_path and os.geteuid() == 0 else []
        self.run("mount", *asked, *words, mountpoint)
        return mountpoint

    def force_way(self, name: str) -> None:
        """Let all further commands mount on the kernel's data path in this way alone (see `casfs.mounts.overlay_layers`)."""
        self.environ["CASFS_TEST_WAY"] = name

    def umount(self, mountpoint: Path, *words: str) -> None:
        self.run("umount", *words, mountpoint)

    def status(self) -> list[dict[str, Any]]:
        """The mounts, as `casfs status` tells a program."""
        mounts = json.loads(self.run("status", "--json").stdout)["mounts"]
        assert isinstance(mounts, list)
        return mounts

    def requests(self, mountpoint: Path) -> dict[str, int]:
        """Requests that a mount has served, by kind."""
        [found] = [one for one in self.status() if one["mountpoint"] == str(mountpoint)]
        return dict(found["requests"])

    def leases(self) -> list[dict[str, Any]]:
        """What the files of run/ say."""
        return [json.loads(path.read_bytes()) for path in (self.store / "run").glob("*.json")]

    def daemons(self) -> list[int]:
        """Processes that hold leases."""
        return [lease["pid"] for lease in self.leases()]

    def log(self) -> str:
        """What the daemons wrote into their logs."""
        return "".join(path.read_text() for path in (self.store / "run").glob("*.log"))

    def blob(self, digest: str) -> Path:
        return self.store / "blobs" / digest[:2] / digest[2:]


def site_packages(mountpoint: Path) -> Path:
    return mountpoint / "lib" / PYTHON_DIRECTORY / "site-packages"


def iter_mountpoints(below: Path) -> Iterator[Path]:
    """Mountpoints below a directory, the last one mounted first."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    for line in reversed(lines):
        path = Path(line.split(" ")[4].replace("\\040", " ").replace("\\011", "\t"))
        if below in path.parents:
            yield path


def end_mounts(below: Path) -> None:
    """Unmount everything below a directory, used or not; its daemons end by themselves."""
    for path in list(iter_mountpoints(below)):
        if _libc.umount2(os.fsencode(path), _MNT_DETACH):
            subprocess.run(["fusermount3", "-u", "-z", str(path)], check=False, capture_output=True)


def wait_for_end(pid: int) -> None:
    """Return when a daemon is gone; one that does not end by itself is a failure, and is killed."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not is_readable(fd, TIME_LIMIT_S):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            raise AssertionError(f"daemon {pid} did not end with its mount")
    finally:
        os.close(fd)


def kill_daemon(mount: Mapping[str, Any]) -> None:
    """Kill both processes behind a mount that `status` shows. The worker is stopped first, so that neither can replace the other."""
    os.kill(mount["worker"], signal.SIGSTOP)
    for pid in (mount["supervisor"], mount["worker"]):
        os.kill(pid, signal.SIGKILL)
    for pid in (mount["supervisor"], mount["worker"]):
        wait_for_end(pid)


def is_readable(fd: int, timeout_s: float) -> bool:
    """Whether there is something to read, or for a pidfd whether the process is gone, within the time."""
    import select

    return bool(select.select([fd], [], [], timeout_s)[0])


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Interpreter:
    """A Python process of a mount that lives on between questions, as an editor's, a server's or a notebook's does."""

    _LOOP = """
import json, sys, traceback
space = {}
for line in sys.stdin:
    try:
        source = json.loads(line)
        try:
            answer = {"value": eval(source, space)}
        except SyntaxError:
            exec(source, space)
            answer = {"value": None}
    except BaseException as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    print(json.dumps(answer), flush=True)
"""

    def __init__(self, mountpoint: Path, **options: Any) -> None:
        options.setdefault("env", clean_environ())
        self._process = subprocess.Popen(
            [mountpoint / "bin/python", "-c", self._LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, source: str) -> Any:
        """The value of an expression, or None after statements. What it raises is an AssertionError here."""
        answer = self._ask(source)
        assert "error" not in answer, f"{source}: {answer}"
        return answer["value"]

    def fails(self, source: str) -> str:
        """Name of the exception that it raises."""
        answer = self._ask(source)
        assert "error" in answer, f"{source} gave {answer['value']!r}"
        return str(answer["error"])

    def _ask(self, source: str) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(source) + "\n")
        self._process.stdin.flush()
        assert is_readable(self._process.stdout.fileno(), TIME_LIMIT_S), f"no answer to {source}"
        answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, dict)
        return answer


def run_python(mountpoint: Path, source: str) -> str:
    """What a new Python process of a mount prints."""
    command = [str(mountpoint / "bin/python"), "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, env=clean_environ(), check=False)
    assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


def make_template(directory: Path) -> Path:
    """A store with an empty environment of the Python that runs the tests: asking an interpreter takes longer than most tests."""
    store = open_store(directory, create=True)
    create_environment(Environment(store, "default"), know_interpreter(store, probe_base(sys.executable).executable))
    return directory
