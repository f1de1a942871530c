"""Undoing: what was done to some projects in the mounts is thrown away, and all else stays."""

from __future__ import annotations

from collections.abc import Sequence

from casfs.errors import EnvironmentRefused
from casfs.store.environments import Environment
from casfs.store.uppers import current_upper
from casfs.upper.copying import replace_upper
from casfs.upper.merged import merged_view
from casfs.upper.next_upper import plan_next_upper
from casfs.upper.summary import summarise


def undo_projects(environment: Environment, projects: Sequence[str]) -> None:
    """Let the mounts show these projects (canonical names) as the generation has them. Nobody may write into the mounts meanwhile.

    Raises EnvironmentRefused for one to which nothing was done, OSError, StoreDamaged.
    """
    generation = environment.require()  # an environment that does not exist gets no lock, and so no directory
    with environment.locked():
        if (upper := current_upper(environment)) is None:
            raise EnvironmentRefused(environment.name, "nothing was written into a mount of it")
        with merged_view(environment, generation, upper) as view:
            found = summarise(view).projects
            if missing := [name for name in projects if name not in found]:
                raise EnvironmentRefused(environment.name, *(f"nothing of {name} was changed in a mount of it" for name in missing))
            if plan := plan_next_upper(view, view.tree, {path for name in projects for path in found[name].paths}):
                replace_upper(environment, view.upper_directory, plan)
