"""What differs between trees, and what distributions dispute: found by comparing the parts of directories, so equal ones are never entered.

Bytecode is disputed only where it is not beside its own source: what one distribution has of a source that another one has would run in
its place. Where each has a source of that name, it is the sources that are disputed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from casfs.digest import Digest
from casfs.store.generations import Distribution
from casfs.venv.bytecode_names import is_bytecode, source_of
from casfs.venv.tree import DirectoryNode, FileEntry, ReadLayers, Tree, read_entries, read_file


@dataclass(frozen=True, slots=True)
class ChangedEntry:
    """A name that is new, is gone, or means something else now."""

    directory: DirectoryNode
    name: str


@dataclass(frozen=True, slots=True)
class ChangedDirectory:
    """A directory whose own facts differ, since its entries do."""

    directory: DirectoryNode


def iter_differences(old: Tree, new: Tree, read: ReadLayers) -> Iterator[ChangedEntry | ChangedDirectory]:
    """What a kernel that knows `old` must forget to see `new`."""
    yield from _compare(old, old.root, new, new.root, read)


def _compare(
    old: Tree, before: DirectoryNode, new: Tree, after: DirectoryNode, read: ReadLayers
) -> Iterator[ChangedEntry | ChangedDirectory]:
    if _parts(old, before) == _parts(new, after):
        return
    yield ChangedDirectory(before)
    was, now = read_entries(old, before, read), read_entries(new, after, read)
    for name in sorted(was.keys() | now.keys()):
        one, other = was.get(name), now.get(name)
        if isinstance(one, DirectoryNode) and isinstance(other, DirectoryNode) and one.identity == other.identity:
            yield from _compare(old, one, new, other, read)
        elif _identity(old, one) != _identity(new, other):
            yield ChangedEntry(before, name)
            yield from _iter_inside(old, one, read)
            yield from _iter_inside(new, other, read)


def _iter_inside(tree: Tree, entry: DirectoryNode | FileEntry | None, read: ReadLayers) -> Iterator[ChangedEntry | ChangedDirectory]:
    """What a kernel may have kept of a directory that goes or comes back: a process that works in it keeps it, and what is open below it.

    Where only one layer has the directory, its number always stands for the same entries.
    """
    if not isinstance(entry, DirectoryNode):
        return
    yield ChangedDirectory(entry)
    if len(entry.parts) > 1:
        for name, child in read_entries(tree, entry, read).items():
            yield ChangedEntry(entry, name)
            yield from _iter_inside(tree, child, read)


def _parts(tree: Tree, directory: DirectoryNode) -> list[tuple[Digest, int]]:
    return [(tree.layers[part.layer].layer.manifest, part.row) for part in directory.parts]


def _identity(tree: Tree, entry: DirectoryNode | FileEntry | None) -> object:
    if isinstance(entry, FileEntry):
        return tree.layers[entry.layer].layer.number, entry.row
    return ("directory", entry.identity) if entry else None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two distributions claim one path: with different bytes, or one as a file and the other as a directory."""

    path: str
    loser: Distribution
    winner: Distribution
    is_impossible: bool  # a file and a directory of one name can't both be shown
    is_foreign: bool = False  # the loser only has the source of this bytecode; which one is the later does not matter

    def __str__(self) -> str:
        loser, winner = (f"{distribution.name} {distribution.version}" for distribution in (self.loser, self.winner))
        if self.is_foreign:
            return f"{self.path} of {winner} is bytecode of a source that {loser} has"
        what = "as a file and as a directory" if self.is_impossible else "with different contents"
        return f"{self.path} is claimed by {loser} and by {winner} {what}"

    @property
    def outcome(self) -> str:
        """What a mount makes of it."""
        return "Python may run it instead" if self.is_foreign else f"the later one, {self.winner.name}, wins"


def iter_conflicts(tree: Tree, read: ReadLayers) -> Iterator[Conflict]:
    """Every path that two distributions dispute, below directories that two distributions share."""
    waiting: list[tuple[DirectoryNode, DirectoryNode]] = [(tree.root, tree.root)]
    while waiting:
        directory, parent = waiting.pop()
        if len({_owner(tree, part.layer) for part in directory.parts}) < 2:
            continue
        entries = read_entries(tree, directory, read)
        yield from _conflicts_in(tree, directory, parent, read)
        if isinstance(cache := entries.get("__pycache__"), DirectoryNode):
            yield from _iter_foreign(tree, directory, cache, read)
        waiting += [(entry, directory) for entry in entries.values() if isinstance(entry, DirectoryNode)]


def _owner(tree: Tree, layer: int) -> str | None:
    distribution = tree.layers[layer].distribution
    return distribution.project if distribution else None


_Claim = tuple[int, FileEntry | None]
"""A layer and its file; None: its directory."""


def _conflicts_in(tree: Tree, directory: DirectoryNode, parent: DirectoryNode, read: ReadLayers) -> Iterator[Conflict]:
    claims: dict[str, list[_Claim]] = {}
    prefix = f"{directory.path}/" if directory.path else ""
    for part in directory.parts:
        directories, files = tree.layers[part.layer].names(part.row)
        for name in directories:
            claims.setdefault(tree.shown_path(prefix + name), []).append((part.layer, None))
        for name, row in files.items():
            claims.setdefault(prefix + name, []).append((part.layer, FileEntry(part.layer, row, part.row)))
    for path, claimants in claims.items():
        if len(claimants) > 1 and any(entry for _, entry in claimants):
            sourced = _layers_with(tree, parent, source_of(path)) if is_bytecode(path) else set()
            yield from _disputes(tree, path, claimants, sourced, read)


def _layers_with(tree: Tree, directory: DirectoryNode, path: str) -> set[int]:
    """The layers that have a file of that name in a directory."""
    name = path.rpartition("/")[2]
    return {part.layer for part in directory.parts if name in tree.layers[part.layer].names(part.row)[1]}


def _disputes(tree: Tree, path: str, claimants: list[_Claim], sourced: set[int], read: ReadLayers) -> Iterator[Conflict]:
    """`sourced` are the layers that have the source, if this is bytecode."""
    for (one, before), (other, after) in pairwise(claimants):
        loser, winner = tree.layers[one].distribution, tree.layers[other].distribution
        if loser is None or winner is None or loser.project == winner.project:
            continue
        if before is None or after is None:
            if before is not after:
                yield Conflict(path, loser, winner, True)
        elif not {one, other} <= sourced and read_file(tree, before, read).digest != read_file(tree, after, read).digest:
            yield Conflict(path, loser, winner, False)


def _iter_foreign(tree: Tree, directory: DirectoryNode, cache: DirectoryNode, read: ReadLayers) -> Iterator[Conflict]:
    """Bytecode of which its distribution has no source, but another one has it, and no bytecode there that could dispute it."""
    read_entries(tree, cache, read)
    names = {part.layer: tree.layers[part.layer].names(part.row)[1] for part in cache.parts}
    for layer, files in names.items():
        winner = tree.layers[layer].distribution
        for path in (f"{cache.path}/{name}" for name in files):
            sourced = _layers_with(tree, directory, source_of(path)) if is_bytecode(path) else set()
            for other in sorted(sourced) if layer not in sourced else ():
                loser = tree.layers[other].distribution
                is_bare = path.rpartition("/")[2] not in names.get(other, ())
                if winner and loser and is_bare and winner.project != loser.project:
                    yield Conflict(path, loser, winner, False, True)
