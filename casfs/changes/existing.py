"""An existing virtual environment, as its own files describe it: its interpreter, and what lies in it that no distribution brought.

Nothing in it is run and nothing is changed: whoever made it may mean harm. It is read as an upper layer is (`written`), so no symbolic link
in it is followed.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shlex
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from casfs.changes.trust import has_trusted_links, trust_problem
from casfs.errors import EnvironmentRefused, reason_of
from casfs.interpreters.stable import stable_path
from casfs.upper.written import UpperDirectory, UpperEntry, UpperEntryKind
from casfs.venv.bytecode_names import is_bytecode
from casfs.wheels.problems import quote

_MAX_CONFIGURATION = 1 << 16  # pyvenv.cfg has ten lines

_SITE = re.compile(r"lib/(python3\.[0-9]+t?)/site-packages")

_MADE_WITH_IT = re.compile(
    r"pyvenv\.cfg|\.gitignore|CACHEDIR\.TAG|lib64|bin/pip3?"
    r"|bin/(python[0-9.]*t?|\wthon|[Aa]ctivate(_this)?(\.\w+)?|deactivate\.\w+|pydoc\.bat)"  # 3.14 has a python that is spelt with a pi
    r"|lib/[^/]+/site-packages/_virtualenv\.(py|pth)"
)
"""What venv, virtualenv and uv put into an environment themselves; an environment of ours has its own instead."""


@dataclass(frozen=True, slots=True)
class Existing:
    """A virtual environment that somebody made."""

    directory: str
    python_directory: str  # "python3.11"
    home: str  # directory of its base interpreter, as it says
    has_base_packages: bool  # shows what is installed for its base interpreter, too


def require_existing(directory: str) -> None:
    """Raises EnvironmentRefused for a directory that is no virtual environment, after one look."""
    try:
        os.stat(directory)
        status = os.lstat(f"{directory}/pyvenv.cfg")
    except FileNotFoundError as error:
        reason = "is not there" if error.filename == directory else "is not a virtual environment: it has no pyvenv.cfg"
    except OSError as error:
        reason = f"can't be read: {reason_of(error)}"
    else:
        if stat.S_ISREG(status.st_mode):
            return
        reason = "is not a virtual environment: its pyvenv.cfg is not a regular file"
    raise EnvironmentRefused(directory, reason)


def read_existing(upper_directory: UpperDirectory) -> Existing:
    """What a virtual environment says of itself. Raises EnvironmentRefused, OSError."""
    settings = _read_settings(upper_directory)
    found = [match[1] for path in upper_directory.entries if (match := _SITE.fullmatch(path)) and _is_directory(upper_directory, path)]
    if not found:
        raise EnvironmentRefused(upper_directory.directory, "has no lib/pythonX.Y/site-packages")
    said = settings.get("version_info") or settings.get("version") or ""
    fitting = [one for one in found if one.removeprefix("python").removesuffix("t").split(".") == said.split(".")[:2]]
    if len(fitting or found) > 1:
        raise EnvironmentRefused(upper_directory.directory, f"has the packages of several Pythons: {', '.join(found)}")
    is_open = settings.get("include-system-site-packages", "").lower() == "true"
    return Existing(upper_directory.directory, (fitting or found)[0], settings.get("home", ""), is_open)


def _is_directory(upper_directory: UpperDirectory, path: str) -> bool:
    return upper_directory.entries[path].kind is UpperEntryKind.DIRECTORY


def _read_settings(upper_directory: UpperDirectory) -> Mapping[str, str]:
    """The lines of pyvenv.cfg; names in lower case."""
    with os.fdopen(upper_directory.open_file("pyvenv.cfg"), "rb") as file:
        content = file.read(_MAX_CONFIGURATION + 1)
    if len(content) > _MAX_CONFIGURATION:
        raise EnvironmentRefused(upper_directory.directory, f"has a pyvenv.cfg of more than {_MAX_CONFIGURATION} bytes")
    lines = [line.partition("=") for line in content.decode("utf-8", "surrogateescape").splitlines()]
    return {name.strip().lower(): value.strip() for name, equals, value in lines if equals}


def read_mount_records(upper_directory: UpperDirectory) -> Iterator[str]:
    """Where an environment was made, as its `activate` says: one that was copied or moved has scripts that name that place."""
    try:
        with os.fdopen(upper_directory.open_file("bin/activate"), "rb") as file:
            content = file.read(_MAX_CONFIGURATION)
    except OSError:
        return
    for value in re.findall(r"^\s*(?:export )?VIRTUAL_ENV=(['\"]?/.*)$", os.fsdecode(content), re.MULTILINE):
        with contextlib.suppress(ValueError):
            yield "".join(shlex.split(value)[:1])


def find_base(one: Existing) -> str:
    """The interpreter that a virtual environment was made with: the one of its version in its `home`.

    Whoever made the environment chose it, and it will be run: so it and all that it depends on must be root's or our own (`trust`). Links
    to its directory stay in its path if they are, too, and no others. Raises EnvironmentRefused, OSError.
    """
    for name in (one.python_directory, "python3", "python"):
        path = os.path.join(one.home, name)
        if os.path.isabs(path) and "\0" not in path and os.path.isfile(path) and os.access(path, os.X_OK):
            real = os.path.realpath(path)  # a pyvenv.cfg beside the link would say where its library is
            if problem := trust_problem(real):
                reason = f"its base interpreter, {quote(real)}, {problem}; name it with --python if you trust it"
                raise EnvironmentRefused(one.directory, reason)
            stable = stable_path(path, real, is_base=lambda _link: False)
            return stable if has_trusted_links(stable) else real
    reason = f"its base interpreter is not in {quote(one.home)}" if one.home else "its pyvenv.cfg names no base interpreter"
    raise EnvironmentRefused(one.directory, f"{reason}; name one with --python")


@dataclass(frozen=True, slots=True)
class Left:
    """A file, or all that lies in one directory, that belongs to no distribution."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{quote(self.path)}: {self.reason}"


