"""Limits: how long casfs waits for a server, and how much it takes from one. All of what it fetches itself is bounded here.

    a connection    `silence_s` for each address of a host (the system's resolver has limits of its own), and for each byte after it
    an answer       `patience_s` for connection, redirects and headers together, so also for those that come byte by byte;
                    at most `redirects`; of headers, Python's http.client takes 100 lines of 64 KiB
    a body          `least_speed` in each window of `patience_s`; the promised size, or `body` if none is promised, and no more than
                    the disk has room for
    a file          `retries` in all, and `grace_s` beside the time that its bytes take at `least_speed`

What the user says to uv counts (UV_HTTP_TIMEOUT, UV_HTTP_RETRIES). git is given the least speed. uv waits for each byte as long as we do;
what it resolves takes `RESOLVE_LIMIT_S` at most, what it builds as long as that takes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from casfs.wheels.source import MAX_WHEEL_SIZE

RESOLVE_LIMIT_S = 3600
"""To resolve may be to build: of a source distribution only its backend can tell what it needs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes, bytes a second, and counts."""

    silence_s: float = 30
    least_speed: int = 2_000  # a quarter of what a modem had
    redirects: int = 10
    retries: int = 3
    body: int = MAX_WHEEL_SIZE

    @property
    def patience_s(self) -> float:
        """How long to wait for an answer, and the window in which speed is measured."""
        return 2 * self.silence_s

    @property
    def grace_s(self) -> float:
        """What a whole file may take beside the time of its bytes: pauses, retries, slow starts."""
        return 20 * self.silence_s


@dataclass(slots=True)
class _Try:
    asked: float
    size: int | None = None  # None: there is no answer yet
    samples: deque[tuple[float, int]] = field(default_factory=deque)  # the watcher's


class Pace:
    """How fast one file comes. One thread fetches and says so; another one, the watcher, looks again and again whether that is enough."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._began = 0.0
        self._try: _Try | None = None

    def begin_file(self) -> None:
        """A file is wanted; all of its tries count together."""
        self._began = self._clock()

    def begin_try(self) -> None:
        """From now on an answer is waited for."""
        self._try = _Try(self._clock())

    def come(self, size: int) -> None:
        """An answer is there, and so many bytes of the file."""
        if self._try:
            self._try.size = size

    def rest(self) -> None:
        """Nothing is waited for."""
        self._try = None

    def is_overdue(self, size: int) -> bool:
        """Whether a file of which so many bytes are there has taken too long in all."""
        return self._clock() - self._began > self._limits.grace_s + size / self._limits.least_speed

    def look(self) -> str:
        """Why there is no sense in waiting longer; "" if there is. For the watcher."""
        if (one := self._try) is None:
            return ""
        now, window, size = self._clock(), self._limits.patience_s, one.size
        if self.is_overdue(size or 0):
            return f"took longer than {now - self._began:.0f} seconds"
        if size is None:
            return f"no answer within {window:g} seconds" if now - one.asked > window else ""
        one.samples.append((now, size))
        while len(one.samples) > 1 and one.samples[1][0] <= now - window:
            one.samples.popleft()
        start, before = one.samples[0]
        if now - start >= window and size - before < self._limits.least_speed * window:
            return f"only {size - before} bytes came within {now - start:.0f} seconds"
        return ""
