"""Sessions: a FUSE file system mounted by ourselves, so that its descriptor and the kernel's first message stay with the supervisor."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from casfs.errors import MountRefused
from casfs.overlay import kernel
from casfs.overlay.mountinfo import FILE_SYSTEM, detach

_INIT_SIZE = 1 << 20  # FUSE_INIT takes about 100 bytes; the kernel refuses a buffer that has no room for the largest request

RESEND_SINCE = (6, 9)


def can_resend() -> bool:
    """Whether the kernel repeats what a dead worker left unanswered (FUSE_NOTIFY_RESEND)."""
    release = os.uname().release.split(".")
    return (int(release[0]), int(release[1].split("-")[0])) >= RESEND_SINCE


def mount_session(mountpoint: str, *, may_mount: bool = False) -> tuple[int, bytes]:
    """The descriptor of a FUSE file system that is mounted now, and the kernel's FUSE_INIT. Raises MountRefused.

    Root and who says that it may mount do so themselves.
    """
    try:
        fuse_fd = _mount_ourselves(mountpoint) if may_mount or os.geteuid() == 0 else _mount_as_user(mountpoint)
        return fuse_fd, os.read(fuse_fd, _INIT_SIZE)
    except OSError as error:
        raise MountRefused(mountpoint, f"FUSE can't mount here: {_explain(error)}") from None


def _explain(error: OSError) -> str:
    if error.filename == "/dev/fuse" and error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return "/dev/fuse is missing: load the kernel module `fuse`"
    return f"{error.filename or ''} {error.strerror or error}".strip().lower()


def _mount_ourselves(mountpoint: str) -> int:
    fuse_fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        kernel.mount_fuse(fuse_fd, mountpoint, FILE_SYSTEM)
    except BaseException:
        os.close(fuse_fd)
        raise
    return fuse_fd


def _mount_as_user(mountpoint: str) -> int:
    """fusermount3 opens the device and mounts, and sends the descriptor over the socket that _FUSE_COMMFD names (fusermount3(1))."""
    import subprocess

    options = ["ro", "nosuid", "nodev", "default_permissions", f"fsname={FILE_SYSTEM}", f"subtype={FILE_SYSTEM}"]
    if _may_allow_other():
        options.append("allow_other")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = ["fusermount3", "-o", ",".join(options), "--", mountpoint]
        environment = {"PATH": f"{os.defpath}:/usr/local/bin:/sbin", "_FUSE_COMMFD": str(theirs.fileno()), "LC_ALL": "C"}
        try:
            done = subprocess.run(command, pass_fds=(theirs.fileno(),), env=environment, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise MountRefused(mountpoint, "fusermount3 is missing; install FUSE 3 (Debian: fuse3)") from None
        if done.returncode:
            raise MountRefused(mountpoint, done.stderr.strip() or "fusermount3 failed")
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    os.set_inheritable(fds[0], False)
    return fds[0]


def _may_allow_other() -> bool:
    """Whether fusermount3 lets a plain user show a mount to others (fuse.conf(5))."""
    with contextlib.suppress(OSError), open("/etc/fuse.conf", encoding="utf-8") as file:
        return any(line.strip() == "user_allow_other" for line in file)
    return False


def end_session(mountpoint: str) -> None:
    """Unmount lazily, if it is mounted."""
    with contextlib.suppress(OSError):
        detach(mountpoint)
