"""Stale bytecode in an upper layer, after a change of generation; and what else nobody wrote of his own accord.

Where the source is gone, the directory of its bytecode alone would let `import` find an empty package. And bytecode that says that it is
not to be compared with its source (PEP 552, unchecked) would go on to run when the source below it is another one. Which sources changed
need not be known for that, so a later command can finish what a killed one left: all such bytecode goes, unless its source is in the upper
layer as well and so stays what it is. It is a cache, and Python makes it anew.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from casfs.descriptors import closing_fd
from casfs.store.environments import Environment
from casfs.store.uppers import current_upper
from casfs.upper.copying import replace_upper
from casfs.upper.installed import site_packages
from casfs.upper.merged import MergedView, merged_view
from casfs.upper.next_upper import plan_next_upper
from casfs.upper.written import OPEN_DIRECTORY, UpperDirectory, UpperEntry, UpperEntryKind, parent_below
from casfs.venv.bytecode_names import is_bytecode, source_of


def find_stale_bytecode(environment: Environment) -> list[str]:
    """Paths of stale bytecode in the upper layer, and of the directories that hold nothing else and are only there, deepest first."""
    if (upper := current_upper(environment)) is None or (generation := environment.current()) is None:
        return []
    with merged_view(environment, generation, upper) as view:
        stale = [*_stale_files(view), *_stale_dist_infos(view)]
        parents = {"/".join(parts[:count]) for path in stale for parts in [path.split("/")] for count in range(1, len(parts))}
        return [*stale, *sorted((path for path in parents if view.find_lower(path) is None), reverse=True)]


def _stale_dist_infos(view: MergedView) -> list[str]:
    """Empty .dist-info directories of what went with the generation before: whoever changed their mode kept them in the upper layer."""
    site, names = site_packages(view), view.upper_directory.names
    paths = [f"{site}/{name}" for name in names.get(site, ()) if name.endswith(".dist-info") and f"{site}/{name}" not in names]
    return [path for path in paths if view.upper_directory.entries[path].kind is UpperEntryKind.DIRECTORY and view.find_lower(path) is None]


def _stale_files(view: MergedView) -> list[str]:
    entries = view.upper_directory.entries.values()
    files = [entry.path for entry in entries if entry.kind is UpperEntryKind.FILE and is_bytecode(entry.path)]
    return [path for path in files if _is_stale(view, path)]


def _is_stale(view: MergedView, path: str) -> bool:
    source = view.find(source_of(path))
    return source is None or (not isinstance(source, UpperEntry) and _is_unchecked(view.upper_directory, path))


_HASH_BASED, _CHECKED = 1, 2  # flags of bytecode (PEP 552)


def _is_unchecked(upper_directory: UpperDirectory, path: str) -> bool:
    """Whether Python runs bytecode without a look at its source. What can't be read, or is too short, Python does not run either."""
    try:
        fd = upper_directory.open_file(path)
    except OSError:
        return False
    try:
        header = os.pread(fd, 8, 0)
    except OSError:
        return False
    finally:
        os.close(fd)
    flags = int.from_bytes(header[4:], "little")
    return len(header) == 8 and flags & (_HASH_BASED | _CHECKED) == _HASH_BASED


def remove_below(mount: str, paths: Sequence[str]) -> None:
    """Remove files, and directories if they are empty, in a mount of the environment. No symbolic link is followed; what fails is left.

    Bytecode that the generation has in the same place stays hidden: the next import by whoever may write makes it anew.
    """
    with closing_fd(os.open(mount, OPEN_DIRECTORY)) as root:
        for path in paths:
            with contextlib.suppress(OSError), parent_below(root, path) as (parent, name):
                os.unlink(name, dir_fd=parent) if is_bytecode(path) else os.rmdir(name, dir_fd=parent)


def tidy_upper(environment: Environment) -> None:
    """Remove stale bytecode by a new upper layer, where the environment has no mount. Raises OSError, StoreDamaged."""
    with environment.locked():
        if (upper := current_upper(environment)) is None:
            return
        with merged_view(environment, environment.require(), upper) as view:
            if plan := plan_next_upper(view, view.tree, [*_stale_files(view), *_stale_dist_infos(view)]):
                replace_upper(environment, view.upper_directory, plan)
