"""Commands that change a mounted environment, killed at each of their steps: the next command leaves one mount that shows what is right."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from casfs.mounts.environment_overlays import iter_overlays
from casfs.store.store import open_store
from tests.mounted.daemons import wait_until
from tests.mounted.harness import REPOSITORY, TIME_LIMIT_S, Casfs, run_python, site_packages, wait_for_end
from tests.mounted.test_data_path import install_by_hand

KILLED_AT = """
import importlib, sys
from tests.dying import die_at

module, name, moment, count, private, *words = sys.argv[1:]
owner = importlib.import_module(module)
for part in name.split(".")[:-1]:
    owner = getattr(owner, part)
die_at(owner, name.split(".")[-1], moment, int(count))
import casfs.overlay.hidden_mounts
import casfs.mounts.environment_overlays
casfs.overlay.hidden_mounts._PRIVATE = private
from casfs.cli.main import main
main(words)
"""
"""Arguments: module, name of a function there, "before" or "after", at which call, where overlays are made, and the command."""

Step = tuple[str, str, int]
"""Module, function, at which call."""

SWAP_STEPS: list[Step] = [
    ("casfs.store.environments", "Environment.publish", 1),
    ("casfs.mounts.environment_overlays", "require_upper", 1),
    ("casfs.mounts.environment_overlays", "make_hidden_mount", 1),
    ("casfs.mounts.environment_overlays", "open_fastest", 1),
    ("casfs.mounts.environment_overlays", "_make", 1),
    ("casfs.mounts.environment_overlays", "_remember", 1),
    ("casfs.mounts.mounting", "require_overlay", 1),
    ("casfs.mounts.mounting", "attach", 1),
    ("casfs.mounts.mounting", "detach", 1),
    ("casfs.mounts.mounting", "write_mount_record", 1),
    ("casfs.mounts.mounting", "attach", 2),
    ("casfs.mounts.mounting", "detach", 2),
    ("casfs.mounts.mounting", "write_mount_record", 2),
    ("casfs.daemon.control", "switch_generation", 1),
]

ABSORB_STEPS: list[Step] = [
    ("casfs.overlay.kernel", "freeze_file_system", 1),
    ("casfs.cli.commands.absorb", "absorb_upper", 1),
    ("casfs.cli.commands.absorb", "refresh_mounts", 1),
    ("casfs.mounts.environment_overlays", "end_hidden_mount", 1),
]


class Scene:
    """An environment, mounted twice, into which tools have written; it has demo 1.0, and the generation before has 2.0."""

    def __init__(self, casfs: Casfs, directory: Path) -> None:
        self.casfs = casfs
        self.private = directory / "private"
        self.private.mkdir()
        self.paths = [casfs.mount(data_path="", name=name) for name in ("one", "other")]
        (site_packages(self.paths[0]) / "mine.py").write_text("VALUE = 'mine'\n")

    def kill(self, step: Step, moment: str, *words: str | Path) -> None:
        """Start a command that dies at a step."""
        module, name, count = step
        command = [sys.executable, "-c", KILLED_AT, module, name, moment, str(count), str(self.private), *map(str, words)]
        done = subprocess.run(
            command, env=self.casfs.environ, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S
        )
        assert done.returncode == -9, done.stdout + done.stderr

    def values(self) -> list[str]:
        """What new processes see at each path."""
        return [run_python(path, "import demo, mine; print(demo.VALUE, mine.VALUE)") for path in self.paths]

    def check_whole(self, value: str) -> None:
        """Each path has one mount, shows the generation and what was written, and can be written to; nothing else is mounted."""
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        assert [sum(mount[4] == str(path) for mount in mounts) for path in self.paths] == [1, 1]
        overlays = {mount[4] for mount in mounts if mount[4] not in map(str, self.paths) and str(self.casfs.store) in mount[-1]}
        [remembered] = [one for one in iter_overlays(open_store(self.casfs.store)) if one.environment == "default"]
        assert overlays == {hidden_mount for _, hidden_mount in remembered.hidden_mounts}
        assert self.values() == [f"{value} mine"] * 2
        assert {one["generation"] for one in self.casfs.status()} == {self.casfs.generation()}
        for path in self.paths:
            (site_packages(path) / f"late{path.name}.py").write_text("")

    def is_swept(self, work: Path) -> bool:
        """Another mount namespace, such as that of some `casfs run`, may keep an overlay a while; the next sweep takes what it left."""
        if os.listdir(work):
            self.casfs.umount(self.casfs.mount(data_path=""))
        return not os.listdir(work)

    def check_nothing_left(self) -> None:
        """After all mounts have ended only what was written is left."""
        daemon = [self.casfs.status()[0][name] for name in ("supervisor", "worker")]
        for path in self.paths:
            self.casfs.umount(path)
        for pid in daemon:
            wait_for_end(pid)
        assert str(self.casfs.store) not in Path("/proc/self/mountinfo").read_text()
        assert os.listdir(self.private) == []
        assert [name for name in os.listdir(self.casfs.store / "run") if name != "dead.log"] == []
        assert os.listdir(self.casfs.store / "tmp") == []
        uppers = self.casfs.store / "environments/default/upper"
        current = os.readlink(uppers / "current")
        assert {*os.listdir(uppers)} - {"lock"} == {current, "current"}
        wait_until(lambda: self.is_swept(uppers / current / "work"))
        assert len(list((uppers / current / "files").rglob("mine.py"))) == 1


@pytest.fixture(scope="module")
def generations(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose environment has demo 2.0, and now 1.0."""
    with Casfs(tmp_path_factory.mktemp("generations"), template) as casfs:
        for version in ("2.0", "1.0"):
            casfs.add(casfs.wheel("demo", version, {"demo/__init__.py": f"VALUE = {version[0]}\n".encode()}))
    return casfs.store


