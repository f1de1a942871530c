"""How a process of ours ends: what it says of an error, and its exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from casfs.cli.output import OUTPUT, complain, leave_stream, say_why
from casfs.errors import CasfsError, describe_failure
from casfs.store.publish import naming

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
    """The exit code that `run` answers, 0 for None. An error that is the user's to mend is said in a line; a bug leaves as it came."""
    try:
        code = _answer(run)
        with naming(OUTPUT):
            sys.stdout.flush()
        return code
    except CasfsError as error:
        say_why(error)
        complain(f"casfs: {error}")
    except BrokenPipeError:  # the reader of our output left, as `head` does
        leave_stream(sys.stdout)
    except OSError as error:
        if error.filename == OUTPUT:
            leave_stream(sys.stdout)
        complain(f"casfs: {describe_failure(error)}")
    except KeyboardInterrupt:
        complain("casfs: interrupted")
        return 130
    return 1


def _answer(run: Callable[[], int | None]) -> int:
    try:
        return run() or 0
    except SystemExit as leaving:  # argparse's way
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
