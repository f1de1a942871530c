"""The list of all that is wrong with one wheel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

from casfs.errors import RecordRefused, WheelRefused

# A hostile wheel can have 100,000 bad members; nobody reads further than this.
_MAX_REPORTED = 100
# Names may have 65,535 bytes. The longest path in 887 wheels has 238.
_MAX_QUOTED = 300


def quote(name: str) -> str:
    """`name` as it may be shown on a terminal: quoted, nothing unprintable in it, and not too long."""
    if len(name) > _MAX_QUOTED:
        name = f"{name[:_MAX_QUOTED]}..."
    return repr(name)


class Problems:
    """Collects what is wrong, so that a wheel is refused once and for all its reasons."""

    def __init__(self, filename: str, *, allow_record_mismatch: bool = False) -> None:
        self._filename = filename
        self._allow_record_mismatch = allow_record_mismatch
        self._reasons = _Reasons()
        self._tolerated = _Reasons()
        self._has_others = False  # beside those of RECORD
        self._remarks: Counter[str] = Counter()

    def add(self, member: str, reason: str) -> None:
        """Note why `member` can't be taken."""
        self.add_wheel(f"{quote(member)}: {reason}")

    def add_record(self, member: str, reason: str) -> None:
        """Note where RECORD and the archive disagree about `member`; the user may have chosen to tolerate that."""
        self.add_record_problem(f"{quote(member)}: {reason}")

    def add_record_problem(self, reason: str) -> None:
        """Note a problem whose reason names its member."""
        (self._tolerated if self._allow_record_mismatch else self._reasons).add(reason)

    def add_wheel(self, reason: str) -> None:
        """Note what is wrong with the wheel as a whole."""
        self._has_others = True
        self._reasons.add(reason)

    def extend(self, reasons: Iterable[str]) -> None:
        for reason in reasons:
            self.add_wheel(reason)

    def remark(self, what: str) -> None:
        """Note what is odd and changes nothing; `what` is told once, with how often."""
        self._remarks[what] += 1

    def refuse(self, reason: str) -> NoReturn:
        """Stop here: after `reason` nothing more can be found out. Raises WheelRefused with it and all reasons so far."""
        raise WheelRefused(self._filename, reason, *self._reasons.shown())

    def raise_any(self) -> None:
        """Raise WheelRefused if there is a reason; RecordRefused if all of them are RECORD's."""
        if self._reasons.shown():
            raise (WheelRefused if self._has_others else RecordRefused)(self._filename, *self._reasons.shown())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is odd and changes nothing."""
        return tuple(f"{what} ({count})" for what, count in self._remarks.items())

    @property
    def tolerated(self) -> tuple[str, ...]:
        """What RECORD got wrong and the user accepts."""
        return tuple(self._tolerated.shown())


class _Reasons:
    """Each reason once, and only the first ones of very many."""

    def __init__(self) -> None:
        self._first: dict[str, None] = {}
        self._more = 0

    def add(self, reason: str) -> None:
        if len(self._first) < _MAX_REPORTED:
            self._first[reason] = None
        elif reason not in self._first:
            self._more += 1

    def shown(self) -> list[str]:
        return [*self._first, f"and {self._more} more problems"] if self._more else list(self._first)
