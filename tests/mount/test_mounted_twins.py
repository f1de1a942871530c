"""An overlay of twins shows exactly what the tree of the generation shows: kinds, modes, sizes, times, bytes, targets."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from casfs.digest import digest_bytes
from casfs.mount.kernel import attach_mount, clone_owned, unmount
from casfs.mount.overlay import Layers, make_nested_overlay
from casfs.paths import SITE_PACKAGES
from casfs.store.generations import Generation
from casfs.store.manifests import Kind, format_manifest, manifest_path
from casfs.store.store import Store, open_store
from casfs.venv.reading import LayerReader
from casfs.venv.tree import DirectoryNode, FileNode, Tree
from casfs.venv.twins.twins import build_stack, find_stack
from tests.make_generations import BASE, Shelf, Workshop, make_row, walk
from tests.make_wheels import make_wheel
from tests.venv.stacks import Drawn, build_generation, stacks

Facts = tuple[object, ...]

CONTENTS = [b"", b"1", b"22", b"bin/python", b"pyvenv.cfg", b"lib64"]
"""All that the stacks of layers hold."""

MODES = {Kind.FILE: stat.S_IFREG | 0o644, Kind.EXECUTABLE: stat.S_IFREG | 0o755, Kind.SYMLINK: stat.S_IFLNK | 0o777}


@contextmanager
def mounted(store: Store, layers: Sequence[str | int]) -> Iterator[str]:
    """An overlay of twins, and where it is."""
    with tempfile.TemporaryDirectory() as place:
        mount_fd = make_nested_overlay(Layers(layers, [store.pool.directory]), place)
        try:
            attach_mount(mount_fd, place)
            try:
                yield place
            finally:
                unmount(place, is_lazy=True)
        finally:
            os.close(mount_fd)


def look_at_mount(root: str) -> dict[str, Facts]:
    """Path -> what is there, as the kernel says."""
    shown: dict[str, Facts] = {"": (stat.S_IFDIR | 0o755, os.lstat(root).st_mtime_ns)}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = f"{directory}/{name}"
            shown[os.path.relpath(path, root)] = _facts(path)
    return shown


def _facts(path: str) -> Facts:
    found = os.lstat(path)
    if stat.S_ISDIR(found.st_mode):
        return found.st_mode, found.st_mtime_ns
    content = os.readlink(path).encode() if stat.S_ISLNK(found.st_mode) else Path(path).read_bytes()
    return found.st_mode, found.st_mtime_ns, found.st_size, content


def look_at_tree(store: Store, generation: Generation) -> dict[str, Facts]:
    """Path -> what is there, as the tree says, which is what the daemon shows."""
    return {path: _expected(store, node) for path, node in walk(Tree(generation), LayerReader(store)).items()}


def _expected(store: Store, node: object) -> Facts:
    if isinstance(node, DirectoryNode):
        return stat.S_IFDIR | 0o755, node.mtime_ns
    assert isinstance(node, FileNode)
    return MODES[node.kind], node.mtime_ns, node.size, store.pool.read_blob(node.digest, node.size)


def must_be_equal(store: Store, generation: Generation) -> list[str]:
    stack = build_stack(store, generation)
    assert stack is not None
    assert stack == find_stack(store, generation)
    with mounted(store, stack) as place:
        assert look_at_mount(place) == look_at_tree(store, generation)
    return stack


@pytest.fixture(scope="module")
def shelved() -> Iterator[Store]:
    """A store with all that the stacks of layers hold."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as place:
        store = open_store(Path(place, "store"), create=True)
        with store.batch() as batch:
            for content in CONTENTS:
                store.pool.stage(batch, content, make_row("any", content).digest)
            batch.commit()
        yield store


def publish(store: Store, skeleton: Drawn, drawn: Sequence[tuple[Drawn, Drawn]]) -> Generation:
    """The generation of a stack, and its manifests in the store."""
    shelf = Shelf()
    generation = build_generation(shelf, _possible(skeleton), [(_possible(one), _possible(other)) for one, other in drawn])
    for manifest in shelf.manifests():
        content = format_manifest(manifest)
        path = Path(manifest_path(store, digest_bytes(content)))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return generation


def _possible(drawn: Drawn) -> Drawn:
    """Without links to nowhere at all, which no disk can hold."""
    return replace(drawn, files=tuple(replace(file, kind=file.kind if file.size else Kind.FILE) for file in drawn.files))


def layer(*paths: str) -> Drawn:
    """One that has these files, and, where a path ends with a slash, directories."""
    files = tuple(make_row(path, b"22") for path in paths if not path.endswith("/"))
    return Drawn(files, tuple(path.rstrip("/") for path in paths if path.endswith("/")))


NOTHING = layer()
SKELETON = Drawn((make_row("bin/python", b"bin/python", Kind.SYMLINK), make_row("pyvenv.cfg", b"pyvenv.cfg")), (SITE_PACKAGES, "include"))


