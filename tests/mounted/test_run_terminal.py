"""`casfs run` on a terminal: the command has it, and what is typed reaches it once."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Iterator

import pytest

from tests.mounted.harness import TIME_LIMIT_S, Casfs, is_readable


class Terminal:
    """A run as the foreground job of a terminal. Leaving the block hangs up."""

    def __init__(self, casfs: Casfs, *words: str) -> None:
        command = casfs.command("run", *words)
        self.pid, self._fd = pty.fork()
        if not self.pid:
            try:
                os.execve(command[0], command, casfs.environ)
            finally:
                os._exit(99)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def expect(self, text: str) -> None:
        """Return when the terminal has shown a text since the last time."""
        while text not in self.shown:
            assert is_readable(self._fd, TIME_LIMIT_S), self.shown
            self.shown += os.read(self._fd, 4096).decode()
        self.shown = self.shown.partition(text)[2]

    def end(self) -> int:
        """How the run ended."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def wait_until_stopped(self) -> None:
        assert os.WIFSTOPPED(os.waitpid(self.pid, os.WUNTRACED)[1])


@pytest.fixture
def run(casfs: Casfs) -> Iterator[Casfs]:
    yield casfs
    assert not [name for name in os.listdir(casfs.store / "run") if name.endswith(".json")]


def test_command_has_the_terminal_and_its_size(run: Casfs) -> None:
    source = "import os, sys; input(); print(*[os.isatty(fd) for fd in range(3)], *os.get_terminal_size(), os.tcgetpgrp(0) == os.getpgrp())"
    with Terminal(run, "python", "-c", source) as terminal:
        terminal.type("\n")
        terminal.expect("True True True 77 33 True")
        assert terminal.end() == 0


def test_interrupt_is_the_commands_and_comes_once(run: Casfs) -> None:
    source = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n"
        "print('begun', flush=True)\n"
        "for line in sys.stdin: print('read', line, flush=True)\n"
    )
    with Terminal(run, "python", "-c", source) as terminal:
        terminal.expect("begun")
        terminal.type("\x03")
        terminal.expect("interrupted")
        terminal.type("one\n")
        terminal.expect("read one")
        assert "interrupted" not in terminal.shown
        terminal.type("\x04")
        assert terminal.end() == 0


@pytest.mark.parametrize(("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)])
def test_command_that_is_interrupted_ends_the_run_in_the_same_way(run: Casfs, key: str, number: signal.Signals) -> None:
    with Terminal(run, "sh", "-c", "echo begun; exec sleep 1000") as terminal:
        terminal.expect("begun")
        terminal.type(key)
        assert terminal.end() == -number


def test_stopped_and_continued_like_any_job(run: Casfs) -> None:
    source = (
        "import signal; signal.signal(signal.SIGCONT, lambda *_: print('continued', flush=True)); print('begun'); print('read', input())"
    )
    with Terminal(run, "python", "-c", source) as terminal:
        terminal.expect("begun")
        os.kill(terminal.pid, signal.SIGSTOP)  # as Ctrl-Z does, whose signal the kernel keeps from a job without a shell above it
        terminal.wait_until_stopped()
        os.killpg(terminal.pid, signal.SIGCONT)
        terminal.expect("continued")
        terminal.type("it\n")
        terminal.expect("read it")
        assert terminal.end() == 0
