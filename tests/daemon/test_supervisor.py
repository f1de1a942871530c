"""The supervisor, over workers that serve nothing: a socket stands for the device, and what a worker writes into it says what happened."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from casfs.daemon.supervisor import Session, Supervisor, WorkerHandoff, has_ended, pause_after

LIMIT_S = 60
_fork = multiprocessing.get_context("fork")


def answer_pings(life: WorkerHandoff) -> None:
    """What a healthy worker does, until it is told to leave or its supervisor is gone."""
    life.line.send(b"serving")
    while (message := life.line.recv(64)) and message != b"leave":
        life.line.send(b"pong")


class Scene:
    """A supervisor in a process of its own, and the words that it and its workers say on the device."""

    def __init__(self) -> None:
        self.ours, self.device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def start(self, serve: Callable[[Scene, WorkerHandoff], None], **history: Any) -> multiprocessing.process.BaseProcess:
        """Supervise workers that run `serve`; `history` is what the session knows besides."""
        process = _fork.Process(target=self._supervise, args=(serve, history))
        process.start()
        self._processes.append(process)
        return process

    def _supervise(self, serve: Callable[[Scene, WorkerHandoff], None], history: dict[str, Any]) -> None:
        os.setpgid(0, 0)  # so that its workers, whatever they do, can be ended with it
        session = Session(self.device.fileno(), b"INIT", lambda: self.tell("unmounted"), **history)

        def upgrade(worker: int, lived: int) -> None:
            self.tell(f"upgrade {worker} {lived}")
            os._exit(7)

        loss = Supervisor(session, lambda life: serve(self, life), lambda: self.tell("serving"), upgrade).run()
        self.tell(f"over {loss}".strip())

    def tell(self, text: str) -> None:
        self.device.send(text.encode())

    def hear(self) -> str:
        """The next thing that is said."""
        assert select.select([self.ours], [], [], LIMIT_S)[0], "nothing is said"
        return self.ours.recv(200).decode()

    def hear_word(self, word: str) -> list[str]:
        """What follows a word; other words before it are passed over."""
        while not (text := self.hear()).startswith(word):
            pass
        return text.split()[1:]

    def close(self) -> None:
        """End it, and every worker."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
        self.ours.close()
        self.device.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    one = Scene()
    yield one
    one.close()


def serve_well(scene: Scene, life: WorkerHandoff) -> None:
    assert life.replay.recv(64) == b"INIT"
    scene.tell(f"worker {os.getpid()} {life.restarts} {int(life.is_first)} {life.reason}")
    answer_pings(life)


def worker(scene: Scene) -> int:
    """The process that serves next."""
    return int(scene.hear_word("worker")[0])


def test_every_worker_gets_init_and_its_place_in_history(scene: Scene):
    scene.start(serve_well)
    pid, *history = scene.hear_word("worker")
    assert history == ["0", "1"]
    os.kill(int(pid), signal.SIGKILL)
    other, *history = scene.hear_word("worker")
    assert history == ["1", "0", "process", pid, "ended", "with", "-9"]
    assert other != pid


def test_that_it_serves_is_told_once(scene: Scene):
    scene.start(serve_well)
    said = []
    for _ in range(3):
        while not (text := scene.hear()).startswith("worker"):
            said.append(text)
        os.kill(int(text.split()[1]), signal.SIGKILL)
    assert said.count("serving") <= 1


def test_worker_that_returns_ends_the_supervision(scene: Scene):
    def serve(scene: Scene, life: WorkerHandoff) -> None:
        life.line.send(b"serving")

    process = scene.start(serve)
    assert scene.hear_word("over") == []
    process.join(LIMIT_S)
    assert process.exitcode == 0


def test_worker_that_fails_is_replaced_each_time(scene: Scene):
    def fail(scene: Scene, life: WorkerHandoff) -> None:
        scene.tell(f"failed {life.restarts}")
        os._exit(3)

    scene.start(fail)
    assert [scene.hear_word("failed") for _ in range(5)] == [[str(restarts)] for restarts in range(5)]


def test_pause_grows_to_a_second_as_long_as_workers_die_of_their_start():
    pauses = [0.0]
    for _ in range(12):
        pauses.append(pause_after(pauses[-1], lived_s=0.01))
    assert pauses == sorted(pauses)
    assert 0 < pauses[1] < 0.1
    assert pauses[-1] == 1.0
    assert pause_after(pauses[-1], lived_s=10) == 0.0


def test_worker_that_is_silent_is_killed_and_replaced(scene: Scene):
    scene.start(serve_well)
    hung = worker(scene)
    os.kill(hung, signal.SIGSTOP)
    _, restarts, _, *reason = scene.hear_word("worker")
    assert restarts == "1"
    assert " ".join(reason).startswith(f"process {hung} did not answer for")
    assert has_ended(hung)


def test_worker_that_never_says_that_it_serves_is_hung(scene: Scene):
    def hang(scene: Scene, life: WorkerHandoff) -> None:
        scene.tell(f"worker {os.getpid()} {life.restarts}")
        signal.pause()

    scene.start(hang)
    assert scene.hear_word("worker")[1] == "0"
    assert scene.hear_word("worker")[1] == "1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_unmounts_and_the_worker_ends_it(scene: Scene, number: signal.Signals):
    def serve(scene: Scene, life: WorkerHandoff) -> None:
        scene.tell(f"worker {os.getpid()}")
        life.line.send(b"serving")
        while message := life.line.recv(64):  # as long as the mount has users
            life.line.send(b"pong")
            if message == b"ping" and select.select([life.replay], [], [], 0)[0] and life.replay.recv(64) == b"end":
                return

    process = scene.start(serve)
    pid = worker(scene)
    os.kill(process.pid or 0, number)
    assert scene.hear_word("unmounted") == []
    assert not has_ended(pid)


