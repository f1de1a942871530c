"""Workers: every job is done once, what fails is told, and no process is left."""

from __future__ import annotations

import contextlib
import errno
import os
import signal

import pytest

from casfs.errors import WheelRefused
from casfs.store.workers import MAX_JOBS, WorkerDied, run_workers


def children() -> list[str]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return file.read().split()


@pytest.fixture(autouse=True)
def no_child_is_left():
    before = children()
    yield
    assert children() == before


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("jobs", [0, 1, 300])
def test_every_job_is_done_once(workers, jobs):
    done = list(run_workers(workers, jobs, lambda worker, job: (worker, job)))
    assert sorted(job for _, job in done) == [*range(jobs)]
    assert {worker for worker, _ in done} <= {*range(workers)}


def test_as_many_jobs_as_there_may_be_are_done():
    assert sum(run_workers(2, MAX_JOBS, lambda worker, job: job)) == MAX_JOBS * (MAX_JOBS - 1) // 2


def test_large_results_arrive_whole():
    assert {*run_workers(2, 20, lambda worker, job: b"%d" % job * 500_000)} == {b"%d" % job * 500_000 for job in range(20)}


@pytest.mark.parametrize("error", [WheelRefused("wheel", "one", "two"), OSError(errno.ENOSPC, "No space left", "file"), KeyError("bug")])
def test_what_a_job_raises_is_raised(error):
    def fail(worker: int, job: int) -> None:
        if job == 3:
            raise error

    with pytest.raises(type(error)) as caught:
        list(run_workers(2, 10, fail))
    assert (str(caught.value), caught.value.args) == (str(error), error.args)


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(3)])
def test_a_worker_that_ends_early_is_told(end):
    with pytest.raises(WorkerDied, match=r"was ended by signal 9|ended with exit code 3"):
        list(run_workers(2, 10, lambda worker, job: end() if job == 3 else job))


def test_who_wants_no_more_waits_for_nothing():
    def wait(worker: int, job: int) -> int:
        if job:
            signal.pause()
        return job

    with contextlib.closing(run_workers(2, 10, wait)) as results:
        assert next(results) == 0


def test_signals_are_for_the_parent_as_they_were():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT)
    ways = list(run_workers(1, 1, lambda worker, job: (signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT))))
    assert ways == [(before[0], signal.SIG_IGN)]
    assert (signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT)) == before
