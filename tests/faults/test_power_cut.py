"""The power fails while wheels are added: what was acknowledged is there, and nothing has wrong bytes under a right name."""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.adder import MODULES, project
from tests.faults.commands import VARIABLES, casfs, check_clean, command_line, must, read_contents
from tests.faults.cut_disk import FILE_SYSTEMS, CutDisk, cut_disk
from tests.faults.prepared import Prepared
from tests.faults.scene import check_is_synthetic, synthetic_wheel


@dataclass
class Journal:
    """What was added to a disk in the course of its cuts."""

    wheels: Path
    next: int = 0
    acknowledged: int = 0

    def cut_power(self, disk: CutDisk, chance: random.Random, way: str = "careful") -> list[int]:
        """Add wheels, and cut the power in the middle of an add. The numbers of those that were acknowledged."""
        words = [sys.executable, "-m", "tests.faults.adder", str(disk.path / "store"), str(self.wheels), str(self.next), way]
        with subprocess.Popen(words, env=VARIABLES, cwd="/", stdout=subprocess.PIPE) as adder:
            try:
                assert adder.stdout
                began = time.monotonic()
                said = [adder.stdout.readline() for _ in range(chance.randint(1, 3))]
                one_add_s = (time.monotonic() - began) / (len(said) + 1)
                select.select([adder.stdout], [], [], chance.random() * one_add_s)
                disk.cut()
            finally:
                adder.kill()
            numbers = [int(line) for line in (*said, *adder.stdout)]
        self.acknowledged += len(numbers)
        self.next = max(numbers, default=self.next) + 2  # the one after the last was perhaps begun
        disk.mount_again()
        return numbers

    def cut_power_of_command(self, disk: CutDisk, chance: random.Random) -> list[int]:
        """The same with adds as a user starts them."""
        store, numbers = disk.path / "store", [self.next]
        began = time.monotonic()
        must(casfs(store, "add", self._make_wheel()))
        one_add_s = time.monotonic() - began
        with subprocess.Popen(command_line(store, "add", self._make_wheel()), env=VARIABLES, cwd="/", stderr=subprocess.DEVNULL) as command:
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    numbers += [] if command.wait((0.3 + chance.random()) * one_add_s) else [self.next - 1]
                disk.cut()
            finally:
                command.kill()
        self.acknowledged += len(numbers)
        disk.mount_again()
        return numbers

    def _make_wheel(self) -> Path:
        self.next += 1
        return synthetic_wheel(project(self.next - 1), modules=MODULES).write_to(self.wheels)

    def check(self, store: Path, numbers: list[int], prepared: Prepared) -> None:
        """Nothing that was acknowledged is lost, nothing is wrong, and the next add works."""
        check_clean(store, prepared.run)
        contents = read_contents(store)
        for number in numbers:
            check_is_synthetic(contents, project(number), "1.0", modules=MODULES)
        for one in contents:
            check_is_synthetic(contents, *one.split(), modules=MODULES)
        must(casfs(store, "add", self._make_wheel()))
        assert read_contents(store).keys() == contents.keys() | {f"{project(self.next - 1)} 1.0"}


@pytest.fixture
def journal(workspace: Path) -> Journal:
    (workspace / "wheels").mkdir()
    return Journal(workspace / "wheels")


@pytest.fixture(params=FILE_SYSTEMS)
def disk(workspace: Path, request: pytest.FixtureRequest) -> Iterator[CutDisk]:
    with cut_disk(workspace, request.param) as disk:
        yield disk


def run_cuts(journal: Journal, disk: CutDisk, prepared: Prepared, cuts: range) -> None:
    acknowledged: list[int] = []
    for number in cuts:
        acknowledged += journal.cut_power(disk, random.Random(number))
        journal.check(disk.path / "store", acknowledged, prepared)
    assert journal.acknowledged >= len(cuts)


