"""Whatever programs do in a mount ends as it would in a plain overlayfs: results, errors, and what is there afterwards.

Generations are swapped, mounts ended and made again, and what was written absorbed meanwhile. overlayfs itself is the judge: the same calls
are made, side by side, in one over plain directories.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.mounted.beside import PlainOverlay, Result, iter_facts, list_names, outcome, read_attributes, set_time, write, write_mapped
from tests.mounted.harness import REPOSITORY, Casfs, end_mounts, is_readable, site_packages

COMMANDS = """
import contextlib, io, json, sys
import casfs.mounts.overlay_layers, casfs.changes.changes
casfs.changes.changes.refuse_touched = lambda *arguments: None
casfs.mounts.overlay_layers.force_way(sys.argv[1])
from casfs.cli.main import main
for line in sys.stdin:
    said, code = io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(json.loads(line))
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, said.getvalue()]), flush=True)
"""
"""Commands one after the other in one process: twenty times faster than starting each.

They refuse nothing because a tool has written there: what a mount shows then is tried."""

FILES = {
    "demo/__init__.py": b"VALUE = 1\n",
    "demo/data.bin": bytes(range(256)) * 40,
    "demo/sub/x": b"x of one",
    "demo/sub/y": b"",
    "demo/deep/er/z": b"z",
}
SECOND = {
    "demo/__init__.py": b"VALUE = 2\n",
    "demo/data.bin": b"other",
    "demo/sub/x": b"x of two",
    "demo/sub/new": b"new",
    "demo/y/in": b"a directory where others have none",
    "demo/deep/er/z": b"z",
}

DIRECTORIES = ("", "demo", "demo/sub", "demo/deep", "demo/deep/er", "mine", "mine/sub", "demo/y")
NAMES = ("x", "y", "sub", "mine", "deep", "data.bin", "new")
PATHS = st.builds(lambda above, name: f"{above}/{name}" if above else name, st.sampled_from(DIRECTORIES), st.sampled_from(NAMES))
SIZES = st.sampled_from([0, 5, 14000])


class Scene:
    """An environment of two generations, mounted, and the plain overlayfs beside it."""

    def __init__(self, casfs: Casfs, directory: Path, metadata: str, commands: subprocess.Popen[str]) -> None:
        self._casfs, self._commands = casfs, commands
        self._lower = {}
        for version, files in (("2.0", SECOND), ("1.0", FILES)):
            self.command("add", casfs.wheel("demo", version, files))
            shown = casfs.mount(name=f"shown{version}")
            self._lower[version] = directory / f"lower{version}"
            subprocess.run(["cp", "-a", "--no-preserve=xattr", str(shown), str(self._lower[version])], check=True)
            casfs.umount(shown)
        self.mountpoint = directory / "mount"
        self.plain = PlainOverlay(directory)
        self.command("mount", self.mountpoint)
        assert [one["metadata"] for one in casfs.status()] == [metadata]
        self.version = "1.0"
        self.plain.show(self._lower[self.version])

    @property
    def tops(self) -> tuple[Path, Path]:
        """site-packages of both."""
        return site_packages(self.mountpoint), site_packages(self.plain.path)

    def command(self, *words: str | Path, is_refused: bool = False) -> str:
        assert self._commands.stdin
        assert self._commands.stdout
        self._commands.stdin.write(json.dumps([*map(str, words)]) + "\n")
        self._commands.stdin.flush()
        assert is_readable(self._commands.stdout.fileno(), 60), f"no answer to {words}"
        code, said = json.loads(self._commands.stdout.readline())
        assert bool(code) == is_refused, f"{words} ended with {code}: {said}"
        return str(said)

    def begin_anew(self) -> None:
        self.command("reset", "--yes")
        self.plain.take_over(self._current_upper(), self._lower[self.version])

    def swap(self) -> None:
        self.command("rollback")
        self.version = "2.0" if self.version == "1.0" else "1.0"
        self.plain.show(self._lower[self.version])

    def mount_again(self) -> None:
        self.command("umount", self.mountpoint)
        self.command("mount", self.mountpoint)
        self.plain.show(self._lower[self.version])

    def absorb(self) -> None:
        self.command("diff")
        self.command("absorb")
        self.command("diff")
        self.check()
        self.plain.take_over(self._current_upper(), self._lower[self.version])

    def _current_upper(self) -> Path:
        upper = self._casfs.store / "environments/default/upper"
        return upper / os.readlink(upper / "current") / "files"

    def both(self, call: Callable[[str], Result | None]) -> None:
        """Make a call in both; `call` is given site-packages."""
        ours, theirs = (outcome(lambda top=top: call(str(top))) for top in self.tops)  # type: ignore[misc]
        assert ours == theirs

    def check(self) -> None:
        ours, theirs = (dict(iter_facts(top)) for top in self.tops)
        assert ours == theirs


class Writes(RuleBasedStateMachine):
    """Calls of all kinds, made in both."""

    scene: ClassVar[Scene]

    @initialize()
    def begin(self) -> None:
        self.files: dict[int, tuple[int, int]] = {}
        self.scene.begin_anew()

    def teardown(self) -> None:
        self._close_all()
        self.scene.check()

    def _close_all(self) -> None:
        for pair in self.files.values():
            for fd in pair:
                os.close(fd)
        self.files.clear()

    @rule(path=PATHS, size=SIZES, flags=st.sampled_from([os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_EXCL, os.O_APPEND, 0]))
    def write(self, path: str, size: int, flags: int) -> None:
        self.scene.both(lambda top: write(f"{top}/{path}", os.O_WRONLY | flags, b"w" * size))

    @rule(path=PATHS, size=st.sampled_from([0, 3, 5000]))
    def truncate(self, path: str, size: int) -> None:
        self.scene.both(lambda top: os.truncate(f"{top}/{path}", size))

    @rule(path=PATHS, size=SIZES)
    def write_mapped(self, path: str, size: int) -> None:
        self.scene.both(lambda top: write_mapped(f"{top}/{path}", b"m" * size))

    @rule(source=PATHS, name=PATHS)
    def rename(self, source: str, name: str) -> None:
        self.scene.both(lambda top: os.rename(f"{top}/{source}", f"{top}/{name}"))

    @rule(source=PATHS, name=PATHS)
    def link(self, source: str, name: str) -> None:
        self.scene.both(lambda top: os.link(f"{top}/{source}", f"{top}/{name}", follow_symlinks=False))

    @rule(source=st.sampled_from(["x", "../demo", "nowhere"]), name=PATHS)
    def symlink(self, source: str, name: str) -> None:
        self.scene.both(lambda top: os.symlink(source, f"{top}/{name}"))

    @rule(path=PATHS)
    def unlink(self, path: str) -> None:
        self.scene.both(lambda top: os.unlink(f"{top}/{path}"))

    @rule(path=st.one_of(PATHS, st.sampled_from(DIRECTORIES[1:])))
    def rmdir(self, path: str) -> None:
        self.scene.both(lambda top: os.rmdir(f"{top}/{path}"))

    @rule(path=st.sampled_from([one for one in DIRECTORIES[1:] if one != "demo/y"]))
    def clear(self, path: str) -> None:
        """What tools do with directories that they replace."""
        self.scene.both(lambda top: subprocess.run(["rm", "-rf", f"{top}/{path}"], check=False).returncode)

    @rule(path=st.one_of(PATHS, st.sampled_from(DIRECTORIES[1:])))
    def mkdir(self, path: str) -> None:
        self.scene.both(lambda top: os.mkdir(f"{top}/{path}"))

    @rule(path=PATHS, mode=st.sampled_from([0o600, 0o644, 0o755, 0o4711]))
    def chmod(self, path: str, mode: int) -> None:
        self.scene.both(lambda top: os.chmod(f"{top}/{path}", mode))

    @rule(path=PATHS, seconds=st.sampled_from([0, 1, 1 << 31]))
    def utime(self, path: str, seconds: int) -> None:
        self.scene.both(lambda top: set_time(f"{top}/{path}", seconds))

    @rule(
        path=PATHS, name=st.sampled_from(["user.mine", "user.overlay.opaque", "user.overlay.redirect"]), value=st.sampled_from([b"", b"y"])
    )
    def set_attribute(self, path: str, name: str, value: bytes) -> None:
        self.scene.both(lambda top: os.setxattr(f"{top}/{path}", name, value))

    @rule(path=PATHS)
    def remove_attribute(self, path: str) -> None:
        self.scene.both(lambda top: os.removexattr(f"{top}/{path}", "user.mine"))

    @rule(path=PATHS)
    def read(self, path: str) -> None:
        self.scene.both(lambda top: list_names(f"{top}/{path}"))
        self.scene.both(lambda top: read_attributes(f"{top}/{path}"))
        self.scene.both(lambda top: [repr(Path(f"{top}/{path}").read_bytes())])

    @rule(path=PATHS, number=st.integers(0, 2))
    def hold(self, path: str, number: int) -> None:
        """Open a file, and go on using it whatever happens to its name."""
        if number not in self.files:
            fds = [outcome(lambda top=top: os.open(f"{top}/{path}", os.O_RDWR | os.O_CLOEXEC)) for top in self.scene.tops]  # type: ignore[misc]
            assert len({one if isinstance(one, str) else "" for one in fds}) == 1, fds
            if isinstance(fds[0], int) and isinstance(fds[1], int):
                self.files[number] = fds[0], fds[1]

    @rule(number=st.integers(0, 2), size=SIZES)
    def write_held(self, number: int, size: int) -> None:
        if number in self.files:
            ours, theirs = ((os.pwrite(fd, b"h" * size, 2), os.fstat(fd).st_size, os.pread(fd, 99, 0)) for fd in self.files[number])
            assert ours == theirs

    @rule()
    def swap(self) -> None:
        self.scene.swap()

    @rule()
    def mount_again(self) -> None:
        self._close_all()
        self.scene.mount_again()

    @rule()
    def absorb(self) -> None:
        self._close_all()
        self.scene.absorb()

    @invariant()
    def is_alike(self) -> None:
        self.scene.check()


@contextlib.contextmanager
def commands(casfs: Casfs, metadata: str) -> Iterator[subprocess.Popen[str]]:
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", COMMANDS, metadata], env=casfs.environ, cwd=REPOSITORY, **options) as process:
        try:
            yield process
        finally:
            process.kill()


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""A failure is told as it was found: each attempt to make it simpler would take as long."""


