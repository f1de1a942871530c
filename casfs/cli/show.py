"""show: a distribution, or one file of a mount."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator

from casfs.cli.context import open_to_read
from casfs.cli.output import format_size, note, say, say_json, say_table
from casfs.cli.queries import size_of
from casfs.digest import digest_file
from casfs.errors import EnvironmentRefused
from casfs.store.environments import Environment
from casfs.store.generations import Distribution
from casfs.store.leases import iter_leases
from casfs.store.manifests import ManifestFile, read_manifest
from casfs.store.plain import OPEN_FLAGS
from casfs.store.records import format_utc
from casfs.store.store import Store
from casfs.store.uppers import current_upper
from casfs.venv.changes import parse_project
from casfs.venv.reading import LayerReader
from casfs.venv.similar import did_you_mean
from casfs.venv.tree import FileEntry, Tree, read_file
from casfs.venv.upper.merged import find_entry


def run_show(arguments: argparse.Namespace) -> None:
    """casfs show"""
    if "/" in arguments.what:
        facts = _describe_file(open_to_read(arguments).store, os.path.abspath(arguments.what))
        if arguments.json:
            say_json(facts)
        else:
            _say_facts(facts)
            if "original-sha256" in facts:
                note("the mount shows the copy in the upper layer, which was written there, in place of the original")
        return
    _show_distribution(open_to_read(arguments), arguments)


def _show_distribution(environment: Environment, arguments: argparse.Namespace) -> None:
    generation = environment.require()
    if (one := generation.find(project := parse_project(arguments.what))) is None:
        meant = did_you_mean(project, (one.project for one in generation.distributions))
        raise EnvironmentRefused(environment.name, f"{arguments.what} is not in the environment{meant}")
    tree = Tree(generation)
    files = [(tree.shown_path(file.path), file) for file in _iter_files(environment, one)]
    about = read_manifest(environment.store, one.files.manifest).description
    facts: dict[str, object] = {
        "name": one.name,
        "version": one.version,
        "origin": one.origin,
        "wheel": one.wheel or None,
        "bytes": size_of(one),
        "entered-store": format_utc(one.files.time) if one.files.time else None,
        "requires-python": about.requires_python,
        "tags": list(about.tags),
        "entry-points": [f"{name} = {module}:{attribute}" for name, module, attribute in about.entry_points],
        "record-mismatches": list(about.tolerated),
    }
    if arguments.json:
        listed = [{"path": path, "bytes": file.size, "sha256": file.digest, "kind": file.kind.name.lower()} for path, file in files]
        say_json({**facts, "files": listed})
    else:
        _say_facts(facts)
        say()
        say_table(("SHA-256", "Bytes", "Path"), [(file.digest, str(file.size), path) for path, file in files])


def _iter_files(environment: Environment, one: Distribution) -> Iterator[ManifestFile]:
    """Its files as the environment shows them, by path."""
    files: dict[str, ManifestFile] = {}
    for layer in (one.files, one.installation):
        files |= {file.path: file for file in read_manifest(environment.store, layer.manifest).iter_files()}
    yield from (files[path] for path in sorted(files))


def _say_facts(facts: dict[str, object]) -> None:
    for name, value in facts.items():
        if name.endswith("bytes") and isinstance(value, int):
            say(f"{name.removesuffix('bytes')}size: {format_size(value)}")
        elif isinstance(value, list):
            for item in value:
                say(f"{name}: {item}")
        elif value is not None:
            say(f"{name}: {value}")


def _describe_file(store: Store, path: str) -> dict[str, object]:
    """Where a file of a mount comes from, and what it is as the mount shows it. Raises EnvironmentRefused."""
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    environment, inside, has_upper = _locate(store, path)
    is_written = has_upper and _is_written(environment, inside)
    facts: dict[str, object] = {"path": path, "environment": environment.name, "is-written": is_written}
    tree, reader = Tree(environment.require()), LayerReader(store)
    entry = find_entry(tree, inside, reader.fill)
    if not isinstance(entry, FileEntry):
        if not is_written:
            raise EnvironmentRefused(environment.name, f"{path} is not a file of it")
        return facts | _describe_written(path)
    node, one = read_file(tree, entry, reader.fill), tree.distribution(entry)
    facts |= {"distribution": one.name, "version": one.version} if one else {"distribution": None, "version": None}
    original = {"bytes": node.size, "sha256": node.digest, "kind": node.kind.name.lower(), "blob": store.pool.path(node.digest)}
    if is_written:
        return facts | _describe_written(path) | {f"original-{name}": value for name, value in original.items()}
    return facts | original


def _describe_written(path: str) -> dict[str, object]:
    """What the mount shows in place of the original."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        return {"kind": "symlink", "target": os.readlink(path)}
    if not stat.S_ISREG(found.st_mode):
        return {"kind": "other"}
    with os.fdopen(os.open(path, OPEN_FLAGS), "rb") as file:
        digest = digest_file(file)
    return {"bytes": found.st_size, "sha256": digest, "kind": "executable" if found.st_mode & 0o111 else "file"}


def _locate(store: Store, path: str) -> tuple[Environment, str, bool]:
    """The environment that is mounted above a path, the path in it, and whether it is seen with what tools wrote.

    Raises EnvironmentRefused.
    """
    from casfs.mount.places import iter_places

    mounts = [(lease.mountpoint, lease.environment, False) for lease in iter_leases(store) if lease.environment]
    mounts += [(place.path, place.environment, bool(place.overlay)) for place in iter_places(store) if not place.namespace]
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
