"""The supervisor keeps a mount alive when its worker is not.

It holds the descriptor of /dev/fuse and the kernel's first message (FUSE_INIT), and never touches the mount: a process that waits for a mount
that it serves itself waits for ever. A *worker* answers the kernel. INIT is replayed to it from a socket, since the kernel sends it once;
then the worker puts the real descriptor in the socket's place. A second worker stands by, with everything loaded, so that the gap between
the end of one and the start of the next is milliseconds. What the dead one left unanswered the kernel sends again (FUSE_NOTIFY_RESEND,
Linux 6.9): readers wait a moment and see no error. It rests on inode numbers and file handles that any worker understands.

The supervisor pings; a worker that does not answer in time is killed and replaced as if it had died. Replacing one on purpose is an upgrade.

A worker that loses its supervisor goes on serving and starts another one, which takes the session over in the same way.

Messages are single packets: to a worker `go ...` and `ping`, from it `ready`, `serving`, `pong`, `stop` and `upgrade`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

log = logging.getLogger("casfs")

_PING_EVERY_S = 0.5
_PATIENCE_S = 2.0  # a worker that was silent for so long is hung; its longest honest silence is the reading of a large manifest
_START_PATIENCE_S = 30.0  # to load Python and pyfuse3 on a busy machine
_CALM_S = 10.0  # a worker that lived so long did not die of its start
_LONGEST_PAUSE_S = 5.0

_MAX_PACKET = 4096


@dataclass(frozen=True, slots=True)
class Session:
    """A mounted FUSE file system, seen from the daemon's side."""

    fuse_fd: int
    init_message: bytes  # the kernel's FUSE_INIT
    inherited: Sequence[int]  # what workers need beside it
    end: Callable[[], None]  # unmounts lazily
    lives: int = 0  # workers that have served it
    orphan: int = 0  # a worker that serves it still, and whose supervisor died


@dataclass(frozen=True, slots=True)
class Channel:
    """What a worker inherits: where INIT waits, the device, and the line to the supervisor."""

    replay_fd: int
    fuse_fd: int
    line_fd: int


