"""show: a distribution, or one file of a mount."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator
from typing import Any

from casfs.changes.changes import parse_project
from casfs.cli.commands.list import size_of
from casfs.cli.context import open_to_read
from casfs.cli.options import add_json
from casfs.cli.output import format_size, local_time, note, say, say_json, say_table
from casfs.cli.parser import Commands
from casfs.digest import digest_file
from casfs.errors import EnvironmentRefused
from casfs.store.environments import Environment
from casfs.store.generations import Distribution, Generation
from casfs.store.leases import iter_leases
from casfs.store.manifests import ManifestFile, read_manifest
from casfs.store.regular_file import OPEN_FLAGS
from casfs.store.runtime_files import format_utc
from casfs.store.store import Store
from casfs.store.uppers import current_upper
from casfs.upper.merged import find_entry
from casfs.venv.described import find_required, find_requiring, read_headers
from casfs.venv.reading import LayerReader
from casfs.venv.similar import did_you_mean
from casfs.venv.tree import FileEntry, Tree, read_file


def add_command(commands: Commands) -> None:
    """casfs show"""
    show = commands.add("show", run_show, "casfs show numpy")
    show.add_argument("what", metavar="NAME|PATH", help="name of a project, or path of a file in a mount (with a slash in it)")
    show.add_argument("--files", action="store_true", help="and every file of the distribution, with its size and SHA-256")
    show.set_defaults(usage_error=show.error)
    add_json(show)


def run_show(arguments: argparse.Namespace) -> None:
    """casfs show"""
    if "/" in arguments.what:
        if arguments.files:
            arguments.usage_error("--files is for a distribution, not for a file")
        facts = _describe_file(open_to_read(arguments).store, os.path.abspath(arguments.what))
        if arguments.json:
            say_json(facts)
        else:
            _say_facts(facts)
            if "original_sha256" in facts:
                note("the mount shows the copy in the upper layer, which was written there, in place of the original")
        return
    _show_distribution(open_to_read(arguments), arguments)


def _show_distribution(environment: Environment, arguments: argparse.Namespace) -> None:
    generation = environment.require()
    if (one := generation.find(project := parse_project(arguments.what))) is None:
        meant = did_you_mean(project, (distribution.project for distribution in generation.distributions))
        raise EnvironmentRefused(environment.name, f"{arguments.what} is not in the environment{meant}")
    facts = _describe_distribution(environment, generation, one)
    tree = Tree(generation)
    files = [(tree.shown_path(file.path), file) for file in _iter_files(environment, one)]
    facts["file_count"] = len(files)
    if arguments.json:
        listed = [{"path": path, "bytes": file.size, "sha256": file.digest, "kind": file.kind.name.lower()} for path, file in files]
        say_json({**facts, "files": listed} if arguments.files else facts)
        return
    _say_page(facts)
    if arguments.files:
        say()
        say_table(("SHA-256", "Bytes", "Path"), [(file.digest, str(file.size), path) for path, file in files])


def _describe_distribution(environment: Environment, generation: Generation, distribution: Distribution) -> dict[str, Any]:
    about = read_manifest(environment.store, distribution.files.manifest).description
    headers = read_headers(environment.store, distribution)
    added = _find_beginning(environment, generation, distribution)
    return {
        "name": distribution.name,
        "version": distribution.version,
        "summary": next((line for line in headers.get("summary", ()) if line not in {"", "UNKNOWN"}), None),
        "requires": [
            {"requirement": each.requirement, "project": each.project, "version": each.found.version if each.found else None}
            for each in find_required(generation, headers)
        ],
        "required_by": [
            {"name": each.name, "version": each.version} for each in find_requiring(environment.store, generation, distribution.project)
        ],
        "requires_python": about.requires_python,
        "entry_points": [f"{name} = {module}:{attribute}" for name, module, attribute in about.entry_points],
        "bytes": size_of(distribution),
        "origin": distribution.origin,
        "wheel": distribution.wheel or None,
        "tags": list(about.tags),
        "entered_store": format_utc(distribution.files.time) if distribution.files.time else None,
        "is_requested": distribution.requested,
        "added": added.created if added else None,
        "generation": added.number if added else None,
        "command": added.command if added else None,
        "record_mismatches": list(about.tolerated),
    }


def _find_beginning(environment: Environment, generation: Generation, distribution: Distribution) -> Generation | None:
    """The generation since which the environment has had this distribution without a break; None if that was collected."""
    found = generation
    for number in sorted((number for number in environment.numbers() if number < generation.number), reverse=True):
        earlier = environment.read(number)
        there = earlier.find(distribution.project)
        if there is None or (there.version, there.wheel, there.origin) != (distribution.version, distribution.wheel, distribution.origin):
            return found
        found = earlier
    return found if found.number == 1 else None


def _say_page(facts: dict[str, Any]) -> None:
    """What there is to know of a distribution, a line for each kind of thing."""
    lines: list[tuple[str, str | None]] = [(name, facts[name]) for name in ("name", "version", "summary")]
    required = ", ".join(map(_format_required, facts["requires"]))
    requiring = ", ".join(one["name"] for one in facts["required_by"])
    lines += [("requires", required or "nothing"), ("required by", requiring or "nothing in this environment")]
    lines += [("requires Python", facts["requires_python"]), *(("entry point", each) for each in facts["entry_points"])]
    lines += [("size", format_size(facts["bytes"])), ("files", f"{facts['file_count']:,}"), ("from", facts["origin"])]
    lines += [("wheel", facts["wheel"]), ("tags", ", ".join(facts["tags"]) or None)]
    when = f"{local_time(facts['added'])}, by generation {facts['generation']}: {facts['command']}" if facts["added"] else None
    entered = local_time(facts["entered_store"]) if facts["entered_store"] else None
    lines += [("added", when), ("in the store since", entered), *(("RECORD", each) for each in facts["record_mismatches"])]
    for label, value in lines:
        if value is not None:
            say(f"{label}: {value}")


def _format_required(one: dict[str, Any]) -> str:
    return str(one["requirement"]) + ("" if one["version"] else " (not in this environment)")


def _iter_files(environment: Environment, distribution: Distribution) -> Iterator[ManifestFile]:
    """Its files as the environment shows them, by path."""
    files: dict[str, ManifestFile] = {}
    for layer in (distribution.files, distribution.installation):
        files |= {file.path: file for file in read_manifest(environment.store, layer.manifest).iter_files()}
    yield from (files[path] for path in sorted(files))


def _say_facts(facts: dict[str, object]) -> None:
    for name, value in facts.items():
        label = name.replace("_", " ")
        if isinstance(value, bool):
            say(f"{label}: {'yes' if value else 'no'}")
        elif name.endswith("bytes") and isinstance(value, int):
            say(f"{label.removesuffix('bytes')}size: {format_size(value)}")
        elif value is not None:
            say(f"{label}: {value}")


def _describe_file(store: Store, path: str) -> dict[str, object]:
    """Where a file of a mount comes from, and what it is as the mount shows it. Raises EnvironmentRefused."""
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    environment, inside, has_upper = _locate(store, path)
    is_written = has_upper and _is_written(environment, inside)
    facts: dict[str, object] = {"path": path, "environment": environment.name, "is_written": is_written}
    tree, reader = Tree(environment.require()), LayerReader(store)
    entry = find_entry(tree, inside, reader.fill)
    if not isinstance(entry, FileEntry):
        if not is_written:
            raise EnvironmentRefused(environment.name, f"{path} is not a file of it")
        return facts | _describe_written(path)
    node, distribution = read_file(tree, entry, reader.fill), tree.distribution(entry)
    facts |= (
        {"distribution": distribution.name, "version": distribution.version} if distribution else {"distribution": None, "version": None}
    )
    original = {"bytes": node.size, "sha256": node.digest, "kind": node.kind.name.lower(), "blob": store.pool.path(node.digest)}
    if is_written:
        return facts | _describe_written(path) | {f"original_{name}": value for name, value in original.items()}
    return facts | original


def _describe_written(path: str) -> dict[str, object]:
    """What the mount shows in place of the original."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return {"kind": "symlink", "target": os.readlink(path)}
    if not stat.S_ISREG(status.st_mode):
        return {"kind": "other"}
    with os.fdopen(os.open(path, OPEN_FLAGS), "rb") as file:
        digest = digest_file(file)
    return {"bytes": status.st_size, "sha256": digest, "kind": "executable" if status.st_mode & 0o111 else "file"}


