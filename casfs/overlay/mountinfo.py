"""Mounts as the kernel sees them: which there are, which are dead, who uses one, and how to end it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from casfs.descriptors import closing_fd
from casfs.errors import MountRefused, reason_of
from casfs.overlay import kernel
from casfs.store.following import made_directory

FILE_SYSTEM = "casfs"

_ATTEMPTS = 20
_AGAIN_S = 0.05  # a Python that has just been started, and that nobody is told of, needs as long to begin

_ESCAPED = re.compile(rb"[ \t\n\\]")  # in mountinfo
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5))."""

    path: str
    type: str
    options: str
    source: str


def iter_mounts() -> Iterator[Mount]:
    """Every mount of this namespace; of those at one path, the last one is on top."""
    with open("/proc/self/mountinfo", "rb") as file:
        yield from parse_mountinfo(file.read())


def parse_mountinfo(content: bytes) -> Iterator[Mount]:
    """The mounts in the content of a mountinfo file. Of what may end a line elsewhere, a path can hold all but the line feed unescaped."""
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if after:
            kind, source = after.split(" ")[:2]
            yield Mount(_unescape(fields[4]), kind, fields[5], _unescape(source))


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def find_mount(path: str) -> Mount | None:
    """The mount whose mountpoint is exactly `path`, the topmost one."""
    wanted = b" " + _ESCAPED.sub(lambda match: b"\\%03o" % ord(match[0]), os.fsencode(path)) + b" "
    with open("/proc/self/mountinfo", "rb") as file:
        likely = b"".join(line for line in file if wanted in line)  # a host has hundreds of mounts, and few at one path
    return find_topmost(parse_mountinfo(likely), path)


def find_topmost(mounts: Iterable[Mount], path: str) -> Mount | None:
    """The last of `mounts` at `path`."""
    found = [mount for mount in mounts if mount.path == path]
    return found[-1] if found else None


def is_ours(mount: Mount | None) -> bool:
    """Whether it is a mount of casfs: its own file system, or an overlay of it."""
    return mount is not None and (mount.type == f"fuse.{FILE_SYSTEM}" or (mount.type, mount.source) == ("overlay", FILE_SYSTEM))


def is_dead(path: str) -> bool:
    """Whether the daemon that served `path` is gone. It is asked what the kernel never answers for it: attributes may be cached."""
    try:
        os.statvfs(path)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)  # the latter if it ended while we asked
    return False


def prepare_mountpoint(path: str) -> None:
    """Make `path`, which leads through no link, an empty directory to mount on: clear a dead mount of ours, make it if it is absent.

    Raises MountRefused.
    """
    if is_dead(path) and is_ours(find_mount(path)):
        detach(path)
    try:
        with made_directory(path) as fd:
            entries = os.listdir(f"/proc/self/fd/{fd}")
    except OSError as error:
        raise MountRefused(path, reason_of(error)) from None
    if entries:
        raise MountRefused(path, f"is not empty (it holds {min(entries)!r}); mount on an empty or a new directory")


def detach(path: str) -> None:
    """Unmount lazily: it disappears at once, and ends when its last user is gone. Raises OSError."""
    _unmount(path, is_lazy=True)


def unmount(path: str) -> None:
    """Unmount. Raises MountRefused that names who uses it. Whoever only passes through is waited for."""
    end_unused(path, lambda: _unmount(path, is_lazy=False), "casfs umount --lazy")


def end_unused(path: str, end: Callable[[], None], lazily: str, viewer: int = 0) -> None:
    """Call `end`, which unmounts, once nobody uses what process `viewer` (0: we) sees at the path. Raises MountRefused as `unmount` does.

    `lazily` is the command that ends a mount in use, without the path.
    """
    users: list[tuple[int, str]] = []
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_AGAIN_S)
        # the kernel keeps no overlay busy for the sake of a library in memory, but its process imports more later
        if not (users := list(_iter_mapping(path, viewer)) if os.geteuid() == 0 else []):
            try:
                end()
                return
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise MountRefused(path, reason_of(error)) from None
            users = list(iter_users(path, viewer))
        if users:
            break
    unknown = "a process that can't be told" if os.geteuid() == 0 else "a process that is not yours"
    named = ", ".join(f"{name} (process {pid})" for pid, name in users)
    reason = f"is in use by {named or unknown}"
    raise MountRefused(path, f"{reason}; end it, or use `{lazily} {shlex.quote(path)}`")


