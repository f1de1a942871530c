"""Times of what mounting does inside: `python -P inside.py STORE ENVIRONMENT FOLDER CYCLES`, with the store's host running.

Prints a JSON object: seconds of each cycle, by step. `FOLDER` is an empty one for mountpoints, on the store's file system. The environment
has a generation before its current one; each cycle swaps to the other one and ends its overlay.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from casfs.changes.changes import roll_back
from casfs.daemon.control import Request, ask_daemon
from casfs.mounts.mounting import end_unused_overlays, make_mount, move_mounts
from casfs.mounts.mountpoints import MountRecord, find_host, forget_mount, locked_mounts
from casfs.mounts.overlay_layers import force_way
from casfs.overlay import kernel
from casfs.overlay.images import require_image
from casfs.overlay.mountinfo import unmount
from casfs.overlay.overlayfs import Layers, make_overlay
from casfs.store.environments import Environment
from casfs.store.leases import Lease
from casfs.store.store import Store, open_store
from casfs.venv.image.image import ImageSpec


class Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block."""
        began = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)


def main(root: str, name: str, folder: str, cycles: str) -> None:
    """Run the cycles."""
    store = open_store(Path(root))
    host = find_host(store)
    if host is None:
        sys.exit("there is no host")
    environment = Environment(store, name)
    clock = Clock()
    way = os.environ["CASFS_TEST_WAY"]
    force_way(way)
    for _ in range(int(cycles)):
        _take_places(clock, store, host, environment, folder)
        _take_kernel(clock, store, host, environment, folder, is_image=way == "image")
    sys.stdout.write(json.dumps(clock.seconds))


def _take_places(clock: Clock, store: Store, host: Lease, environment: Environment, folder: str) -> None:
    first = MountRecord(_directory(folder, "first"), environment.name, 0, 0, "", "")
    second = replace(first, path=_directory(folder, "second"))
    with locked_mounts(store), clock.step("mount"):
        make_mount(store, lambda: host, first)
    with locked_mounts(store), clock.step("mount at a second place"):
        make_mount(store, lambda: host, second)
    with locked_mounts(store):
        unmount(second.path)
        forget_mount(store, second)
    roll_back(environment, None)
    with locked_mounts(store), clock.step("swap"):
        failed = move_mounts(store, lambda: host, environment.name)
    if failed:
        sys.exit(f"{first.path}: {failed[0][1]}")
    with locked_mounts(store), clock.step("umount"):
        unmount(first.path)
        forget_mount(store, first)
        end_unused_overlays(store)


def _take_kernel(clock: Clock, store: Store, host: Lease, environment: Environment, folder: str, *, is_image: bool) -> None:
    """The same with layers that are known, and an upper layer of our own."""
    make = _find_layers(store, host, environment, folder, is_image=is_image)
    target = _directory(folder, "kernel")
    with clock.step("mount, the kernel's part"):
        mount_fd = make()
        kernel.attach_mount(mount_fd, target)
    os.close(mount_fd)
    with clock.step("swap, the kernel's part"):
        mount_fd = make()
        kernel.attach_mount(mount_fd, target, is_beneath=True)
        kernel.unmount(target, is_lazy=True)
    os.close(mount_fd)
    with clock.step("umount, the kernel's part"):
        kernel.unmount(target, is_lazy=False)


def _find_layers(store: Store, host: Lease, environment: Environment, folder: str, *, is_image: bool) -> Callable[[], int]:
    """What makes a detached overlay of the current generation."""
    generation, upper, numbers = environment.require(), _directory(folder, "upper"), iter(range(1000))
    if is_image:
        with locked_mounts(store):
            _, lower = require_image(store, ImageSpec(generation))
    else:
        lower = f"{host.mountpoint}/{ask_daemon(store, host, Request('show', environment.name, 0, 0, generation.number)).slot}"
    return lambda: make_overlay(Layers([lower], [store.pool.directory], upper, _directory(folder, f"work{next(numbers)}")))


def _directory(folder: str, name: str) -> str:
    path = f"{folder}/{name}"
    os.makedirs(path, exist_ok=True)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
