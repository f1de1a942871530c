"""A worker keeps no rights of root but those with which it reads a store."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.mounted.daemons import other_supervisor
from tests.mounted.harness import Casfs, run_python
from tests.mounted.plain_user import UID

READ_AND_WRITE = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capabilities(7))


def capabilities(pid: int, kind: str) -> int:
    """Those of a process: CapEff, CapPrm, CapInh, CapAmb (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{kind}:")).split()[1], 16)


def test_every_thread_of_a_worker_has_only_the_rights_to_read_and_write_the_store(casfs: Casfs, mounted: Path) -> None:
    worker = casfs.status()[0]["worker"]
    for thread in os.listdir(f"/proc/{worker}/task"):
        assert {capabilities(int(thread), kind) for kind in ("CapEff", "CapPrm")} <= {READ_AND_WRITE}
        assert {capabilities(int(thread), kind) for kind in ("CapInh", "CapAmb")} == {0}


def test_supervisor_that_a_worker_starts_has_all_rights_again(casfs: Casfs, mounted: Path) -> None:
    before = casfs.status()[0]
    rights = capabilities(before["supervisor"], "CapEff")
    os.kill(before["supervisor"], signal.SIGKILL)
    after = other_supervisor(casfs, before["supervisor"])
    assert capabilities(after, "CapEff") == rights
    assert capabilities(casfs.status()[0]["worker"], "CapEff") == READ_AND_WRITE & rights
    casfs.umount(mounted)
    assert not os.path.ismount(mounted)


def test_host_of_root_serves_a_store_that_belongs_to_somebody_else(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo/__init__.py": b"VALUE = 1\n"}))
    subprocess.run(["chown", "-R", f"{UID}:{UID}", casfs.store], check=True)
    mountpoint = casfs.mount()
    assert run_python(mountpoint, "import demo; print(demo.VALUE)") == "1"
    casfs.add(casfs.wheel("demo", "2.0", {"demo/__init__.py": b"VALUE = 2\n"}))
    assert run_python(mountpoint, "import demo; print(demo.VALUE)") == "2"
