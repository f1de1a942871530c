"""How a process of ours ends: what is told of an error, and its exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from casfs.cli.output import note
from casfs.errors import CasfsError, reason_of

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def end_in_order() -> None:
    """From now on SIGTERM and SIGHUP end this process as Ctrl-C does: it clears away what it has begun. Forked ones end at once."""
    for number in _ENDINGS:
        if signal.getsignal(number) is signal.SIG_DFL:  # else whoever started us had it ignored
            signal.signal(number, _end)
    os.register_at_fork(after_in_child=_end_at_once)


def _end(number: int, frame: object) -> NoReturn:
    """Once is enough: a second signal would disturb the clearing away."""
    _set_ours(signal.SIG_IGN)
    raise SystemExit(128 + number)


def _end_at_once() -> None:
    _set_ours(signal.SIG_DFL)


def _set_ours(how: signal.Handlers) -> None:
    for number in _ENDINGS:
        if signal.getsignal(number) is _end:
            signal.signal(number, how)


def exit_code(run: Callable[[], int | None]) -> int:
    """The exit code that `run` answers, 0 for None. An error that is the user's to mend is told in a line; a bug leaves as it came."""
    try:
        code = run() or 0
        sys.stdout.flush()
        return code
    except CasfsError as error:
        note(f"casfs: {error}")
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        note(f"casfs: {error.filename or 'the system'}: {reason_of(error)}")
    except KeyboardInterrupt:
        note("casfs: interrupted")
        return 130
    return 1
