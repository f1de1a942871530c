"""System calls that Python's os module lacks, one function each.

See mount(2), open_tree(2), move_mount(2), umount2(2), openat2(2), setns(2).
"""

from __future__ import annotations

import ctypes
import os
import struct

_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_OPENAT2 = 428, 429, 437  # the same on every architecture that Linux has added numbers to since 5.1
_AT_FDCWD = -100
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 4, 0x40
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


def attach_mount(mount_fd: int, target: str) -> None:
    """Let a detached mount appear at `target` (move_mount(2))."""
    _check(_libc.syscall(_SYS_MOVE_MOUNT, mount_fd, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH), target)


def attach_mount_at(mount_fd: int, target_fd: int) -> None:
    """Let a detached mount appear on an open directory."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
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