class _Worker:
    """A worker process and the line to it."""

    def __init__(self, session: Session, command: Callable[[Channel], list[str]]) -> None:
        replay, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line, their_line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._replay = replay  # closing it would look to libfuse like the end of the mount
        replay.send(session.init_message)
        channel = Channel(theirs.fileno(), session.fuse_fd, their_line.fileno())
        fds = (channel.replay_fd, channel.fuse_fd, channel.line_fd, *session.inherited)
        self.process = subprocess.Popen(command(channel), cwd="/", pass_fds=fds, stdin=subprocess.DEVNULL)
        theirs.close()
        their_line.close()
        self.line.setblocking(False)
        self.exit_fd = os.pidfd_open(self.process.pid)
        self.began = self.heard = time.monotonic()
        self.is_ready = False

    def say(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self.line.send(message)

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> int:
        """Reap it. Answers its exit code."""
        code = self.process.wait()
        os.close(self.exit_fd)
        self.line.close()
        self._replay.close()
        return code


class Supervisor:
    """One mount's supervisor. `run` returns when the mount has ended."""

    def __init__(self, session: Session, command: Callable[[Channel], list[str]], when_serving: Callable[[], None]) -> None:
        """`command` gives the command line of a worker; `when_serving` is called once the first one answers."""
        self._session = session
        self._command = command
        self._when_serving = when_serving
        self._selector = selectors.DefaultSelector()
        self._current: _Worker | None = None
        self._standby: _Worker | None = None
        self._lives = session.lives
        self._restarts = 0
        self._reason = ""  # of the last restart
        self._verdict = ""  # why the worker that serves is being killed
        self._pause_s = 0.0
        self._start_at = 0.0
        self._is_ending = False
        self._is_replacing = False

    def run(self) -> None:
        """Keep a worker serving until the mount ends."""
        self._catch_signals()
        self._standby = self._start()
        try:
            while not self._tick():
                pass
        finally:
            for worker in (self._current, self._standby):
                if worker is not None:
                    worker.kill()
                    worker.close()

    def _catch_signals(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno())
        self._wakeup = (ours, theirs)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._selector.register(ours, selectors.EVENT_READ, self._on_signal)

    def _on_signal(self) -> None:
        self._wakeup[0].recv(64)
        self._stop()

    def _start(self) -> _Worker:
        worker = _Worker(self._session, self._command)
        self._selector.register(worker.line, selectors.EVENT_READ, lambda: self._on_message(worker))
        self._selector.register(worker.exit_fd, selectors.EVENT_READ, lambda: self._on_exit(worker))
        return worker

    def _tick(self) -> bool:
        """Wait for something and deal with it. Answers whether the mount has ended."""
        self._promote()
        for key, _ in self._selector.select(_PING_EVERY_S):
            if key.fileobj in self._selector.get_map():
                key.data()
        self._watch()
        return self._is_ending and self._current is None

    def _promote(self) -> None:
        """Let the worker that stands by serve, if none does and the pause after a bad start is over."""
        ready = self._standby
        if self._current is None and not self._is_ending and ready and ready.is_ready and time.monotonic() >= self._start_at:
            self._current, self._standby = ready, None
            self._lives += 1
            ready.began = ready.heard = time.monotonic()
            self._end_orphan()
            about = {"life": self._lives, "restarts": self._restarts, "reason": self._reason, "supervisor": os.getpid()}
            ready.say(b"go " + json.dumps(about).encode())
            self._standby = self._start()

    def _end_orphan(self) -> None:
        """Kill the worker that outlived its supervisor, now that another one can take over."""
        if self._lives == self._session.lives + 1 and self._session.orphan:
            with contextlib.suppress(ProcessLookupError):
                orphan = os.pidfd_open(self._session.orphan)
                signal.pidfd_send_signal(orphan, signal.SIGKILL)
                select.select([orphan], [], [])
                os.close(orphan)

    def _on_message(self, worker: _Worker) -> None:
        try:
            message = worker.line.recv(_MAX_PACKET)
        except OSError:
            message = b""
        worker.heard = time.monotonic()
        if not message:
            self._selector.unregister(worker.line)
        elif message == b"ready":
            worker.is_ready = True
        elif message == b"serving" and self._restarts == 0:
            self._when_serving()
        elif message == b"stop":
            self._stop()
        elif message == b"upgrade":
            self._upgrade()

    def _watch(self) -> None:
        """Kill who was silent too long; ping who serves."""
        now = time.monotonic()
        if self._current is not None:
            self._current.say(b"ping")
            if now - self._current.heard > _PATIENCE_S:
                self._verdict = f"process {self._current.process.pid} did not answer for {_PATIENCE_S:.0f} s"
                self._current.kill()
        if self._standby is not None and not self._standby.is_ready and now - self._standby.began > _START_PATIENCE_S:
            self._standby.kill()
        if self._is_replacing and self._standby is not None and self._standby.is_ready and self._current is not None:
            self._is_replacing = False
            self._verdict = "upgrade"
            self._current.kill()

    def _on_exit(self, worker: _Worker) -> None:
        for thing in (worker.line, worker.exit_fd):
            with contextlib.suppress(KeyError):
                self._selector.unregister(thing)
        code = worker.close()
        if worker is self._standby:
            log.error("a worker could not start (exit code %d)", code)
            self._back_off(worker)
            self._standby = None if self._is_ending else self._start()
        elif worker is self._current:
            self._current = None
            self._is_ending = self._is_ending or code == 0
            if not self._is_ending:
                self._after_death(worker, code)

    def _after_death(self, worker: _Worker, code: int) -> None:
        self._restarts += 1
        self._reason, self._verdict = self._verdict or f"process {worker.process.pid} ended with {code}", ""
        log.warning("the worker is replaced: %s", self._reason)
        self._back_off(worker)

    def _back_off(self, worker: _Worker) -> None:
        """A worker that dies soon after its start is not started again at once, and each time later."""
        is_sudden = time.monotonic() - worker.began < _CALM_S
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2 or 0.01) if is_sudden else 0.0
        self._start_at = time.monotonic() + self._pause_s

    def _upgrade(self) -> None:
        """Replace the worker by one that loads the program anew."""
        if self._standby is not None:
            old, self._standby = self._standby, None
            for thing in (old.line, old.exit_fd):
                with contextlib.suppress(KeyError):
                    self._selector.unregister(thing)
            old.kill()
            old.close()
        self._standby = self._start()
        self._is_replacing = True

    def _stop(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            self._session.end()