def _locate(store: Store, path: str) -> tuple[Environment, str, bool]:
    """The environment that is mounted above a path, the path in it, and whether it is seen with what tools wrote.

    Raises EnvironmentRefused.
    """
    from casfs.mounts.mountpoints import iter_mount_records

    mounts = [(lease.mountpoint, lease.environment, False) for lease in iter_leases(store) if lease.environment]
    mounts += [(place.path, place.environment, bool(place.overlay)) for place in iter_mount_records(store) if not place.namespace]
    for mountpoint, name, has_upper in sorted(mounts, reverse=True):
        if path.startswith(f"{mountpoint}/"):
            return Environment(store, name), path.removeprefix(f"{mountpoint}/"), has_upper
    raise EnvironmentRefused(path, "is in no mount of the store; `casfs status` lists them")


def _is_written(environment: Environment, inside: str) -> bool:
    """Whether a tool or a person wrote the file after the environment was mounted: then its bytes are not those of the generation.

    Raises EnvironmentRefused if they removed it.
    """
    if (upper := current_upper(environment)) is None:
        return False
    try:
        mode = os.lstat(f"{upper.files}/{inside}").st_mode
    except OSError:
        return False
    if stat.S_ISCHR(mode):  # a whiteout
        raise EnvironmentRefused(environment.name, f"{inside} was removed from its mounts")
    return not stat.S_ISDIR(mode)
