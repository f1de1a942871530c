"""Two processes that do the same at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_both(source: str, *arguments: str) -> list[bytes]:
    """What two processes of a program say after both were let go at once; each must succeed.

    The program prints `ready` and then waits for a line.
    """
    command = [sys.executable, "-c", source, *arguments]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
    said = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    return said
