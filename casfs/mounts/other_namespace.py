"""Into: mounts in the mount namespace of another process, such as a container's.

Everything but the one system call that mounts or unmounts is done from outside: a path is resolved below the root directory of the process,
with `..` and links of root's as the process sees them, so that nothing it prepares there can lead us elsewhere (see `following`). For the
one call a thread enters the namespace and ends there. It has our rights and sees files that somebody else made: nothing may be
imported in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from casfs.descriptors import closing_fd
from casfs.errors import MountRefused, PathRefused, reason_of
from casfs.overlay import kernel
from casfs.overlay.mountinfo import end_unused, is_dead, is_ours, mount_number, parse_mountinfo
from casfs.store.following import made_directory, resolve_below

_DIRECTORY = os.O_PATH | os.O_DIRECTORY


@dataclass(frozen=True, slots=True)
class _Process:
    """A process by descriptors: they stay its own, even if its number is given to another one."""

    directory_fd: int  # in /proc
    namespace_fd: int
    root_fd: int


@contextlib.contextmanager
def _opened(pid: int) -> Iterator[_Process]:
    with contextlib.ExitStack() as stack:

        def keep(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        try:
            directory_fd = keep(os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY))
            namespace_fd = keep(os.open("ns/mnt", os.O_RDONLY, dir_fd=directory_fd))
            root_fd = keep(os.open("root", os.O_PATH | os.O_DIRECTORY, dir_fd=directory_fd))
        except FileNotFoundError:
            raise MountRefused(f"process {pid}", "there is no such process") from None
        yield _Process(directory_fd, namespace_fd, root_fd)


@contextlib.contextmanager
def _opened_below(root_fd: int, path: str) -> Iterator[int]:
    with closing_fd(_open_below(root_fd, path)) as fd:
        yield fd


def _open_below(root_fd: int, path: str) -> int:
    try:
        resolved = resolve_below(root_fd, path)  # what an earlier version remembered may lead through links
    except PathRefused:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
    return kernel.open_in_root(root_fd, resolved, _DIRECTORY, follows_links=False)


def namespace_of(pid: int) -> int:
    """The number of a process's mount namespace; nobody else has it while the namespace lives. Raises MountRefused."""
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino
    except OSError as error:
        raise MountRefused(f"process {pid}", reason_of(error)) from None


def find_process(namespace: int, likely: int) -> int | None:
    """A process in a mount namespace, at best the one that is likely to be; None if the namespace is gone."""
    for pid in [likely, *map(int, filter(str.isdecimal, os.listdir("/proc")))]:
        with contextlib.suppress(MountRefused):
            if namespace_of(pid) == namespace:
                return pid
    return None


def resolve_in(pid: int, path: str) -> str:
    """Where a path leads for a process, through no link (see `following`). Raises MountRefused."""
    with _opened(pid) as process:
        resolved = resolve_below(process.root_fd, path)
    if not path.startswith("/") or resolved == "/":
        raise MountRefused(path, "must be an absolute path, as the process sees it, and not its root")
    return resolved


def is_ours_in(pid: int, path: str, *, must_be_dead: bool = False) -> bool:
    """Whether a process sees a mount of casfs exactly at the path; if asked, whether one that nobody serves any more."""
    try:
        with (
            _opened(pid) as process,
            _opened_below(process.root_fd, path) as fd,
            _opened_below(process.root_fd, os.path.dirname(path)) as above,
        ):
            number = mount_number(fd)
            if number == mount_number(above) or not _is_ours(process, number):
                return False
            return not must_be_dead or is_dead(f"/proc/self/fd/{fd}")
    except OSError:
        return False


def _is_ours(process: _Process, number: bytes) -> bool:
    with open(f"/proc/self/fd/{process.directory_fd}/mountinfo", "rb") as file:
        [line] = [line for line in file if line.split(b" ")[0] == number] or [b""]
    return is_ours(next(parse_mountinfo(line), None))


def move_into(pid: int, path: str, mount_fd: int) -> None:
    """Let a detached mount take the place of the mount that a process sees exactly at `path`, at once. Raises OSError, MountRefused."""
    parent, name = os.path.split(path)

    def act() -> None:
        kernel.attach_mount_at(mount_fd, fd, is_beneath=True)
        os.close(fd)
        os.fchdir(above)
        kernel.unmount(name, is_lazy=True)

    with _opened(pid) as process, _opened_below(process.root_fd, parent) as above:
        fd = _open_below(process.root_fd, path)
        _call_inside(process.namespace_fd, act)


def mount_into(pid: int, path: str, mount_fd: int) -> None:
    """Let a detached mount appear where a process sees `path`, an empty directory that is made if it is absent.

    `path` leads through no link. Raises MountRefused.
    """
    try:
        with _opened(pid) as process, made_directory(path, process.root_fd) as fd:
            if entries := os.listdir(f"/proc/self/fd/{fd}"):
                raise MountRefused(path, f"is not empty (it holds {min(entries)!r}); mount on an empty or a new directory")
            _call_inside(process.namespace_fd, lambda: kernel.attach_mount_at(mount_fd, fd))
    except OSError as error:
        raise MountRefused(f"{path} of process {pid}", reason_of(error)) from None


def unmount_from(pid: int, path: str, *, is_lazy: bool) -> None:
    """End a mount that a process sees; unless lazily, only one that no process of its mount namespace uses. Raises MountRefused."""
    parent, name = os.path.split(path)

    def act() -> None:
        os.fchdir(above)  # of this thread alone; the mount itself must not be open when it ends
        kernel.unmount(name, is_lazy=is_lazy)

    try:
        with _opened(pid) as process, _opened_below(process.root_fd, parent) as above:

            def end() -> None:
                _call_inside(process.namespace_fd, act)

            if is_lazy:
                end()
            else:
                end_unused(path, end, f"casfs umount --lazy --into {pid}", pid)
    except OSError as error:
        raise MountRefused(f"{path} of process {pid}", reason_of(error)) from None


def _call_inside(namespace_fd: int, call: Callable[[], None]) -> None:
    """Call something in a mount namespace, in a thread that ends there. Raises OSError."""
    errors: list[OSError] = []

    def run() -> None:
        try:
            kernel.enter_mount_namespace(namespace_fd)
            call()
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
