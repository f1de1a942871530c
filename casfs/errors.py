"""What can go wrong that is not a bug: one root, and one class for each thing a caller may want to tell apart."""

from __future__ import annotations

import os
from collections.abc import Sequence


class CasfsError(Exception):
    """A broken promise that a user can act on: what it is about (a file, a name), and every reason.

    The message is one line when there is one reason, else one line for each.
    """

    def __init__(self, subject: object, *reasons: str) -> None:
        super().__init__(subject, *reasons)
        self.subject = str(subject)
        self.reasons: Sequence[str] = reasons

    def __str__(self) -> str:
        if len(self.reasons) == 1:
            return f"{self.subject}: {self.reasons[0]}"
        return "\n  ".join([f"{self.subject}: {len(self.reasons)} problems", *self.reasons])


class InvalidValue(CasfsError):
    """Text that is no digest, no path, no environment name."""


class WheelRefused(CasfsError):
    """A wheel that casfs won't take; the reasons are all that was found wrong with it."""


class RecordRefused(WheelRefused):
    """A wheel of which only RECORD is wrong, which the user may choose to tolerate."""


class StoreDamaged(CasfsError):
    """Something in the store is not what its name or its checksum promises."""


class StoreRefused(CasfsError):
    """A directory that is not a store, or one of a format that this version does not know."""


class EnvironmentRefused(CasfsError):
    """An environment can't be made or changed as asked."""


class InterpreterRefused(CasfsError):
    """No usable Python interpreter at a path or of a version."""


class MountRefused(CasfsError):
    """A mountpoint can't be mounted, unmounted or reached."""


class PathRefused(CasfsError):
    """A path that leads through links which must not be followed."""


class FetchFailed(CasfsError):
    """What a name, a URL or a lock file stands for can't be found, fetched or built; `said` is what the program that failed had to say."""

    def __init__(self, subject: object, *reasons: str, said: Sequence[str] = ()) -> None:
        super().__init__(subject, *reasons)
        self.said = said


class BuildFailed(FetchFailed):
    """A project's build backend failed."""


class LockRefused(CasfsError):
    """A lock file that casfs can't read, or that is not for this interpreter."""


def describe_failure(error: OSError) -> str:
    """The file that an error of the system is about, and the reason."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
    return f"{name}: {reason_of(error)}" if name else reason_of(error)


def reason_of(error: OSError) -> str:
    """What the system says went wrong, as a reason in one of our messages."""
    return (error.strerror or str(error)).lower()
