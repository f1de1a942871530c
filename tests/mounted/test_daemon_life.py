"""The death of a worker, of its supervisor or of both hurts nobody, whenever it comes; nor does an upgrade."""

from __future__ import annotations

import itertools
import json
import mmap
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.make_wheels import make_wheel
from tests.mounted.daemons import ask, check_shown, other_supervisor, pause, wait_until
from tests.mounted.harness import PYTHON_DIRECTORY, Casfs, is_alive, is_readable, iter_mountpoints, kill_daemon, run_python, site_packages
from tests.mounted.life import Seen, readers, say_seen, worst_s
from tests.mounted.plain_user import HOME, PlainUser

PACKAGES, MODULES = 4, 10
LOAD = ("hash", "hash", "import", "import")
FULL_LOAD = ("hash",) * 2 + ("import",) * 8


def modules(package: str, version: str) -> dict[str, bytes]:
    """Every second module is the same in all versions."""
    said = {number: version if number % 2 else "" for number in range(MODULES)}
    return {f"{package}/m{number}.py": f"VALUE = {package + text!r}\n".encode() * 200 for number, text in said.items()}


@pytest.fixture
def busy(casfs: Casfs, request: pytest.FixtureRequest) -> Path:
    """site-packages of a mount with some packages. A test may ask for a data path; otherwise it is the one that a user gets."""
    for number in range(PACKAGES):
        casfs.add(casfs.wheel(f"p{number}", files=modules(f"p{number}", "1.0")))
    return site_packages(casfs.mount(*getattr(request, "param", ())))


BY_FUSE = ("--data-path", "fuse")

on_both_data_paths = pytest.mark.parametrize("busy", [(), BY_FUSE], indirect=True, ids=["default", "fuse"])
"""By FUSE the bytes come from the worker that dies, too; otherwise the names alone."""


FOR_EVER_S = 60
"""A reader that waits longer is taken for lost. How long it really waits depends on what else the machine does; the long tests say more."""


def kill_workers(casfs: Casfs, site: Path, kills: int, load: Sequence[str], longest_pause_s: float) -> list[Seen]:
    """Kill so many workers under load. Answers what the readers saw; none of it was wrong."""
    before = ask(casfs).restarts
    with readers(site, *load) as seen:
        for _ in range(kills):
            worker = ask(casfs).worker
            pause(longest_pause_s)  # after the question: who waits for a worker and kills it as soon as it answers lets none work
            os.kill(worker, signal.SIGKILL)
        last = ask(casfs)
    assert last.restarts == before + kills
    check_seen(seen, len(load))
    return seen


def check_seen(seen: Sequence[Seen], count: int) -> None:
    """So many readers have ended, all have read, and none met an error or a wrong byte."""
    assert [one.problems for one in seen] == [[]] * count
    assert all(one.calls for one in seen)


@on_both_data_paths
def test_death_of_a_worker_is_a_pause_and_nothing_else(casfs: Casfs, busy: Path) -> None:
    assert worst_s(kill_workers(casfs, busy, 10, LOAD, 0.6)) < FOR_EVER_S
    assert "was replaced" not in casfs.log()
    check_shown(casfs, busy)


UNDISTURBED_S = 60.0


@on_both_data_paths
@pytest.mark.long
def test_hundred_deaths_of_workers_are_pauses_of_less_than_a_second(casfs: Casfs, busy: Path) -> None:
    """The same readers are left alone first, about as long as they are disturbed afterwards: ten processes on a few cores wait for each
    other, and the longest of thousands of calls is long with no death at all. What a death may add to it is a second, for either kind."""
    with readers(busy, *FULL_LOAD) as alone:
        threading.Event().wait(UNDISTURBED_S)
    check_seen(alone, len(FULL_LOAD))
    disturbed = kill_workers(casfs, busy, 100, FULL_LOAD, 1.2)
    say_seen("left alone", alone)
    say_seen("100 deaths", disturbed)
    for kind in ("hash", "import"):
        assert worst_s(disturbed, kind) < 1 + worst_s(alone, kind)


