"""The supervisor keeps a mount alive when its worker is not.

It holds the descriptor of /dev/fuse and the kernel's first message (FUSE_INIT), and never touches the mount: a process that waits for a
mount that it serves itself waits for ever. A *worker*, forked from it, answers the kernel. INIT is replayed to it from a socket, since the
kernel sends it once; then the worker puts the real descriptor in the socket's place. The program is loaded before the first fork, so that
a dead worker is replaced in milliseconds, and what it left unanswered the kernel sends again (FUSE_NOTIFY_RESEND, Linux 6.9): readers wait
a moment and see no error. It rests on inode numbers and file handles that any worker understands. A kernel that can't do so would let
readers wait for ever: there the mount ends with its worker, and whoever ran the supervisor makes another one.

The supervisor pings; a worker that does not answer in time is killed and replaced as if it had died. To upgrade, the supervisor replaces
its own program (execve(2)) while the worker goes on, then forks a worker of the new program and kills the old one. A worker whose
supervisor died starts another, which takes over in the same way.

Messages are single packets: to a worker `ping` and `leave` (the supervisor is about to be replaced), from it `pong`, `serving`, `stop` and
`upgrade`.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("casfs")

_PING_EVERY_S = 0.25
_PATIENCE_S = 2.5  # a worker that was silent for so long is hung; its longest honest silence is the reading of a large manifest
_CALM_S = 0.3  # a worker that lived so long did not die of its start
_LONGEST_PAUSE_S = 1.0  # readers wait for it
_REAP_S = 0.05
_MAX_PACKET = 64

_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Session:
    """A mounted FUSE file system as its daemon holds it."""

    fuse_fd: int
    init_message: bytes  # the kernel's FUSE_INIT
    end: Callable[[], None]  # unmounts lazily
    restarts: int = 0
    orphan: int = 0  # a worker that serves it still, and whose supervisor is gone
    reason: str = ""  # why there was a restart before this session
    can_resend: bool = True  # the kernel repeats what a dead worker left unanswered
    is_worker: Callable[[int], bool] = bool  # whether a process is still the orphan: its number may have been given to another one


@dataclass(frozen=True, slots=True)
class WorkerHandoff:
    """What a worker is given: where INIT waits, the device, the line to the supervisor, and its place in history."""

    replay: socket.socket
    fuse_fd: int
    line: socket.socket
    is_first: bool
    restarts: int
    reason: str  # why the one before ended


def has_ended(pid: int) -> bool:
    """Whether a process runs no more.

    Killed in the middle of an invalidation, it is a zombie with a thread in the kernel that waits for an answer which only the next worker
    can give. So nobody may wait for its last thread before starting that one.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def pause_after(pause_s: float, lived_s: float) -> float:
    """How long to wait before the next worker starts, in seconds: the last pause was so long, and the worker after it lived so long."""
    return min(_LONGEST_PAUSE_S, pause_s * 2 or 0.01) if lived_s < _CALM_S else 0.0


Serve = Callable[[WorkerHandoff], None]
"""Answers the kernel until the mount ends, and returns then; the process that runs it may be killed at any moment."""


