"""Workers: forked processes that share out numbered jobs and report what they made of each.

Threads hand Python's interpreter lock to and fro; processes share nothing but descriptors. Only a process with a single thread may fork
(`may_fork`): then nobody else holds a lock for which the child would wait for ever. A worker does its jobs and nothing else: no code of its
caller, such as a `finally`, runs in it. It ends when its parent ends, and the parent ends it whatever happens, so that nobody writes any
more into what is cleared away then.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import selectors
import signal
import struct
import traceback
from collections.abc import Callable, Generator
from typing import Any, BinaryIO, NoReturn

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_TICKET = struct.Struct("=H")

MAX_JOBS = 16_384
"""So many tickets fit into a pipe that nobody reads yet (64 KiB, pipe(7))."""

_OVER = b"over"

Job = Callable[[int, int], Any]
"""Told the worker's number and the job's; what it answers is pickled."""


class WorkerDied(Exception):
    """A worker ended before its time; the message says how."""


def may_fork() -> bool:
    """Whether this process has a single thread, of Python's or of anybody's."""
    return len(os.listdir("/proc/self/task")) == 1


def run_workers(workers: int, jobs: int, job: Job) -> Generator[Any, None, None]:
    """What `job` makes of each of so many jobs, as they end. A job goes to the worker that is idle first. Call it where `may_fork`.

    Raises what a job raises, and WorkerDied. Whoever wants no more closes it; no worker lives then.
    """
    children: dict[int, BinaryIO] = {}  # process -> what it reports
    tickets = _write_tickets(jobs)
    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)  # none comes to a child that is not ready, or before we know the child
        try:
            for number in range(workers):
                _fork(number, tickets, job, children, before)
        finally:
            os.close(tickets)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield from _gather(children)
    finally:
        for child, reports in children.items():
            reports.close()
            os.kill(child, signal.SIGKILL)
            _wait(child)


def _write_tickets(jobs: int) -> int:
    """A pipe in which each job has a ticket: whoever reads one does that job."""
    assert jobs <= MAX_JOBS
    tickets, sender = os.pipe()
    os.write(sender, struct.pack(f"={jobs}H", *range(jobs)))
    os.close(sender)
    return tickets


def _fork(number: int, tickets: int, job: Job, children: dict[int, BinaryIO], mask: set[int | signal.Signals]) -> None:
    receiver, sender = os.pipe()
    parent = os.getpid()
    if child := os.fork():
        os.close(sender)
        children[child] = open(receiver, "rb")  # noqa: SIM115 - `run_workers` closes it
        return
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends us
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if os.getppid() == parent:
            _work(number, tickets, sender, job)
    finally:
        os._exit(1)


def _work(number: int, tickets: int, sender: int, job: Job) -> NoReturn:
    """The life of a worker. Results and errors leave it through a pipe and nothing in any other way."""
    gc.freeze()  # or a collection would write to, and so copy, every page of the parent's objects
    with open(sender, "wb") as reports:
        try:
            while ticket := os.read(tickets, _TICKET.size):
                pickle.dump(job(number, *_TICKET.unpack(ticket)), reports)
                reports.flush()
            pickle.dump(_OVER, reports)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            error.add_note(traceback.format_exc())  # for one that is a bug
            pickle.dump(error, reports)
    os._exit(0)


def _gather(children: dict[int, BinaryIO]) -> Generator[Any, None, None]:
    with selectors.DefaultSelector() as selector:
        for child, reports in children.items():
            selector.register(reports, selectors.EVENT_READ, child)
        while selector.get_map():
            for key, _ in selector.select():
                reports, child = children[key.data], key.data
                try:
                    result = pickle.load(reports)
                except (EOFError, pickle.UnpicklingError):
                    selector.unregister(reports)
                    del children[child]
                    reports.close()
                    raise WorkerDied(_wait(child)) from None
                if isinstance(result, Exception):
                    raise result
                if result == _OVER:
                    selector.unregister(reports)
                else:
                    yield result


def _wait(child: int) -> str:
    """How a process ended."""
    code = 0
    with contextlib.suppress(ChildProcessError):  # whoever started us lets the system forget ended children
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