@contextlib.contextmanager
def prepared(tmp_path: Path, generations: Path, metadata: str) -> Iterator[Scene]:
    with Casfs(tmp_path, generations) as casfs:
        if metadata == "fuse":
            casfs.force_way("fuse")
        yield Scene(casfs, tmp_path)


OFTEN = [
    "make_hidden_mount-1-after",
    "_remember-1-before",
    "_remember-1-after",
    "attach-2-after",
    "write_mount_record-1-before",
    "absorb_upper-1-after",
]
"""Tried at every change, over images; all others, and all over FUSE, are long tests."""

assert {name.rsplit("-", 2)[0] for name in OFTEN} <= {step[1] for step in (*SWAP_STEPS, *ABSORB_STEPS)}


def cases(steps: Sequence[Step]) -> list[ParameterSet]:
    """(who says what there is, step, moment)."""
    found = []
    for metadata, step, moment in itertools.product(("image", "fuse"), steps, ("before", "after")):
        name = f"{step[1]}-{step[2]}-{moment}"
        marks = [] if metadata == "image" and name in OFTEN else [pytest.mark.long]
        found.append(pytest.param(metadata, step, moment, id=f"{metadata}-{name}", marks=marks))
    return found


@pytest.mark.parametrize(("metadata", "step", "moment"), cases(SWAP_STEPS))
def test_swap_killed_at_any_step_is_finished_by_the_next_command(tmp_path: Path, generations: Path, metadata: str, step: Step, moment: str):
    with prepared(tmp_path, generations, metadata) as scene:
        before = scene.casfs.generation()
        scene.kill(step, moment, "rollback")
        assert set(scene.values()) <= {"1 mine", "2 mine"}
        scene.casfs.run("status")
        scene.check_whole("1" if scene.casfs.generation() == before else "2")
        scene.check_nothing_left()


@pytest.mark.parametrize(("metadata", "step", "moment"), cases(ABSORB_STEPS))
def test_absorb_killed_at_any_step_leaves_mounts_that_can_be_written_to(
    tmp_path: Path, generations: Path, metadata: str, step: Step, moment: str
):
    with prepared(tmp_path, generations, metadata) as scene:
        install_by_hand(scene.paths[0])
        scene.kill(step, moment, "absorb")
        scene.casfs.run("status")
        scene.check_whole("1")
        scene.check_nothing_left()