def test_worker_that_asks_for_it_ends_the_mount_once(scene: Scene):
    def serve(scene: Scene, life: WorkerHandoff) -> None:
        life.line.send(b"serving")
        life.line.send(b"stop")
        life.line.send(b"stop")
        life.line.recv(64)

    scene.start(serve)
    said = [scene.hear(), scene.hear(), scene.hear()]
    assert said == ["serving", "unmounted", "over"]


def test_worker_that_dies_after_the_mount_was_ended_is_replaced_for_its_last_users(scene: Scene):
    def serve(scene: Scene, life: WorkerHandoff) -> None:
        scene.tell(f"worker {os.getpid()} {life.restarts}")
        if life.restarts:
            return
        life.line.send(b"stop")
        answer_pings(life)

    scene.start(serve)
    pid, restarts = scene.hear_word("worker")
    assert restarts == "0"
    assert scene.hear_word("unmounted") == []
    os.kill(int(pid), signal.SIGKILL)
    assert scene.hear_word("worker")[1] == "1"
    assert scene.hear_word("over") == []


def test_upgrade_names_the_worker_that_goes_on_and_tells_it_to_leave(scene: Scene):
    def serve(scene: Scene, life: WorkerHandoff) -> None:
        scene.tell(f"worker {os.getpid()}")
        life.line.send(b"serving")
        life.line.send(b"upgrade")
        while (message := life.line.recv(64)) != b"leave":
            assert message == b"ping"
        scene.tell("left")

    process = scene.start(serve, restarts=4)
    said = {(text := scene.hear()).split()[0]: text.split()[1:] for _ in range(4)}
    assert said["upgrade"] == [said["worker"][0], "4"]
    assert said["left"] == []
    process.join(LIMIT_S)
    assert process.exitcode == 7


def test_orphan_is_ended_before_the_first_worker_starts(scene: Scene):
    orphan = _fork.Process(target=signal.pause)
    orphan.start()

    def serve(scene: Scene, life: WorkerHandoff) -> None:
        scene.tell(f"worker {has_ended(orphan.pid or 0)} {life.restarts} {life.is_first} {life.reason}")
        answer_pings(life)

    scene.start(serve, restarts=2, orphan=orphan.pid or 0)
    assert scene.hear_word("worker") == ["True", "3", "False", "the", "supervisor", "was", "replaced"]
    orphan.join()
    assert orphan.exitcode == -signal.SIGKILL


def test_orphan_that_is_gone_already_is_no_obstacle(scene: Scene):
    gone = _fork.Process(target=int)
    gone.start()
    gone.join()
    scene.start(serve_well, orphan=gone.pid or 0)
    assert scene.hear_word("worker")[1:3] == ["1", "0"]


def test_process_that_only_has_the_number_of_the_orphan_is_spared(scene: Scene):
    stranger = _fork.Process(target=signal.pause)
    stranger.start()
    scene.start(serve_well, orphan=stranger.pid or 0, is_worker=lambda pid: False)
    assert scene.hear_word("worker")[1:3] == ["1", "0"]
    assert not has_ended(stranger.pid or 0)
    stranger.kill()
    stranger.join()


def test_reason_of_an_earlier_restart_is_told(scene: Scene):
    scene.start(serve_well, restarts=1, reason="it was lost")
    assert scene.hear_word("worker")[1:] == ["1", "1", "it", "was", "lost"]


def test_on_a_kernel_that_cannot_repeat_requests_the_mount_is_lost_with_its_worker(scene: Scene):
    scene.start(serve_well, can_resend=False)
    pid = worker(scene)
    scene.hear_word("serving")
    os.kill(pid, signal.SIGKILL)
    assert scene.hear() == "unmounted"
    assert scene.hear() == f"over process {pid} ended with -9"


def test_on_such_a_kernel_it_is_lost_when_a_supervisor_takes_over(scene: Scene):
    orphan = _fork.Process(target=signal.pause)
    orphan.start()
    scene.start(serve_well, orphan=orphan.pid or 0, can_resend=False)
    assert scene.hear() == "unmounted"
    assert scene.hear() == "over the supervisor was replaced"
    orphan.join()
    assert orphan.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("is_serving", [False, True])
def test_on_such_a_kernel_nothing_is_lost_that_never_served_or_was_ended(scene: Scene, is_serving: bool):
    def serve(scene: Scene, life: WorkerHandoff) -> None:
        if is_serving:
            life.line.send(b"serving")
            life.line.send(b"stop")
            scene.hear_word("unmounted")
        raise SystemExit(1)

    scene.start(serve, can_resend=False)
    while (said := scene.hear()) in {"serving", "unmounted"}:
        pass
    assert said == "over"


def test_zombie_has_ended_and_a_stopped_process_has_not():
    process = _fork.Process(target=signal.pause)
    process.start()
    pid = process.pid or 0
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    assert not has_ended(pid)
    process.kill()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(pid)
    process.join()
    assert has_ended(pid)
