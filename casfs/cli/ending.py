"""How a process of ours ends: what is told of an error, and its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from casfs.cli.output import note
from casfs.errors import CasfsError, reason_of


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
