"""System calls that Python's os module lacks, one function each.

See mount(2), open_tree(2), move_mount(2), umount2(2), openat2(2), setns(2), unshare(2), prctl(2), capset(2), fsopen(2), fsconfig(2),
fsmount(2), mount_setattr(2), statx(2), ioprio_get(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import signal
import struct
from collections.abc import Iterator, Sequence

# the same on every architecture that Linux has added numbers to since 5.1
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_OPENAT2 = 428, 429, 437
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT, _SYS_FSPICK, _SYS_MOUNT_SETATTR = 430, 431, 432, 433, 442
_SYS_IOPRIO_GET = {"x86_64": 252, "aarch64": 31, "riscv64": 31}
_IOPRIO_WHO_PROCESS = 1
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH, _MOVE_MOUNT_BENEATH = 4, 0x40, 0x200
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = _FSPICK_CLOEXEC = 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_SET_FD, _FSCONFIG_CMD_CREATE, _FSCONFIG_CMD_RECONFIGURE = 0, 1, 5, 6, 7
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
_MOUNT_ATTR_IDMAP = 0x100000
_LOG_LINE = 4096
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_IN_ROOT = 2, 4, 0x10
_CLONE_FS, _CLONE_NEWNS, _CLONE_NEWUSER = 0x200, 0x20000, 0x10000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REC, _MS_SLAVE = 1, 2, 4, 0x4000, 0x80000
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_CAPABILITY_VERSION = 0x20080522
_AT_SYMLINK_NOFOLLOW, _AT_STATX_DONT_SYNC = 0x100, 0x4000
_STATX_MNT_ID_UNIQUE, _STATX_SIZE, _STATX_MASK_AT, _STATX_MNT_ID_AT = 0x4000, 256, 0, 144
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, path: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result


def keep_capabilities(*kept: int) -> None:
    """Give up what this thread, and those that it starts, may do as root, but for these capabilities (capset(2)).

    A program that it starts as root is given all of them again (capabilities(7)).
    """
    header, held = struct.pack("Ii", _CAPABILITY_VERSION, 0), ctypes.create_string_buffer(24)
    _check(_libc.capget(header, held), "capget")
    permitted = int(struct.unpack("6I", held.raw)[1]) & sum(1 << number for number in kept)
    _check(_libc.capset(header, struct.pack("6I", permitted, permitted, 0, 0, 0, 0)), "capset")


def mount_fuse(fuse_fd: int, mountpoint: str, name: str) -> None:
    """Mount what answers on `fuse_fd` at `mountpoint`, through no link: read-only, no setuid, no devices, shown to all as its modes allow.

    allow_other never goes without default_permissions: without it files of mode 0600 could be read by all. See mount(2).
    """
    owner = f"user_id={os.geteuid()},group_id={os.getegid()}"
    data = f"fd={fuse_fd},rootmode=40000,{owner},default_permissions,allow_other"
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    target = open_without_links(mountpoint, os.O_PATH | os.O_DIRECTORY)
    try:
        at = f"/proc/self/fd/{target}".encode()
        _check(_libc.mount(name.encode(), at, f"fuse.{name}".encode(), flags, data.encode()), mountpoint)
    finally:
        os.close(target)


def clone_mount(path: str) -> int:
    """Descriptor of a detached mount that shows the directory `path`, as a bind mount would (open_tree(2))."""
    return _check(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC), path)


def clone_owned(path: str, uid: int, gid: int) -> int:
    """A detached copy of a mount in which what belongs to root is this user's and group's ("ID-mapped", mount_setattr(2), Linux 5.12).

    Raises OSError EINVAL where the file system can't do that, ENOSPC where user namespaces are not allowed.
    """
    mount_fd = clone_mount(path)
    try:
        attributes = struct.pack("QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, _owner_namespace(uid, gid))
        result = _libc.syscall(_SYS_MOUNT_SETATTR, mount_fd, b"", _AT_EMPTY_PATH, attributes, len(attributes))
        _check(result, path)
    except BaseException:
        os.close(mount_fd)
        raise
    return mount_fd


_CHILD_STACK = 64 * 1024
_NEW_USER_NAMESPACE = 0x10000000
_WALL = 0x40000000  # wait also for a child that sends no signal when it ends


@functools.cache
def _owner_namespace(uid: int, gid: int) -> int:
    """Descriptor of a user namespace in which root is this user and group (user_namespaces(7)); it stays open.

    A child is born into it that only calls pause(2): no line of Python runs in it, so it is no matter what our other threads do.
    """
    stack = ctypes.create_string_buffer(_CHILD_STACK)
    top = (ctypes.addressof(stack) + _CHILD_STACK) & ~15
    child = _check(_libc.clone(_libc.pause, ctypes.c_void_p(top), _NEW_USER_NAMESPACE, None), "clone")
    try:
        for table, owner in (("uid_map", uid), ("gid_map", gid)):
            with open(f"/proc/{child}/{table}", "w", encoding="ascii") as file:
                file.write(f"0 {owner} 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, _WALL)


def make_mount(file_system: str, options: Sequence[tuple[str, str | int | None]], *, is_read_only: bool = False) -> int:
    """Descriptor of a new detached mount, nosuid and nodev (fsopen(2), fsconfig(2), fsmount(2)).

    The value of an option is a text, a descriptor, or None for a flag.

    Raises OSError whose `filename` holds what the kernel said of it.
    """
    context = _check(_libc.syscall(_SYS_FSOPEN, file_system.encode(), _FSOPEN_CLOEXEC), file_system)
    try:
        for name, value in options:
            _explain(context, _set_option(context, name.encode(), value), name)
        _explain(context, _libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), file_system)
        attributes = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | (_MOUNT_ATTR_RDONLY if is_read_only else 0)
        return _explain(context, _libc.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes), file_system)
    finally:
        os.close(context)


def _set_option(context: int, name: bytes, value: str | int | None) -> int:
    if value is None:
        return int(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_SET_FLAG, name, None, 0))
    if isinstance(value, int):
        return int(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_SET_FD, name, None, value))
    return int(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, name, os.fsencode(value), 0))


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


def freeze_file_system(path: str, *, is_read_only: bool) -> None:
    """Let nobody write into the file system at `path` through any of its mounts, or let them again (fspick(2)).

    Raises OSError EBUSY while somebody has a file open for writing.
    """
    context = _check(_libc.syscall(_SYS_FSPICK, _AT_FDCWD, os.fsencode(path), _FSPICK_CLOEXEC), path)
    try:
        _explain(context, _set_option(context, b"ro" if is_read_only else b"rw", None), path)
        _explain(context, _libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_RECONFIGURE, None, None, 0), path)
    finally:
        os.close(context)


def attach_mount_at(mount_fd: int, target_fd: int, *, is_beneath: bool = False) -> None:
    """Let a detached mount appear on an open directory, or beneath the mount whose root that is."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH | (_MOVE_MOUNT_BENEATH if is_beneath else 0)
    _check(_libc.syscall(_SYS_MOVE_MOUNT, mount_fd, b"", target_fd, b"", flags), "move_mount")


