"""The machine and the versions that a run's figures belong to."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def describe_machine(folder: Path) -> dict[str, str]:
    """Facts by name; `folder` is where the benchmark writes."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": find_file_system(Path("/proc/self/mountinfo").read_text(encoding="utf-8"), folder),
        "load before": Path("/proc/loadavg").read_text(encoding="ascii").split()[0],
    }


def describe_revision(repository: Path) -> str:
    """The commit that is measured, and whether it was changed since."""
    command = ["git", "-C", str(repository), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def find_file_system(mountinfo: str, folder: Path) -> str:
    """Type of the file system that holds `folder` (proc_pid_mountinfo(5)); of those mounted at one place, the last."""
    found = (0, "unknown")
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        mountpoint = Path(before.split(" ")[4])
        if folder.is_relative_to(mountpoint):
            found = max(found, (len(mountpoint.parts), after.split(" ")[0]), key=lambda one: one[0])
    return found[1]
