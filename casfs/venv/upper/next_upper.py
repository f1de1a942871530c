"""The next upper layer: what stays of the present one over another generation, so that a mount shows the same files.

The plan is pure: which entries are copied, which paths need a whiteout. A path is shown as before if it is copied, or if the new generation
has the same there; and what was not shown before is hidden by a whiteout, if the new generation has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from casfs.venv.tree import DirectoryNode, ReadLayers, Tree, read_entries
from casfs.venv.upper.merged import MergedView, find_entry
from casfs.venv.upper.written import Written, WrittenKind, is_bytecode, source_of

_USUAL_MODE = 0o755  # of directories in a tree


@dataclass(frozen=True, slots=True)
class UpperPlan:
    """What the next upper layer is made of."""

    kept: tuple[Written, ...]  # parents before children; directories without anything in them among them
    whiteouts: tuple[str, ...]
    dropped: int  # entries of the present one that are not in it

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return self.dropped > 0


def plan_next_upper(view: MergedView, after: Tree, read: ReadLayers, absorbed: Collection[str]) -> UpperPlan:
    """What stays when `after` takes the place of the view's tree and shows itself what it has at the paths `absorbed`."""
    seen = MergedView(view.writings, after, read, view.blobs)
    dropped = {one.path for one in view.writings.entries.values() if one.path in absorbed or seen.is_mere_copy(one)}
    dropped |= {path for path in view.writings.entries if is_bytecode(path) and _is_stale(source_of(path), seen, dropped)}
    entries = view.writings.entries.values()
    files = [one for one in entries if one.kind not in {WrittenKind.DIRECTORY, WrittenKind.WHITEOUT} and one.path not in dropped]
    caches = {f"{path.rpartition('/')[0]}/__pycache__" for path in absorbed if path.endswith(".py")}
    hidden = (path for path in _iter_hidden(view, after, read) if not _is_bytecode_in(caches, path))
    whiteouts = [path for path in hidden if path not in absorbed and find_entry(after, path, read) is not None]
    present = {one.path for one in entries if one.kind is WrittenKind.WHITEOUT}
    dropped |= present - {*whiteouts}
    directories = _kept_directories(seen, dropped, [*(one.path for one in files), *whiteouts])
    kept = sorted([*files, *directories], key=lambda one: one.path.split("/"))
    dropped |= {one.path for one in entries if one.kind is WrittenKind.DIRECTORY}.difference(one.path for one in directories)
    return UpperPlan(tuple(kept), tuple(whiteouts), len(dropped))


def _is_stale(source: str, seen: MergedView, dropped: Collection[str]) -> bool:
    """Whether bytecode of a source serves nobody: the source is gone, or its time changes with the layer that shows it."""
    return source in dropped or seen.find(source) is None


def _is_bytecode_in(caches: Collection[str], path: str) -> bool:
    """Whether a path is one of these directories, or bytecode in one: whoever removed that removed the source that was there before."""
    return path in caches or (is_bytecode(path) and path.rpartition("/")[0] in caches)


def _iter_hidden(view: MergedView, after: Tree, read: ReadLayers) -> Iterable[str]:
    """Paths at which nothing is shown although their directory is."""
    covered: set[str] = set()
    for one in view.writings.entries.values():
        parent = one.path.rpartition("/")[0]
        if one.kind is WrittenKind.WHITEOUT and isinstance(find_entry(after, parent, read) if parent else after.root, DirectoryNode):
            yield one.path
        if one.kind is WrittenKind.DIRECTORY and (one.is_opaque or parent in covered):
            covered.add(one.path)
            node = find_entry(after, one.path, read)
            if isinstance(node, DirectoryNode):
                written = {*view.writings.names.get(one.path, ())}
                yield from (f"{one.path}/{name}" for name in read_entries(after, node, read) if name not in written)


def _kept_directories(seen: MergedView, dropped: Collection[str], contents: Iterable[str]) -> list[Written]:
    """Directories that hold something that stays, or that nothing else would show as they are."""
    needed = {parent for path in contents for parent in _parents(path)}
    emptied = {parent for path in dropped for parent in _parents(path)}
    kept = []
    for one in seen.writings.entries.values():
        if one.kind is not WrittenKind.DIRECTORY or one.path in dropped:
            continue
        is_shown = isinstance(seen.find_lower(one.path), DirectoryNode) and one.mode == _USUAL_MODE
        if one.path in needed or not (is_shown or one.path in emptied):
            kept.append(one)
    return [*kept, *_missing_parents(seen, kept, needed)]


def _missing_parents(seen: MergedView, kept: Iterable[Written], needed: Collection[str]) -> list[Written]:
    """The directories above an empty one that is kept."""
    have = {one.path for one in kept}
    wanted = {parent for one in kept for parent in _parents(one.path)} - have
    return [seen.writings.entries[path] for path in wanted]


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
