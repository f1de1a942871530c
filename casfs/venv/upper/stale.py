"""Bytecode in an upper layer whose source is gone with a generation: its directory alone would let `import` find an empty package."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from casfs.store.environments import Environment
from casfs.store.uppers import current_upper, make_current, next_upper
from casfs.venv.upper.copying import build_upper
from casfs.venv.upper.merged import MergedView
from casfs.venv.upper.next_upper import plan_next_upper
from casfs.venv.reading import LayerReader
from casfs.venv.tree import Tree
from casfs.venv.upper.written import OPEN_DIRECTORY, Writings, WrittenKind, is_bytecode, parent_below, source_of


def find_stale_bytecode(environment: Environment) -> list[str]:
    """Paths of bytecode in the upper layer whose source nobody shows, and of the directories that hold nothing else, deepest first."""
    if (upper := current_upper(environment)) is None or (generation := environment.current()) is None:
        return []
    with Writings(upper.files) as writings:
        view = MergedView(writings, Tree(generation), LayerReader(environment.store).fill, environment.store.pool)
        entries = writings.entries.values()
        files = [one.path for one in entries if one.kind is WrittenKind.FILE and is_bytecode(one.path)]
        stale = [path for path in files if view.find(source_of(path)) is None]
        parents = {"/".join(parts[:count]) for path in stale for parts in [path.split("/")] for count in range(1, len(parts))}
        return [*stale, *sorted((path for path in parents if view.find_lower(path) is None), reverse=True)]


def remove_below(mount: str, paths: Sequence[str]) -> None:
    """Remove files, and directories if they are empty, in a mount of the environment. No symbolic link is followed; what fails is left."""
    root = os.open(mount, OPEN_DIRECTORY)
    try:
        for path in paths:
            with contextlib.suppress(OSError), parent_below(root, path) as (parent, name):
                os.unlink(name, dir_fd=parent) if is_bytecode(path) else os.rmdir(name, dir_fd=parent)
    finally:
        os.close(root)


def tidy_upper(environment: Environment) -> None:
    """The same by a new upper layer, where the environment has no mount. Raises OSError, StoreDamaged."""
    with environment.locked():
        if (upper := current_upper(environment)) is None:
            return
        tree, fill = Tree(environment.require()), LayerReader(environment.store).fill
        with Writings(upper.files) as writings:
            view = MergedView(writings, tree, fill, environment.store.pool)
            if plan := plan_next_upper(view, tree, fill, ()):
                upper = next_upper(environment)
                build_upper(writings, plan, upper.files)
                make_current(environment, upper)
