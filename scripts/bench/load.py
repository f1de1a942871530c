"""Foreign load: how much of the processor others use while we measure.

All time that /proc/stat counts as busy or stolen, less what this process and its descendants used. The runner is a subreaper (prctl(2)), so
daemons are its children, too, and no process that the benchmark started is missed.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_TOLERATED_CORES = 0.2
"""What kernel threads that write back our own files, and a quiet system, may use without a mark."""

_SHORTEST_S = 0.5
"""Below this the kernel's ticks of 10 ms say nothing."""


@dataclass(frozen=True, slots=True)
class Times:
    """A moment, and the processor time used until then, in seconds."""

    now: float
    busy: float
    own: float


def read_times() -> Times:
    """The counters as they are now."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages) + sum(map(_live_time, live_descendants()))
    return Times(time.monotonic(), parse_busy(Path("/proc/stat").read_text(encoding="ascii")), own)


def parse_busy(text: str) -> float:
    """Seconds that all cores were busy, or taken by the host (proc_stat(5)). Interrupts are not counted: they may be ours."""
    user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(int, text.splitlines()[0].split()[1:9])
    return (user + nice + system + steal) / _TICKS_PER_S


def foreign_cores(before: Times, after: Times) -> float:
    """Cores that others used on the average."""
    elapsed = after.now - before.now
    return max(0.0, (after.busy - before.busy) - (after.own - before.own)) / elapsed if elapsed > 0 else 0.0


def is_loaded(before: Times, after: Times) -> bool:
    """Whether others used more of the processor than a quiet system does."""
    return after.now - before.now >= _SHORTEST_S and foreign_cores(before, after) > _TOLERATED_CORES


def live_descendants() -> list[int]:
    """Processes below this one that live."""
    parents = {}
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        if (fields := _stat_fields(int(entry))) is not None:
            parents[int(entry)] = int(fields[1])
    return find_descendants(parents, os.getpid())


def find_descendants(parents: Mapping[int, int], root: int) -> list[int]:
    """Everything below `root`, given each process's parent; parents before their children."""
    children: dict[int, list[int]] = {}
    for process, parent in parents.items():
        children.setdefault(parent, []).append(process)
    found: list[int] = []
    todo: Iterable[int] = children.get(root, ())
    while level := list(todo):
        found += level
        todo = [child for process in level for child in children.get(process, ())]
    return found


def _stat_fields(process: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (proc_pid_stat(5)); None if it has gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _live_time(process: int) -> float:
    """Seconds that a process and the children it has waited for have used."""
    fields = _stat_fields(process)
    return sum(map(int, fields[11:15])) / _TICKS_PER_S if fields else 0.0
