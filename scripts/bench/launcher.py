"""Starts one command and tells what it took: `python -I -S launcher.py REPORT_FD`, with the command, its variables and its folder as JSON
on standard input.

The peak that wait4(2) tells of a process is never less than what its parent had when it was started, for exec(2) hands the mark on. So
commands are started from here: this process is small, however large the one that wants to know has become.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(report: int) -> None:
    """Write status, seconds and kilobytes, as wait4(2) tells them, to the report."""
    os.set_inheritable(report, False)
    command, env, folder = json.load(sys.stdin)
    os.chdir(folder)
    began = time.perf_counter()
    process = os.posix_spawnp(command[0], command, env, file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)])
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - began
    os.write(report, json.dumps([status, seconds, usage.ru_maxrss]).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
