"""Private mounts: an environment that one process and its descendants see, and nobody else. It takes no privilege.

The process enters a mount namespace of its own; who may not mount gets it in a user namespace, in which it may. There it mounts, from the
bottom up and all in one directory: a tmpfs, a FUSE file system, what says which files there are, and over all an overlay that takes their
bytes from the pools and keeps in the tmpfs what is written. What says which files there are is

    image    for root: the metadata image of the generation (see `images`)
    bare     for others: files in the tmpfs, if the generation is small (see `bare`)
    fuse     else our own file system, for which a daemon answers

/dev/fuse must be opened in the namespace in which it is mounted (the kernel refuses it otherwise), but whoever has the descriptor may
answer: a *keeper* outside, which holds the lease (see `keeper`). The namespace ends with its last process, however that ends, and with it
the mounts; the kernel tells the keeper by this descriptor, whether anybody ever asked it for a file or not. Nobody has to watch anybody.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from casfs.descriptors import closing_fd
from casfs.errors import CasfsError, MountRefused, reason_of
from casfs.fuse.session import mount_session
from casfs.overlay import kernel
from casfs.overlay.overlayfs import DIRECT_SINCE, Layers, forced_way, kernel_release, make_overlay
from casfs.store.generations import Generation
from casfs.store.quarantine import read_losses
from casfs.store.store import Store

_PROBE = "pyvenv.cfg"  # every environment has it


KEEP = b"keep"
"""Tells the keeper, in the place of FUSE_INIT, that nobody will ask for a file; it says the same when it has heard."""

Show = Callable[[str], None]
"""Makes an empty directory say which files there are. Raises OSError, or a CasfsError."""


@dataclass(frozen=True, slots=True)
class RunMount:
    """What to show, and where."""

    directory: str  # an empty one; nobody outside sees anything in it
    above: Sequence[str]  # directories that lie over the generation, read-only: what tools wrote into the environment
    pools: Sequence[str]
    show: Show | None  # None: our own file system says what there is


def plan_showing(store: Store, generation: Generation) -> Show | None:
    """How to do without our own file system; None if there is no such way."""
    if kernel_release() < DIRECT_SINCE or forced_way not in ([], ["image"]):
        return None
    lost = read_losses(store).lost
    with contextlib.suppress(OSError, CasfsError, ValueError, TypeError, LookupError):  # what is wrong is told by who reads it
        if os.geteuid() == 0:
            from casfs.overlay.images import open_image
            from casfs.venv.image.image import ImageSpec

            return functools.partial(kernel.attach_mount, open_image(store, ImageSpec(generation, lost=lost)))
    with contextlib.suppress(OSError, CasfsError, ValueError, TypeError, LookupError):
        from casfs.overlay.metacopy import read_small_tree, write_bare_files

        if (tree := read_small_tree(store, generation)) is not None:
            return lambda path: write_bare_files(tree, path, lost, store.pool.read_blob)
    return None


def enter_namespace() -> None:
    """Give this process, which has a single thread, mounts of its own. Raises MountRefused that says what forbids it.

    In a user namespace it has every right over them, until it executes another program; user and group stay what they were.
    """
    try:
        kernel.leave_mount_namespace(and_user_namespace=False)
    except PermissionError:
        _enter_user_namespace()


def _enter_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.leave_mount_namespace(and_user_namespace=True)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):  # user_namespaces(7)
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    except OSError as error:
        reasons = list(_iter_obstacles()) or [f"{error.filename}: {reason_of(error)}"]
        raise MountRefused("user namespace", f"can't be made: {'; '.join(reasons)}") from None


def _iter_obstacles() -> Iterator[str]:
    """The settings that keep plain users from user namespaces, and how they are."""
    for path, obstacle in (
        ("/proc/sys/user/max_user_namespaces", 0),  # namespaces(7)
        ("/proc/sys/kernel/unprivileged_userns_clone", 0),  # Debian
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1),  # Ubuntu
    ):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            if int(file.read()) == obstacle:
                yield f"{path} is {obstacle}"
    if not os.path.exists("/proc/self/ns/user"):
        yield "the kernel was built without them"


def show_scene(scene: RunMount, line: socket.socket) -> str:
    """Mount it; `line` takes the descriptor of /dev/fuse, and the kernel's FUSE_INIT or KEEP, to the keeper. Call it in a new namespace.

    Answers why it is read-only and without what lies above the generation, which is so if the kernel can't do better; else nothing.

    Raises MountRefused.
    """
    fuse, metadata, upper, work = paths = [f"{scene.directory}/{name}" for name in ("fuse", "metadata", "upper", "work")]
    _mount_tmpfs(scene, paths)
    fuse_fd, init_message = _mount_fuse(scene, fuse)
    is_shown = _show_without_daemon(scene, Layers([*scene.above, metadata], scene.pools, upper, work))
    try:
        socket.send_fds(line, [KEEP if is_shown else init_message], [fuse_fd])
        os.close(fuse_fd)
        if is_shown and line.recv(len(KEEP)) != KEEP:
            raise _unkept(scene, "it has ended")
        if not is_shown:
            _read_probe(fuse)
    except OSError as error:
        raise _unkept(scene, _reason(error)) from None
    if is_shown:
        return ""
    try:
        _show_overlay(scene, Layers([*scene.above, fuse], scene.pools, upper, work))
    except OSError as error:
        _attach(kernel.clone_mount(fuse), scene.directory)
        return _explain(error)
    return ""


def _mount_tmpfs(scene: RunMount, directories: Sequence[str]) -> None:
    """Mount it with these directories. Raises MountRefused."""
    os.umask(0o022)
    try:
        _attach(kernel.make_mount("tmpfs", [("source", "casfs"), ("mode", "0755")]), scene.directory)
        for path in directories:
            os.mkdir(path)
    except OSError as error:
        if error.errno == errno.ENOENT:  # who should keep it has failed, and cleared the directory away
            raise _unkept(scene, _reason(error)) from None
        raise MountRefused(scene.directory, f"no tmpfs can be mounted: {_reason(error)}") from None


def _mount_fuse(scene: RunMount, path: str) -> tuple[int, bytes]:
    """See `mount_session`."""
    try:
        return mount_session(path, may_mount=True)
    except MountRefused:
        if os.path.isdir(path):
            raise
        raise _unkept(scene, "its directory is gone") from None


def _show_without_daemon(scene: RunMount, layers: Layers) -> bool:
    """Whether it is shown now; if not, nothing of it is left but files in the tmpfs."""
    if scene.show is None:
        return False
    try:
        scene.show(str(layers.lower[-1]))
        _show_overlay(scene, layers)
    except (OSError, CasfsError):
        return False
    return True


def _unkept(scene: RunMount, reason: str) -> MountRefused:
    return MountRefused(scene.directory, f"nobody serves it ({reason}); `casfs daemon logs` may say why")


def _show_overlay(scene: RunMount, layers: Layers) -> None:
    """Mount the overlay, and read a file through it. Raises OSError; then nothing is mounted."""
    _attach(make_overlay(layers), scene.directory)
    try:
        if not _read_probe(scene.directory).strip(b"\0"):
            raise OSError(errno.EIO, "reads as zeros", _PROBE)
    except OSError:
        kernel.unmount(scene.directory, is_lazy=True)
        raise


def _read_probe(directory: str) -> bytes:
    with open(f"{directory}/{_PROBE}", "rb") as file:
        return file.read()


def _attach(mount_fd: int, directory: str) -> None:
    with closing_fd(mount_fd):
        kernel.attach_mount(mount_fd, directory)


def _explain(error: OSError) -> str:
    """Why there is no overlay."""
    if kernel_release() < DIRECT_SINCE:
        return f"it takes Linux {'.'.join(map(str, DIRECT_SINCE))}, and this is {os.uname().release}"
    return f"the kernel refuses an overlay: {_reason(error)}"


def _reason(error: OSError) -> str:
    return f"{error.filename or ''}: {error.strerror or error}".lstrip(": ").lower()
