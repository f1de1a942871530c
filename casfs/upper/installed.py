"""What a tool installed: one .dist-info directory of a mount, read with the suspicion that a wheel is read with.

The specification is "Recording installed projects". A row of RECORD names a file relative to the directory that holds the .dist-info.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from casfs.errors import CasfsError, EnvironmentRefused, InvalidValue, reason_of
from casfs.paths import PYTHON_COMPONENT, SITE_PACKAGES, path_problem
from casfs.upper.merged import MergedView
from casfs.upper.written import UpperEntry, UpperEntryKind
from casfs.venv.tree import DirectoryNode, show_path
from casfs.wheels.entrypoints import MAX_ENTRY_POINTS, parse_entry_points
from casfs.wheels.filename import WheelFilename
from casfs.wheels.metadata import MAX_METADATA, parse_metadata
from casfs.wheels.problems import Problems, quote
from casfs.wheels.record import MAX_RECORD, RecordEntry, parse_record

OWN_NAMES = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")
"""Files of a .dist-info that the installer makes, and no wheel."""

MAX_OWN = 1 << 20
"""Bytes of INSTALLER and direct_url.json; both are a line."""

_DIST_INFO = ".dist-info"
_PRINTABLE = re.compile(r"[ -~]{1,40}")


@dataclass(frozen=True, slots=True)
class Installed:
    """A distribution as its .dist-info describes it. What RECORD says is not compared with anything yet."""

    dist_info: str  # "numpy-2.4.6.dist-info"
    project: str
    name: str
    version: str
    requires_python: str | None
    entry_points: tuple[tuple[str, str, str], ...]
    installer: str
    is_requested: bool
    rows: Mapping[str, RecordEntry | None]  # by the path that the mount shows; None: nothing that could be checked

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def site_packages(view: MergedView) -> str:
    """Where an environment shows its site-packages."""
    return show_path(SITE_PACKAGES, view.tree.generation.interpreter.directory)


def manifest_path_of(path: str, python_directory: str) -> str:
    """The path by which a manifest calls what is shown at `path`: the reverse of `show_path`."""
    for parent in ("lib", "include/site"):
        shown = f"{parent}/{python_directory}"
        if path == shown or path.startswith(f"{shown}/"):
            return f"{parent}/{PYTHON_COMPONENT}{path.removeprefix(shown)}"
    return path


def written_dist_infos(view: MergedView) -> list[str]:
    """Names of the .dist-info directories that a tool made or wrote a RECORD into."""
    site = site_packages(view)
    names = [name for name in view.upper_directory.names.get(site, ()) if name.endswith(_DIST_INFO)]
    return [name for name in names if _is_written(view, f"{site}/{name}")]


def _is_written(view: MergedView, path: str) -> bool:
    directory, record = view.upper_directory.entries[path], view.find(f"{path}/RECORD")
    if directory.kind is not UpperEntryKind.DIRECTORY:
        return directory.kind is not UpperEntryKind.WHITEOUT
    if isinstance(record, UpperEntry):
        return not view.is_same(record)
    return record is None and not isinstance(view.find_lower(path), DirectoryNode)


def read_installed(view: MergedView, dist_info: str) -> Installed:
    """What the .dist-info says. Raises EnvironmentRefused with all that is wrong with it."""
    directory = f"{site_packages(view)}/{dist_info}"
    try:
        return _read(view, directory, dist_info, Problems(dist_info))
    except CasfsError as error:
        raise EnvironmentRefused(quote(dist_info).strip("'"), *error.reasons) from None
    except OSError as error:
        raise EnvironmentRefused(quote(dist_info).strip("'"), f"can't be read: {reason_of(error)}") from None


def named_within(installed: Installed, prefixes: Collection[str]) -> Installed:
    """The rows of a RECORD, where each names its file as others do: Poetry writes absolute paths for an editable project.

    `prefixes` are absolute paths where the environment is or was mounted.
    """
    return replace(installed, rows={_within(path, prefixes): entry for path, entry in installed.rows.items()})


def _within(path: str, prefixes: Collection[str]) -> str:
    return next((path.removeprefix(f"{one}/") for one in prefixes if path.startswith(f"{one}/")), path)


def _read(view: MergedView, directory: str, dist_info: str, problems: Problems) -> Installed:
    if problem := path_problem(dist_info):
        problems.refuse(problem)
    filename = _parse_dist_info(dist_info, problems)
    metadata = parse_metadata(_require(view, f"{directory}/METADATA", MAX_METADATA, problems), "METADATA", filename, problems)
    points = view.read_small(f"{directory}/entry_points.txt", MAX_ENTRY_POINTS)
    entry_points = parse_entry_points(points, "entry_points.txt", problems) if points is not None else ()
    lenient = Problems(dist_info, allow_record_mismatch=True)  # rows without hash are looked at one by one
    rows = parse_record(_require(view, f"{directory}/RECORD", MAX_RECORD, problems), dist_info, lenient, is_installed=True)
    lenient.raise_any()
    problems.raise_any()
    return Installed(
        dist_info,
        filename.project,
        metadata.name,
        filename.version,
        metadata.requires_python,
        tuple((point.name, point.module, point.attribute) for point in entry_points),
        _read_installer(view, directory),
        view.find(f"{directory}/REQUESTED") is not None,
        {_place(path, directory): entry for path, entry in rows.items()},
    )


def _parse_dist_info(dist_info: str, problems: Problems) -> WheelFilename:
    """Project and version that the directory's name says."""
    from packaging.utils import InvalidName, canonicalize_name
    from packaging.version import InvalidVersion, Version

    name, _, version = dist_info.removesuffix(_DIST_INFO).rpartition("-")
    try:
        return WheelFilename(dist_info, canonicalize_name(name, validate=True), str(Version(version)), ())
    except (InvalidName, InvalidVersion, InvalidValue, ValueError):
        problems.refuse("is not named NAME-VERSION.dist-info")


def _require(view: MergedView, path: str, limit: int, problems: Problems) -> bytes:
    content = view.read_small(path, limit)
    if content is None:
        name = path.rpartition("/")[2]
        problems.refuse(f"has no {name}" if view.find(path) is None else f"has a {name} that is no regular file of at most {limit} bytes")
    return content


def _place(row: str, directory: str) -> str:
    """Where the mount shows the file of a row; a path that leads out of it stays recognisable, since it begins with `..` or `/`."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(directory), row)) if row else ""


def _read_installer(view: MergedView, directory: str) -> str:
    """The tool, as it calls itself; a tool that says nothing printable is "a tool"."""
    content = view.read_small(f"{directory}/INSTALLER", MAX_OWN) or b""
    said = content.decode("ascii", "replace").strip().partition("\n")[0]
    return said if _PRINTABLE.fullmatch(said) else "a tool"