def open_in_root(root_fd: int, path: str, flags: int, *, follows_links: bool = True) -> int:
    """Descriptor of what is at `path` for a process whose root directory is open as `root_fd`: no link leads out (openat2(2)).

    Raises OSError ELOOP for a link if none is to be followed.
    """
    return _open_resolving(root_fd, path, flags, _RESOLVE_IN_ROOT | (_RESOLVE_NO_MAGICLINKS if follows_links else _RESOLVE_NO_SYMLINKS))


def open_without_links(path: str, flags: int) -> int:
    """Descriptor of what is at `path`; raises OSError ELOOP if any part of the path is a symbolic link (openat2(2))."""
    return _open_resolving(_AT_FDCWD, path, flags, _RESOLVE_NO_SYMLINKS)


def _open_resolving(directory_fd: int, path: str, flags: int, resolve: int) -> int:
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, resolve)
    return _check(_libc.syscall(_SYS_OPENAT2, directory_fd, os.fsencode(path), how, len(how)), path)


def enter_mount_namespace(namespace_fd: int) -> None:
    """Put the calling thread, and no other, into a mount namespace; its root and working directory become those of the namespace."""
    _check(_libc.unshare(_CLONE_FS), "unshare")
    _check(_libc.setns(namespace_fd, _CLONE_NEWNS), "setns")


def unmount(path: str, *, is_lazy: bool) -> None:
    """End a mount; lazily, it disappears at once and ends with its last user (umount2(2)). `path` does not end in a symbolic link."""
    _check(_libc.umount2(os.fsencode(path), _UMOUNT_NOFOLLOW | (_MNT_DETACH if is_lazy else 0)), path)


def leave_mount_namespace(*, and_user_namespace: bool) -> None:
    """Give the calling process, which has a single thread, a copy of its mount namespace (unshare(2)).

    In a user namespace of its own it may mount without any privilege outside. What it mounts nobody outside sees; what is mounted or
    unmounted outside shows inside where the mount above is shared (mount_namespaces(7)).
    """
    _check(_libc.unshare(_CLONE_NEWNS | (_CLONE_NEWUSER if and_user_namespace else 0)), "unshare")
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None), "/")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends (PR_SET_CHILD_SUBREAPER of prctl(2))."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def end_with_parent() -> None:
    """Let the calling process be killed when the thread that forked it ends (PR_SET_PDEATHSIG of prctl(2)); it may have ended already."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def mount_identity(path: str) -> int:
    """A number of the mount at `path` that no other mount has before the machine is started anew; no file system is asked (statx(2)).

    0 where there is none, or before Linux 6.8.
    """
    found = ctypes.create_string_buffer(_STATX_SIZE)
    if _libc.statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW | _AT_STATX_DONT_SYNC, _STATX_MNT_ID_UNIQUE, found):
        return 0
    [mask], [identity] = struct.unpack_from("I", found, _STATX_MASK_AT), struct.unpack_from("Q", found, _STATX_MNT_ID_AT)
    return int(identity) if mask & _STATX_MNT_ID_UNIQUE else 0


def io_priority(pid: int) -> int:
    """The I/O priority of a process, as `ionice` sets it. Raises OSError, also where we don't know how to ask."""
    if (number := _SYS_IOPRIO_GET.get(os.uname().machine)) is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _check(int(_libc.syscall(number, _IOPRIO_WHO_PROCESS, pid)), "")
