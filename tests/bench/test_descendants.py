"""What the benchmark ends when it has ended: what it started, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scripts.bench.__main__ import working_folder
from tests.mounted.harness import is_alive


def test_processes_that_were_there_before_live_on(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as before:
        with working_folder(tmp_path):
            started = subprocess.Popen(["sleep", "60"])
        assert not is_alive(started.pid)
        started.wait()
        assert before.poll() is None
        before.kill()
