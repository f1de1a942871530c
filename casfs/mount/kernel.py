"""System calls that Python's os module lacks, one function each.

See mount(2), open_tree(2), move_mount(2), umount2(2), openat2(2), setns(2), fsopen(2), fsconfig(2), fsmount(2), mount_setattr(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator, Sequence

# the same on every architecture that Linux has added numbers to since 5.1
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_OPENAT2 = 428, 429, 437
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT, _SYS_MOUNT_SETATTR = 430, 431, 432, 442
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH, _MOVE_MOUNT_BENEATH = 4, 0x40, 0x200
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
_LOG_LINE = 4096
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 2, 0x10
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, path: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result


def mount_fuse(fuse_fd: int, mountpoint: str, name: str) -> None:
    """Mount what answers on `fuse_fd` at `mountpoint`: read-only, no setuid, no devices, shown to every user as its modes allow (mount(2)).

    allow_other never goes without default_permissions: without it files of mode 0600 could be read by all.
    """
    owner = f"user_id={os.geteuid()},group_id={os.getegid()}"
    data = f"fd={fuse_fd},rootmode=40000,{owner},default_permissions,allow_other"
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    _check(_libc.mount(name.encode(), os.fsencode(mountpoint), f"fuse.{name}".encode(), flags, data.encode()), mountpoint)


def clone_mount(path: str) -> int:
    """Descriptor of a detached mount that shows the directory `path`, as a bind mount would (open_tree(2))."""
    return _check(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC), path)


def make_mount(file_system: str, options: Sequence[tuple[str, str | None]], *, is_read_only: bool = False) -> int:
    """Descriptor of a new detached mount, nosuid and nodev; an option without a value is a flag (fsopen(2), fsconfig(2), fsmount(2)).

    Raises OSError whose `filename` holds what the kernel said of it.
    """
    context = _check(_libc.syscall(_SYS_FSOPEN, file_system.encode(), _FSOPEN_CLOEXEC), file_system)
    try:
        for name, value in options:
            kind = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
            encoded = None if value is None else os.fsencode(value)
            _explain(context, _libc.syscall(_SYS_FSCONFIG, context, kind, name.encode(), encoded, 0), name)
        _explain(context, _libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), file_system)
        attributes = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | (_MOUNT_ATTR_RDONLY if is_read_only else 0)
        return _explain(context, _libc.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes), file_system)
    finally:
        os.close(context)


def _explain(context: int, result: int, subject: str) -> int:
    """The result of a call; if it failed, the error says what the kernel wrote about it into the context (fsopen(2))."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "; ".join(_iter_log(context)) or subject)
    return result


def _iter_log(context: int) -> Iterator[str]:
    with contextlib.suppress(OSError):  # ENODATA: there is no more
        while line := os.read(context, _LOG_LINE):
            yield line.decode(errors="replace").partition(" ")[2].strip()


def attach_mount(mount_fd: int, target: str, *, is_beneath: bool = False) -> None:
    """Let a detached mount appear at `target`, or beneath the topmost mount that is there (move_mount(2), since Linux 6.5)."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (_MOVE_MOUNT_BENEATH if is_beneath else 0)
    _check(_libc.syscall(_SYS_MOVE_MOUNT, mount_fd, b"", _AT_FDCWD, os.fsencode(target), flags), target)


def set_read_only(path: str, *, is_read_only: bool) -> None:
    """Let nobody write through one mount, or everybody again (mount_setattr(2)). Raises OSError EBUSY while a file is open for writing."""
    bits = (_MOUNT_ATTR_RDONLY, 0) if is_read_only else (0, _MOUNT_ATTR_RDONLY)
    attributes = struct.pack("QQQQ", *bits, 0, 0)
    _check(_libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), 0, attributes, len(attributes)), path)


def attach_mount_at(mount_fd: int, target_fd: int, *, is_beneath: bool = False) -> None:
    """Let a detached mount appear on an open directory, or beneath the mount whose root that is."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH | (_MOVE_MOUNT_BENEATH if is_beneath else 0)
    _check(_libc.syscall(_SYS_MOVE_MOUNT, mount_fd, b"", target_fd, b"", flags), "move_mount")


def open_in_root(root_fd: int, path: str, flags: int) -> int:
    """Descriptor of what is at `path` for a process whose root directory is open as `root_fd`: no link leads out (openat2(2))."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    return _check(_libc.syscall(_SYS_OPENAT2, root_fd, os.fsencode(path), how, len(how)), path)


def enter_mount_namespace(namespace_fd: int) -> None:
    """Put the calling thread, and no other, into a mount namespace; its root and working directory become those of the namespace."""
    _check(_libc.unshare(_CLONE_FS), "unshare")
    _check(_libc.setns(namespace_fd, _CLONE_NEWNS), "setns")


def unmount(path: str, *, is_lazy: bool) -> None:
    """End a mount; lazily, it disappears at once and ends with its last user (umount2(2))."""
    _check(_libc.umount2(os.fsencode(path), _MNT_DETACH if is_lazy else 0), path)
