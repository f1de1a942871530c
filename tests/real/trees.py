"""Trees of files, and the differences between casfs' and pip's that are meant to be. Every other one is a bug."""

from __future__ import annotations

import base64
import csv
import fnmatch
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.real.environments import Environment, Pair

Row = tuple[str, str, str]


def read_tree(root: Path) -> dict[str, str]:
    """What lies at every path below `root`: kind, mode, and the target of a link or the digest of a file."""
    return {str(path.relative_to(root)): _describe(path) for path in _iter_paths(root)}


def _iter_paths(root: Path) -> Iterator[Path]:
    for directory, directories, files in os.walk(root, onerror=_raise):
        yield from (Path(directory, name) for name in (*directories, *files))


def _raise(error: OSError) -> None:
    raise error


def _describe(path: Path) -> str:
    status = path.lstat()
    mode = stat.filemode(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return f"link to {os.readlink(path)}"
    if stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
        assert len(content) == status.st_size, f"{path} says that it has {status.st_size} bytes, but has {len(content)}"
        return f"{mode} {status.st_size} {hashlib.sha256(content).hexdigest()}"
    return mode


@dataclass(frozen=True, slots=True)
class Meant:
    """A difference that is meant to be: where, why, and what must still hold there for pip's path and ours."""

    pattern: str
    reason: str
    holds: Callable[[Path, Path], bool]


def _is_only_ours(native: Path, mounted: Path) -> bool:
    return not native.exists() and mounted.is_file()


def _is_only_pips(native: Path, mounted: Path) -> bool:
    return native.exists() and not mounted.exists()


def _are_files(native: Path, mounted: Path) -> bool:
    return native.is_file() and mounted.is_file() and native.stat().st_mode == mounted.stat().st_mode


def _is_marker(native: Path, mounted: Path) -> bool:
    """venv began with 3.13 to write one."""
    return mounted.is_file() and mounted.read_text().splitlines()[-1] == "*" and (not native.exists() or _are_files(native, mounted))


def _is_empty(native: Path, mounted: Path) -> bool:
    return not mounted.exists() and not list(native.iterdir())


def _lead_to_one_file(native: Path, mounted: Path) -> bool:
    return native.is_symlink() and mounted.is_symlink() and native.resolve() == mounted.resolve()


def _agree_on_python(native: Path, mounted: Path) -> bool:
    theirs, ours = (dict(line.split(" = ", 1) for line in path.read_text().splitlines()) for path in (native, mounted))
    names = ("home", "include-system-site-packages", "version")
    return _are_files(native, mounted) and [theirs[name] for name in names] == [ours[name] for name in names]


def _have_one_body(native: Path, mounted: Path) -> bool:
    if not _are_files(native, mounted):
        return False
    theirs, ours = body_of_pips_script(native), body_of_our_script(mounted)
    return theirs is not None and theirs == ours


def _name_their_installer(native: Path, mounted: Path) -> bool:
    return _are_files(native, mounted) and (native.read_bytes(), mounted.read_bytes()) == (b"pip\n", b"casfs\n")


def _list_the_same(native: Path, mounted: Path) -> bool:
    return _are_files(native, mounted) and comparable_rows(read_record(native)) == comparable_rows(read_record(mounted))


def _is_pip_or_stands_in(native: Path, mounted: Path) -> bool:
    return _have_one_body(native, mounted) if os.path.lexists(native) else mounted.name in {"pip", "pip3"}


MEANT = (
    Meant(".gitignore", "says whose it is; venv writes one only since 3.13", _is_marker),
    Meant("CACHEDIR.TAG", "tells backups that all of it can be made again", _is_only_ours),
    Meant("pyvenv.cfg", "names no path of the environment, which may be mounted anywhere", _agree_on_python),
    Meant("bin/activate", "finds its own place", _are_files),
    Meant("bin/activate.csh", "finds its own place", _are_files),
    Meant("bin/activate.fish", "finds its own place", _are_files),
    Meant("bin/Activate.ps1", "is for Windows", _is_only_pips),
    Meant("bin/python", "venv links to the name that it was called by", _lead_to_one_file),
    Meant("bin/python3", "venv links to the name that it was called by", _lead_to_one_file),
    Meant("bin/python3.[0-9]*", "venv links to the name that it was called by", _lead_to_one_file),
    Meant("include/python3.[0-9]*", "venv makes a directory that nothing is installed into", _is_empty),
    Meant("bin/pip*", "stands in for pip where there is none", _is_pip_or_stands_in),
    Meant("bin/*", "a script finds its interpreter beside itself; only its first line or lines differ", _have_one_body),
    Meant("lib/*/site-packages/*.dist-info/INSTALLER", "names the installer", _name_their_installer),
    Meant("lib/*/site-packages/*.dist-info/RECORD", "ends its lines with LF, and what `comparable_rows` says", _list_the_same),
)


def find_differences(pair: Pair, meanings: Sequence[Meant] = MEANT) -> list[str]:
    """A line for every path where the trees differ otherwise than meant; the first meaning whose pattern fits a path decides."""
    native, mounted = (read_tree(one.root) for one in (pair.native, pair.mounted))
    assert native, "pip made nothing"
    found = []
    for path in sorted(native.keys() | mounted.keys()):
        theirs, ours = native.get(path), mounted.get(path)
        if theirs != ours and not _is_meant(path, pair, meanings):
            found.append(f"{path}: pip has {theirs}, casfs has {ours}")
    return found


def _is_meant(path: str, pair: Pair, meanings: Sequence[Meant]) -> bool:
    meant = next((one for one in meanings if fnmatch.fnmatchcase(path, one.pattern)), None)
    return meant is not None and meant.holds(pair.native.root / path, pair.mounted.root / path)


def body_of_pips_script(path: Path) -> bytes | None:
    """What stands below the lines that name the interpreter beside it; None if they don't."""
    content, python = path.read_bytes(), os.fsencode(path.parent / "python")
    if content.startswith(b"#!" + python):
        return content.split(b"\n", 1)[1]
    long_start = (
        b"#!/bin/sh\n'''exec' ",
        b"#!/bin/sh\n'''exec' \"",
    )  # pip's way out if the path is longer than the kernel takes, or has a space
    return content.split(b"\n", 3)[3] if content.startswith(tuple(start + python for start in long_start)) else None


def body_of_our_script(path: Path) -> bytes | None:
    """What stands below the lines that find the interpreter; None if they don't."""
    content = path.read_bytes()
    return content.split(b"\n", 2)[2] if content.startswith(b"#!/bin/sh -\n\f#") else None


def read_record(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(name, digest, size) for name, digest, size in csv.reader(file)]


def comparable_rows(rows: list[Row]) -> list[Row]:
    """The rows, in their order, without what is meant to differ; each row is held against its file by `find_untrue`.

    - Scripts and INSTALLER differ as files, so their rows do.
    - pip knows no digest of the signature RECORD.jws, because the wheel's RECORD can't have one; casfs computes all digests itself.
    - pip copies the digest of bytecode from the wheel's RECORD, and may then put other bytecode in its place; casfs gives none.
    - pip copies a digest in hexadecimal from the wheel's RECORD, where the specification asks for base64.
    """
    return [(name, "", "") if _differs(name) else (name, _in_base64(digest), size) for name, digest, size in rows]


def _differs(name: str) -> bool:
    return name.startswith("../../../bin/") or name.endswith((".dist-info/INSTALLER", ".dist-info/RECORD.jws", ".pyc"))


def _in_base64(digest: str) -> str:
    algorithm, _, value = digest.partition("=")
    return f"{algorithm}={_encode(bytes.fromhex(value))}" if len(value) == hashlib.sha256().digest_size * 2 else digest


def _encode(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def find_untrue(environment: Environment, rows: list[Row]) -> list[str]:
    """A line for each row that is not true of its file."""
    found = []
    for name, digest, size in rows:
        path = environment.site_packages / name
        if not path.is_file():
            found.append(f"{name} is not there")
        elif digest and (digest, size) != _measure(path):
            found.append(f"{name} has {_measure(path)}, not {digest} and {size}")
    return found


def _measure(path: Path) -> tuple[str, str]:
    content = path.read_bytes()
    return f"sha256={_encode(hashlib.sha256(content).digest())}", str(len(content))
