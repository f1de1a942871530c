"""Skeleton: what an environment holds before anything is installed. The same bytes serve wherever it is mounted."""

from __future__ import annotations

import os

from casfs.interpreters.interpreter import Interpreter
from casfs.paths import SITE_PACKAGES
from casfs.store.manifests import Kind, NewFile
from casfs.venv.tree import STAND_INS

_ACTIVATE = os.path.join(os.path.dirname(__file__), "activate")
_PIP = os.path.join(os.path.dirname(__file__), "pip.sh")

_CACHE_TAG = b"""\
Signature: 8a477f597d28d172789f06886806bc55
# An environment mounted by casfs: it can be made again at any time, so backups need not hold it.
# This is a cache directory tag: https://bford.info/cachedir/
"""

_GITIGNORE = b"# An environment mounted by casfs is no source.\n*\n"


def build_skeleton(interpreter: Interpreter, *, with_pip: bool = True) -> tuple[list[NewFile], list[str]]:
    """Files of an empty environment, sorted by path, and the directories that it has even while they are empty."""
    files = [
        NewFile(".gitignore", _GITIGNORE),
        NewFile("CACHEDIR.TAG", _CACHE_TAG),
        NewFile("pyvenv.cfg", format_pyvenv_cfg(interpreter)),
        *_build_links(interpreter),
        *(NewFile(f"bin/{name}", _read(f"{_ACTIVATE}/{name}")) for name in os.listdir(_ACTIVATE)),
        *(NewFile(path, _read(_PIP), Kind.EXECUTABLE) for path in STAND_INS if with_pip),
    ]
    return sorted(files, key=lambda file: file.path), ["bin", "include", SITE_PACKAGES]


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def format_pyvenv_cfg(interpreter: Interpreter) -> bytes:
    """pyvenv.cfg (PEP 405). It names no prompt: tools then take the directory's name, which is that of the mountpoint."""
    settings = {
        "home": os.path.dirname(interpreter.executable),
        "implementation": "CPython",
        "include-system-site-packages": "false",  # without this line Python would take it for true
        "version": interpreter.version,
        "executable": interpreter.executable,
    }
    return "".join(f"{name} = {value}\n" for name, value in settings.items()).encode()


def _build_links(interpreter: Interpreter) -> list[NewFile]:
    """bin/python to the base interpreter, its other names to it, and where lib64 is expected beside lib."""
    names = dict.fromkeys(("python3", f"python{interpreter.release}", interpreter.python_directory))
    links = {"bin/python": interpreter.executable, **{f"bin/{name}": "python" for name in names}}
    if interpreter.bits == 64:
        links["lib64"] = "lib"
    return [NewFile(path, target.encode(), Kind.SYMLINK) for path, target in links.items()]
