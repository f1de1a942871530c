"""A mounted environment that must outlive what is done to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.commands import casfs, must


@dataclass(frozen=True)
class Mounted:
    """An environment, its mountpoint and the process that serves it."""

    store: Path
    path: Path
    pid: int

    @property
    def site_packages(self) -> Path:
        [found] = self.path.glob("lib/python3*/site-packages")
        return found

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself; it must be the one that was started."""
        [mount] = json.loads(must(casfs(self.store, "status", "--json")).output)["mounts"]
        assert mount["answers"]
        assert mount["pid"] == self.pid
        return dict(mount)

    def check_unharmed(self) -> None:
        """The daemon answers, and met nothing that it had to write to its log."""
        self.status()
        assert [log.read_text() for log in (self.store / "run").glob("*.log")] == []


@contextlib.contextmanager
def mounted(store: Path, path: Path) -> Iterator[Mounted]:
    """Mount the environment, and unmount it at the end: nobody may hold it then."""
    must(casfs(store, "mount", "--data-path", "fuse", path))  # what the daemon itself answers is to hold
    [mount] = json.loads(must(casfs(store, "status", "--json")).output)["mounts"]
    try:
        one = Mounted(store, path, mount["pid"])
        yield one
        one.check_unharmed()
        must(casfs(store, "umount", path))
    finally:
        if os.path.ismount(path):
            subprocess.run(["umount", "--lazy", path], check=False)
            with contextlib.suppress(ProcessLookupError):
                os.kill(mount["pid"], signal.SIGKILL)