@on_both_data_paths
@pytest.mark.parametrize(("count", "load"), [(2, LOAD), pytest.param(50, FULL_LOAD, marks=pytest.mark.long)])
def test_worker_that_hangs_is_replaced(casfs: Casfs, busy: Path, count: int, load: Sequence[str]) -> None:
    """Half a second lies between two hangs at least: the start of an interpreter asks for many things, and would wait for both."""
    with readers(busy, *load) as seen:
        for _ in range(count):
            pause(1.0, 0.5)
            worker = ask(casfs).worker
            os.kill(worker, signal.SIGSTOP)
            assert ask(casfs).worker != worker
    say_seen(f"{count} workers that hung", seen)
    check_seen(seen, len(load))
    assert worst_s(seen) < (5 if count > 10 else FOR_EVER_S)
    assert "did not answer for" in ask(casfs).reason


def test_worker_that_pauses_is_left_alone(casfs: Casfs, busy: Path) -> None:
    worker = ask(casfs).worker
    os.kill(worker, signal.SIGSTOP)
    threading.Event().wait(1)
    os.kill(worker, signal.SIGCONT)
    assert ask(casfs).worker == worker


def test_supervisor_that_pauses_harms_no_worker(casfs: Casfs, busy: Path) -> None:
    before = ask(casfs)
    os.kill(before.supervisor, signal.SIGSTOP)
    threading.Event().wait(3.5)  # longer than a worker may be silent
    os.kill(before.supervisor, signal.SIGCONT)
    threading.Event().wait(1)
    assert ask(casfs).worker == before.worker


def test_after_the_death_of_a_supervisor_another_one_keeps_the_mount(casfs: Casfs, busy: Path) -> None:
    leases = casfs.leases()
    with readers(busy, *LOAD[1:]) as seen:
        for _ in range(3):
            dead = ask(casfs).supervisor
            os.kill(dead, signal.SIGKILL)
            assert is_alive(other_supervisor(casfs, dead))
            os.kill(ask(casfs).worker, signal.SIGKILL)
    assert [one.problems for one in seen] == [[]] * 3
    assert casfs.leases() == leases
    assert len(casfs.status()) == 1


def test_supervisor_that_dies_while_it_takes_over_is_followed_by_another(casfs: Casfs, busy: Path) -> None:
    before = ask(casfs)
    children = Path(f"/proc/{before.worker}/task/{before.worker}/children")
    os.kill(before.supervisor, signal.SIGKILL)
    wait_until(lambda: bool(children.read_text().split()))
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    after = other_supervisor(casfs, before.supervisor)
    assert is_alive(after)
    os.kill(ask(casfs).worker, signal.SIGKILL)
    check_shown(casfs, busy)


def test_when_both_are_killed_the_next_mount_brings_every_mount_back(casfs: Casfs, busy: Path) -> None:
    other, third = casfs.mount(), casfs.directory / "third"
    for _ in range(3):
        dead = casfs.status()
        kill_daemon(dead[0])
        casfs.run("mount", third)
        check_shown(casfs, busy)
        assert run_python(other, "import p0.m1; print(p0.m1.VALUE)") == "p01.0"
        assert {one["mountpoint"] for one in casfs.status()} == {str(busy.parents[2]), str(other), str(third)}
        assert not Path(dead[0]["mountpoint"]).samefile(third) or os.path.ismount(third)
        [lease] = casfs.leases()
        assert lease["id"] != dead[0]["id"]
        assert not [*(casfs.store / "run").glob(f"{dead[0]['id']}*")]
        assert len([*iter_mountpoints(casfs.directory)]) == 3
        casfs.umount(third)


def test_nothing_stale_piles_up_in_the_private_directory(casfs: Casfs, busy: Path) -> None:
    private = [Path(lease["mountpoint"]) for lease in casfs.leases()]
    kill_daemon(casfs.status()[0])
    casfs.run("mount", casfs.directory / "third")
    private += [Path(lease["mountpoint"]) for lease in casfs.leases()]
    assert [path.exists() for path in private] == [False, True]
    casfs.run("umount", "--all")
    assert [path.exists() for path in private] == [False, False]


