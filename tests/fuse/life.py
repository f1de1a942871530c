"""Programs that use a mount while its daemon dies: none of them may notice more than a pause."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuse.harness import REPOSITORY, clean_environ


@dataclass(frozen=True)
class Seen:
    """What one reader met."""

    problems: list[str]
    files: int
    worst_s: float  # the longest single call


def main(kind: str, directory: Path) -> None:
    """Work until standard input ends, then tell what was seen: `hash` reads every file, `import` imports every module anew.

    `change` reads as `hash` does, but a name may be gone by the time it is used.
    """
    import select

    problems: list[str] = []
    files, worst = 0, 0.0
    say("ready")
    while not select.select([sys.stdin], [], [], 0)[0]:
        for problem, took_s in import_all(directory) if kind == "import" else hash_all(directory, kind == "change"):
            problems += [problem] if problem else []
            files, worst = files + 1, max(worst, took_s)
    say(json.dumps([problems[:20], files, worst]))


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def hash_all(directory: Path, is_changing: bool) -> Iterator[tuple[str, float]]:
    """(problem, seconds) of each file: its bytes must be those of the blob that the mount names."""
    errors: list[OSError] = []
    for parent, _, names in os.walk(directory, onerror=errors.append):
        for name in names:
            path, began = os.path.join(parent, name), time.monotonic()
            problem = ""
            try:
                with open(path, "rb") as file:
                    digest = os.getxattr(file.fileno(), "user.casfs.digest").decode()
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # from the daemon, not from memory
                    if hashlib.sha256(file.read()).hexdigest() != digest:
                        problem = f"{path}: wrong bytes"
            except OSError as error:
                errors.append(error)
            yield problem, time.monotonic() - began
    for met in errors:
        if not (is_changing and isinstance(met, FileNotFoundError)):
            yield str(met), 0.0


def import_all(directory: Path) -> Iterator[tuple[str, float]]:
    """(problem, seconds) of an import of every module of the packages in a directory, by a new process."""
    source = (
        "import importlib, pathlib, sys\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*/*.py')):\n"
        "    assert importlib.import_module(f'{path.parent.name}.{path.stem}').VALUE is not None\n"
    )
    python = directory.parents[2] / "bin/python"
    began = time.monotonic()
    done = subprocess.run([python, "-B", "-c", source, directory], capture_output=True, text=True, check=False)
    yield (done.stderr if done.returncode else ""), time.monotonic() - began


@contextlib.contextmanager
def readers(directory: Path, *kinds: str) -> Iterator[list[Seen]]:
    """While the block runs, processes of these kinds use what is below a directory. The list is filled when they have ended."""
    seen: list[Seen] = []
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_start(kind, directory)) for kind in kinds]
        yield seen
        for process in processes:
            answer, _ = process.communicate("", timeout=60)
            seen.append(Seen(*json.loads(answer)))


@contextlib.contextmanager
def _start(kind: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.fuse.life", kind, str(directory)]
    with subprocess.Popen(
        command, env=clean_environ(), cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
