"""Overlay: the kernel data path. An overlayfs whose lower layer says what there is, and whose data-only layers are the pools.

Each file of the lower layer carries the path of its blob (overlay.redirect), and the kernel opens, reads and maps the blob itself: there is
one copy in memory for all environments. What is written goes to the upper layer of the environment.

The names are `user.overlay.*`: with them an overlay never writes metadata without data or redirects into an upper layer, which would mean
other bytes as soon as another generation lies below it (overlayfs.rst, "User xattr").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from casfs.mount import kernel
from casfs.mount.mounts import FILE_SYSTEM


@dataclass(frozen=True, slots=True)
class Layers:
    """What an overlay is made of. Without an upper layer it is read-only."""

    lower: str
    data: Sequence[str]  # the first one that has a blob gives it
    upper: str = ""
    work: str = ""


def make_overlay(layers: Layers) -> int:
    """Descriptor of a detached overlay. Raises OSError that holds the kernel's reason."""
    options: list[tuple[str, str | None]] = [("source", FILE_SYSTEM), ("userxattr", None), ("lowerdir+", layers.lower)]
    options += [("datadir+", directory) for directory in layers.data]
    if layers.upper:
        options += [("upperdir", layers.upper), ("workdir", layers.work)]
    return kernel.make_mount("overlay", options, is_read_only=not layers.upper)