@on_both_data_paths
@pytest.mark.parametrize(("count", "load"), [(3, LOAD), pytest.param(20, FULL_LOAD, marks=pytest.mark.long)])
def test_upgrade_under_load_is_a_pause_and_nothing_else(casfs: Casfs, busy: Path, count: int, load: Sequence[str]) -> None:
    supervisor = ask(casfs).supervisor
    workers = {ask(casfs).worker}
    with readers(busy, *load) as seen:
        for number in range(count):
            casfs.run("daemon", "upgrade")
            wait_until(lambda: ask(casfs).worker not in workers)
            workers.add(ask(casfs).worker)
            assert ask(casfs).restarts == number + 1
    say_seen(f"{count} upgrades", seen)
    check_seen(seen, len(load))
    assert ask(casfs).supervisor == supervisor
    os.kill(ask(casfs).worker, signal.SIGKILL)
    check_shown(casfs, busy)


@pytest.fixture
def versions(casfs: Casfs) -> list[Path]:
    """Wheels of one package; each has a module of its own, and one that says which it is."""
    return [
        casfs.wheel("p0", f"{number}.0", {**modules("p0", f"{number}.0"), f"p0/only{number}.py": b"VALUE = 1\n"}) for number in range(2, 5)
    ]


@pytest.mark.parametrize("adds", [9, pytest.param(30, marks=pytest.mark.long)])
def test_worker_that_dies_in_the_middle_of_a_switch_leaves_no_stale_name(casfs: Casfs, busy: Path, versions: list[Path], adds: int) -> None:
    names = {f"p0/only{number}.py" for number in range(2, 5)} | {f"p0-{number}.0.dist-info" for number in range(1, 5)}
    stop = threading.Event()

    def kill() -> None:
        worker = ask(casfs).worker
        while not stop.wait(random.uniform(0.01, 0.3)):  # after the question: see `kill_workers`
            os.kill(worker, signal.SIGKILL)
            worker = ask(casfs).worker

    killer = threading.Thread(target=kill)
    with readers(busy, "change", "change") as seen:
        killer.start()
        try:
            for number in itertools.count():
                if number >= adds and ask(casfs).restarts > adds / 3:
                    break
                casfs.add(versions[number % 3])
                check_shown(casfs, busy, names)
        finally:
            stop.set()
            killer.join()
    say_seen(f"{adds} adds, {ask(casfs).restarts} deaths", seen)
    check_seen(seen, 2)
    check_shown(casfs, busy, names)


def test_worker_that_nobody_has_asked_forgets_what_the_one_before_showed(casfs: Casfs, busy: Path) -> None:
    assert not (busy / "new").exists()
    assert {*os.listdir(busy)} >= {"p0", "p1"}
    os.kill(ask(casfs).worker, signal.SIGKILL)
    casfs.add(casfs.wheel("new"))
    casfs.run("remove", "p1")
    assert (busy / "new").exists()
    assert not (busy / "p1").exists()
    check_shown(casfs, busy)


def test_open_files_and_maps_outlive_workers_and_supervisors(casfs: Casfs, busy: Path) -> None:
    path, content = busy / "p0/m1.py", modules("p0", "1.0")["p0/m1.py"]
    with path.open("rb", buffering=0) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        directory = os.open(busy, os.O_RDONLY)
        for is_supervisor in (False, True, False):
            before = ask(casfs)
            os.kill(before.supervisor if is_supervisor else before.worker, signal.SIGKILL)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(file.fileno(), len(content) + 1, 0) == content
            assert mapped[:] == content
            assert "p0" in os.listdir(directory)
            if is_supervisor:
                other_supervisor(casfs, before.supervisor)
        os.close(directory)


