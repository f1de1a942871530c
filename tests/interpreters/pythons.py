"""Fake interpreters and environments laid out in plain directories, for the tests of this folder."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from casfs.interpreters.interpreter import Interpreter
from casfs.paths import PYTHON_COMPONENT
from casfs.store.manifests import Kind, NewFile
from casfs.venv.skeleton import build_skeleton

MARKERS = {"python_version": "3.11", "sys_platform": "linux"}


def fake_answer(executable: Path | str, version: str = "3.11.7", **changes: Any) -> dict[str, Any]:
    """What the probe prints in a CPython of this version."""
    numbers = version.partition("rc")[0].split(".")
    short = ".".join(numbers[:2])
    return {
        "implementation": "cpython",
        "version": version,
        "release": [int(number) for number in numbers],
        "executable": str(executable),
        "cache_tag": f"cpython-{numbers[0]}{numbers[1]}",
        "magic": "a70d0d0a",
        "library": f"/usr/lib/python{short}{'t' if changes.get('free_threaded') else ''}",
        "platform": "linux-x86_64",
        "bits": 64,
        "debug": False,
        "free_threaded": False,
        "glibc": "2.36",
        "markers": {**MARKERS, "python_version": short},
        **changes,
    }


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def write_python(path: Path, version: str = "3.11.7", **changes: Any) -> Path:
    """A program that answers the probe as a Python would. It takes itself for the base unless `executable` says otherwise."""
    answer = json.dumps(fake_answer(path, version, **changes))
    return write_program(path, f"#!/bin/sh\nprintf %s {shlex.quote(answer)}\n")


def lay_out(directory: Path, files: list[NewFile], python_directory: str) -> None:
    """What a mount would show of `files`."""
    for file in files:
        path = directory / file.path.replace(PYTHON_COMPONENT, python_directory)
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.kind is Kind.SYMLINK:
            path.symlink_to(os.fsdecode(file.content))
        else:
            path.write_bytes(file.content)
            path.chmod(0o755 if file.kind is Kind.EXECUTABLE else 0o644)


def make_environment(directory: Path, interpreter: Interpreter, *more: NewFile) -> Path:
    """An environment of `interpreter` with some more files, in a plain directory."""
    files, empty = build_skeleton(interpreter)
    lay_out(directory, [*files, *more], interpreter.python_directory)
    for name in empty:
        (directory / name.replace(PYTHON_COMPONENT, interpreter.python_directory)).mkdir(parents=True, exist_ok=True)
    return directory
