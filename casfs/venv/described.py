"""What METADATA says of distributions that an environment has, and who requires whom."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casfs.errors import StoreDamaged
from casfs.paths import SITE_PACKAGES
from casfs.store.generations import BaseInterpreter, Distribution, Generation
from casfs.store.manifests import read_manifest
from casfs.store.store import Store
from casfs.venv.reading import read_member
from casfs.wheels.filename import canonical_name
from casfs.wheels.metadata import parse_headers, parse_requirement

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_NAME = re.compile(r"[A-Za-z0-9._-]+")

Headers = Mapping[str, Sequence[str]]


def read_headers(store: Store, distribution: Distribution) -> Headers:
    """The headers of a distribution's METADATA, by their names in lower case. Raises StoreDamaged."""
    manifest = read_manifest(store, distribution.files.manifest)
    return parse_headers(read_member(store, manifest, f"{SITE_PACKAGES}/{manifest.description.dist_info}/METADATA") or b"")


def iter_requirements(headers: Headers, projects: Collection[str] | None = None) -> Iterator[tuple[Requirement, str]]:
    """What METADATA requires, of these projects if some are given, and which project each is."""
    for line in headers.get("requires-dist", ()):
        name = _NAME.match(line)
        project = canonical_name(name[0]) if name else ""
        if (projects is None or project in projects) and (requirement := parse_requirement(line)) is not None:
            yield requirement, project


@dataclass(frozen=True, slots=True)
class Required:
    """What a distribution requires, without extras, and what the environment has of that."""

    requirement: str
    project: str
    found: Distribution | None


def find_required(generation: Generation, headers: Headers) -> list[Required]:
    """What a distribution requires in this environment."""
    markers = markers_of(generation.interpreter)
    return [
        Required(_format(requirement), project, generation.find(project))
        for requirement, project in iter_requirements(headers)
        if requirement.marker is None or requirement.marker.evaluate(markers)
    ]


def find_requiring(store: Store, generation: Generation, project: str) -> list[Distribution]:
    """The distributions of an environment that require a project. What can't be read is passed over: `casfs fsck` is there to say it."""
    markers = markers_of(generation.interpreter)
    found = []
    for one in generation.distributions:
        with contextlib.suppress(StoreDamaged, OSError):
            requirements = [requirement for requirement, _ in iter_requirements(read_headers(store, one), {project})]
            if any(each.marker is None or each.marker.evaluate(markers) for each in requirements):
                found.append(one)
    return sorted(found, key=lambda one: one.project)


def markers_of(interpreter: BaseInterpreter) -> dict[str, str]:
    """What markers are compared with. On this machine, and both being CPython, only the version differs from ours."""
    from packaging.markers import default_environment

    version = interpreter.version
    return {**default_environment(), "python_version": ".".join(version.split(".")[:2]), "python_full_version": version, "extra": ""}  # type: ignore[dict-item]


def _format(requirement: Requirement) -> str:
    """Without the marker, which is true."""
    requirement.marker = None
    return str(requirement)
