"""Every system call that would change something ends with EROFS, or with what Linux itself says before it asks the file system.

Where the kernel answers something else, the table says why.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, make_template, site_packages

AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE = -100, 1, 2  # openat(2), renameat2(2)
FICLONE, FS_IOC_SETFLAGS, FS_IOC_GETFLAGS = 0x40049409, 0x40086602, 0x80086601  # ioctl_ficlone(2), ioctl_iflags(2)
_libc = ctypes.CDLL(None, use_errno=True)


class Scene:
    """A file, a directory and a missing name on a mount, and a regular file elsewhere."""

    def __init__(self, directory: Path, casfs: Casfs) -> None:
        casfs.add(casfs.wheel("demo", files={"demo/file": b"content", "demo/other": b"x", "demo/sub/x": b""}, executable=["demo/other"]))
        self.mountpoint = casfs.mount()
        self.directory = site_packages(self.mountpoint) / "demo"
        self.file, self.other, self.missing, self.sub = (self.directory / name for name in ("file", "other", "missing", "sub"))
        self.link = self.mountpoint / "bin/python3"
        self.elsewhere = directory / "elsewhere"
        self.elsewhere.write_bytes(b"elsewhere")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("errnos")
    with Casfs(directory, make_template(directory / "template")) as casfs:
        scene = Scene(directory, casfs)
        yield scene
        assert sorted(os.listdir(scene.directory)) == ["file", "other", "sub"]
        assert scene.file.read_bytes() == b"content"
        assert scene.elsewhere.read_bytes() == b"elsewhere"


def call(name: str, *arguments: object) -> None:
    """A function of the C library; its failure is an OSError."""
    if getattr(_libc, name)(*(os.fsencode(one) if isinstance(one, Path) else one for one in arguments)) < 0:
        raise OSError(ctypes.get_errno(), name)


def opened(path: Path, flags: int, mode: int = 0o644) -> None:
    os.close(os.open(path, flags, mode))


def with_fd(path: Path, act: Callable[[int], object], flags: int = os.O_RDONLY) -> None:
    fd = os.open(path, flags)
    try:
        act(fd)
    finally:
        os.close(fd)


def map_shared(fd: int) -> None:
    mmap.mmap(fd, 7, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def set_flags(fd: int) -> None:
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", 0x10))


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        fd = os.open(path.parent, os.O_PATH)  # the address has room for 107 bytes only
        try:
            one.bind(f"/proc/self/fd/{fd}/{path.name}")
        finally:
            os.close(fd)


def clone_into(scene: Scene, fd: int) -> None:
    with scene.elsewhere.open("rb") as source:
        fcntl.ioctl(fd, FICLONE, source.fileno())


def copy_into(scene: Scene, fd: int) -> None:
    with scene.elsewhere.open("rb") as source:
        os.copy_file_range(source.fileno(), fd, 5)


Case = tuple[str, str, Callable[[Scene], object]]

OPENS: list[Case] = [
    ("open for writing", "EROFS", lambda s: opened(s.file, os.O_WRONLY)),
    ("open for both", "EROFS", lambda s: opened(s.file, os.O_RDWR)),
    ("open with O_TRUNC", "EROFS", lambda s: opened(s.file, os.O_WRONLY | os.O_TRUNC)),
    ("open to read with O_TRUNC", "EROFS", lambda s: opened(s.file, os.O_RDONLY | os.O_TRUNC)),
    ("open with O_APPEND", "EROFS", lambda s: opened(s.file, os.O_WRONLY | os.O_APPEND)),
    ("open an executable for writing", "EROFS", lambda s: opened(s.other, os.O_WRONLY)),
    ("create", "EROFS", lambda s: opened(s.missing, os.O_WRONLY | os.O_CREAT)),
    ("create to read", "EROFS", lambda s: opened(s.missing, os.O_RDONLY | os.O_CREAT)),
    ("create with O_EXCL what exists", "EEXIST", lambda s: opened(s.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)),  # no need to write
    ("O_CREAT to read what exists", "", lambda s: opened(s.file, os.O_RDONLY | os.O_CREAT)),  # nothing is created
    ("open a directory for writing", "EISDIR", lambda s: opened(s.sub, os.O_WRONLY)),  # looked at before the file system is
    ("O_TMPFILE", "EROFS", lambda s: opened(s.directory, os.O_WRONLY | os.O_TMPFILE)),
    ("access W_OK", "EROFS", lambda s: call("access", s.file, os.W_OK)),
]

CONTENTS: list[Case] = [
    ("write through a descriptor for reading", "EBADF", lambda s: with_fd(s.file, lambda fd: os.write(fd, b"x"))),
    ("map shared to write", "EACCES", lambda s: with_fd(s.file, map_shared)),  # not open for writing
    ("truncate", "EROFS", lambda s: os.truncate(s.file, 3)),
    ("truncate to more", "EROFS", lambda s: os.truncate(s.file, 1 << 20)),
    ("truncate a directory", "EISDIR", lambda s: os.truncate(s.sub, 0)),
    ("ftruncate", "EINVAL", lambda s: with_fd(s.file, lambda fd: os.ftruncate(fd, 3))),  # not open for writing
    ("fallocate", "EBADF", lambda s: with_fd(s.file, lambda fd: os.posix_fallocate(fd, 0, 100))),  # not open for writing
    ("copy_file_range into", "EBADF", lambda s: with_fd(s.file, lambda fd: copy_into(s, fd))),
    ("FICLONE into", "EXDEV", lambda s: with_fd(s.file, lambda fd: clone_into(s, fd))),  # of another file system
]

NAMES: list[Case] = [
    ("unlink", "EROFS", lambda s: os.unlink(s.file)),
    ("unlink what is missing", "EROFS", lambda s: os.unlink(s.missing)),
    ("unlink a directory", "EROFS", lambda s: os.unlink(s.sub)),
    ("unlink a symlink", "EROFS", lambda s: os.unlink(s.link)),
    ("rmdir", "EROFS", lambda s: os.rmdir(s.sub)),
    ("rmdir what is missing", "EROFS", lambda s: os.rmdir(s.missing)),
    ("rmdir the mountpoint", "EBUSY", lambda s: os.rmdir(s.mountpoint)),  # a mountpoint
    ("mkdir", "EROFS", lambda s: os.mkdir(s.missing)),
    ("mkdir what exists", "EEXIST", lambda s: os.mkdir(s.sub)),  # pip and makedirs(exist_ok) rely on it
    ("mknod of a file", "EROFS", lambda s: os.mknod(s.missing, stat.S_IFREG | 0o600)),
    ("mknod of a FIFO", "EROFS", lambda s: os.mkfifo(s.missing)),
    ("mknod of a device", "EROFS", lambda s: os.mknod(s.missing, stat.S_IFCHR | 0o600, os.makedev(1, 3))),
    ("symlink", "EROFS", lambda s: os.symlink("x", s.missing)),
    ("symlink over a file", "EEXIST", lambda s: os.symlink("x", s.file)),
    ("link", "EROFS", lambda s: os.link(s.file, s.missing)),
    ("link from elsewhere", "EROFS", lambda s: os.link(s.elsewhere, s.missing)),
    ("link to elsewhere", "EXDEV", lambda s: os.link(s.file, s.elsewhere.with_name("linked"))),  # of another file system
    ("rename", "EROFS", lambda s: os.rename(s.file, s.missing)),
    ("rename over a file", "EROFS", lambda s: os.rename(s.file, s.other)),
    ("rename a directory", "EROFS", lambda s: os.rename(s.sub, s.missing)),
    ("rename from elsewhere", "EXDEV", lambda s: os.rename(s.elsewhere, s.file)),
    ("rename to elsewhere", "EXDEV", lambda s: os.rename(s.file, s.elsewhere)),
    ("renameat2 NOREPLACE", "EROFS", lambda s: call("renameat2", AT_FDCWD, s.file, AT_FDCWD, s.missing, RENAME_NOREPLACE)),
    ("renameat2 EXCHANGE", "EROFS", lambda s: call("renameat2", AT_FDCWD, s.file, AT_FDCWD, s.other, RENAME_EXCHANGE)),
    ("bind a unix socket", "EROFS", lambda s: bind_socket(s.missing)),
    ("bind a unix socket over a file", "EADDRINUSE", lambda s: bind_socket(s.file)),
]


def _facts_of(name: str, path: Callable[[Scene], Path]) -> list[Case]:
    """Changes of what is not content, of a file or a directory."""
    return [
        (f"chmod {name}", "EROFS", lambda s: os.chmod(path(s), 0o777)),
        (f"fchmod {name}", "EROFS", lambda s: with_fd(path(s), lambda fd: os.fchmod(fd, 0o600))),
        (f"chown {name}", "EROFS", lambda s: os.chown(path(s), 1, 1)),
        (f"lchown {name}", "EROFS", lambda s: os.lchown(path(s), 1, 1)),
        (f"fchown {name}", "EROFS", lambda s: with_fd(path(s), lambda fd: os.fchown(fd, 1, 1))),
        (f"utimensat {name}", "EROFS", lambda s: os.utime(path(s), (1, 1))),
        (f"utimensat {name} to now", "EROFS", lambda s: os.utime(path(s))),
        (f"futimens {name}", "EROFS", lambda s: with_fd(path(s), lambda fd: os.utime(fd, (1, 1)))),
        (f"setxattr {name}", "EROFS", lambda s: os.setxattr(path(s), "user.mine", b"x")),
        (f"setxattr {name} over ours", "EROFS", lambda s: os.setxattr(path(s), "user.casfs.digest", b"x")),
        (f"fsetxattr {name}", "EROFS", lambda s: with_fd(path(s), lambda fd: os.setxattr(fd, "user.mine", b"x"))),
        (f"removexattr {name}", "EROFS", lambda s: os.removexattr(path(s), "user.casfs.digest")),
        (f"setxattr of a capability on {name}", "EROFS", lambda s: os.setxattr(path(s), "security.capability", b"x")),
        (f"FS_IOC_SETFLAGS {name}", "EROFS", lambda s: with_fd(path(s), set_flags)),
    ]


CASES = [
    *OPENS,
    *CONTENTS,
    *NAMES,
    *_facts_of("of a file", lambda s: s.file),
    *_facts_of("of a directory", lambda s: s.sub),
    *_facts_of("of the root", lambda s: s.mountpoint),
]


@pytest.mark.parametrize(("expected", "act"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_nothing_changes_a_mount(scene: Scene, expected: str, act: Callable[[Scene], object]) -> None:
    try:
        act(scene)
        found = ""
    except OSError as error:
        found = errno.errorcode[error.errno or 0]
    assert found == expected


def test_a_missing_name_is_missing_whatever_one_asks(scene: Scene) -> None:
    for ask in (os.stat, os.listdir, os.readlink, os.listxattr, lambda path: os.open(path, os.O_RDONLY)):
        with pytest.raises(FileNotFoundError):
            ask(scene.missing)


def test_a_file_is_no_directory_and_a_directory_no_file(scene: Scene) -> None:
    for ask in (os.listdir, lambda path: os.stat(path / "below"), lambda path: os.open(path, os.O_DIRECTORY)):
        with pytest.raises(NotADirectoryError):
            ask(scene.file)
    with pytest.raises(IsADirectoryError):
        with_fd(scene.sub, lambda fd: os.read(fd, 1))
    with pytest.raises(OSError, match="Invalid argument"):
        os.readlink(scene.file)


def test_what_is_not_executable_can_not_be_executed(scene: Scene) -> None:
    with pytest.raises(PermissionError):
        os.posix_spawn(scene.file, ["file"], {})


def test_name_longer_than_any_is_refused_by_length(scene: Scene) -> None:
    with pytest.raises(OSError, match="File name too long"):
        os.stat(scene.directory / ("n" * 256))


def test_programs_that_ask_for_a_lock_get_one(scene: Scene) -> None:
    """uv, pip and poetry lock files of an environment before they look at it."""
    with scene.file.open("rb") as one, scene.file.open("rb") as other:
        fcntl.flock(one, fcntl.LOCK_SH)
        fcntl.flock(other, fcntl.LOCK_SH)
        fcntl.flock(other, fcntl.LOCK_UN)
        fcntl.flock(one, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