@settings(max_examples=150)
@given(stacks())
@example((SKELETON, [(layer("share/a/x"), NOTHING), (layer("share/a"), NOTHING), (layer("share/a/y"), NOTHING)]))
@example((SKELETON, [(layer("share/a/x"), layer("share/a/z")), (layer("share/a"), NOTHING), (layer("share/a/y"), layer("share/a/"))]))
@example((SKELETON, [(layer("include/x"), NOTHING), (layer("include"), NOTHING)]))
@example((SKELETON, [(layer("bin/python/x"), NOTHING), (layer("pyvenv.cfg/y"), layer("bin/python"))]))
@example((SKELETON, [(layer("share/a/b/c/"), NOTHING), (layer("share/a/b/c/d/"), layer("share/a/b/c/d/e"))]))
@example((SKELETON, [(layer("lib/{python}/x"), NOTHING), (layer(f"lib/{BASE.directory}/x/y"), layer(f"lib/{BASE.directory}/z"))]))
def test_twins_show_what_the_tree_shows(shelved: Store, stack: tuple[Drawn, list[tuple[Drawn, Drawn]]]):
    must_be_equal(shelved, publish(shelved, *stack))


@settings(deadline=None, max_examples=30)
@given(stacks())
@example((SKELETON, [(layer("share/a/x"), layer("share/a/z")), (layer("share/a"), NOTHING), (layer("share/a/y"), layer("share/a/"))]))
@example((SKELETON, [(layer("share/a/b/c/"), NOTHING), (layer("share/a/b/c/d/"), layer("share/a/b/c/d/e"))]))
def test_twins_in_several_inner_overlays_show_what_the_tree_shows(shelved: Store, stack: tuple[Drawn, list[tuple[Drawn, Drawn]]]):
    """As where there are more layers than one takes: here two beside the pool."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("casfs.mount.overlay._MAX_STACK", 3)
        must_be_equal(shelved, publish(shelved, *stack))


ODD_NAMES = [
    ".wh.a",
    ".wh..wh..opq",
    "a:b",
    "a,b",
    "a b",
    "=",
    "{python}",
    "#x#",
    "%41",
    "'\"$(x)",
    "x" * 255,
    "\U0001f40d" * 63,
    ".casfs",
    "-rf",
]


def test_odd_names_are_shown(shelved: Store):
    site = [f"{SITE_PACKAGES}/{name}" for name in ODD_NAMES]
    twins = layer(*site, *(f"share/{name}/{name}" for name in ODD_NAMES))
    must_be_equal(shelved, publish(shelved, SKELETON, [(twins, NOTHING), (twins, layer(f"share/{ODD_NAMES[0]}/more"))]))


def test_a_file_that_looks_like_a_blob_from_the_root_is_no_blob(shelved: Store):
    """The kernel would take it for the blob: it looks for blobs in every lower layer, before it comes to the pools."""
    digest = make_row("any", b"22").digest
    fake = Drawn((make_row(f"{digest[:2]}/{digest[2:]}", b"1"),), ())
    generation = publish(shelved, SKELETON, [(fake, NOTHING), (layer(f"{SITE_PACKAGES}/a"), NOTHING)])
    assert find_stack(shelved, generation) is build_stack(shelved, generation) is None


SHOP = [
    make_wheel({"ns/one/__init__.py": b"1", "one.py": b"one", "shared.py": b"of one"}, "one"),
    make_wheel({"ns/two/__init__.py": b"2", "two.py": b"two", "shared.py": b"of two"}, "two"),
    make_wheel({"demo/__init__.py": b"V = 1", "demo-1.0.data/scripts/demo": b"#!python\nprint()", "demo-1.0.data/data/share/d": b"d"}),
]


def test_environments_of_wheels_are_shown(workshop: Workshop):
    workshop.add(*SHOP)
    must_be_equal(workshop.store, workshop.environment.require())


def test_importlib_looks_again_after_each_change(workshop: Workshop):
    """It compares the time of site-packages, which a layer that stays on top must not keep as it was."""
    times = set()
    for wheel in reversed(SHOP):
        workshop.add(wheel)
        generation = workshop.environment.require()
        with mounted(workshop.store, must_be_equal(workshop.store, generation)) as place:
            times.add(os.stat(f"{place}/lib/{BASE.directory}/site-packages").st_mtime_ns)
    assert len(times) == len(SHOP)


def test_twins_are_shown_as_the_owners(workshop: Workshop):
    workshop.add(*SHOP)
    stack = build_stack(workshop.store, workshop.environment.require())
    assert stack is not None
    with mounted(workshop.store, [clone_owned(path, 1001, 1002) for path in stack]) as place:
        for directory, _, files in os.walk(place):
            for name in (".", *files):
                found = os.lstat(f"{directory}/{name}")
                assert (found.st_uid, found.st_gid) == (1001, 1002)


def test_more_layers_than_an_overlay_takes_can_be_mounted(shelved: Store):
    """An overlay takes 500."""
    drawn = [(layer(f"{SITE_PACKAGES}/p{n}/a", f"{SITE_PACKAGES}/ns/p{n}"), layer(f"bin/p{n}")) for n in range(270)]
    assert len(must_be_equal(shelved, publish(shelved, SKELETON, drawn))) == 541
