"""Tree: the whole file view of one generation, built directory by directory when somebody looks.

A tree never changes. It is a stack of layers, each a manifest: at the bottom the skeleton, then for each distribution its files and what
installing adds to them. A directory is the list of its parts, that is of the layers that have it; where two layers claim one file, the
later one wins, but none wins against the skeleton, what stands in for pip aside. What the distributions hold in the directories that all
of them share comes from the generation's outlines, so nothing is read of a distribution until somebody enters one of its own directories or
asks about one of its files.

This module knows no kernel, no disk and no event loop. Reading is given to it: `unread_*` say which layers must be read before a question
can be answered, and `add_content` takes what was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from casfs.digest import Digest, checksum_bytes
from casfs.paths import PYTHON_COMPONENT
from casfs.store.generations import Distribution, Generation, Layer, Names
from casfs.store.manifests import Kind, Manifest

_PYTHON_PARENTS = ("lib", "include/site")  # only here the component {python} stands for pythonX.Y

FILE_MODES, DIRECTORY_MODE = {Kind.FILE: 0o644, Kind.EXECUTABLE: 0o755}, 0o755
"""Permissions."""

Identity = tuple[int, int]
"""(number of a manifest, row): names a file or a directory for ever; inode numbers are made of it."""


STAND_INS = frozenset(("bin/pip", "bin/pip3"))
"""What a skeleton has where there is no pip; else `pip install` would go to another Python without a word."""


class Part(NamedTuple):
    """A layer's share of a directory."""

    layer: int
    row: int


@dataclass(slots=True)
class DirectoryNode:
    """A directory of the tree. Its time changes whenever one of its parts does, so that importlib looks again."""

    path: str
    parts: tuple[Part, ...]
    identity: Identity
    mtime_ns: int
    entries: dict[str, DirectoryNode | FileEntry] | None = None


class FileEntry(NamedTuple):
    """A file's place in a directory: enough to know that it exists."""

    layer: int
    row: int
    directory: int  # its row


@dataclass(frozen=True, slots=True)
class FileNode:
    """All that there is to know about a file."""

    identity: Identity
    digest: Digest
    size: int
    kind: Kind
    mtime_ns: int


@dataclass(slots=True)
class TreeLayer:
    """One layer: what the generation says of it, whose it is, and its content once that is read."""

    layer: Layer
    distribution: Distribution | None  # None: the skeleton
    outlined: Mapping[int, tuple[Names, Names]]  # row of a directory -> what it holds, as far as that is known without reading
    content: Manifest | None = None
    files: dict[int, FileNode] = field(default_factory=dict)

    def names(self, row: int) -> tuple[Names, Names]:
        """(directories, files) of a directory, each name -> row."""
        if (outlined := self.outlined.get(row)) is not None:
            return outlined
        manifest = self.require()
        return dict(manifest.directories_in(row)), {manifest.names[index]: index for index in manifest.files_in(row)}

    def require(self) -> Manifest:
        """Its manifest. A layer that is not read yet is a mistake of the caller."""
        if self.content is None:
            raise LookupError(f"manifest {self.layer.manifest} was not read")
        return self.content


def _new_layer(layer: Layer, distribution: Distribution | None) -> TreeLayer:
    return TreeLayer(layer, distribution, layer.outline.directories)


class Tree:
    """The file view of a generation."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.layers = [_new_layer(generation.skeleton, None)]
        for distribution in generation.distributions:
            self.layers += [_new_layer(distribution.files, distribution), _new_layer(distribution.installation, distribution)]
        self.by_number = {layer.layer.number: index for index, layer in enumerate(self.layers)}
        self.root = self._directory("", [Part(index, 0) for index in range(len(self.layers))])

    def _directory(self, path: str, parts: list[Part]) -> DirectoryNode:
        first = parts[0]
        layers = [self.layers[part.layer].layer for part in parts]
        mtime_ns = directory_time_ns([(layer.manifest, layer.time, part.row) for layer, part in zip(layers, parts, strict=True)])
        return DirectoryNode(path, tuple(parts), (layers[0].number, first.row), mtime_ns)

    def add_outline(self, layer: int, outlined: Mapping[int, tuple[Names, Names]]) -> None:
        """Remember what more is known of a layer's directories, by row."""
        self.layers[layer].outlined = {**self.layers[layer].outlined, **outlined}

    def add_content(self, layer: int, content: Manifest) -> None:
        """Remember what was read of a layer."""
        self.layers[layer].content = content

    def unread_for_entries(self, directory: DirectoryNode) -> list[int]:
        """Layers that must be read before `entries` of this directory can be answered."""
        return [
            part.layer
            for part in directory.parts
            if part.row not in self.layers[part.layer].outlined and self.layers[part.layer].content is None
        ]

    def unread_for_files(self, entries: Iterable[DirectoryNode | FileEntry]) -> list[int]:
        """Layers that must be read before `file` can be answered for all of these entries."""
        layers = {entry.layer for entry in entries if isinstance(entry, FileEntry)}
        return [layer for layer in layers if self.layers[layer].content is None]

    def entries(self, directory: DirectoryNode) -> dict[str, DirectoryNode | FileEntry]:
        """What the directory holds, by name."""
        if directory.entries is None:
            directory.entries = self._build_entries(directory)
        return directory.entries

    def _build_entries(self, directory: DirectoryNode) -> dict[str, DirectoryNode | FileEntry]:
        """A thousand distributions have a part of site-packages, and most of these name one directory: this must be lean."""
        parts_of: dict[str, list[Part]] = {}
        entries: dict[str, DirectoryNode | FileEntry] = {}
        prefix = f"{directory.path}/" if directory.path else ""
        for part in _skeleton_last(directory.parts):
            directories, files = self.layers[part.layer].names(part.row)
            for name, row in directories.items():
                shown = self._shown(directory.path, name) if name == PYTHON_COMPONENT else name
                if (parts := parts_of.get(shown)) is None:
                    parts_of[shown] = [Part(part.layer, row)]
                else:
                    parts.append(Part(part.layer, row))
                entries.pop(shown, None)
            for name, row in files.items():
                if part.layer == 0 and f"{prefix}{name}" in STAND_INS and name in {*entries, *parts_of}:
                    continue
                entries[name] = FileEntry(part.layer, row, part.row)
                parts_of.pop(name, None)
        for name, parts in parts_of.items():
            entries[name] = self._directory(prefix + name, sorted(parts, key=lambda part: part.layer))
        return entries

    def _shown(self, parent: str, name: str) -> str:
        """What the component that stands for an interpreter is called in a directory."""
        return self.generation.interpreter.directory if parent in _PYTHON_PARENTS else name

    def shown_path(self, path: str) -> str:
        """A manifest's path as this tree shows it."""
        return show_path(path, self.generation.interpreter.directory)

    def file(self, entry: FileEntry) -> FileNode:
        """The file at an entry."""
        layer = self.layers[entry.layer]
        if (node := layer.files.get(entry.row)) is None:
            node = layer.files[entry.row] = build_file((layer.layer.number, entry.row), layer.require(), entry.row)
        return node

    def distribution(self, entry: FileEntry) -> Distribution | None:
        """Whose file it is; None: the skeleton's."""
        return self.layers[entry.layer].distribution

    @property
    def total_size(self) -> int:
        """Bytes of all files."""
        return sum(layer.layer.size for layer in self.layers)


