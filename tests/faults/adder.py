"""Adds one new wheel after the other until one fails, and says so after each: `adder STORE DIRECTORY FIRST WAY`.

careful   publishing as it is
careless  publishing syncs the names of files, and not their bytes: what must be seen to lose data
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from pathlib import Path

from casfs.cli.main import main as casfs_main
from casfs.store import publish
from tests.faults.scene import synthetic_wheel

MODULES = 24


def project(number: int) -> str:
    return f"p{number}"


def main(store: Path, directory: Path, first: int, way: str) -> None:
    if way == "careless":
        publish.sync_file_system = os.fsync
    for number in itertools.count(first):
        if _add(store, synthetic_wheel(project(number), modules=MODULES).write_to(directory)):
            return
        os.write(1, f"{number}\n".encode())


def _add(store: Path, wheel: Path) -> int:
    with open(os.devnull, "w", encoding="ascii") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        try:
            casfs_main(["--store", str(store), "add", str(wheel)])
        except SystemExit as end:
            return int(end.code or 0)
    raise AssertionError("a command ends by SystemExit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
