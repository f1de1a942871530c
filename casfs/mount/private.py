"""Private mounts: an environment that one process and its descendants see, and nobody else. It takes no privilege.

The process enters a mount namespace of its own; who may not mount gets it in a user namespace, in which it may. There it mounts, from the
bottom up and all in one directory: a tmpfs, the FUSE tree of one generation that never changes, and over both an overlay that takes its
bytes from the pools and keeps in the tmpfs what is written. /dev/fuse must be opened in the namespace in which it is mounted (the kernel
refuses it otherwise), but whoever has the descriptor may answer: a daemon *outside*.

So the namespace ends with its last process, however that ends, and with it the mounts; the kernel tells the daemon, which then ends too.
Nobody has to watch anybody.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from casfs.errors import MountRefused, reason_of
from casfs.mount import kernel
from casfs.mount.overlay import Layers, make_overlay
from casfs.mount.session import mount_session

OVERLAY_SINCE = (6, 16)
"""Before it, an overlay that a plain user makes does not follow its lower layer into the pools (kernel commit 5ef7bcde)."""

_PROBE = "pyvenv.cfg"  # every environment has it


@dataclass(frozen=True, slots=True)
class Scene:
    """What to show, and where."""

    directory: str  # an empty one; nobody outside sees anything in it
    above: Sequence[str]  # directories that lie over the generation, read-only: what tools wrote into the environment
    pools: Sequence[str]


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


def show_scene(scene: Scene, line: socket.socket) -> str:
    """Mount it; `line` takes the descriptor of /dev/fuse and the kernel's FUSE_INIT to who shall answer. Call it in a new namespace.

    Answers why it is read-only and without what lies above the generation, which is so if the kernel can't do better; else nothing.

    Raises MountRefused.
    """
    fuse, upper, work = (f"{scene.directory}/{name}" for name in ("fuse", "upper", "work"))
    try:
        _attach(kernel.make_mount("tmpfs", [("source", "casfs"), ("mode", "0755")]), scene.directory)
        for path in (fuse, upper, work):
            os.mkdir(path)
            os.chmod(path, 0o755)  # whatever the umask
    except OSError as error:
        if error.errno == errno.ENOENT:  # who should serve it has failed, and cleared the directory away
            raise _unserved(scene, _reason(error)) from None
        raise MountRefused(scene.directory, f"no tmpfs can be mounted: {_reason(error)}") from None
    try:
        fuse_fd, init_message = mount_session(fuse, may_mount=True)
    except MountRefused:
        if os.path.isdir(fuse):
            raise
        raise _unserved(scene, "its directory is gone") from None
    try:
        socket.send_fds(line, [init_message], [fuse_fd])
        os.close(fuse_fd)
        _read_probe(fuse)
    except OSError as error:
        raise _unserved(scene, _reason(error)) from None
    try:
        _show_overlay(scene, Layers([*scene.above, fuse], scene.pools, upper, work))
    except OSError as error:
        _attach(kernel.clone_mount(fuse), scene.directory)
        return _explain(error)
    return ""


def _unserved(scene: Scene, reason: str) -> MountRefused:
    return MountRefused(scene.directory, f"nobody serves it ({reason}); `casfs daemon logs` may say why")


def _show_overlay(scene: Scene, layers: Layers) -> None:
    """Mount the overlay, and read a file through it. Raises OSError; then nothing is mounted."""
    _attach(make_overlay(layers), scene.directory)
    try:
        _read_probe(scene.directory)
    except OSError:
        kernel.unmount(scene.directory, is_lazy=True)
        raise


def _read_probe(directory: str) -> None:
    with open(f"{directory}/{_PROBE}", "rb") as file:
        file.read()


def _attach(mount_fd: int, directory: str) -> None:
    try:
        kernel.attach_mount(mount_fd, directory)
    finally:
        os.close(mount_fd)


def _explain(error: OSError) -> str:
    """Why there is no overlay."""
    release = os.uname().release
    numbers = release.split("-")[0].split(".")
    if tuple(map(int, numbers[:2])) < OVERLAY_SINCE:
        return f"it takes Linux {'.'.join(map(str, OVERLAY_SINCE))}, and this is {release}"
    return f"the kernel refuses an overlay: {_reason(error)}"


def _reason(error: OSError) -> str:
    return f"{error.filename or ''}: {error.strerror or error}".lstrip(": ").lower()
