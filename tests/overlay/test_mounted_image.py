"""An overlay over an image shows exactly what the tree of the generation shows: kinds, modes, sizes, times, bytes, targets, owners."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from casfs.changes.changes import roll_back
from casfs.digest import digest_bytes
from casfs.overlay.kernel import attach_mount, clone_owned, make_mount, unmount
from casfs.overlay.overlayfs import Layers, make_inner_overlay, make_overlay
from casfs.paths import SITE_PACKAGES
from casfs.store.generations import Generation
from casfs.store.manifests import Kind, format_manifest, manifest_path
from casfs.store.store import Store, open_store
from casfs.venv.image.erofs import TRUSTED, USER
from casfs.venv.image.image import ImageSpec, build_image
from casfs.venv.reading import LayerReader
from casfs.venv.tree import DirectoryNode, FileNode, Tree
from tests.make_generations import BASE, Shelf, Workshop, make_row, walk
from tests.make_wheels import make_wheel
from tests.venv.stacks import Drawn, build_generation, stacks

Facts = tuple[object, ...]

CONTENTS = [b"", b"1", b"22", b"bin/python", b"pyvenv.cfg", b"lib64"]
"""All that the stacks of layers hold."""

MODES = {Kind.FILE: stat.S_IFREG | 0o644, Kind.EXECUTABLE: stat.S_IFREG | 0o755, Kind.SYMLINK: stat.S_IFLNK | 0o777}


@contextmanager
def mounted(store: Store, spec: ImageSpec, owner: tuple[int, int] = (0, 0)) -> Iterator[str]:
    """An overlay over the generation's image, and where it is. `fsck.erofs` must accept the image."""
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory(dir="/tmp") as disk:
        image, below = Path(disk, "image"), Path(disk, "below")
        below.mkdir()
        image.write_bytes(b"".join(build_image(store, spec)))
        subprocess.run(["fsck.erofs", image], check=True, capture_output=True)
        metadata = make_mount("erofs", [("source", str(image))], is_read_only=True)
        attach_mount(metadata, str(below))
        os.close(metadata)
        try:
            lower: str | int = clone_owned(str(below), *owner) if any(owner) else str(below)
            layers = Layers([lower], [store.pool.directory])
            mount_fd = make_overlay(layers) if spec.namespace == USER else make_inner_overlay(layers)
            if isinstance(lower, int):
                os.close(lower)
            attach_mount(mount_fd, place)
            os.close(mount_fd)
            try:
                yield place
            finally:
                unmount(place, is_lazy=True)
        finally:
            unmount(str(below), is_lazy=True)


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


def must_be_equal(store: Store, generation: Generation, namespace: str = USER) -> None:
    with mounted(store, ImageSpec(generation, namespace)) as place:
        assert look_at_mount(place) == look_at_tree(store, generation)


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


@settings(deadline=None, max_examples=60)
@given(stacks())
@example((SKELETON, [(layer("share/a/x"), NOTHING), (layer("share/a"), NOTHING), (layer("share/a/y"), NOTHING)]))
@example((SKELETON, [(layer("share/a/x"), layer("share/a/z")), (layer("share/a"), NOTHING), (layer("share/a/y"), layer("share/a/"))]))
@example((SKELETON, [(layer("include/x"), NOTHING), (layer("include"), NOTHING)]))
@example((SKELETON, [(layer("bin/python/x"), NOTHING), (layer("pyvenv.cfg/y"), layer("bin/python"))]))
@example((SKELETON, [(layer("share/a/b/c/"), NOTHING), (layer("share/a/b/c/d/"), layer("share/a/b/c/d/e"))]))
@example((SKELETON, [(layer("lib/{python}/x"), NOTHING), (layer(f"lib/{BASE.directory}/x/y"), layer(f"lib/{BASE.directory}/z"))]))
def test_an_image_shows_what_the_tree_shows(shelved: Store, stack: tuple[Drawn, list[tuple[Drawn, Drawn]]]):
    must_be_equal(shelved, publish(shelved, *stack))


@settings(deadline=None, max_examples=10)
@given(stacks())
def test_an_image_under_a_nested_overlay_shows_what_the_tree_shows(shelved: Store, stack: tuple[Drawn, list[tuple[Drawn, Drawn]]]):
    must_be_equal(shelved, publish(shelved, *stack), TRUSTED)


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
    both = layer(*site, *(f"share/{name}/{name}" for name in ODD_NAMES))
    must_be_equal(shelved, publish(shelved, SKELETON, [(both, NOTHING), (both, layer(f"share/{ODD_NAMES[0]}/more"))]))


