"""The next upper layer: what stays of the present one over another generation, so that a mount shows the same files.

The plan is pure: which entries are copied, which paths need a whiteout. A path is shown as before if it is copied, or if the new generation
has the same there; and what was not shown before is hidden by a whiteout, if the new generation has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from casfs.upper.merged import MergedView
from casfs.upper.written import UpperEntry, UpperEntryKind
from casfs.venv.bytecode_names import is_bytecode, source_of
from casfs.venv.tree import DirectoryNode, Tree

_USUAL_MODE = 0o755  # of directories in a tree


@dataclass(frozen=True, slots=True)
class UpperPlan:
    """What the next upper layer is made of."""

    kept: tuple[UpperEntry, ...]  # parents before children; directories without anything in them among them
    whiteouts: tuple[str, ...]
    dropped: int  # entries of the present one that are not in it

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return self.dropped > 0


def plan_next_upper(view: MergedView, after: Tree, absorbed: Collection[str]) -> UpperPlan:
    """What stays when `after` takes the place of the view's tree and shows itself what it has at the paths `absorbed`."""
    seen = view.over(after)
    dropped = {one.path for one in view.upper_directory.entries.values() if one.path in absorbed or seen.is_mere_copy(one)}
    dropped |= {path for path in view.upper_directory.entries if is_bytecode(path) and _is_stale(source_of(path), seen, dropped)}
    entries = view.upper_directory.entries.values()
    files = [one for one in entries if one.kind not in {UpperEntryKind.DIRECTORY, UpperEntryKind.WHITEOUT} and one.path not in dropped]
    caches = {f"{path.rpartition('/')[0]}/__pycache__" for path in absorbed if path.endswith(".py")}
    hidden = (path for path in _iter_hidden(seen) if not _is_bytecode_in(caches, path))
    whiteouts = [path for path in hidden if path not in absorbed and seen.find_lower(path) is not None]
    present = {entry.path for entry in entries if entry.kind is UpperEntryKind.WHITEOUT}
    dropped |= present - {*whiteouts}
    directories = _kept_directories(seen, dropped, [*(file.path for file in files), *whiteouts])
    kept = sorted([*files, *directories], key=lambda one: one.path.split("/"))
    dropped |= {one.path for one in entries if one.kind is UpperEntryKind.DIRECTORY}.difference(directory.path for directory in directories)
    return UpperPlan(tuple(kept), tuple(whiteouts), len(dropped))


def _is_stale(source: str, seen: MergedView, dropped: Collection[str]) -> bool:
    """Whether bytecode of a source serves nobody: the source is gone, or its time changes with the layer that shows it."""
    return source in dropped or seen.find(source) is None


def _is_bytecode_in(caches: Collection[str], path: str) -> bool:
    """Whether a path is one of these directories, or bytecode in one: whoever removed that removed the source that was there before."""
    return path in caches or (is_bytecode(path) and path.rpartition("/")[0] in caches)


def _iter_hidden(seen: MergedView) -> Iterable[str]:
    """Paths at which nothing is shown although their directory is."""
    covered: set[str] = set()
    for entry in seen.upper_directory.entries.values():
        parent = entry.path.rpartition("/")[0]
        if entry.kind is UpperEntryKind.WHITEOUT and isinstance(seen.find_lower(parent) if parent else seen.tree.root, DirectoryNode):
            yield entry.path
        if entry.kind is UpperEntryKind.DIRECTORY and (entry.is_opaque or parent in covered):
            covered.add(entry.path)
            node = seen.find_lower(entry.path)
            if isinstance(node, DirectoryNode):
                written = {*seen.upper_directory.names.get(entry.path, ())}
                yield from (f"{entry.path}/{name}" for name in seen.lower_names(node) if name not in written)


def _kept_directories(seen: MergedView, dropped: Collection[str], contents: Iterable[str]) -> list[UpperEntry]:
    """Directories that hold something that stays, or that nothing else would show as they are."""
    needed = {parent for path in contents for parent in _parents(path)}
    emptied = {parent for path in dropped for parent in _parents(path)}
    kept = []
    for entry in seen.upper_directory.entries.values():
        if entry.kind is not UpperEntryKind.DIRECTORY or entry.path in dropped:
            continue
        is_shown = isinstance(seen.find_lower(entry.path), DirectoryNode) and entry.mode == _USUAL_MODE
        if entry.path in needed or not (is_shown or entry.path in emptied):
            kept.append(entry)
    return [*kept, *_missing_parents(seen, kept)]


def _missing_parents(seen: MergedView, kept: Iterable[UpperEntry]) -> list[UpperEntry]:
    """The directories above an empty one that is kept."""
    have = {entry.path for entry in kept}
    wanted = {parent for one in kept for parent in _parents(one.path)} - have
    return [seen.upper_directory.entries[path] for path in wanted]


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
