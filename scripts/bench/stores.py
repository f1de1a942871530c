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
from scripts.bench.tools import Tools


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

    def casfs(self, *arguments: str) -> Usage:
        """Run a casfs command."""
        return run([self.tools.casfs, "--store", str(self.path), *arguments], self.env)

    def add(self, environment: str, wheels: Sequence[str]) -> Usage:
        """casfs add"""
        return self.casfs("--env", environment, "add", "--python", self.tools.python, *wheels)

    def status(self, mountpoint: Path) -> dict[str, Any]:
        """What casfs status says of a mount."""
        mounts = json.loads(self.casfs("status", "--json").output)["mounts"]
        return next(mount for mount in mounts if mount["mountpoint"] == str(mountpoint))

    def mount(self, environment: str, mountpoint: Path, *words: str) -> Usage:
        """casfs mount; whoever calls this ends it with `umount`."""
        return self.casfs("--env", environment, "mount", *words, str(mountpoint))

    def umount(self, mounted: Mounted) -> Usage:
        """casfs umount"""
        usage = self.casfs("umount", str(mounted.path))
        reap(mounted.daemon)
        return usage

    def find(self, mountpoint: Path) -> Mounted:
        """What is mounted there."""
        return Mounted(self, mountpoint, int(self.status(mountpoint)["supervisor"]))

    @contextlib.contextmanager
    def mounted(self, environment: str, mountpoint: Path, *words: str) -> Iterator[Mounted]:
        """A mount for the length of a block."""
        self.mount(environment, mountpoint, *words)
        mounted = self.find(mountpoint)
        yield mounted
        self.umount(mounted)

    @contextlib.contextmanager
    def mounted_with_stock_loop(self, environment: str, mountpoint: Path) -> Iterator[Mounted]:
        """The same, served by pyfuse3's own event loop."""
        ours, theirs = os.pipe()
        script = str(Path(__file__).with_name("stock_loop.py"))
        command = [self.tools.own_python, "-P", script, "--store", str(self.path), "--env", environment, "mount", "--foreground"]
        process = subprocess.Popen([*command, "--ready-fd", str(theirs), str(mountpoint)], env=self.env, cwd="/", pass_fds=(theirs,))
        os.close(theirs)
        with os.fdopen(ours, "rb") as ready:
            if not ready.read(1):
                raise CommandFailed(command, process.wait(), "see above")
        yield Mounted(self, mountpoint, process.pid)
        self.casfs("umount", str(mountpoint))
        process.wait()


def detach_below(folder: Path) -> None:
    """Unmount, lazily, whatever is still mounted below `folder`, and overlays that are made of what is there."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()[::-1]:
        path = line.split(" ")[4]
        if path.startswith(f"{folder}/") or f"={folder}/" in line:
            command = ["umount", "--lazy", path] if os.geteuid() == 0 else ["fusermount3", "-u", "-z", path]
            subprocess.run(command, check=False)
