"""What tools wrote into the mounts of an environment, for the commands that show it, keep it or throw it away."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from casfs.cli.output import format_count, format_size, note, say, warn
from casfs.errors import CasfsError
from casfs.store.environments import Environment
from casfs.store.leases import iter_leases
from casfs.store.uppers import current_upper
from casfs.upper.merged import merged_view
from casfs.upper.summary import ProjectSummary, Summary, WrittenFile, summarise


@contextlib.contextmanager
def frozen_upper(environment: Environment) -> Iterator[None]:
    """Nobody writes into the environment's mounts during the block. Raises MountRefused if somebody is about to."""
    if os.geteuid() != 0:
        yield
        return
    from casfs.mounts.environment_overlays import frozen

    with frozen(environment.store, environment.name):
        yield


def sweep_upper(environment: Environment) -> None:
    """Free the disk of upper layers that no mount shows any more and no process uses."""
    if os.geteuid() != 0:
        return
    from casfs.mounts.environment_overlays import sweep_work
    from casfs.mounts.mountpoints import locked_mounts

    with locked_mounts(environment.store):
        sweep_work(environment)


def mountpoints_of(environment: Environment) -> set[str]:
    """Where the environment is mounted: scripts that tools made name their interpreter by these paths."""
    from casfs.mounts.mountpoints import iter_mount_records

    leases = {lease.mountpoint for lease in iter_leases(environment.store) if lease.environment == environment.name}
    return leases | {place.path for place in iter_mount_records(environment.store) if place.environment == environment.name}


def summarise_upper(environment: Environment) -> Summary | None:
    """What is in the upper layer; None if nothing is."""
    generation = environment.require()
    if (upper := current_upper(environment)) is None:
        return None
    with merged_view(environment, generation, upper) as view:
        return summarise(view) if view.upper_directory.entries else None


def note_what_was_written(environment: Environment) -> None:
    """A lock, or a copy, knows nothing of what tools wrote into the mounts."""
    with contextlib.suppress(CasfsError, OSError):  # `casfs diff` says what is wrong with what was written
        if (upper := current_upper(environment)) is not None and not upper.is_empty:
            note_what_is_missing(environment)


def note_what_is_missing(environment: Environment) -> None:
    """What tools wrote into the mounts is no part of a generation; whoever meant it should know."""
    summary = summarise_upper(environment)
    if summary is None or summary.is_empty:
        return
    installed = sum(bool(project.tool) for project in summary.projects.values())
    found = [format_count(installed, "distribution")] if installed else []
    found += [format_count(summary.files_of_nobody, "file")] if summary.files_of_nobody else []
    what = " and ".join(found)
    note(f"not part of it, because it was changed in a mount: {what}; `casfs diff` names them, `casfs absorb` keeps what tools installed")


def say_summary(summary: Summary, most: int | None) -> None:
    """Distributions first, then files, of which `most` are named."""
    projects = sorted(summary.projects.values(), key=lambda one: one.project)
    for one in projects:
        if one.tool:
            say(_describe_project(one))
    files = [(project.name, file) for project in projects if not project.tool for file in project.edited] + [
        ("", file) for file in summary.loose
    ]
    for name, file in files[:most]:
        say(_describe_file(name, file))
    if most is not None and len(files) > most:
        say(f"  and {format_count(len(files) - most, 'more file')}")
    for problem in summary.unreadable:
        warn(str(problem))
    bytecode = f", {format_count(summary.bytecode_files, 'bytecode file')} among them" if summary.bytecode_files else ""
    note(f"{format_size(summary.size)} in the upper layer{bytecode}")


def _describe_project(project: ProjectSummary) -> str:
    if project.after is None:
        return f"- {project.name} {project.before}"
    versions = project.after if project.before in {None, project.after} else f"{project.before} -> {project.after}"
    sign = "+" if project.before is None else "~"
    return f"{sign} {project.name} {versions} ({project.tool}, {format_count(project.files, 'file')}, {format_size(project.size)})"


def _describe_file(name: str, file: WrittenFile) -> str:
    return f"  {file.action:7} {file.path}" + (f" ({name})" if name else "")


def describe_summary(summary: Summary | None) -> dict[str, object]:
    """For programs."""
    if summary is None:
        return {"distributions": [], "files": [], "bytecode": {"file_count": 0, "bytes": 0}, "problems": [], "bytes": 0}
    changed = [project for project in summary.projects.values() if project.tool or project.edited]
    return {
        "distributions": [
            {
                "name": one.name,
                "before": one.before,
                "after": one.after if one.tool else one.before,
                "installer": one.tool or None,
                "file_count": one.files,
                "bytes": one.size,
                "edited": [_describe_written(file) for file in one.edited],
            }
            for one in sorted(changed, key=lambda one: one.project)
        ],
        "files": [_describe_written(file) for file in summary.loose],
        "bytecode": {"file_count": summary.bytecode_files, "bytes": summary.bytecode_size},
        "problems": [str(one) for one in summary.unreadable],
        "bytes": summary.size,
    }


def _describe_written(file: WrittenFile) -> dict[str, object]:
    return {"path": file.path, "action": file.action, "bytes": file.size}