def find_left(upper_directory: UpperDirectory, site: str, taken: Collection[str]) -> list[Left]:
    """What is in no distribution, in few lines: `taken` are the paths that are in one. Bytecode is left out."""
    groups: dict[str, list[UpperEntry]] = {}
    for entry in _iter_strays(upper_directory, taken):
        groups.setdefault(_top(entry.path, site), []).append(entry)
    return [_describe(upper_directory, path, group) for path, group in groups.items()]


def _iter_strays(upper_directory: UpperDirectory, taken: Collection[str]) -> Iterator[UpperEntry]:
    for entry in upper_directory.entries.values():
        is_taken = entry.path in taken or is_bytecode(entry.path) or _MADE_WITH_IT.fullmatch(entry.path)
        if entry.kind is not UpperEntryKind.DIRECTORY and not is_taken:
            yield entry


def _top(path: str, site: str) -> str:
    """What names a stray in the report: an entry of site-packages, of bin or of lib, else one of the environment itself."""
    for parent in (site, "bin", "lib"):
        if path.startswith(f"{parent}/"):
            return f"{parent}/{path.removeprefix(f'{parent}/').partition('/')[0]}"
    return path.partition("/")[0]


def _describe(upper_directory: UpperDirectory, path: str, group: Sequence[UpperEntry]) -> Left:
    """What lies at `path` and why it is left alone."""
    if path.endswith((".egg-info", ".egg-link", ".egg")):
        return Left(path, "was installed by old means, without a RECORD that its files could be compared with")
    if len(group) > 1:
        return Left(path, f"has {len(group)} files of no distribution")
    [entry] = group
    if entry.kind is UpperEntryKind.SYMLINK and _leads_out(upper_directory, entry.path):
        return Left(entry.path, "is a symbolic link that leads out of the environment")
    return Left(entry.path, f"is {entry.kind.value}, of no distribution")


def _leads_out(upper_directory: UpperDirectory, path: str) -> bool:
    """Whether a symbolic link says that it points elsewhere; nobody looks whether it does."""
    target = ""  # what is gone meanwhile leads nowhere
    with contextlib.suppress(OSError), upper_directory.parent_of(path) as (parent, name):
        target = os.readlink(name, dir_fd=parent)
    if target.startswith("/"):
        return not f"{posixpath.normpath(target)}/".startswith(f"{upper_directory.directory}/")
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target)).split("/")[0] == ".."
