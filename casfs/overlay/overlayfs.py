"""Overlay: the kernel data path. An overlayfs whose lower layer says what there is, and whose data-only layers are the pools.

Each file of the lower layer carries the path of its blob (overlay.redirect), and the kernel opens, reads and maps the blob itself: there is
one copy in memory for all environments. What is written goes to the upper layer of the environment.

An upper layer never lies in an overlay with `metacopy=on` or `redirect_dir=on`: it would come to hold files without bytes and names of
lower directories, which mean something else as soon as another generation lies below it. An overlay with `userxattr` has neither, and its
lowest layer may point into the pools since Linux 6.16 (overlayfs.rst, "Data-only lower layers"). Before, an inner overlay that is read-only
and has both options is the lower layer of an outer one that has neither.

`xino=on` lets inode numbers say which layer a file is in, so that all of a mount has one device number (overlayfs.rst, "Inode properties").
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from casfs.descriptors import closing_fd
from casfs.overlay import kernel
from casfs.overlay.mountinfo import FILE_SYSTEM

DIRECT_SINCE = (6, 16)
"""Before it, an overlay with `userxattr` does not follow its lowest layer into the pools (kernel commit 5ef7bcde)."""

forced_way: list[str] = []
"""For tests: the only way in which this process mounts, if it has one (see `overlay_layers`)."""

Lower = str | int
"""A directory: its path, or the descriptor of a detached mount, which an overlay takes since Linux 6.15."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What an overlay is made of. Without an upper layer it is read-only."""

    lower: Sequence[Lower]  # uppermost first
    data: Sequence[str]  # the first one that has a blob gives it
    upper: str = ""
    work: str = ""


@functools.cache
def kernel_release() -> tuple[int, ...]:
    """The first two numbers of this kernel's release (uname(2))."""
    return tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])


def make_overlay(layers: Layers) -> int:
    """Descriptor of a detached overlay of which only the lowest layer points into the pools. Raises OSError with the kernel's reason."""
    return _make(layers, [("userxattr", None)])


def make_inner_overlay(layers: Layers) -> int:
    """A detached overlay, read-only, with any layer pointing into the pools, as `trusted.overlay.*` tell: since Linux 6.8, as root."""
    return _make(layers, [("metacopy", "on"), ("redirect_dir", "on")])


def make_nested_overlay(layers: Layers, scratch: str) -> int:
    """Descriptor of a detached overlay over an inner one, which points into the pools.

    `scratch` is an empty directory, and is so again after the call. Raises OSError with the kernel's reason.
    """
    [lower] = layers.lower
    with contextlib.ExitStack() as stack:
        if isinstance(lower, int):
            stack.enter_context(_attached(os.dup(lower), scratch))
            lower = scratch
        stack.enter_context(_attached(make_inner_overlay(Layers([lower], layers.data)), scratch))
        return make_overlay(Layers([scratch], [], layers.upper, layers.work))


_COMMON: list[tuple[str, str | int | None]] = [("source", FILE_SYSTEM)]


def _make(layers: Layers, kind: list[tuple[str, str | int | None]]) -> int:
    options = [*_COMMON, *kind]
    options += [("lowerdir+", lower) for lower in layers.lower]
    options += [("datadir+", directory) for directory in layers.data]
    if layers.upper:
        options += [("upperdir", layers.upper), ("workdir", layers.work), ("xino", "on")]  # without an upper layer it is of no use
    return kernel.make_mount("overlay", options, is_read_only=not layers.upper)


@contextlib.contextmanager
def _attached(mount_fd: int, path: str) -> Iterator[None]:
    """Show a detached mount at a path during a block; the descriptor is closed."""
    with closing_fd(mount_fd):
        kernel.attach_mount(mount_fd, path)
    try:
        yield
    finally:
        kernel.unmount(path, is_lazy=True)


def is_work_in_use(work: str, spare: str) -> bool:
    """Whether some overlay, attached or not, has `work` as its work directory. `spare` is an empty directory on the same file system.

    The kernel is asked: with `index=on` it refuses such a directory (overlayfs.rst, "Sharing and copying layers"). In doubt it is in use.
    """
    layers = [f"{spare}/{name}" for name in ("lower", "upper")]
    for directory in layers:
        os.makedirs(directory, exist_ok=True)
    options = [*_COMMON, ("index", "on"), ("lowerdir+", layers[0]), ("upperdir", layers[1]), ("workdir", work)]
    try:
        os.close(kernel.make_mount("overlay", options))
    except OSError:
        return True
    return False
