"""Programs that a measure runs beside itself: `python -P programs.py KIND ARGUMENT...`. The runner stays small, and imports no casfs.

commands STORE   runs casfs commands, JSON lists on standard input, one after the other; prints the seconds of each
ask STORE COUNT  asks the store's host for its status so many times; prints the seconds of each
image STORE ENV  makes the image of an environment's generation; prints the seconds of packing, building and writing
hash DIRECTORY   reads every file below a directory over and over, from the daemon and not from the page cache, until it is ended
import PYTHON    starts an interpreter that imports every package of its environment, over and over, until it is ended
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_IMPORT_ALL = (
    "import importlib, os, sysconfig; [importlib.import_module(n) for n in os.listdir(sysconfig.get_path('purelib')) if '.' not in n]"
)


def main(kind: str, *arguments: str) -> None:
    """Run one of the programs."""
    programs: dict[str, Callable[..., None]] = {
        "commands": run_commands,
        "ask": ask,
        "image": make_image,
        "hash": hash_all,
        "import": import_all,
    }
    programs[kind](*arguments)


def run_commands(store: str) -> None:
    """One that fails ends the program; what the others say is not shown."""
    import casfs.cli.main as casfs
    from casfs.cli.parser import build_parser

    parser = build_parser(("", "mount"))  # of every command, since it begins with none
    casfs.build_parser = lambda words=(): parser  # type: ignore[attr-defined]  # that of each command takes longer than many a command
    seconds = []
    for words in json.load(sys.stdin):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            began = time.perf_counter()
            try:
                casfs.main(["--store", store, *words])
            except SystemExit as end:
                if end.code:
                    sys.__stderr__.write(said.getvalue())  # type: ignore[union-attr]
                    raise
            seconds.append(time.perf_counter() - began)
    sys.stdout.write(json.dumps(seconds))


def ask(store: str, count: str) -> None:
    """Each question is a connection of its own, as a command's is."""
    from casfs.daemon.control import Request, ask_daemon
    from casfs.mounts.mountpoints import find_host
    from casfs.store.store import open_store

    opened = open_store(Path(store))
    host = find_host(opened)
    if host is None:
        sys.exit("there is no host")
    seconds = []
    for _ in range(int(count)):
        began = time.perf_counter()
        ask_daemon(opened, host, Request("status"))
        seconds.append(time.perf_counter() - began)
        time.sleep(0.01)  # spread over what the others do
    sys.stdout.write(json.dumps(seconds))


def make_image(store: str, environment: str) -> None:
    """No fragment may be there yet."""
    from casfs.store.environments import Environment
    from casfs.store.store import open_store
    from casfs.venv.image.image import ImageSpec, build_image

    opened = open_store(Path(store))
    spec = ImageSpec(Environment(opened, environment).require())
    began = time.perf_counter()
    build_image(opened, spec)
    packed = time.perf_counter()
    pieces = build_image(opened, spec)
    built = time.perf_counter()
    fd = os.open(opened.path("tmp"), os.O_TMPFILE | os.O_RDWR, 0o600)
    for piece in pieces:
        os.write(fd, piece)
    written = time.perf_counter()
    sys.stdout.write(json.dumps([packed - began - (built - packed), built - packed, written - built]))


def hash_all(directory: str) -> None:
    """Round after round."""
    while True:
        for parent, _, names in os.walk(directory):
            for name in names:
                with open(os.path.join(parent, name), "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    hashlib.sha256(file.read())


def import_all(python: str) -> None:
    """Process after process."""
    while True:
        subprocess.run([python, "-B", "-c", _IMPORT_ALL], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
