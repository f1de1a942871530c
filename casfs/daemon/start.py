"""How a process comes to be a daemon: it is forked, tells how far it is, and where it can't go on it says why to whoever waits.

It tells over a pipe: a byte for each of two steps (it can be asked; it answers), or one line of JSON that says what was refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from casfs.errors import CasfsError, MountRefused, describe_failure
from casfs.store.leases import DEAD_LOG
from casfs.store.store import Store

_LOG_BYTES = 1 << 20
_MAX_REFUSAL = 1 << 16

without_command_server: list[bool] = []
"""Not empty if daemons that this process starts shall run no commands (see `command_server`)."""

_STEP, _REFUSAL = b"+", b"!"
_STANDARD_ERROR = 2


class Progress:
    """What a process that is about to serve tells of itself. Nobody need listen."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def step(self) -> None:
        self._write(_STEP)

    def refuse(self, error: CasfsError | OSError) -> None:
        reasons = list(error.reasons) if isinstance(error, CasfsError) else [describe_failure(error)]
        subject = error.subject if isinstance(error, CasfsError) else "the daemon"
        self._write(_REFUSAL + json.dumps([subject, *reasons]).encode()[:_MAX_REFUSAL])

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # whoever has started us is gone
            os.write(self._fd, content)


class Starting:
    """A process that is about to serve."""

    def __init__(self, subject: str, serve: Callable[[Progress], None]) -> None:
        """It is forked, since most of what it needs is loaded already. `subject` is what it serves, for messages."""
        self._subject = subject
        self._ready, theirs = os.pipe()
        if not (pid := os.fork()):
            _live(serve, theirs)
        os.close(theirs)
        self._pid = pid

    def wait_for_step(self) -> None:
        """Return when it is a step further. Raises MountRefused with its reasons if it ended instead."""
        told = os.read(self._ready, 1)
        if told == _STEP:
            return
        refusal = self._read_refusal() if told == _REFUSAL else []
        os.waitpid(self._pid, 0)
        if refusal:
            raise MountRefused(*refusal)
        raise MountRefused(self._subject, "the daemon ended as soon as it had started; `casfs daemon logs` may say why")

    def _read_refusal(self) -> list[str]:
        told = b""
        while content := os.read(self._ready, _MAX_REFUSAL):
            told += content
        with contextlib.suppress(ValueError):  # it was cut off
            return [str(part) for part in json.loads(told)]
        return []

    def close(self) -> None:
        """It lives on; nobody waits for it."""
        os.close(self._ready)


def start_process(subject: str, serve: Callable[[Progress], None]) -> None:
    """Start a process that serves, and return when it does. Raises MountRefused with its reasons if it ended instead."""
    with contextlib.closing(Starting(subject, serve)) as process:
        process.wait_for_step()
        process.wait_for_step()


def _live(serve: Callable[[Progress], None], ready_fd: int) -> NoReturn:
    """The whole life of a forked process: a daemon, which has nothing of ours but the standard error, until it can write a log."""
    progress = Progress(ready_fd)
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.closerange(3, ready_fd)  # the lock of the mounts among them: it is the command's
        os.closerange(ready_fd + 1, os.sysconf("SC_OPEN_MAX"))
        serve(progress)
        code = 0
    except (CasfsError, OSError) as error:
        progress.refuse(error)
    except BaseException:  # noqa: BLE001  # a bug: its traceback is shown, as that of a command is
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def write_to_dead_log(store: Store) -> None:
    """From here on what is told on the standard error is kept with the log of the last daemon that died."""
    with contextlib.suppress(OSError):
        log = os.open(store.run_path(DEAD_LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.dup2(log, _STANDARD_ERROR)
        os.close(log)


def log_to_file(path: str) -> None:
    """From here on nobody reads our standard error: what goes wrong is told to a file of bounded size."""
    import logging.handlers

    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().handlers[:] = [handler]
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, _STANDARD_ERROR)
    os.close(null)
