"""Overlay layers: what the overlay of an environment is made of, and the fastest way in which this kernel shows it.

    image           an EROFS image of the generation, under one overlay (Linux 6.16)
    nested image    the image under an inner overlay, and that under the one with the upper layer (Linux 6.8)
    fuse            our own file system says what there is, and the overlay takes the bytes from the pools; a daemon must answer

Each way with an image takes a loop device where a file can't be mounted (see `images`). A way that fails leaves its reason to the next.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from casfs.digest import Digest
from casfs.errors import CasfsError, MountRefused, reason_of
from casfs.overlay import kernel
from casfs.overlay.overlayfs import DIRECT_SINCE, Layers, Lower, forced_way, kernel_release, make_nested_overlay, make_overlay
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.leases import Lease
from casfs.store.store import Store
from casfs.store.uppers import Upper

IMAGE, FUSE = "image", "fuse"

_USER, _TRUSTED = "user", "trusted"  # namespaces of the attributes that tell an overlay where blobs are (xattr(7))

WAYS = ("image", "loop", "nested", "nested-loop", "fuse")
"""For tests: each way by name, with or without a loop device."""

RequireHost = Callable[[], Lease]
"""The store's host, which is started if there is none. Raises MountRefused."""


def force_way(name: str) -> None:
    """Let this process mount in one way only, and do without the kernel's path where that fails. Raises MountRefused for an unknown one."""
    if name not in WAYS:
        raise MountRefused(name, f"is not a way to mount; these are: {', '.join(WAYS)}")
    forced_way[:] = [name]


@dataclass(frozen=True, slots=True)
class OverlaySpec:
    """What an overlay is to show."""

    environment: Environment
    generation: Generation
    lost: frozenset[Digest]  # blobs whose files can't be read
    upper: Upper
    owner: tuple[int, int]
    scratch: str  # an empty directory

    def layers(self, lower: Lower) -> Layers:
        """All layers of the overlay, with a new work directory."""
        return Layers([lower], self.environment.store.pool.directories, self.upper.files, self.upper.new_work())


@dataclass(frozen=True, slots=True)
class Opened:
    """A detached overlay."""

    mount_fd: int
    metadata: str  # IMAGE or FUSE: what says what there is
    image: str  # UUID of the image
    host: str  # id of the host's lease, if it is FUSE
    why: str  # why it is not the fastest way


def open_fastest(store: Store, require_host: RequireHost, spec: OverlaySpec) -> Opened:
    """The overlay in the fastest way that works. Raises OSError, MountRefused. Call it with the mounts locked."""
    from casfs.overlay.images import require_image
    from casfs.venv.image.erofs import TRUSTED, USER
    from casfs.venv.image.image import ImageSpec

    why = "it was asked for"
    for name in forced_way or _likely_ways():
        if name == "fuse":
            break
        is_nested, by_loop = name.startswith("nested"), name.endswith("loop")
        try:
            uuid, path = require_image(store, ImageSpec(spec.generation, TRUSTED if is_nested else USER, spec.lost), by_loop=by_loop)
            return Opened(_open_on_image(path, spec, is_nested=is_nested), IMAGE, uuid, "", why if is_nested and not forced_way else "")
        except OSError as error:
            why = explain(error)
        except (CasfsError, ValueError, TypeError, LookupError) as error:  # reading a manifest checks its digest and shape; fsck the rest
            why = str(error)
    host = require_host()
    return Opened(_open_on_fuse(store, host, spec), FUSE, "", host.id, why)


def _likely_ways() -> list[str]:
    return ["image", "nested"] if kernel_release() >= DIRECT_SINCE else ["nested"]


def _open_on_image(path: str, spec: OverlaySpec, *, is_nested: bool) -> int:
    with contextlib.ExitStack() as stack:
        lower: Lower = path
        if spec.owner != (0, 0):
            lower = kernel.clone_owned(path, *spec.owner)
            stack.callback(os.close, lower)
        layers = spec.layers(lower)
        return make_nested_overlay(layers, spec.scratch) if is_nested else make_overlay(layers)


def _open_on_fuse(store: Store, host: Lease, spec: OverlaySpec) -> int:
    """A detached overlay of the host's own file system. Raises OSError."""
    from casfs.daemon.control import Request, ask_daemon, raise_problem

    def layers(attributes: str) -> Layers:
        request = Request("show", spec.environment.name, *spec.owner, spec.generation.number, attributes)
        reply = ask_daemon(store, host, request)
        raise_problem(host, reply)
        return spec.layers(f"{host.mountpoint}/{reply.slot}")

    try:
        return make_overlay(layers(_USER))
    except OSError as error:
        try:
            return make_nested_overlay(layers(_TRUSTED), spec.scratch)  # before Linux 6.16
        except OSError:
            raise error from None


def explain(error: OSError) -> str:
    """What the kernel says of an error: its own words, where it has any."""
    reason = reason_of(error)
    return f"{reason}: {error.filename}" if error.filename else reason
