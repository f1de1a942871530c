"""Projects that an upper layer has something of: casfs can't change them below it without showing a mixture."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from casfs.errors import EnvironmentRefused
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.uppers import current_upper

if TYPE_CHECKING:
    from casfs.venv.upper.summary import ProjectSummary


def refuse_touched(environment: Environment, generation: Generation | None, projects: Collection[str]) -> None:
    """Raises EnvironmentRefused if a tool or a user changed one of these projects in a mount. Quick if nobody wrote into any."""
    _refuse(environment, generation, projects, by_tools_only=False)


def _refuse(environment: Environment, generation: Generation | None, projects: Collection[str], *, by_tools_only: bool) -> None:
    if not projects or generation is None or (upper := current_upper(environment)) is None or upper.is_empty:
        return
    from casfs.venv.reading import LayerReader
    from casfs.venv.tree import Tree
    from casfs.venv.upper.merged import MergedView
    from casfs.venv.upper.summary import summarise
    from casfs.venv.upper.written import Writings

    with Writings(upper.files) as writings:
        view = MergedView(writings, Tree(generation), LayerReader(environment.store).fill, environment.store.pool)
        found = summarise(view).projects
    touched = [found[project] for project in dict.fromkeys(projects) if project in found]
    if reasons := [describe_touch(environment.name, one) for one in touched if one.tool or not by_tools_only]:
        raise EnvironmentRefused(environment.name, *reasons)


def refuse_changed_by_tools(environment: Environment, generation: Generation, projects: Collection[str]) -> None:
    """The same, but only for projects that a tool installed or uninstalled in a mount: they are not what the generation says."""
    _refuse(environment, generation, projects, by_tools_only=True)


def count_changes_by_tools(environment: Environment, generation: Generation) -> tuple[int, int]:
    """How many distributions tools have installed in the mounts, and how many of the generation they have removed.

    A few system calls if nobody wrote into any; else a look at the names of all that was written. Raises EnvironmentRefused, OSError,
    StoreDamaged.
    """
    if (upper := current_upper(environment)) is None or upper.is_empty:
        return 0, 0
    from casfs.venv.reading import LayerReader
    from casfs.venv.tree import Tree
    from casfs.venv.upper.installed import written_dist_infos
    from casfs.venv.upper.merged import MergedView
    from casfs.venv.upper.summary import gone_distributions
    from casfs.venv.upper.written import Writings
    from casfs.wheels.filename import canonical_name

    with Writings(upper.files) as writings:
        view = MergedView(writings, Tree(generation), LayerReader(environment.store).fill, environment.store.pool)
        installed = {canonical_name(name.partition("-")[0]) for name in written_dist_infos(view)}
        gone = {one.project for one in gone_distributions(view)}
    return len(installed), len(gone - installed)


def describe_touch(environment: str, one: ProjectSummary) -> str:
    """What was done to a project in a mount, and the command that does something about it."""
    absorb, reset = f"`casfs absorb --env {environment}`", f"`casfs reset --env {environment} {one.project}`"
    if one.tool:
        what = f"installed by {one.tool}" if one.after else "uninstalled"
        return f"{one.name} was {what} in the mounted environment; {absorb} keeps that, {reset} throws it away"
    if not one.edited:
        return f"{one.name} was written to in the mounted environment ({one.copied[0]}), without a change; {absorb} tidies that up"
    files = one.edited
    what = f"a file of {one.name} was {files[0].action}" if len(files) == 1 else f"{len(files)} files of {one.name} were changed"
    more = ": its mode, names or attributes" if files[0].action == "changed" else ""
    return f"{what} in the mounted environment ({files[0].path}{more}); {reset} throws that away"
