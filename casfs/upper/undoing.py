"""Undoing: what was done to some projects in the mounts is thrown away, and all else stays."""

from __future__ import annotations

from collections.abc import Sequence

from casfs.errors import EnvironmentRefused
from casfs.store.environments import Environment
from casfs.store.uppers import current_upper, make_current, next_upper
from casfs.upper.copying import build_upper
from casfs.upper.merged import MergedView
from casfs.upper.next_upper import plan_next_upper
from casfs.upper.summary import summarise
from casfs.upper.written import UpperDirectory
from casfs.venv.reading import LayerReader
from casfs.venv.tree import Tree


def undo_projects(environment: Environment, projects: Sequence[str]) -> None:
    """Let the mounts show these projects (canonical names) as the generation has them. Nobody may write into the mounts meanwhile.

    Raises EnvironmentRefused for one to which nothing was done, OSError, StoreDamaged.
    """
    generation = environment.require()  # an environment that does not exist gets no lock, and so no directory
    with environment.locked():
        if (upper := current_upper(environment)) is None:
            raise EnvironmentRefused(environment.name, "nothing was written into a mount of it")
        tree, fill = Tree(generation), LayerReader(environment.store).fill
        with UpperDirectory(upper.files) as upper_directory:
            view = MergedView(upper_directory, tree, fill, environment.store.pool)
            found = summarise(view).projects
            if missing := [name for name in projects if name not in found]:
                raise EnvironmentRefused(environment.name, *(f"nothing of {name} was changed in a mount of it" for name in missing))
            if plan := plan_next_upper(view, tree, fill, {path for name in projects for path in found[name].paths}):
                upper = next_upper(environment)
                build_upper(upper_directory, plan, upper.files)
                make_current(environment, upper)
