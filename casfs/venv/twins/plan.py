"""What metadata twins hold: directories of a tree, with the files that are shown in each. Nothing here touches a disk.

A twin of a manifest is the tree of that manifest alone. The top of a generation is what its tree adds to the twins of its manifests:

    the skeleton's files      they win against all others
    merged directories        those of several layers, each with the time that the whole tree gives it, and those of the skeleton

All else follows from overlayfs: the uppermost layer that has a name shows it, directories merge down to the first layer where the name is a
file. That is how a tree resolves conflicts too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from casfs.digest import Digest
from casfs.errors import InvalidValue
from casfs.store.generations import BaseInterpreter, Generation, Layer, build_layer
from casfs.store.manifests import Manifest
from casfs.venv.differences import ReadLayers, read_entries
from casfs.venv.tree import Content, DirectoryNode, FileEntry, FileNode, Tree

_SKELETON = 0  # the layer of a tree that is in its top


@dataclass(frozen=True, slots=True)
class TwinDirectory:
    """A directory of a twin; `directories` are the names of those in it."""

    path: str
    mtime_ns: int
    directories: Sequence[str]
    files: Sequence[tuple[str, FileNode]]


def iter_twin(digest: Digest, manifest: Manifest, python_directory: str) -> Iterator[TwinDirectory]:
    """The directories of a manifest's twin, parents first. Raises InvalidValue at the end if the manifest has two files of one name.

    It may have: one spells pythonX.Y out, the other has {python}. overlayfs would merge what a tree hides.
    """
    layer = build_layer(digest, 0, manifest)
    tree = Tree(Generation(0, "", "", BaseInterpreter("", "", "", python_directory), layer, ()))
    tree.add_content(_SKELETON, Content(manifest, {}))
    count = 0
    for one in _iter_directories(tree, lambda tree, layers: None, is_top=False):
        count += len(one.files)
        yield one
    if count != len(manifest.names):
        raise InvalidValue(digest, "has two files of one name")


def iter_top(generation: Generation, read: ReadLayers) -> Iterator[TwinDirectory]:
    """The directories of a generation's top, parents first. Only merged directories are looked into."""
    return _iter_directories(Tree(generation), read, is_top=True)


def _iter_directories(tree: Tree, read: ReadLayers, *, is_top: bool) -> Iterator[TwinDirectory]:
    waiting = [tree.root]
    while waiting:
        directory = waiting.pop()
        entries = read_entries(tree, directory, read)
        below = {name: entry for name, entry in entries.items() if isinstance(entry, DirectoryNode) and (not is_top or _is_in_top(entry))}
        files = [(name, entry) for name, entry in entries.items() if isinstance(entry, FileEntry) and entry.layer == _SKELETON]
        read(tree, tree.unread_for_files(entry for _, entry in files))
        yield TwinDirectory(directory.path, directory.mtime_ns, list(below), [(name, tree.file(entry)) for name, entry in files])
        waiting += below.values()


def _is_in_top(directory: DirectoryNode) -> bool:
    layers = {part.layer for part in directory.parts}
    return len(layers) > 1 or _SKELETON in layers


_SHARD = re.compile(r"[0-9a-f]{2}")


def is_stackable(generation: Generation) -> bool:
    """Whether no layer holds what the kernel could take for a blob.

    It follows the path of a blob from the root of every lower layer before it comes to the pools (ovl_lookup in fs/overlayfs/namei.c).
    """
    layers = [generation.skeleton, *iter_upwards(generation)]
    return not any(len(name) == 2 and _SHARD.fullmatch(name) for layer in layers for name in _root_names(layer))


def _root_names(layer: Layer) -> list[str]:
    directories, files = layer.outline.directories[0]
    return [*directories, *files]


def iter_upwards(generation: Generation) -> Iterator[Layer]:
    """The layers above the skeleton; the later one wins."""
    for one in generation.distributions:
        yield one.files
        yield one.installation