def run_machine(casfs: Casfs, directory: Path, metadata: str, **options: Any) -> None:
    with commands(casfs, metadata) as process:
        Writes.scene = Scene(casfs, directory, metadata, process)
        try:
            run_state_machine_as_test(
                Writes, settings=settings(deadline=None, print_blob=True, suppress_health_check=list(HealthCheck), phases=PHASES, **options)
            )
        finally:
            end_mounts(directory)


@pytest.mark.parametrize("metadata", ["image", "fuse"])
def test_a_mount_does_what_overlayfs_does(casfs: Casfs, tmp_path: Path, metadata: str):
    run_machine(casfs, tmp_path, metadata, max_examples=6, stateful_step_count=40, derandomize=True)


@pytest.mark.long
@pytest.mark.parametrize("metadata", ["image", "fuse"])
def test_a_mount_does_what_overlayfs_does_for_long(casfs: Casfs, tmp_path: Path, metadata: str):
    run_machine(casfs, tmp_path, metadata, max_examples=60, stateful_step_count=60)


def test_absorb_keeps_other_names_and_attributes_of_files_whose_bytes_are_those_below(casfs: Casfs, tmp_path: Path):
    with commands(casfs, "image") as process:
        scene = Scene(casfs, tmp_path, "image", process)
        try:
            scene.begin_anew()
            scene.both(lambda top: os.link(f"{top}/demo/data.bin", f"{top}/demo/deep/linked"))
            scene.both(lambda top: os.setxattr(f"{top}/demo/sub/x", "user.mine", b"y"))
            scene.both(lambda top: os.setxattr(f"{top}/demo/__init__.py", "user.overlay.redirect", b"y"))
            scene.absorb()
        finally:
            end_mounts(tmp_path)
