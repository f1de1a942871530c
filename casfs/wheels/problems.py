"""The list of all that is wrong with one wheel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from casfs.errors import WheelRefused

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
        self._reasons: list[str] = []
        self._tolerated: list[str] = []

    def add(self, member: str, reason: str) -> None:
        """Note why `member` can't be taken."""
        self._reasons.append(f"{quote(member)}: {reason}")

    def add_record(self, member: str, reason: str) -> None:
        """Note where RECORD and the archive disagree about `member`; the user may have chosen to tolerate that."""
        self.extend_record([f"{quote(member)}: {reason}"])

    def extend_record(self, reasons: Iterable[str]) -> None:
        (self._tolerated if self._allow_record_mismatch else self._reasons).extend(reasons)

    def add_wheel(self, reason: str) -> None:
        """Note what is wrong with the wheel as a whole."""
        self._reasons.append(reason)

    def extend(self, reasons: Iterable[str]) -> None:
        self._reasons.extend(reasons)

    def refuse(self, reason: str) -> NoReturn:
        """Stop here: after `reason` nothing more can be found out. Raises WheelRefused with all reasons so far."""
        self._reasons.append(reason)
        raise self._refusal()

    def raise_any(self) -> None:
        """Raise WheelRefused if there is a reason."""
        if self._reasons:
            raise self._refusal()

    @property
    def tolerated(self) -> tuple[str, ...]:
        """What RECORD got wrong and the user accepts."""
        return tuple(_shorten(self._tolerated))

    def _refusal(self) -> WheelRefused:
        return WheelRefused(self._filename, *_shorten(self._reasons))


def _shorten(reasons: Iterable[str]) -> list[str]:
    """Each reason once, and only the first ones of very many."""
    reasons = list(dict.fromkeys(reasons))
    if len(reasons) > _MAX_REPORTED:
        return [*reasons[:_MAX_REPORTED], f"and {len(reasons) - _MAX_REPORTED} more problems"]
    return reasons
