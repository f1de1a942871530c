"""casfs as its users meet it: commands on a store, and mounts that end with the block that made them.

When a block fails, its mount stays: the runner ends everything that is left after each measure, whatever happened to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.processes import CommandFailed, Usage, reap, run
from scripts.bench.tools import Tools, say
from scripts.bench.ways import DEFAULT, WAYS, Way

_ATTEMPTS = 5

WITHOUT_BYTECODE = ("--no-compile",)
"""What `casfs add` is told where casfs is compared with what does not compile either."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount and the processes that serve it."""

    store: Store
    path: Path
    daemon: int  # the supervisor

    def requests(self) -> dict[str, int]:
        """Requests by kind since the mount began."""
        return {kind: int(count) for kind, count in self.store.status(self.path)["requests"].items()}

    def memory(self) -> tuple[int, int]:
        """Resident and proportional size of the daemon's two processes together, in bytes."""
        found = [memory_of(process) for process in (self.daemon, int(self.store.status(self.path)["worker"]))]
        return sum(resident for resident, _ in found), sum(proportional for _, proportional in found)


def memory_of(process: int) -> tuple[int, int]:
    """Resident and proportional size of a process, in bytes (proc_pid_smaps_rollup(5))."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    sizes = dict(line.split(":", 1) for line in text.splitlines()[1:])
    return int(sizes["Rss"].split()[0]) * 1024, int(sizes["Pss"].split()[0]) * 1024


@dataclass(frozen=True, slots=True)
class Store:
    """A store of casfs, below the benchmark's folder."""

    tools: Tools
    path: Path
    env: Mapping[str, str]

    def casfs(self, *arguments: str, way: Way = DEFAULT) -> Usage:
        """Run a casfs command."""
        return run([self.tools.casfs, "--store", str(self.path), *arguments], {**self.env, **way.env})

    def add(self, environment: str, wheels: Sequence[str]) -> Usage:
        """casfs add, without bytecode"""
        return run(self.words_of_add(environment, wheels), self.env)

    def add_by_default(self, environment: str, wheels: Sequence[str]) -> Usage:
        """casfs add, as it is by default: with bytecode"""
        return self.casfs("--env", environment, "add", "--python", self.tools.python, *wheels)

    def words_of_add(self, environment: str, wheels: Sequence[str]) -> list[str]:
        """The command of `add`."""
        words = ["--env", environment, "add", *WITHOUT_BYTECODE, "--python", self.tools.python]
        return [self.tools.casfs, "--store", str(self.path), *words, *wheels]

    def status(self, mountpoint: Path) -> dict[str, Any]:
        """What casfs status says of a mount."""
        mounts = json.loads(self.casfs("status", "--json").output)["mounts"]
        return next(mount for mount in mounts if mount["mountpoint"] == str(mountpoint))

    def mount(self, environment: str, mountpoint: Path, *words: str, way: Way = DEFAULT) -> Usage:
        """casfs mount; whoever calls this ends it with `umount`."""
        return self.casfs("--env", environment, "mount", *way.options, *words, str(mountpoint), way=way)

    def ways(self, environment: str, mountpoint: Path) -> list[Way]:
        """Those that this machine, this user and the environment's size allow. One that does not show what it should is left out."""
        return [way for way in WAYS if self._is_possible(environment, mountpoint, way)] or [DEFAULT]

    def _is_possible(self, environment: str, mountpoint: Path, way: Way) -> bool:
        if os.geteuid() != 0:
            return False  # what others get is plain FUSE, whatever they ask for
        with self.mounted(environment, mountpoint, way=way):
            found = self.status(mountpoint)
        if (found["data_path"], found["metadata"]) == (way.data_path, way.metadata):
            return True
        say(f"{way.name} is left out for {environment}: {found['why'] or 'it is not possible here'}")
        return False

    def umount(self, mounted: Mounted) -> Usage:
        """casfs umount"""
        usage = self._umount(mounted.path, _ATTEMPTS)
        reap(mounted.daemon)
        return usage

    def _umount(self, mountpoint: Path, attempts: int) -> Usage:
        """Once more if somebody looks into all mounts of the machine just then."""
        try:
            return self.casfs("umount", str(mountpoint))
        except CommandFailed as failure:
            if attempts == 1 or "is in use" not in str(failure):
                raise
        return self._umount(mountpoint, attempts - 1)

    def umount_all(self) -> None:
        """End every mount, also if somebody looks into all mounts of the machine just now, and wait for the daemon."""
        daemon = int(json.loads(self.casfs("status", "--json").output)["mounts"][0]["supervisor"])
        self.casfs("umount", "--all", "--lazy")
        reap(daemon)

    def find(self, mountpoint: Path) -> Mounted:
        """What is mounted there."""
        return Mounted(self, mountpoint, int(self.status(mountpoint)["supervisor"]))

    @contextlib.contextmanager
    def mounted(self, environment: str, mountpoint: Path, *words: str, way: Way = DEFAULT) -> Iterator[Mounted]:
        """A mount for the length of a block."""
        self.mount(environment, mountpoint, *words, way=way)
        mounted = self.find(mountpoint)
        yield mounted
        self.umount(mounted)


def detach_below(folder: Path) -> None:
    """Unmount, lazily, whatever is still mounted below `folder`, and overlays and images that are made of what is there."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()[::-1]:
        path = line.split(" ")[4]
        if path.startswith(f"{folder}/") or f"={folder}/" in line or f" {folder}/" in line:
            command = ["umount", "--lazy", path] if os.geteuid() == 0 else ["fusermount3", "-u", "-z", path]
            subprocess.run(command, check=False)
