"""Where each member of a wheel is installed, and the places that no wheel may take. (Binary distribution format specification.)"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from casfs.paths import MAX_PATH, PYTHON_COMPONENT, SITE_PACKAGES, path_problem
from casfs.wheels.archive import Member, find_clashes
from casfs.wheels.entrypoints import EntryPoint
from casfs.wheels.problems import Problems, quote

# What an environment itself has in bin/. Not all of activate*: argcomplete brings bin/activate-global-python-argcomplete.
_RESERVED_SCRIPT = re.compile(r"python([0-9][0-9.]*t?|w)?|activate(\.[a-z0-9]+)?|activate_this\.py", re.IGNORECASE)
_RESERVED_FILE = "pyvenv.cfg"
_SKELETON_DIRECTORIES = ("bin/", "include/", "lib64/", f"{SITE_PACKAGES}/")

# Whoever installs writes these: members of that name directly in the wheel's own .dist-info are left out, as pip overwrites them.
_INSTALLER_FILES = ("INSTALLER", "REQUESTED", "direct_url.json")

# A data file may spell out what {python} stands for; it then lands beside those that don't.
_SPELT_PYTHON = re.compile(r"(lib|include/site)/python[0-9]+\.[0-9]+t?(?=/|$)")


@dataclass(frozen=True, slots=True)
class Placed:
    """A member and its path below the environment; None: it is part of the wheel, but not installed."""

    member: Member
    path: str | None
    executable: bool


def place_members(
    members: Iterable[Member], dist_info: str, project: str, entry_points: Iterable[EntryPoint], problems: Problems
) -> list[Placed]:
    """Where each member but RECORD goes. Places that can't be, or that two members claim, go to `problems`."""
    launchers = {entry_point.name for entry_point in entry_points}
    own = {f"{dist_info}/{name}" for name in _INSTALLER_FILES}
    schemes = _scheme_directories(project)
    placed = []
    for member in members:
        if member.name == f"{dist_info}/RECORD":
            continue
        path, is_script = _place(member.name, schemes, problems)
        if path:
            _check_record(member.name, path, dist_info, problems)
            if member.name in own or (is_script and _is_wrapper(path, launchers)):
                path = None
        placed.append(Placed(member, path, is_script or member.is_executable))
    _check_launchers(launchers, dist_info, problems)
    _check_collisions(placed, launchers, problems)
    return placed


def _scheme_directories(project: str) -> dict[str, str]:
    """The directory of each scheme, with a slash at its end."""
    return {
        "data": "",
        "headers": f"include/site/{PYTHON_COMPONENT}/{project}/",  # pip's choice; no specification tells
        "platlib": f"{SITE_PACKAGES}/",
        "purelib": f"{SITE_PACKAGES}/",
        "scripts": "bin/",
    }


def _place(name: str, schemes: Mapping[str, str], problems: Problems) -> tuple[str | None, bool]:
    """Path below the environment, and whether it is a script. As pip, any top directory *.data is one of schemes."""
    top, _, below = name.partition("/")
    if not top.endswith(".data"):
        return f"{SITE_PACKAGES}/{name}", False
    scheme, _, rest = below.partition("/")
    if not rest:
        problems.add(name, "lies directly in a .data directory, not in that of a scheme")
    elif scheme not in schemes:
        problems.add(name, f"is for the scheme {quote(scheme)}; known are {', '.join(schemes)}")
    elif scheme == "data" and rest.startswith("lib64/"):
        return rest.replace("lib64", "lib", 1), False  # lib64 is a link to lib
    else:
        return schemes[scheme] + rest, scheme == "scripts"
    return None, False


def _is_wrapper(path: str, launchers: set[str]) -> bool:
    """Whether `path` is what old setuptools made of an entry point: pip leaves it out and makes its own launcher."""
    name = path.rpartition("/")[2]
    for suffix in (".exe", "-script.py", ".pya"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)] in launchers
    return name in launchers


def _check_record(name: str, path: str, dist_info: str, problems: Problems) -> None:
    """The name must not hide a {python} of its own, and the place must be free for wheels."""
    if PYTHON_COMPONENT in name and PYTHON_COMPONENT in name.split("/"):
        problems.add(name, f"has a component {PYTHON_COMPONENT}, which stands for another name in casfs")
    # What is put in front of a good name is good, so only the length can have become bad; a character has at most 4 bytes.
    if len(path) > MAX_PATH // 4 and (problem := path_problem(path)) and not path_problem(name):
        problems.add(name, f"would be installed as {quote(path)}, which {problem}")
    if not path.startswith(f"{SITE_PACKAGES}/"):
        _check_reserved(name, path, problems)
    if ".data/" in name:
        _check_dist_info(name, path, dist_info, problems)


def _check_reserved(name: str, path: str, problems: Problems) -> None:
    top, _, rest = path.partition("/")
    script = rest.partition("/")[0]
    if top == _RESERVED_FILE:
        problems.add(name, f"would overwrite {top} of the environment")
    if top == "bin" and _RESERVED_SCRIPT.fullmatch(script):
        problems.add(name, f"would overwrite bin/{script} of the environment")


def _check_dist_info(name: str, path: str, dist_info: str, problems: Problems) -> None:
    """A data file must not pretend to be another distribution, nor write the installer's own files."""
    place = _spell(path)
    if not place.startswith(f"{SITE_PACKAGES}/"):
        return
    directory, _, file = place.removeprefix(f"{SITE_PACKAGES}/").rpartition("/")
    top = directory.partition("/")[0]
    if top.endswith(".dist-info") and top != dist_info:
        problems.add(name, f"would be installed into another distribution's {quote(top)}")
    if directory == dist_info and file in ("RECORD", *_INSTALLER_FILES):
        problems.add(name, f"would overwrite {dist_info}/{file}, which the installer writes")


def _spell(path: str) -> str:
    """`path` with {python} in place of pythonX.Y, where either means the same directory."""
    return _SPELT_PYTHON.sub(rf"\1/{PYTHON_COMPONENT}", path, count=1) if _SPELT_PYTHON.match(path) else path


def _check_launchers(launchers: Iterable[str], dist_info: str, problems: Problems) -> None:
    for name in sorted(launchers):
        _check_reserved(f"{dist_info}/entry_points.txt: {name}", f"bin/{name}", problems)


def _check_collisions(placed: Sequence[Placed], launchers: set[str], problems: Problems) -> None:
    """No two files on one path, and no file where another has, or the environment has, a directory."""
    owners = {f"bin/{name}": f"entry point {name}" for name in launchers}
    for item in placed:
        if not item.path:
            continue
        path = _spell(item.path)
        owner = owners.setdefault(path, item.member.name)
        if owner is not item.member.name:
            problems.add(item.member.name, f"would be installed over {quote(owner)}")
    for path in find_clashes([*owners, *_SKELETON_DIRECTORIES]):
        if path in owners:  # a name that was found bad before may make anything clash
            problems.add(owners[path], f"would be installed as {quote(path)}, which is a directory")