def test_users_of_a_lazily_ended_mount_are_served_by_the_next_worker(casfs: Casfs, busy: Path) -> None:
    content = modules("p0", "1.0")["p0/m1.py"]
    before = ask(casfs)
    with (busy / "p0/m1.py").open("rb", buffering=0) as file:
        casfs.run("umount", "--all", "--lazy")
        os.kill(before.worker, signal.SIGKILL)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert file.read() == content
    wait_until(lambda: not is_alive(before.supervisor))


def test_mount_that_ends_while_no_worker_runs_ends_its_daemon(casfs: Casfs, busy: Path) -> None:
    before = ask(casfs)
    os.kill(before.supervisor, signal.SIGSTOP)
    os.kill(before.worker, signal.SIGKILL)
    for path in (busy.parents[2], Path(casfs.leases()[0]["mountpoint"])):
        subprocess.run(["umount", "--lazy", path], check=True)
    os.kill(before.supervisor, signal.SIGCONT)
    wait_until(lambda: not is_alive(before.supervisor))


def test_daemon_ends_with_the_last_mount_and_not_before(casfs: Casfs, busy: Path) -> None:
    other, daemon = casfs.mount(), ask(casfs)
    casfs.umount(busy.parents[2])
    assert ask(casfs).worker == daemon.worker
    casfs.umount(other)
    assert not is_alive(daemon.supervisor)
    assert not is_alive(daemon.worker)
    assert os.listdir(casfs.store / "run") == []


def test_umount_all_ends_every_mount_and_the_daemon(casfs: Casfs, busy: Path) -> None:
    casfs.run("mount", "--env", "other", casfs.directory / "other")
    casfs.mount()
    daemon = ask(casfs)
    casfs.run("umount", "--all")
    assert list(iter_mountpoints(casfs.directory)) == []
    assert not is_alive(daemon.supervisor)
    assert casfs.status() == []
    assert os.listdir(casfs.store / "run") == []


def test_stop_refuses_while_a_mount_is_used_and_ends_it_by_force(casfs: Casfs, busy: Path) -> None:
    other, daemon = casfs.mount(), ask(casfs)
    with subprocess.Popen(["sleep", "60"], cwd=busy) as user:
        try:
            refused = casfs.run("daemon", "stop", code=1)
            assert f"is in use by sleep (process {user.pid})" in refused.stderr
            check_shown(casfs, busy)
            casfs.run("daemon", "stop", "--force")
            assert list(iter_mountpoints(casfs.directory)) == []
            assert not os.path.ismount(other)
            assert is_alive(daemon.supervisor)  # for the one who uses it still
        finally:
            user.kill()
    wait_until(lambda: not is_alive(daemon.supervisor))


@pytest.fixture(scope="module")
def plain_user() -> Iterator[PlainUser]:
    with PlainUser() as one:
        make_wheel({"demo.py": b"VALUE = 1\n"}, "demo").write_to(one.path(""))
        one.casfs("add", "demo-1.0-py3-none-any.whl")
        one.casfs("mount", "venv")
        yield one


def test_mount_of_a_plain_user_outlives_worker_and_supervisor(plain_user: PlainUser) -> None:
    site = plain_user.path("venv") / "lib" / PYTHON_DIRECTORY / "site-packages"
    for name in ("worker", "supervisor", "worker"):
        [before] = json.loads(plain_user.casfs("status", "--json").stdout)["mounts"]
        dead = os.pidfd_open(before[name])
        signal.pidfd_send_signal(dead, signal.SIGKILL)
        assert is_readable(dead, 60)
        os.close(dead)
        wait_until(lambda: json.loads(plain_user.casfs("status", "--json").stdout)["mounts"][0][name] not in (0, 1, before[name]))  # noqa: B023
        assert plain_user.run(f"{HOME}/venv/bin/python", "-c", "import demo; print(demo.VALUE)").stdout == "1\n"
        assert plain_user.run("cat", str(HOME / "venv" / site.relative_to(plain_user.path("venv")) / "demo.py")).stdout == "VALUE = 1\n"
