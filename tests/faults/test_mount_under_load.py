"""Much is asked of a mount at once, by programs made for that and while its environment changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.commands import VARIABLES, check_clean
from tests.faults.mounted import Mounted, mounted
from tests.faults.prepared import Prepared
from tests.make_wheels import MadeWheel, make_wheel

LOAD_S = 5
SWAPS = 15
PATTERNED = 8 << 20

STRESS = """\
cd {mount} && mount --bind . /tmp && mount -t tmpfs tmpfs /mnt && exec stress-ng --temp-path /mnt --timeout {seconds} --oomable \
    --getdent 1 --open 1 --fstat 2 --fstat-dir {directory}
"""
"""stress-ng's stressors that read where one can make them read: `getdent` walks /tmp and `open` opens it, so in a namespace of their own
the mount lies there. Its dentry, readahead and mmap stressors only ever use files that they make: `Reader` and fio do that here."""


def content(version: str, number: int) -> bytes:
    """Files of many sizes, of which every third is the same in both versions."""
    seed = hashlib.sha256(f"{version if number % 3 else ''}{number}".encode()).digest()
    return seed * (1 + number**3 // 7)


def load_wheel(version: str, patterned: bytes) -> MadeWheel:
    files = {f"load/{'deep/' * (number % 4)}f{number}.bin": content(version, number) for number in range(60)}
    return make_wheel({**files, "load/patterned.bin": patterned}, "load", version)


@pytest.fixture(scope="module")
def patterned(memory: Path) -> bytes:
    """Each block holds its own offset over and over."""
    run_fio("--rw=write", "--do_verify=0", f"--filename={memory / 'patterned'}")
    return (memory / "patterned").read_bytes()


@pytest.fixture
def wheels(workspace: Path, patterned: bytes) -> list[Path]:
    return [load_wheel(version, patterned).write_to(workspace) for version in ("1.0", "2.0")]


@pytest.fixture
def load(workspace: Path, wheels: list[Path], prepared: Prepared) -> Iterator[Mounted]:
    store = workspace / "store"
    assert prepared.run(store, "add", wheels[0]).code == 0
    with mounted(store, workspace / "mount") as mount:
        yield mount
    check_clean(store, prepared.run)


def run_fio(*options: str) -> dict[str, object]:
    """fio's report of a job on a file of patterned blocks."""
    command = ["fio", "--name=job", "--output-format=json", f"--size={PATTERNED}", "--bs=4k", "--verify=pattern", "--verify_pattern=%o"]
    done = subprocess.run([*command, *options], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0])


@contextlib.contextmanager
def readers(mount: Mounted, workspace: Path, count: int) -> Iterator[None]:
    """While some processes read and hash all modules that both versions have. None of them may find anything wrong."""
    known = {
        str(Path("deep/" * (number % 4), f"f{number}.bin")): [
            hashlib.sha256(content(version, number)).hexdigest() for version in ("1.0", "2.0")
        ]
        for number in range(60)
    }
    (workspace / "known.json").write_text(json.dumps(known))
    command = [sys.executable, "-m", "tests.faults.reader", str(mount.site_packages / "load"), str(workspace / "known.json")]
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(start_reader(command)) for _ in range(count)]
        yield
        for process in processes:
            output, _ = process.communicate("", timeout=240)
            *problems, read = output.splitlines()
            assert problems == []
            assert int(read) >= len(known)


@contextlib.contextmanager
def start_reader(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, env=VARIABLES, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_stress_ng_reads_without_an_error(load: Mounted):
    before = load.status()["requests"]
    script = STRESS.format(mount=shlex.quote(str(load.path)), seconds=LOAD_S, directory="/tmp/bin")
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], cwd="/", capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "successful run completed" in done.stdout + done.stderr
    after = load.status()["requests"]
    assert all(after[kind] > before.get(kind, 0) for kind in ("opendir", "readdir")), after  # the mount is what they read


@pytest.mark.parametrize("engine", ["psync", "mmap", "libaio"])
def test_fio_reads_the_right_bytes_at_random(load: Mounted, engine: str):
    job = run_fio(
        "--rw=randread", "--readonly", "--verify_fatal=1", "--norandommap", f"--runtime={LOAD_S / 2}", "--time_based",
        f"--ioengine={engine}", "--direct=0", "--numjobs=2", f"--filename={load.site_packages / 'load/patterned.bin'}",
    )  # fmt: skip
    assert job["error"] == 0


def test_fio_finds_bytes_that_are_wrong(workspace: Path, patterned: bytes):
    """The control: a single wrong byte would not have gone unseen."""
    path = workspace / "wrong"
    path.write_bytes(patterned[: PATTERNED // 2] + bytes([patterned[PATTERNED // 2] ^ 1]) + patterned[PATTERNED // 2 + 1 :])
    with pytest.raises(AssertionError, match="verify"):
        run_fio("--rw=read", "--readonly", "--verify_fatal=1", f"--filename={path}")


def test_everything_is_read_right_while_the_environment_changes(load: Mounted, workspace: Path, wheels: list[Path], prepared: Prepared):
    with readers(load, workspace, 3):
        for number in range(SWAPS):
            words = ("rollback",) if number % 3 == 2 else ("add", wheels[(number + 1) % 2])
            done = prepared.run(load.store, *words)
            assert done.code == 0, done.errors
            assert "warning" not in done.errors
    assert load.status()["generation"] == SWAPS + 1


def test_daemon_that_is_stopped_for_a_while_loses_no_request(load: Mounted, workspace: Path):
    with readers(load, workspace, 3):
        for _ in range(3):
            os.kill(load.pid, signal.SIGSTOP)
            try:
                threading.Event().wait(0.5)
            finally:
                os.kill(load.pid, signal.SIGCONT)
            load.status()
