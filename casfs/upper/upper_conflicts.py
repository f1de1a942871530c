"""Projects that an upper layer has something of: casfs can't change them below it without showing a mixture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from casfs.errors import EnvironmentRefused
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.uppers import current_upper

if TYPE_CHECKING:
    from casfs.upper.summary import ProjectSummary


def refuse_touched(environment: Environment, generation: Generation | None, projects: Collection[str]) -> None:
    """Raises EnvironmentRefused if a tool or a user changed one of these projects in a mount. Quick if nobody wrote into any."""
    _refuse(environment, generation, projects, by_tools_only=False)


def _refuse(environment: Environment, generation: Generation | None, projects: Collection[str], *, by_tools_only: bool) -> None:
    if not projects or generation is None or (upper := current_upper(environment)) is None or upper.is_empty:
        return
    from casfs.upper.merged import merged_view
    from casfs.upper.summary import summarise

    with merged_view(environment, generation, upper) as view:
        found = summarise(view).projects
    touched = [found[project] for project in dict.fromkeys(projects) if project in found]
    if reasons := _describe_all([one for one in touched if one.tool or not by_tools_only]):
        raise EnvironmentRefused(environment.name, *reasons)


def _describe_all(touched: Sequence[ProjectSummary]) -> list[str]:
    """A line for each cause: what one tool did to many projects is one."""
    by_cause: dict[str, list[ProjectSummary]] = {}
    for project in touched:
        by_cause.setdefault(_cause(project) or project.name, []).append(project)
    return [_describe_alike(projects) if len(projects) > 1 else describe_touch(projects[0]) for projects in by_cause.values()]


def _cause(project: ProjectSummary) -> str:
    """What a tool did to the project; empty if no tool did anything."""
    if not project.tool:
        return ""
    return f"installed by {project.tool}" if project.after else "uninstalled"


def _describe_alike(touched: Sequence[ProjectSummary]) -> str:
    names = [project.name for project in touched[:_MOST_NAMED]]
    if more := len(touched) - len(names):
        names.append(f"{more} more")
    named = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{len(touched)} distributions were {_cause(touched[0])} in the mounted environment ({named}); {_EITHER_OF_MANY}"


def refuse_changed_by_tools(environment: Environment, generation: Generation, projects: Collection[str]) -> None:
    """Raises EnvironmentRefused for projects that a tool installed or uninstalled in a mount: they are not what the generation says."""
    _refuse(environment, generation, projects, by_tools_only=True)


def count_changes_by_tools(environment: Environment, generation: Generation) -> tuple[int, int]:
    """How many distributions tools have installed in the mounts, and how many of the generation they have removed.

    A few system calls if nobody wrote into any; else a look at the names of all that was written. Raises EnvironmentRefused, OSError,
    StoreDamaged.
    """
    if (upper := current_upper(environment)) is None or upper.is_empty:
        return 0, 0
    from casfs.upper.installed import written_dist_infos
    from casfs.upper.merged import merged_view
    from casfs.upper.summary import gone_distributions
    from casfs.wheels.filename import canonical_name

    with merged_view(environment, generation, upper) as view:
        installed = {canonical_name(name.partition("-")[0]) for name in written_dist_infos(view)}
        gone = {distribution.project for distribution in gone_distributions(view)}
    return len(installed), len(gone - installed)


def describe_touch(project: ProjectSummary) -> str:
    """What was done to a project in a mount, and what can be done about it."""
    if cause := _cause(project):
        ways = f"`casfs absorb` keeps that, `casfs reset {project.project}` throws it away"
        return f"{project.name} was {cause} in the mounted environment; {ways}"
    if project.edited:
        files = project.edited
        what = (
            f"a file of {project.name} was {files[0].action}" if len(files) == 1 else f"{len(files)} files of {project.name} were changed"
        )
        more = ": its mode, names or attributes" if files[0].action == "changed" else ""
        return f"{what} in the mounted environment ({files[0].path}{more}); `casfs reset {project.project}` throws that away"
    return (
        f"{project.name} was written to in the mounted environment ({project.copied[0]}), without a change; `casfs absorb` tidies that up"
    )


_EITHER_OF_MANY = "`casfs absorb` keeps them, `casfs reset` throws them away"
_MOST_NAMED = 3


def undo_projects(environment: Environment, projects: Sequence[str]) -> None:
    """Let the mounts show these projects (canonical names) as the generation has them. Nobody may write into the mounts meanwhile.

    Raises EnvironmentRefused for one to which nothing was done, OSError, StoreDamaged.
    """
    from casfs.upper.copying import replace_upper
    from casfs.upper.merged import merged_view
    from casfs.upper.next_upper import plan_next_upper
    from casfs.upper.summary import summarise

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
