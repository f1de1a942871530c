"""Makes generations without wheels: manifests in memory (Shelf), and stores with environments of small wheels (Workshop)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from casfs.changes.changes import AddOptions, Change, add_wheels
from casfs.digest import Digest, checksum_bytes, digest_bytes
from casfs.interpreters.interpreter import Interpreter
from casfs.store.environments import Environment
from casfs.store.fsck.check import check_store
from casfs.store.generations import BaseInterpreter, Distribution, Generation, Layer, build_layer
from casfs.store.manifests import Description, Kind, Manifest, ManifestFile, build_manifest, format_manifest
from casfs.store.store import Store, open_store
from casfs.venv.bytecode.check import check_bytecode
from casfs.venv.reading import LayerReader
from casfs.venv.tree import Tree, read_entries, read_file
from tests.make_wheels import MadeWheel

BASE = BaseInterpreter("/usr/bin/python3.11", "3.11.7", "cpython-311", "python3.11")

INTERPRETER = Interpreter(
    executable=BASE.executable,
    version=BASE.version,
    cache_tag=BASE.cache_tag,
    magic="a70d0d0a",
    python_directory=BASE.directory,
    bits=64,
    tags=("py3-none-any",),
    markers=(("python_version", "3.11"),),
)
"""What an interpreter said of itself; nothing here ever starts it."""


def make_row(path: str, content: bytes, kind: Kind = Kind.FILE) -> ManifestFile:
    """A row for a file with that content."""
    return ManifestFile(path, digest_bytes(content), checksum_bytes(content), len(content), kind)


def make_manifest(
    files: Mapping[str, bytes], project: str = "demo", version: str = "1.0", *, empty: Iterable[str] = (), executable: Iterable[str] = ()
) -> Manifest:
    """A manifest of `files` (by path), with some empty directories."""
    executable = set(executable)
    rows = [make_row(path, content, Kind.EXECUTABLE if path in executable else Kind.FILE) for path, content in files.items()]
    return build_manifest(Description(project, project, version), rows, empty)


class Shelf:
    """Manifests in memory: gives numbers as a store does, and remembers which layers were read of it."""

    def __init__(self) -> None:
        self._contents: dict[Digest, Manifest] = {}
        self._numbers: dict[Digest, int] = {}
        self.reads: list[int] = []  # indexes of layers, as they were asked for

    def layer(self, manifest: Manifest) -> Layer:
        """The manifest's place in a generation."""
        digest = digest_bytes(format_manifest(manifest))
        if digest not in self._contents:
            self._numbers[digest] = len(self._numbers) + 1
            self._contents[digest] = manifest
        return build_layer(digest, self._numbers[digest], manifest)

    def distribution(self, files: Manifest, installation: Manifest | None = None) -> Distribution:
        """A distribution whose wheel brings `files`; `installation` lies over them."""
        about = files.description
        over = installation or build_manifest(Description(about.project, about.name, about.version), ())
        facts = (about.project, about.name, about.version, digest_bytes(format_manifest(files)), 1, f"/wheels/{about.name}.whl", True)
        return Distribution(*facts, self.layer(files), self.layer(over))

    def generation(self, skeleton: Manifest, distributions: Sequence[Distribution], number: int = 1) -> Generation:
        """A generation of these."""
        return Generation(number, "", "", BASE, self.layer(skeleton), tuple(distributions))

    def manifests(self) -> list[Manifest]:
        """All that it has."""
        return list(self._contents.values())

    def fill(self, tree: Tree, layers: list[int]) -> None:
        """What a tree is given that asks for these layers."""
        self.reads += layers
        for index in layers:
            tree.add_content(index, self._contents[tree.layers[index].layer.manifest])


def walk(tree: Tree, shelf: Shelf | LayerReader) -> dict[str, object]:
    """Everything that the tree shows: path -> its node, "" for the root."""
    from casfs.venv.tree import DirectoryNode, FileEntry

    nodes: dict[str, object] = {}

    def visit(path: str, entry: DirectoryNode | FileEntry) -> None:
        if isinstance(entry, FileEntry):
            nodes[path] = read_file(tree, entry, shelf.fill)
            return
        nodes[path] = entry
        for name, below in read_entries(tree, entry, shelf.fill).items():
            visit(f"{path}/{name}" if path else name, below)

    visit("", tree.root)
    return nodes


def accept_any(path: str, about: Description) -> None:
    """A check that refuses nothing."""


@dataclasses.dataclass(slots=True)
class Workshop:
    """A store with one environment, and a place for wheels."""

    store: Store
    environment: Environment
    wheels: Path

    def add(self, *wheels: MadeWheel, strict: bool = False) -> Change:
        """Add these wheels to the environment."""
        paths = [str(wheel.write_to(self.wheels)) for wheel in wheels]
        return add_wheels(self.environment, INTERPRETER, paths, accept_any, AddOptions(is_strict=strict))


@contextmanager
def open_workshop(directory: Path) -> Iterator[Workshop]:
    """A new store below `directory`; when all is over, fsck finds nothing wrong with it."""
    store = open_store(directory / "store", create=True)
    wheels = directory / "wheels"
    wheels.mkdir()
    yield Workshop(store, Environment(store, "test"), wheels)
    assert check_store(store, check_bytecode=check_bytecode).damages == ()