def test_power_cut_loses_nothing_that_was_acknowledged(journal: Journal, disk: CutDisk, prepared: Prepared):
    run_cuts(journal, disk, prepared, range(8))


def test_power_cut_during_real_commands_loses_nothing_that_was_acknowledged(journal: Journal, disk: CutDisk, prepared: Prepared):
    acknowledged: list[int] = []
    for number in range(2):
        acknowledged += journal.cut_power_of_command(disk, random.Random(number))
        journal.check(disk.path / "store", acknowledged, prepared)


CHANGES: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "remove": (("remove", "one"), {"two"}),
    "rollback": (("rollback",), {"one"}),
    "sync": (("sync", "{lock}"), {"one"}),
    "compile": (("compile", "--optimize", "1"), {"one", "two"}),
    "adopt": (("--env", "adopted", "adopt", "{plain}"), {"one", "two"}),
    "env remove": (("env", "remove", "other", "--yes"), {"one", "two"}),
    "collect": (("collect", "--unused-wheels"), {"one", "two"}),
}
"""Commands that change a store, and what the environment holds when they have ended: before, it holds `one` and `two`."""


@pytest.mark.parametrize("name", CHANGES)
def test_power_cut_during_any_change_leaves_what_was_or_what_is_to_be(disk: CutDisk, prepared: Prepared, workspace: Path, name: str):
    words, after = CHANGES[name]
    store, plain, lock = disk.path / "store", workspace / "plain", workspace / "pylock.toml"
    one, two = (synthetic_wheel(project, modules=MODULES).write_to(workspace) for project in ("one", "two"))
    must(prepared.run(store, "add", "--no-compile", one))
    must(prepared.run(store, "lock", "-o", lock))
    must(prepared.run(store, "add", "--no-compile", two))
    must(prepared.run(store, "--env", "other", "add", "--no-compile", one))
    must(prepared.run(store, "export", plain))
    os.sync()
    command = [word.format(lock=lock, plain=plain) for word in words]
    took_s = _time(lambda: must(prepared.run(_copy(store, workspace / "copy"), *command)))
    chance = random.Random(name)
    with subprocess.Popen(
        command_line(store, *command), env=VARIABLES, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.2, 1.2) * took_s)
            is_acknowledged = process.poll() == 0
            disk.cut()
        finally:
            process.kill()
    disk.mount_again()
    check_clean(store, prepared.run)
    found = {name.partition(" ")[0] for name in read_contents(store)}
    assert found == after or (found == {"one", "two"} and not is_acknowledged)
    must(prepared.run(store, "add", "--no-compile", one, two))
    must(prepared.run(store, "--env", "other", "add", "--no-compile", one))
    must(prepared.run(store, *command))
    check_clean(store, prepared.run)


def _copy(store: Path, target: Path) -> Path:
    shutil.copytree(store, target, symlinks=True)
    return target


def _time(run: Callable[[], object]) -> float:
    began = time.monotonic()
    run()
    return time.monotonic() - began


def test_power_cut_shows_a_publishing_order_that_syncs_names_before_bytes(journal: Journal, disk: CutDisk, prepared: Prepared):
    """The control: these cuts do lose data where data can be lost."""
    for number in range(10):
        numbers = journal.cut_power(disk, random.Random(number), "careless")
        store = disk.path / "store"
        if prepared.run(store, "fsck").code or not {f"{project(one)} 1.0" for one in numbers} <= read_contents(store).keys():
            return  # what is there is damaged, or what was acknowledged is not there
        shutil.rmtree(store)
    pytest.fail("no damage in ten cuts")


@pytest.mark.long
@pytest.mark.parametrize("disk_number", range(5))
def test_many_power_cuts_lose_nothing_that_was_acknowledged(journal: Journal, disk: CutDisk, prepared: Prepared, disk_number: int):
    run_cuts(journal, disk, prepared, range(disk_number * 20, disk_number * 20 + 20))
