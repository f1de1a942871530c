"""Differences that are meant to be between what a tool wrote into a native environment and into a mounted one. Every other one is a bug."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from tests.real.trees import MEANT, Meant, body_of_our_script, body_of_pips_script, comparable_rows, read_record


def _are_valid_bytecode(native: Path, mounted: Path) -> bool:
    """It holds its source's time, which is the time of installing."""
    return native.is_file() and mounted.is_file() and is_valid_bytecode(native) and is_valid_bytecode(mounted)


def is_valid_bytecode(bytecode: Path) -> bool:
    """Python's import system takes it (PEP 552)."""
    header, source = bytecode.read_bytes()[:16], Path(importlib.util.source_from_cache(bytecode))
    found = source.stat()
    return header[4:] == b"\0\0\0\0" + int(found.st_mtime).to_bytes(4, "little") + found.st_size.to_bytes(4, "little")


def _is_valid_or_dropped(native: Path, mounted: Path) -> bool:
    return not mounted.exists() or is_valid_bytecode(mounted)


def _have_one_body(native: Path, mounted: Path) -> bool:
    """Each finds its own interpreter: the tool's script by the path of the mount, ours beside itself."""
    if not os.path.lexists(native):
        return mounted.name in {"pip", "pip3"}  # what stands in for pip
    if not (native.is_file() and mounted.is_file() and native.stat().st_mode == mounted.stat().st_mode):
        return False
    theirs = body_of_pips_script(native)
    return theirs is not None and theirs in (body_of_pips_script(mounted), body_of_our_script(mounted))


def _is_our_launcher(native: Path, mounted: Path) -> bool:
    """Tools differ in the words with which a launcher calls its function; what it does is tried elsewhere."""
    return _have_one_body(native, mounted) or (native.is_file() and os.access(mounted, os.X_OK) and body_of_our_script(mounted) is not None)


def _name_an_installer(native: Path, mounted: Path) -> bool:
    return (native.read_bytes(), mounted.read_bytes()) == (b"pip\n", b"casfs\n") or native.read_bytes() == mounted.read_bytes()


def _list_the_same(native: Path, mounted: Path) -> bool:
    """In any order, and each row about something that is there."""
    theirs, ours = (sorted(comparable_rows(read_record(path))) for path in (native, mounted))
    return theirs == ours


def _list_the_same_but_bytecode(native: Path, mounted: Path) -> bool:
    theirs, ours = (sorted(row for row in comparable_rows(read_record(path)) if not row[0].endswith(".pyc")) for path in (native, mounted))
    return _without_own_digests(theirs) == _without_own_digests(ours)


def _without_own_digests(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Poetry gives none for direct_url.json."""
    return [(name, "", "") if name.endswith("/direct_url.json") else (name, digest, size) for name, digest, size in rows]


_SCRIPTS = {"bin/*", "lib/*/site-packages/*.dist-info/INSTALLER", "lib/*/site-packages/*.dist-info/RECORD", "bin/pip*"}
_OTHERS = tuple(one for one in MEANT if one.pattern not in _SCRIPTS)

MEANT_AS_WRITTEN = (
    *_OTHERS,
    Meant("*.pyc", "holds the time of its source", _are_valid_bytecode),
    Meant("bin/*", "a script names its interpreter by the environment's path, or finds it beside itself", _have_one_body),
    Meant("lib/*/site-packages/*.dist-info/INSTALLER", "names the installer", _name_an_installer),
    Meant("lib/*/site-packages/*.dist-info/RECORD", "has rows of scripts, which differ", _list_the_same),
)

MEANT_AFTER_ABSORB = (
    *_OTHERS,
    Meant(
        "*.pyc",
        "absorb puts the pool's bytecode in the place of a tool's, which belongs to the times that its sources had",
        _is_valid_or_dropped,
    ),
    Meant("*/__pycache__", "some tools compile and some do not; absorb does", lambda native, mounted: native.is_dir() != mounted.is_dir()),
    Meant("bin/*", "a launcher of casfs", _is_our_launcher),
    Meant("lib/*/site-packages/*.dist-info/INSTALLER", "names the installer", _name_an_installer),
    Meant("lib/*/site-packages/*.dist-info/RECORD", "is written anew, in order and without bytecode", _list_the_same_but_bytecode),
)
