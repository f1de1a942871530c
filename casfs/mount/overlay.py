"""Overlay: the kernel data path. An overlayfs whose lower layers say what there is, and whose data-only layers are the pools.

Each file of a lower layer carries the path of its blob (overlay.redirect), and the kernel opens, reads and maps the blob itself: there is
one copy in memory for all environments. What is written goes to the upper layer of the environment.

An upper layer never lies in an overlay with `metacopy=on` or `redirect_dir=on`: it would come to hold files without bytes and names of
lower directories, which mean something else as soon as another generation lies below it. An overlay with `userxattr` has neither, but only
its lowest layer may point into the pools (since Linux 6.16; overlayfs.rst, "Data-only lower layers"). So where there are several layers,
or the kernel is older, an inner overlay that is read-only and has both options is the one lower layer of an outer one that has neither.
Where there are more layers than an overlay takes, several inner overlays are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from casfs.mount import kernel
from casfs.mount.mounts import FILE_SYSTEM

_MAX_STACK = 500
"""So many layers an overlay takes, data-only ones among them (OVL_MAX_STACK in fs/overlayfs/params.h)."""

Lower = str | int
"""A directory: its path, or the descriptor of a detached mount."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What an overlay is made of. Without an upper layer it is read-only."""

    lower: Sequence[Lower]  # uppermost first
    data: Sequence[str]  # the first one that has a blob gives it
    upper: str = ""
    work: str = ""


def make_overlay(layers: Layers) -> int:
    """Descriptor of a detached overlay of which only the lowest layer points into the pools. Raises OSError with the kernel's reason."""
    options = [*_lower_options(layers), *_upper_options(layers)]
    return kernel.make_mount("overlay", [*_COMMON, ("userxattr", None), *options], is_read_only=not layers.upper)


def make_nested_overlay(layers: Layers, scratch: str) -> int:
    """The same with any layer pointing into the pools (as `trusted.overlay.*` tell), since Linux 6.8, as root.

    `scratch` is an empty directory, and is so again after the call. Raises OSError with the kernel's reason.
    """
    count = _MAX_STACK - len(layers.data)
    groups = [layers.lower[start : start + count] for start in range(0, len(layers.lower), count)]
    if len(groups) == 1 and not layers.upper:
        return _make_inner(layers)
    with contextlib.ExitStack() as stack:
        lower = []
        for number, group in enumerate(groups):  # an overlay takes no detached mount before Linux 6.15
            place = stack.enter_context(_directory(f"{scratch}/{number}")) if len(groups) > 1 else scratch
            stack.enter_context(_attached(_make_inner(replace(layers, lower=group)), place))
            lower.append(place)
        return make_overlay(Layers(lower, [], layers.upper, layers.work))


def _make_inner(layers: Layers) -> int:
    strict = [("metacopy", "on"), ("redirect_dir", "on")]
    return kernel.make_mount("overlay", [*_COMMON, *strict, *_lower_options(layers)], is_read_only=True)


@contextlib.contextmanager
def _directory(path: str) -> Iterator[str]:
    """A directory during a block."""
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        os.rmdir(path)


_COMMON: list[tuple[str, str | int | None]] = [("source", FILE_SYSTEM)]


def _lower_options(layers: Layers) -> list[tuple[str, str | int | None]]:
    return [*(("lowerdir+", lower) for lower in layers.lower), *(("datadir+", directory) for directory in layers.data)]


def _upper_options(layers: Layers) -> list[tuple[str, str | int | None]]:
    return [("upperdir", layers.upper), ("workdir", layers.work)] if layers.upper else []


@contextlib.contextmanager
def _attached(mount_fd: int, path: str) -> Iterator[None]:
    """Show a detached mount at a path during a block; the descriptor is closed."""
    try:
        kernel.attach_mount(mount_fd, path)
    finally:
        os.close(mount_fd)
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