def _unmount(path: str, *, is_lazy: bool) -> None:
    if os.geteuid() == 0:
        _unmount_ours(path, is_lazy=is_lazy)
        return
    import subprocess

    command = ["fusermount3", "-u", *(["-z"] if is_lazy else []), "--", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C", "PATH": os.defpath})
    if done.returncode:
        code = errno.EBUSY if "busy" in done.stderr.lower() else errno.EPERM
        raise OSError(code, done.stderr.strip() or os.strerror(code), path)


def _unmount_ours(path: str, *, is_lazy: bool) -> None:
    """Unmount as root. Whoever owns a directory above may have put another mount or a link there: it is not touched (EINVAL, ELOOP)."""
    parent, name = os.path.split(path)
    with closing_fd(kernel.open_without_links(parent, _PATH)) as above:
        with _opened_at(above, name) as fd:
            if not is_ours(_find_mount_of(fd)) or mount_number(fd) == mount_number(above):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        kernel.unmount(f"/proc/self/fd/{above}/{name}", is_lazy=is_lazy)  # nobody can rename a mountpoint


@contextlib.contextmanager
def _opened_at(above: int, name: str) -> Iterator[int]:
    with closing_fd(os.open(name, _PATH, dir_fd=above)) as fd:
        yield fd


def attach(mount_fd: int, path: str, *, is_beneath: bool = False) -> None:
    """Let a detached mount appear at `path`, named as the kernel does, or beneath our own mount there. Raises OSError, ELOOP for links."""
    with closing_fd(kernel.open_without_links(path, _PATH)) as fd:
        if is_beneath and not is_ours(_find_mount_of(fd)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        kernel.attach_mount_at(mount_fd, fd, is_beneath=is_beneath)


def mount_number(fd: int) -> bytes:
    """The number in mountinfo of the mount on which a descriptor is (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        return next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))


def _find_mount_of(fd: int) -> Mount | None:
    number = mount_number(fd)
    with open("/proc/self/mountinfo", "rb") as file:
        [line] = [line for line in file if line.split(b" ")[0] == number] or [b""]
    return next(parse_mountinfo(line), None)


def iter_users(path: str, viewer: int = 0) -> Iterator[tuple[int, str]]:
    """(process, its name) of those that have a file, a directory or a library of the mount open, as far as we may look.

    `path` is what process `viewer` (0: we) sees; of another mount namespace only its own processes are looked at.
    """
    told = _as_told(path, viewer)
    yield from _iter_using(told, viewer, lambda process: itertools.chain(_iter_open(process), _iter_mapped(process, told)))


def _iter_mapping(path: str, viewer: int) -> Iterator[tuple[int, str]]:
    """Those that have a file of the mount in memory."""
    told = _as_told(path, viewer)
    yield from _iter_using(told, viewer, lambda process: _iter_mapped(process, told))


def _as_told(path: str, viewer: int) -> str:
    """The path as links in /proc lead there: from the root of the namespace, and not from that of the process."""
    return f"{os.readlink(f'/proc/{viewer}/root').rstrip('/')}{path}" if viewer else path


def _iter_using(told: str, viewer: int, iter_used: Callable[[str], Iterable[str]]) -> Iterator[tuple[int, str]]:
    for pid in sorted(map(int, filter(str.isdecimal, os.listdir("/proc")))):
        with contextlib.suppress(OSError):
            if viewer and not os.path.samefile(f"/proc/{pid}/ns/mnt", f"/proc/{viewer}/ns/mnt"):
                continue
            if any(_is_below(used, told) for used in iter_used(f"/proc/{pid}")):
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    yield pid, file.read().strip()


def _iter_open(process: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        links = [f"{process}/{name}" for name in ("cwd", "root", "exe")] + [f"{process}/fd/{fd}" for fd in os.listdir(f"{process}/fd")]
        for link in links:
            with contextlib.suppress(OSError):
                yield os.readlink(link)


def _iter_mapped(process: str, path: str) -> Iterator[str]:
    """Paths of the files that a process has in memory, if one of them may be at or below `path` (proc_pid_maps(5))."""
    with contextlib.suppress(OSError), open(f"{process}/maps", "rb") as file:
        content = file.read()
        if os.fsencode(path) in content:
            for line in content.decode("utf-8", "surrogateescape").split("\n"):
                yield "".join(line.partition("/")[1:])


def _is_below(used: str, path: str) -> bool:
    return used == path or used.startswith(f"{path}/")
