"""A daemon that lives through everything at once for a long time: nobody sees an error or a wrong byte, and nothing piles up."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from casfs.daemon.control import Reply
from tests.mounted.daemons import ask, check_shown, other_supervisor, pause
from tests.mounted.harness import Casfs, is_alive, iter_mountpoints, run_python, site_packages
from tests.mounted.life import readers, say_seen, worst_s

SOAK_S = 600.0
SHORT_S = 4.0

REST_S = 1.0
"""Between two rounds of anybody: what is looked for is what time does, not what the machine can bear."""

BY_FUSE = ("--data-path", "fuse")

STABLE = {f"stable/m{number}.py": f"VALUE = {number}\n".encode() * 500 for number in range(20)}
VERSIONS = ("1.0", "2.0", "3.0")
FILES = 400
"""In each version of what changes: a generation that was kept in memory for nothing would be seen after some dozens."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a process holds at one moment: resident size in bytes (proc_pid_smaps_rollup(5)), number of descriptors.

    A worker keeps a descriptor of each blob that it was asked for; only a second one of the same counts.
    """

    rss: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """The two processes of a daemon."""

    supervisor: Size
    worker: Size


ALLOWED = Size(4 << 20, 16)
"""What a process may grow by from an early moment to the end. Memory: what an allocator keeps in pieces and can't give back; a quarter of a
megabyte in ten minutes, while a worker that keeps every tree that it showed grows by five in ten rounds. Descriptors: commands that are
just being answered, and a worker that is just being replaced."""


def read_sizes(casfs: Casfs) -> Sizes:
    reply = ask(casfs)
    return Sizes(_read_size(reply.supervisor), _read_size(reply.worker))


def _read_size(pid: int) -> Size:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    rss = int(fields["Rss"].split()[0]) * 1024
    open_files = list(_iter_open(pid))
    blobs = {path for path in open_files if "/blobs/" in path}
    return Size(rss, len(open_files) - len(blobs))


def _iter_open(pid: int) -> Iterator[str]:
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            yield os.readlink(f"/proc/{pid}/fd/{name}")


def check_growth(what: str, found: Sequence[Size]) -> None:
    """The last fifth is hardly larger than the first fifth after each version was shown once."""
    settled = found[len(VERSIONS) - 1 :]
    count = max(1, len(settled) // 5)
    check_hardly_larger(f"{what}, {len(found)} rounds", settled[:count], settled[-count:])


def check_hardly_larger(what: str, before: Sequence[Size], after: Sequence[Size]) -> None:
    was, now = _largest(before), _largest(after)
    sys.stderr.write(f"{what}: {was}, then {now}\n")
    assert now.rss <= was.rss + ALLOWED.rss, what
    assert now.descriptors <= was.descriptors + ALLOWED.descriptors, what


def _largest(found: Sequence[Size]) -> Size:
    return Size(max(one.rss for one in found), max(one.descriptors for one in found))


class Reaper:
    """Kills workers and supervisors at moments that nobody has chosen. Never both: the one that is left has to bring the other back."""

    def __init__(self, casfs: Casfs, longest_pause_s: float) -> None:
        self._casfs = casfs
        self._longest_pause_s = longest_pause_s
        self._over = threading.Event()
        self.nobody_dies = threading.Lock()  # whoever holds it
        self.workers = self.supervisors = 0
        self.problems: list[BaseException] = []

    def __enter__(self) -> Reaper:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            found = ask(self._casfs)
            while not self._over.wait(random.uniform(0, self._longest_pause_s)):
                with self.nobody_dies:
                    self._kill(found)
                    found = ask(self._casfs)
        except BaseException as error:  # noqa: BLE001  # whoever started us shows it
            self.problems.append(error)

    def _kill(self, found: Reply) -> None:
        if (self.workers + self.supervisors) % 3 == 1:
            os.kill(found.supervisor, signal.SIGSTOP)
            if not is_alive(found.worker):  # on a busy machine it was taken for hung
                os.kill(found.supervisor, signal.SIGCONT)
                return
            os.kill(found.supervisor, signal.SIGKILL)
            self.supervisors += 1
            other_supervisor(self._casfs, found.supervisor)
        else:
            os.kill(found.worker, signal.SIGKILL)
            self.workers += 1


class Round:
    """All that a user does to a store: each call is one round, after which everything is right."""

    def __init__(self, casfs: Casfs, sites: Sequence[Path]) -> None:
        self._casfs = casfs
        self._shown = [site / "changing-data/version.txt" for site in sites]
        self._wheels = {version: casfs.wheel("changing", version, _files(version)) for version in VERSIONS}
        casfs.run("add", "--env", "other", casfs.wheel("other"))
        self._count = 0

    def __call__(self) -> None:
        version = VERSIONS[self._count % len(VERSIONS)]
        further = self._casfs.directory / f"further{self._count % 2}"
        self._count += 1
        self._casfs.add(self._wheels[version])
        assert [path.read_text() for path in self._shown] == [version] * len(self._shown)
        self._casfs.run("mount", "--env", "other", *(BY_FUSE if self._count % 2 else ()), further)
        assert run_python(further, "import other; print(other.__name__)") == "other"
        self._casfs.run("remove", "changing")
        assert [path.exists() for path in self._shown] == [False] * len(self._shown)
        self._casfs.run("rollback")
        assert [path.read_text() for path in self._shown] == [version] * len(self._shown)
        self._casfs.umount(further)


def _files(version: str) -> dict[str, bytes]:
    """Not a package: those who import are to find the same from the first moment to the last."""
    files = {f"changing-data/{number}.bin": f"{version} {number % 20}\n".encode() * 500 for number in range(FILES)}
    return {**files, "changing-data/version.txt": version.encode()}


def go_round(action: Callable[[], None], length_s: float, sizes: Callable[[], Sizes]) -> list[Sizes]:
    """Act for so long, and at least until growth could be seen. Answers the sizes after each round."""
    until = time.monotonic() + length_s
    found: list[Sizes] = []
    while time.monotonic() < until or len(found) <= len(VERSIONS):
        action()
        found.append(sizes())
        pause(min(REST_S, length_s / 20))
    return found


@pytest.fixture
def sites(casfs: Casfs) -> list[Path]:
    """site-packages of two mounts with what never changes: on the data path that a user gets, and by FUSE alone."""
    casfs.add(casfs.wheel("stable", files=STABLE))
    return [site_packages(casfs.mount()), site_packages(casfs.mount(*BY_FUSE))]


@contextlib.contextmanager
def reading(site: Path, rest_s: float) -> Iterator[None]:
    """While the block runs, one imports what never changes, and one reads all there is; neither may meet anything wrong."""
    with readers(site, "import", "change", rest_s=rest_s) as seen:
        yield
    say_seen(f"{site.parents[2].name}", seen)
    assert [one.problems for one in seen] == [[]] * 2
    assert all(one.calls for one in seen)
    assert worst_s(seen) < 60  # lost, in other words


@pytest.mark.parametrize("length_s", [SHORT_S, pytest.param(SOAK_S, marks=pytest.mark.long)])
def test_nothing_goes_wrong_and_nothing_piles_up(casfs: Casfs, sites: list[Path], length_s: float) -> None:
    """Half of the time daemons are killed, which shows what each leaves to the next; half of the time one lives through it all."""
    if length_s > 60:
        faulthandler.cancel_dump_traceback_later()  # it would call this hung after five minutes
    act, rest_s = Round(casfs, sites), min(REST_S, length_s / 20)
    with reading(sites[0], rest_s), reading(sites[1], rest_s):
        with Reaper(casfs, 6 * rest_s) as reaper:

            def sizes_now() -> Sizes:
                with reaper.nobody_dies:
                    return read_sizes(casfs)

            restless = go_round(act, length_s / 2, sizes_now)
        assert reaper.problems == []
        for site in sites:
            check_shown(casfs, site)
        calm = go_round(act, length_s / 2, lambda: read_sizes(casfs))
        for site in sites:
            check_shown(casfs, site)
    check_growth("a worker that lives", [one.worker for one in calm])
    check_growth("a supervisor that lives", [one.supervisor for one in calm])
    check_growth(f"{reaper.supervisors} supervisors that die", [one.supervisor for one in restless + calm])
    # the first one is forked from the command that mounts, and shares what that had loaded: 5 MB
    calm_workers = [replace(one.worker, rss=one.worker.rss + 2 * ALLOWED.rss) for one in calm]
    check_hardly_larger(f"{reaper.workers} workers that die", calm_workers, [one.worker for one in restless])
    assert reaper.workers > 0 < reaper.supervisors
    assert "Traceback" not in casfs.log()
    check_left_behind(casfs)


def check_left_behind(casfs: Casfs) -> None:
    """One lease has lived through it all, and after `umount --all` nothing is left."""
    [lease] = casfs.leases()
    assert {name.partition(".")[0] for name in os.listdir(casfs.store / "run") if not name.endswith(".mount")} == {lease["id"]}
    assert len(list((casfs.store / "run").glob("*.mount"))) == 2
    casfs.run("umount", "--all")
    assert list(iter_mountpoints(casfs.directory)) == []
    assert os.listdir(casfs.store / "run") == []
    assert not os.path.lexists(lease["mountpoint"])
    assert processes_about(casfs.store) == []


def processes_about(path: Path) -> list[str]:
    """Command lines, of any process, that name a path."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            found += [command.replace(b"\0", b" ").decode()] if os.fsencode(path) in command else []
    return found