@pytest.mark.parametrize("namespace", [USER, TRUSTED])
def test_a_file_that_looks_like_a_blob_from_the_root_is_no_blob(shelved: Store, namespace: str):
    digest = make_row("any", b"22").digest
    fake = Drawn((make_row(f"{digest[:2]}/{digest[2:]}", b"1"),), ())
    generation = publish(shelved, SKELETON, [(fake, NOTHING), (layer(f"{SITE_PACKAGES}/a"), NOTHING)])
    must_be_equal(shelved, generation, namespace)


def test_a_directory_of_20000_files_and_one_of_300_directories(shelved: Store):
    crowd = layer(*(f"share/crowd/{number}" for number in range(20_000)), *(f"share/many/{number}/" for number in range(300)))
    must_be_equal(shelved, publish(shelved, SKELETON, [(crowd, NOTHING)]))


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
        with mounted(workshop.store, ImageSpec(generation)) as place:
            times.add(os.stat(f"{place}/lib/{BASE.directory}/site-packages").st_mtime_ns)
    assert len(times) == len(SHOP)


def test_an_image_is_shown_as_the_owners(workshop: Workshop):
    workshop.add(*SHOP)
    with mounted(workshop.store, ImageSpec(workshop.environment.require()), owner=(1001, 1002)) as place:
        for directory, _, files in os.walk(place):
            for name in (".", *files):
                found = os.lstat(f"{directory}/{name}")
                assert (found.st_uid, found.st_gid) == (1001, 1002)


def test_a_generation_of_a_thousand_distributions_can_be_mounted(shelved: Store):
    drawn = [(layer(f"{SITE_PACKAGES}/p{n}/a", f"{SITE_PACKAGES}/ns/p{n}"), layer(f"bin/p{n}")) for n in range(1000)]
    must_be_equal(shelved, publish(shelved, SKELETON, drawn))


def test_attributes_say_whose_file_it_is_and_what_was_installed(workshop: Workshop):
    workshop.add(*SHOP)
    with mounted(workshop.store, ImageSpec(workshop.environment.require())) as place:
        path = f"{place}/lib/{BASE.directory}/site-packages/demo/__init__.py"
        found = {name: os.getxattr(path, name).decode() for name in os.listxattr(path)}
        facts = {"orig.digest": digest_bytes(b"V = 1"), "distribution": "demo", "version": "1.0"}
        assert found == {f"user.casfs.{name}": value for name, value in facts.items()}
        assert os.listxattr(f"{place}/pyvenv.cfg") == ["user.casfs.orig.digest"]


def test_a_fragment_that_is_damaged_is_made_anew_and_never_shown(workshop: Workshop):
    workshop.add(*SHOP)
    generation = workshop.environment.require()
    image = b"".join(build_image(workshop.store, ImageSpec(generation)))
    kept = {path: path.read_bytes() for path in Path(workshop.store.root, "stamps").glob("*.inodes")}
    assert len(kept) == 1 + len(generation.distributions)  # the skeleton's is one
    for number, (path, content) in enumerate(kept.items()):
        damaged = [content[:-1], content[: number % 30], b"", content[:100] + bytes([content[100] ^ 1]) + content[101:]]
        path.write_bytes(damaged[number % len(damaged)])
    assert b"".join(build_image(workshop.store, ImageSpec(generation))) == image
    assert {path: path.read_bytes() for path in kept} == kept


def test_equal_generations_have_one_image_and_others_have_another(workshop: Workshop):
    def look() -> tuple[bytes, bytes]:
        generation = workshop.environment.require()
        return ImageSpec(generation).uuid, b"".join(build_image(workshop.store, ImageSpec(generation)))

    images = []
    for wheels in (SHOP[:1], SHOP[1:2]):
        workshop.add(*wheels)
        images.append(look())
    roll_back(workshop.environment, 1)
    assert look() == images[0]
    assert images[0][0] != images[1][0]
    assert ImageSpec(workshop.environment.require(), TRUSTED).uuid != images[0][0]


@pytest.mark.parametrize("namespace", [USER, TRUSTED])
def test_files_of_a_lost_blob_are_errors_and_no_others(workshop: Workshop, namespace: str):
    workshop.add(*SHOP)
    generation = workshop.environment.require()
    spec = ImageSpec(generation, namespace, frozenset([digest_bytes(b"of two"), digest_bytes(b"V = 1")]))
    with mounted(workshop.store, spec) as place:
        site = f"{place}/lib/{BASE.directory}/site-packages"
        for path in ("shared.py", "demo/__init__.py"):
            with pytest.raises(OSError, match="Input/output error"):
                os.stat(f"{site}/{path}")
        assert Path(f"{site}/two.py").read_bytes() == b"two"
        assert sorted(os.listdir(f"{site}/demo")) == ["__init__.py"]