ReadLayers = Callable[[Tree, list[int]], None]
"""Reads these layers and gives the tree what they hold."""


def read_entries(tree: Tree, directory: DirectoryNode, read: ReadLayers) -> dict[str, DirectoryNode | FileEntry]:
    """The entries of a directory, after reading what they need."""
    if layers := tree.unread_for_entries(directory):
        read(tree, layers)
    return tree.entries(directory)


def read_file(tree: Tree, entry: FileEntry, read: ReadLayers) -> FileNode:
    """The file at an entry, after reading what it needs."""
    if layers := tree.unread_for_files([entry]):
        read(tree, layers)
    return tree.file(entry)


def show_path(path: str, python_directory: str) -> str:
    """A manifest's path as an environment shows it whose interpreter has its library in lib/`python_directory`."""
    for parent in _PYTHON_PARENTS:
        if path == f"{parent}/{PYTHON_COMPONENT}" or path.startswith(f"{parent}/{PYTHON_COMPONENT}/"):
            return path.replace(PYTHON_COMPONENT, python_directory, 1)
    return path


def build_file(identity: Identity, manifest: Manifest, row: int) -> FileNode:
    """The node of a manifest's row."""
    kind = Kind(int(manifest.kinds[row]))
    return FileNode(identity, manifest.digest(row), manifest.sizes[row], kind, file_time_ns(manifest, row))


def _skeleton_last(parts: tuple[Part, ...]) -> Iterator[Part]:
    """The order in which later parts win: nobody wins against bin/python."""
    yield from (part for part in parts if part.layer)
    yield from (part for part in parts if not part.layer)


_NS = 1_000_000_000

_FIRST_SECOND = 315_532_800  # 1980-01-01, the first date that a zip file can hold
_MARGIN_S = 2 * 24 * 3600  # what is later than this after it is in 1980 in every time zone


def file_time_ns(manifest: Manifest, row: int) -> int:
    """The time of a manifest's row, in nanoseconds since the epoch: the only source of the times of files.

    `casfs.store.times` says how it is given. A row without one, which the version before made, has a time made from its content.
    """
    return shown_time_ns(manifest.times[row], manifest.digest(row))


def shown_time_ns(time: int, digest: Digest) -> int:
    """What a row's time is shown as (see `file_time_ns`)."""
    return time * _NS or _time_from_content(digest)


def directory_time_ns(parts: Sequence[tuple[Digest, int, int]]) -> int:
    """The time of a directory in nanoseconds: the second of its newest part, and within it one of its content.

    A part is a manifest's digest, its time, and the row of the directory in it.

    So it differs when a part does, which importlib looks at. After something was removed, or rolled back, it may be earlier than before.
    """
    content = checksum_bytes("".join(f"{manifest}{row:x}," for manifest, _, row in parts).encode())
    newest = max(time for _, time, _ in parts)
    return newest * _NS + int(content[:15], 16) % _NS if newest else _time_from_content(content)


def _time_from_content(digest: str) -> int:
    """A time between 1980 and 2014 that differs when the content does. Whole seconds alone have 30 bits."""
    bits = int(digest[:15], 16)  # 60 bits
    seconds = bits >> 30
    seconds += 1 << 30 if seconds < _MARGIN_S else 0
    return (_FIRST_SECOND + seconds) * _NS + (bits & 0x3FFFFFFF) % _NS
