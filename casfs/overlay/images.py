"""Images: the metadata image of a generation as a mount of EROFS, one for all environments that show the same.

It lies in a file without a name, which ends with the last user of its mount: nothing is to be synced, checked or collected. The mount is
attached in private, where the overlays of more environments find it, and goes with the last of them. A kernel before Linux 6.12, and a file
system whose files no other can lie in (tmpfs, overlayfs), take a loop device for it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING

from casfs.descriptors import closing_fd
from casfs.errors import MountRefused
from casfs.overlay import kernel
from casfs.overlay.hidden_mounts import end_hidden_mount, end_image, find_hidden_mount, image_token, is_attached, make_hidden_mount
from casfs.overlay.overlayfs import Layers, make_inner_overlay, make_overlay
from casfs.store.store import Store

if TYPE_CHECKING:  # most commands make no image
    from casfs.venv.image.image import ImageSpec

_PROBE = "pyvenv.cfg"  # every environment has it

_NOT_BACKED = (errno.ENOTBLK, errno.EINVAL, errno.EOPNOTSUPP)
"""What mounting a file says where only a block device will do."""

_MAX_PIECES = 1024  # of one writev(2) (IOV_MAX)

_LOOP_CONFIGURE, _LOOP_CTL_GET_FREE = 0x4C0A, 0x4C82
_LOOP_CONFIG = struct.Struct("=II52xI176x64x")  # struct loop_config of linux/loop.h: fd, block size, and in loop_info64 lo_flags
_LO_FLAGS_READ_ONLY, _LO_FLAGS_AUTOCLEAR = 1, 4


def require_image(store: Store, spec: ImageSpec, *, by_loop: bool = False) -> tuple[str, str]:
    """(UUID, path) of the mount that has an image, which is made if there is none. Call it with the mounts locked.

    Raises OSError with the kernel's reason, and what `build_image` raises; MountRefused if an overlay does not read through it.
    """
    uuid = spec.uuid.hex()
    if (path := find_hidden_mount(store, image_token(uuid))) is not None:
        if is_attached(path):
            return uuid, path
        end_hidden_mount(store, image_token(uuid), path)
    mount_fd = _mount_image(store, spec, by_loop=by_loop)
    try:
        path = make_hidden_mount(store, image_token(uuid))
        kernel.attach_mount(mount_fd, path)
        _require_readable(store, path, spec.namespace)
    except BaseException:
        end_image(store, uuid)
        raise
    finally:
        os.close(mount_fd)
    return uuid, path


def open_image(store: Store, spec: ImageSpec) -> int:
    """Descriptor of a detached mount of an image, which nothing remembers: one that is attached, or a new one. No mount need be locked.

    Raises as `require_image` does; whether an overlay reads through it is for the caller to see.
    """
    if (path := find_hidden_mount(store, image_token(spec.uuid.hex()))) is not None and is_attached(path):
        with contextlib.suppress(OSError):  # it has just been ended
            return kernel.clone_mount(path)
    return _mount_image(store, spec, by_loop=False)


def _mount_image(store: Store, spec: ImageSpec, *, by_loop: bool) -> int:
    """Descriptor of a detached mount of a new image."""
    with closing_fd(_write_image(store, spec)) as image:
        if not by_loop:
            try:
                return _mount_file(store, image)
            except OSError as error:
                if error.errno not in _NOT_BACKED:
                    raise
        return _mount_by_loop(image)


def _mount_file(store: Store, image: int) -> int:
    """Descriptor of a detached mount of an open file.

    The kernel tells everybody the path that it was given as the mount's source. /proc/self/fd/3 would be another file to each process that
    reads it, so it is given a link, which is gone then.
    """
    source = f"/proc/self/fd/{image}"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a full disk
            link = f"{stack.enter_context(store.batch()).directory}/image"
            os.symlink(source, link)
            source = link
        return kernel.make_mount("erofs", [("source", source)], is_read_only=True)


def _write_image(store: Store, spec: ImageSpec) -> int:
    """Descriptor of a file without a name that holds the image: on the store's disk, or in memory if that is full or read-only."""
    from casfs.venv.image.image import build_image

    pieces = build_image(store, spec)
    try:
        image = os.open(store.path("tmp"), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        image = os.memfd_create("casfs-image")
    try:
        _write_pieces(image, pieces)
    except OSError:
        os.close(image)
        image = os.memfd_create("casfs-image")
        _write_pieces(image, pieces)
    return image


def _write_pieces(fd: int, pieces: list[memoryview]) -> None:
    for first in range(0, len(pieces), _MAX_PIECES):
        some = pieces[first : first + _MAX_PIECES]
        if os.writev(fd, some) != sum(map(len, some)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _mount_by_loop(image: int) -> int:
    """Descriptor of a detached mount of an open file through a loop device, which ends with it (loop(4), Linux 5.8)."""
    from casfs.venv.image.erofs import BLOCK

    while True:
        with closing_fd(os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)) as control:
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
        device = os.open(f"/dev/loop{number}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(image, BLOCK, _LO_FLAGS_READ_ONLY | _LO_FLAGS_AUTOCLEAR))
            return kernel.make_mount("erofs", [("source", f"/dev/loop{number}"), ("ro", None)], is_read_only=True)
        except OSError as error:
            if error.errno != errno.EBUSY:  # else somebody was faster
                raise
        finally:
            os.close(device)


def _require_readable(store: Store, path: str, namespace: str) -> None:
    """Raises MountRefused if an overlay shows files of the image without their bytes, which would read as zeros."""
    from casfs.venv.image.erofs import USER

    layers = Layers([path], store.pool.directories)
    overlay = make_overlay(layers) if namespace == USER else make_inner_overlay(layers)
    try:
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/fd/{overlay}/{_PROBE}", "rb") as file:
            if not file.read().strip(b"\0"):
                raise MountRefused(_PROBE, "reads as zeros through an overlay of this kernel")
    except PermissionError:
        raise MountRefused(_PROBE, "an overlay of this kernel does not follow the image into the pool") from None
    except OSError:
        pass  # the blob is missing or damaged: that is told by who reads it
    finally:
        os.close(overlay)
