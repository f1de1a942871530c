"""mount --into: an environment in the mount namespace of another process, as root."""

from __future__ import annotations

import _ctypes
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, site_packages, wait_for_end

SOURCE = "import os, sys; root = sys.argv[1]; root and os.chroot(root); print('ready', flush=True); sys.stdin.read()"


class Container:
    """A process in a mount namespace of its own, perhaps with another root directory."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self.namespace = os.stat(f"/proc/{self.pid}/ns/mnt").st_ino

    def path(self, path: Path | str) -> Path:
        """What the process has at `path`, for us."""
        return Path(f"/proc/{self.pid}/root{path}")

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def container(root: str = "") -> Iterator[Container]:
    command = ["unshare", "-m", sys.executable, "-c", SOURCE, root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield Container(process)
        finally:
            process.kill()


@pytest.fixture
def inside() -> Iterator[Container]:
    with container() as one:
        yield one


def into(casfs: Casfs, one: Container, path: Path | str, code: int = 0) -> str:
    return casfs.run("mount", "--into", str(one.pid), path, code=code).stderr


def test_the_process_sees_the_environment_and_we_do_not(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    casfs.add(casfs.wheel("demo"))
    path = tmp_path / "a/venv"
    into(casfs, inside, path)
    assert os.listdir(path) == []
    assert (site_packages(inside.path(path)) / "demo/__init__.py").is_file()
    done = subprocess.run(
        ["nsenter", "-m", "-t", str(inside.pid), path / "bin/python", "-c", "import demo; print(demo.VALUE)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
    casfs.add(casfs.wheel("other"))
    assert (site_packages(inside.path(path)) / "other").is_dir()
    [mount] = casfs.status()
    assert (mount["mountpoint"], mount["into"], mount["environment"]) == (str(path), inside.pid, "default")
    assert f"{path} (in process {inside.pid})" in casfs.run("status").stdout
    casfs.run("umount", "--into", str(inside.pid), path)
    assert os.listdir(inside.path(path)) == []
    assert not casfs.leases()


def test_a_path_is_what_the_process_sees_there(casfs: Casfs, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "absolute").symlink_to("/real")
    (root / "above").symlink_to("../../../../../../real")
    with container(str(root)) as one:
        for link in ("absolute", "above"):
            into(casfs, one, f"/{link}/{link}-venv")
            assert (one.path(f"/real/{link}-venv/pyvenv.cfg")).is_file()
            assert os.listdir(root / f"real/{link}-venv") == []
            assert "already shows" in into(casfs, one, f"/{link}/{link}-venv")
            casfs.run("umount", "--into", str(one.pid), f"/{link}/{link}-venv")
            assert os.listdir(one.path(f"/real/{link}-venv")) == []
        assert not Path("/real").exists()


def test_a_link_at_the_end_of_the_path_means_what_it_leads_to(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    into(casfs, inside, tmp_path / "link")
    assert inside.path(tmp_path / "elsewhere/pyvenv.cfg").is_file()
    casfs.run("umount", "--into", str(inside.pid), tmp_path / "link")
    assert os.listdir(inside.path(tmp_path / "elsewhere")) == []


@pytest.mark.parametrize("path", ["link", "link/venv"])
def test_a_link_of_another_user_is_not_followed(casfs: Casfs, inside: Container, tmp_path: Path, path: str) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "link").symlink_to("victim")
    os.lchown(tmp_path / "link", 12345, 12345)
    assert f"{tmp_path}/link: is a symbolic link of user 12345" in into(casfs, inside, tmp_path / path, code=1)
    assert os.listdir(inside.path(tmp_path / "victim")) == []
    assert os.listdir(tmp_path / "victim") == []


def test_one_path_may_be_a_mount_here_and_there(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    path = tmp_path / "venv"
    into(casfs, inside, path)
    casfs.run("mount", path)
    assert "already shows environment 'default'" in into(casfs, inside, path)
    assert "already shows environment 'default'" in casfs.run("mount", "--env", "two", "--into", str(inside.pid), path, code=1).stderr
    assert {one["into"] for one in casfs.status()} == {None, inside.pid}
    casfs.umount(path)
    assert inside.path(path / "pyvenv.cfg").is_file()
    casfs.run("umount", "--all")
    assert os.listdir(inside.path(path)) == []
    assert not casfs.leases()


def test_a_busy_place_in_a_container_keeps_no_other_when_all_are_to_end(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    busy, other = tmp_path / "busy", tmp_path / "other"
    into(casfs, inside, busy)
    casfs.run("mount", other)
    with inside.path(busy / "pyvenv.cfg").open("rb"):
        done = casfs.run("umount", "--all", code=1)
    assert str(busy) in done.stderr
    assert done.stderr.count("\n") == 1
    assert [(one["mountpoint"], one["into"]) for one in casfs.status()] == [(str(busy), inside.pid)]
    casfs.run("umount", "--all")
    assert casfs.status() == []


def test_a_place_in_a_namespace_that_is_gone_is_forgotten(casfs: Casfs, tmp_path: Path) -> None:
    with container() as one:
        into(casfs, one, tmp_path / "venv")
        assert len(casfs.status()) == 1
        one.end()
    assert casfs.status() == []
    assert list((casfs.store / "run").glob("*.mount")) == []


def test_a_place_that_was_unmounted_from_inside_is_forgotten(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    into(casfs, inside, tmp_path / "venv")
    subprocess.run(["nsenter", "-m", "-t", str(inside.pid), "umount", tmp_path / "venv"], check=True)
    assert casfs.status() == []


def test_what_a_daemon_showed_inside_that_died_is_shown_again(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    casfs.force_way("fuse")
    into(casfs, inside, tmp_path / "venv")
    [before] = casfs.status()
    os.killpg(before["supervisor"], signal.SIGKILL)
    wait_for_end(before["supervisor"])
    wait_for_end(before["worker"])
    with pytest.raises(OSError, match="not connected"):
        os.listdir(inside.path(tmp_path / "venv"))
    casfs.run("daemon", "start")
    assert inside.path(tmp_path / "venv/pyvenv.cfg").is_file()
    assert len(casfs.status()) == 1


def test_a_mount_that_died_can_be_asked_for_again(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    casfs.force_way("fuse")
    into(casfs, inside, tmp_path / "venv")
    [before] = casfs.status()
    os.killpg(before["supervisor"], signal.SIGKILL)
    wait_for_end(before["supervisor"])
    wait_for_end(before["worker"])
    into(casfs, inside, tmp_path / "venv")
    assert inside.path(tmp_path / "venv/pyvenv.cfg").is_file()


def test_what_is_in_use_is_unmounted_only_lazily(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    into(casfs, inside, tmp_path / "venv")
    with open(inside.path(tmp_path / "venv/pyvenv.cfg"), "rb") as file:
        done = casfs.run("umount", "--into", str(inside.pid), tmp_path / "venv", code=1)
        assert "is in use by " in done.stderr
        assert f"`casfs umount --lazy --into {inside.pid} {tmp_path / 'venv'}`" in done.stderr
        casfs.run("umount", "--lazy", "--into", str(inside.pid), tmp_path / "venv")
        assert os.listdir(inside.path(tmp_path / "venv")) == []
        assert file.read()


MAP = """
import ctypes, os, sys
root, library = sys.argv[1:]
root and os.chroot(root)
library and ctypes.CDLL(library)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("is_rooted", [False, True])
def test_a_process_inside_that_has_a_library_of_the_mount_in_memory_keeps_it(
    casfs: Casfs, inside: Container, tmp_path: Path, is_rooted: bool
) -> None:
    library = Path(str(_ctypes.__file__)).read_bytes()
    casfs.add(casfs.wheel("native", files={"native.so": library}))
    root = tmp_path if is_rooted else Path("/")
    path, other = (tmp_path / name for name in ("venv", "other"))
    for one in (path, other):
        into(casfs, inside, one)
    words = ["nsenter", "-m", "-t", str(inside.pid), sys.executable, "-c", MAP, str(root) if is_rooted else "", ""]
    words[-1] = f"/{(site_packages(path) / 'native.so').relative_to(root)}"
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        done = casfs.run("umount", "--into", str(inside.pid), path, code=1)
        assert f"(process {process.pid})" in done.stderr
        assert (site_packages(inside.path(path)) / "native.so").is_file()
        casfs.run("umount", "--lazy", "--into", str(inside.pid), path)
        into(casfs, inside, path)
        process.communicate()
    casfs.run("umount", "--into", str(inside.pid), path)
    casfs.run("umount", "--into", str(inside.pid), other)