class _Worker:
    """A worker process and the line to it."""

    def __init__(self, supervisor: Supervisor, serve: Serve) -> None:
        self._replay, replay = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # closing ours would look like the mount's end
        self.line, line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with replay, line:
            self._replay.send(supervisor.session.init_message)
            self.process = _fork.Process(target=self._live, args=(supervisor, supervisor.next_life(replay, line), serve))
            self.process.start()
        self.began = self.heard = time.monotonic()
        self.asked: float | None = self.began  # when the question was put that it has not answered; that it serves answers the first

    def _live(self, supervisor: Supervisor, life: WorkerHandoff, serve: Serve) -> None:
        """The whole life of the forked process. What belongs to the supervisor is closed through the objects that own it."""
        supervisor.close_in_worker()
        self._replay.close()
        self.line.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the supervisor decides
        try:
            serve(life)
        except BaseException:
            log.exception("the worker failed")
            raise

    def say(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self.line.send(message, socket.MSG_DONTWAIT)

    def hear(self) -> bytes:
        """What it says; nothing if it is gone."""
        try:
            message = self.line.recv(_MAX_PACKET)
        except OSError:  # it left something unread
            return b""
        self.heard, self.asked = time.monotonic(), None
        return message

    def end(self) -> int:
        """Answers the exit code of a process that has ended. One whose threads are not all gone is reaped when the next one starts."""
        self.process.join(_REAP_S)
        code = self.process.exitcode
        if code is not None:
            self.process.close()
        self.line.close()
        self._replay.close()
        return -signal.SIGKILL if code is None else code


class Supervisor:
    """The supervisor of one mount."""

    def __init__(self, session: Session, serve: Serve, when_serving: Callable[[], None], upgrade: Callable[[int, int], None]) -> None:
        """`when_serving` is called once, when the first worker answers.

        `upgrade` replaces this program, given the worker that goes on serving and the number of restarts.
        """
        self.session = session
        self._serve = serve
        self._when_serving = when_serving
        self._upgrade = upgrade
        self._selector = selectors.DefaultSelector()
        self._signals, self._wakeup = socket.socketpair()
        self._worker: _Worker | None = None
        self._restarts = session.restarts
        self._reason = "the supervisor was replaced" if session.orphan else session.reason
        self._loss = ""  # why the mount ended although nobody wanted it to
        self._verdict = ""  # why the worker that serves is being killed
        self._pause_s = 0.0
        self._start_at = 0.0
        self._is_stopping = False  # the mount was taken away, but may have users still
        self._is_over = False
        self._has_served = bool(session.orphan)

    def run(self) -> str:
        """Keep a worker serving until the mount ends. Answers why it was lost; nothing if somebody ended it."""
        self._catch_signals()
        self._end_orphan()
        while not self._is_over:
            if self._worker is None and time.monotonic() >= self._start_at:
                self._start()
            for key, _ in self._selector.select(_PING_EVERY_S if self._worker else max(0.0, self._start_at - time.monotonic())):
                key.data()
            self._watch()
        return self._loss

    def next_life(self, replay: socket.socket, line: socket.socket) -> WorkerHandoff:
        """For a worker that is about to start."""
        is_first = self._restarts == self.session.restarts and not self.session.orphan
        return WorkerHandoff(replay, self.session.fuse_fd, line, is_first, self._restarts, self._reason)

    def close_in_worker(self) -> None:
        """Called in a fresh worker: give up what is the supervisor's alone."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        self._signals.close()
        self._wakeup.close()

    def _catch_signals(self) -> None:
        self._signals.setblocking(False)
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signal)

    def _on_signal(self) -> None:
        self._signals.recv(64)
        self._stop()

    def _end_orphan(self) -> None:
        """Kill the worker that served on while there was no supervisor, now that this one can start another."""
        if self.session.orphan:
            with contextlib.suppress(ProcessLookupError):
                orphan = os.pidfd_open(self.session.orphan)
                if self.session.is_worker(self.session.orphan):
                    signal.pidfd_send_signal(orphan, signal.SIGKILL)
                    while not has_ended(self.session.orphan):
                        select.select([orphan], [], [], _REAP_S)
                os.close(orphan)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.session.orphan, os.WNOHANG)
            self._restarts += 1
            if not self.session.can_resend:
                self._lose(self._reason)

    def _start(self) -> None:
        try:
            self._worker = _Worker(self, self._serve)
        except OSError as error:
            self._after_death(f"no worker could be started: {error}", 0.0)
            return
        self._selector.register(self._worker.line, selectors.EVENT_READ, self._on_message)
        self._selector.register(self._worker.process.sentinel, selectors.EVENT_READ, self._on_exit)

    def _on_message(self) -> None:
        worker = self._worker
        if worker is None:
            return  # it ended while this round was being dealt with
        message = worker.hear()
        if not message:
            self._selector.unregister(worker.line)
        elif message == b"serving" and not self._has_served:
            self._has_served = True
            self._when_serving()
        elif message == b"stop":
            self._stop()
        elif message == b"upgrade":
            worker.say(b"leave")
            self._upgrade(worker.process.pid or 0, self._restarts)

    def _watch(self) -> None:
        """Ping who serves; kill who was silent too long."""
        if self._worker is None:
            return
        now, asked = time.monotonic(), self._worker.asked
        if asked is None and now - self._worker.heard >= _PING_EVERY_S:
            self._worker.asked = now
            self._worker.say(b"ping")
        elif asked is not None and now - asked > _PATIENCE_S and not self._verdict:
            self._verdict = f"process {self._worker.process.pid} did not answer for {_PATIENCE_S:.1f} s"
            self._worker.process.kill()
        if has_ended(self._worker.process.pid or 0):
            self._on_exit()

    def _on_exit(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        for thing in (worker.line, worker.process.sentinel):
            with contextlib.suppress(KeyError):
                self._selector.unregister(thing)
        pid, lived_s = worker.process.pid, time.monotonic() - worker.began
        code = worker.end()
        self._is_over = code == 0 or (self._is_stopping and self._pause_s >= _LONGEST_PAUSE_S)
        if not self._is_over:
            self._after_death(self._verdict or f"process {pid} ended with {code}", lived_s)

    def _after_death(self, reason: str, lived_s: float) -> None:
        self._restarts += 1
        self._reason, self._verdict = reason, ""
        if not self.session.can_resend:
            self._lose(reason)
            return
        log.warning("the worker is replaced: %s", reason)
        self._pause_s = pause_after(self._pause_s, lived_s)
        self._start_at = time.monotonic() + self._pause_s

    def _lose(self, reason: str) -> None:
        """End the mount: what the worker left unanswered nobody will be asked again."""
        log.error("%s, and this kernel can't repeat what was not answered (Linux can since 6.9): the mount ends", reason)
        if self._has_served and not self._is_stopping:
            self._loss = reason
        self._is_over = True
        self._stop()

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self.session.end()
