"""Stacking: which layers the overlay of an environment has, and who says what there is: twins on disk, or our own file system."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from casfs.errors import CasfsError, reason_of
from casfs.mount import kernel
from casfs.mount.control import Request, ask_daemon, raise_problem
from casfs.mount.overlay import Layers, Lower, make_nested_overlay, make_overlay
from casfs.mount.soundness import check_generation
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.leases import Lease
from casfs.store.store import Store
from casfs.store.uppers import Upper
from casfs.venv.twins.twins import find_stack

TWINS, FUSE = "twins", "fuse"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an overlay is to show."""

    environment: Environment
    generation: Generation
    upper: Upper
    owner: tuple[int, int]
    scratch: str  # an empty directory

    def layers(self, lower: Sequence[Lower]) -> Layers:
        """All layers of the overlay, with a new work directory."""
        pool = self.environment.store.pool
        data = [pool.directory, *(one.directory for one in pool.shared)]
        return Layers(lower, data, self.upper.files, self.upper.new_work())


def open_best(store: Store, host: Lease, recipe: Recipe, checked: Generation | None) -> tuple[int, str, str]:
    """A detached overlay, who says what there is, and why it is not twins. Raises OSError."""
    why = "some distributions are not laid out on the disk; the next `casfs add` does that"
    if (stack := find_stack(store, recipe.generation)) is not None:
        try:
            check_generation(store, recipe.generation, checked)  # twins hand out all blobs at once
            with contextlib.ExitStack() as opened:
                lower = [_own(opened, path, recipe.owner) for path in stack]
                return make_nested_overlay(recipe.layers(lower), recipe.scratch), TWINS, ""
        except OSError as error:
            why = explain(error)
        except CasfsError as error:
            why = str(error)
    return _open_on_fuse(store, host, recipe), FUSE, why


def _open_on_fuse(store: Store, host: Lease, recipe: Recipe) -> int:
    """A detached overlay of the host's own file system. Raises OSError."""
    from casfs.mount.view import TRUSTED, USER

    def layers(attributes: str) -> Layers:
        request = Request("show", recipe.environment.name, *recipe.owner, recipe.generation.number, attributes)
        reply = ask_daemon(store, host, request)
        raise_problem(host, reply)
        return recipe.layers([f"{host.mountpoint}/{reply.slot}"])

    try:
        return make_overlay(layers(USER))
    except OSError as error:
        try:
            return make_nested_overlay(layers(TRUSTED), recipe.scratch)  # before Linux 6.16
        except OSError:
            raise error from None


def _own(opened: contextlib.ExitStack, path: str, owner: tuple[int, int]) -> Lower:
    """A layer that root owns, as the files of somebody else."""
    if owner == (0, 0):
        return path
    mount_fd = kernel.clone_owned(path, *owner)
    opened.callback(os.close, mount_fd)
    return mount_fd


def explain(error: OSError) -> str:
    """What the kernel says of an error: its own words, where it has any."""
    reason = reason_of(error)
    return f"{reason}: {error.filename}" if error.filename else reason
