"""An overlay over bare files shows exactly what the tree of the generation shows; a large generation is not shown so."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from hypothesis import given, settings

from casfs.overlay.kernel import attach_mount, make_mount, unmount
from casfs.overlay.metacopy import read_small_tree, write_bare_files
from casfs.overlay.overlayfs import Layers, make_overlay
from casfs.paths import SITE_PACKAGES
from casfs.store.generations import Generation
from casfs.store.store import Store
from tests.overlay.test_mounted_image import SKELETON, layer, look_at_mount, look_at_tree, publish, shelved
from tests.venv.stacks import Drawn, stacks

__all__ = ["shelved"]  # a fixture


@contextlib.contextmanager
def mounted(store: Store, generation: Generation) -> Iterator[str]:
    """An overlay over the generation's bare files, and where it is."""
    tree = read_small_tree(store, generation)
    assert tree is not None
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as below, contextlib.ExitStack() as stack:
        stack.enter_context(attached(make_mount("tmpfs", []), below))
        write_bare_files(tree, below, frozenset(), store.pool.read_blob)
        stack.enter_context(attached(make_overlay(Layers([below], [store.pool.directory])), place))
        yield place


@contextlib.contextmanager
def attached(mount_fd: int, path: str) -> Iterator[None]:
    attach_mount(mount_fd, path)
    os.close(mount_fd)
    try:
        yield
    finally:
        unmount(path, is_lazy=True)


@settings(deadline=None, max_examples=40)
@given(stacks())
def test_bare_files_show_what_the_tree_shows(shelved: Store, stack: tuple[Drawn, list[tuple[Drawn, Drawn]]]):
    generation = publish(shelved, *stack)
    with mounted(shelved, generation) as place:
        assert look_at_mount(place) == look_at_tree(shelved, generation)


def test_a_large_generation_is_left_to_who_answers_when_asked(shelved: Store):
    one = layer(*(f"{SITE_PACKAGES}/p/{number}" for number in range(3000)))
    assert read_small_tree(shelved, publish(shelved, SKELETON, [(one, layer())])) is not None
    assert read_small_tree(shelved, publish(shelved, SKELETON, [(one, one), (one, layer())])) is None
    assert read_small_tree(shelved, publish(shelved, SKELETON, [(layer(), layer())] * 400)) is None