def test_a_process_inside_that_is_in_the_mount_is_named(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    into(casfs, inside, tmp_path / "venv")
    words = ["nsenter", "-m", "-t", str(inside.pid), "sh", "-c", 'cd "$1" && echo ready && exec cat', "sh", str(tmp_path / "venv")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        done = casfs.run("umount", "--into", str(inside.pid), tmp_path / "venv", code=1)
        assert f"is in use by cat (process {process.pid})" in done.stderr
        process.communicate()
    casfs.run("umount", "--into", str(inside.pid), tmp_path / "venv")


def test_what_can_not_be_is_refused(casfs: Casfs, inside: Container, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    pid = str(inside.pid)
    for words, reason in (
        (("mount", "--into", pid, "venv"), "must be an absolute path"),
        (("mount", "--into", pid, "/"), "must be an absolute path"),
        (("mount", "--into", str(2**22 + 1), "/venv"), "no such"),
        (("mount", "--into", pid, tmp_path / "full"), "is not empty (it holds 'file')"),
        (("mount", "--into", pid, "--foreground", tmp_path / "venv"), "this mount namespace only"),
        (("umount", "--into", pid, tmp_path / "full"), "is not a mount of casfs"),
        (("umount", "--into", pid, tmp_path / "none"), "is not a mount of casfs"),
    ):
        assert reason in casfs.run(*words, code=1).stderr
    assert casfs.status() == []
    casfs.run("daemon", "stop")
    assert str(casfs.store) not in Path("/proc/self/mountinfo").read_text()  # nor an overlay of the mount that failed
    assert casfs.leases() == []
