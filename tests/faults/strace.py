"""One system call of a command fails, or is its last: strace's injection."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.faults.commands import Done

_OPTIONS = ("-y", "-s", "256")  # not -f: the interpreter that an add asks about itself is a process of its own, and not meant
_REST_S = 2.1
_CALL = re.compile(r"(\w+)\(")


class Scene(Protocol):
    """A command to be disturbed."""

    @property
    def wheels(self) -> Sequence[Path]:
        """Files that it may read."""
        ...

    def play(self, store: Path, tracer: Sequence[str] = ()) -> Done:
        """Run it to its end."""
        ...


@dataclass(frozen=True)
class Call:
    """The `count`-th call of its kind that the command makes."""

    kind: str
    count: int
    text: str


def calls_on(scene: Scene, store: Path, kinds: Sequence[str], log: Path) -> list[Call]:
    """The calls of an undisturbed command that are about the store or the wheels, found by path or descriptor."""
    _wait_for_rest(scene)
    done = scene.play(store, (*_OPTIONS, "-o", str(log), "-e", f"trace={','.join(kinds)}"))
    assert done.code == 0, done.errors
    counts: Counter[str] = Counter()
    found = []
    for line in log.read_text().splitlines():
        if match := _CALL.match(line):
            counts[match[1]] += 1
            if _is_about(scene, store, line):
                found.append(Call(match[1], counts[match[1]], line))
    return found


def _wait_for_rest(scene: Scene) -> None:
    """Until the wheels are old enough for casfs to remember their digests: from then on every add makes the same calls."""
    youngest = max(wheel.stat().st_ctime for wheel in scene.wheels)
    threading.Event().wait(max(0, youngest + _REST_S - time.time()))


def _is_about(scene: Scene, store: Path, line: str) -> bool:
    return str(store) in line or str(scene.wheels[0].parent) in line


def inject(scene: Scene, store: Path, call: Call, what: str, log: Path) -> Done | None:
    """The command with one injection; None if that came to no call about the store.

    Manifests have times, so their names differ, and with them how many folders of the store there are already.
    """
    done = scene.play(store, (*_OPTIONS, "-o", str(log), "-e", f"trace={call.kind}", "-e", f"inject={call.kind}:{what}:when={call.count}"))
    lines = [line for line in log.read_text().splitlines() if "(INJECTED)" in line]
    if not lines:
        assert done.code == 0, done.errors
    return done if lines and _is_about(scene, store, lines[0]) else None


def kill(scene: Scene, store: Path, kind: str, count: int) -> Done:
    """The command, killed at its `count`-th call of a kind if it gets that far."""
    return scene.play(store, (*_OPTIONS, "-f", "-o", "/dev/null", "-e", f"trace={kind}", "-e", f"inject={kind}:signal=KILL:when={count}"))
