"""A command in the foreground: it has our place, our terminal and our signals, and we end as it does."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from casfs.cli.output import note
from casfs.errors import CasfsError
from casfs.overlay.kernel import adopt_orphans

_OF_THE_TERMINAL = {signal.SIGINT, signal.SIGQUIT}  # the kernel sends them to the whole foreground group when somebody types Ctrl-C
_PASSED_ON = {*_OF_THE_TERMINAL, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM}
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)  # no other program expects that

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # env(1)


@dataclass(frozen=True, slots=True)
class Start:
    """What to start."""

    prepare: Callable[[], None]  # called in the new process, before the command; a CasfsError that it raises is told, and the code is 1
    command: list[str]
    environ: Mapping[str, str]
    umask: int


class Foreground:
    """A process that runs a command, and what becomes of it."""

    def __init__(self, start: Start) -> None:
        """From now on signals to this process are the command's, and orphans of the command are children of this process."""
        self.has_left_others = False  # whether the command ended before its descendants
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, nobody learns how the command ended
        adopt_orphans()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
        self._pid = os.fork()
        if not self._pid:
            _become(start, mask)

    def wait(self) -> int:
        """Pass signals on until the command ends. Answers its wait status (waitpid(2))."""
        while True:
            found = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
            if found.si_signo == signal.SIGCHLD:
                if (status := self._reap()) is not None:
                    return status
            elif found.si_code <= 0 or found.si_signo not in _OF_THE_TERMINAL:  # sent by a process; the kernel's has reached the command
                os.kill(self._pid, found.si_signo)

    def _reap(self) -> int | None:
        """Reap children that have ended. Answers the command's wait status if it is one of them."""
        answer = None
        try:
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self._pid:
                    answer = found[1]
            self.has_left_others = True
        except ChildProcessError:
            self.has_left_others = False
        return answer


def _become(start: Start, mask: Iterable[int]) -> NoReturn:
    """The whole life of the new process."""
    code = 1
    try:
        start.prepare()
        os.umask(start.umask)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started us had it ignored
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = _execute(start.command, start.environ)
    except CasfsError as error:
        note(f"casfs: {error}")
    finally:
        os._exit(code)


def _execute(command: list[str], environ: Mapping[str, str]) -> int:
    """Execute a command, which is looked for on its own PATH. Answers an exit code if it can't be."""
    try:
        os.execvpe(command[0], command, environ)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        note(f"casfs: {command[0]}: {reason.lower()}{_way_to_run(command[0])}")
        return _NOT_FOUND if isinstance(error, FileNotFoundError | NotADirectoryError) else _NOT_EXECUTABLE


def _way_to_run(name: str) -> str:
    """What whoever named a Python file may have meant."""
    return f"; `casfs run python {name}` runs that file" if name.endswith((".py", ".pyw")) and os.path.isfile(name) else ""


def end_alike(status: int) -> int:
    """End by the signal that ended a command, as a shell wants to know it; else answer its exit code."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has left one, if any
    if code != -signal.SIGKILL:
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    os.kill(os.getpid(), -code)
    return 128 - code
