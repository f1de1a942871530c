"""Programs that use a mount while its daemon dies: none of them may notice more than a pause."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mounted.harness import REPOSITORY, clean_environ


@dataclass(frozen=True)
class Seen:
    """What one reader met."""

    kind: str
    problems: list[str]
    calls: int  # a file opened and read whole, a module imported, or the start of an interpreter
    worst_s: float  # the longest of them


def worst_s(seen: Sequence[Seen], kind: str = "") -> float:
    """The longest call of readers of a kind, or of all."""
    return max(one.worst_s for one in seen if kind in ("", one.kind))


def say_seen(what: str, seen: Sequence[Seen]) -> None:
    """Figures for whoever runs the tests with `-rP`."""
    kinds = {one.kind: [other for other in seen if other.kind == one.kind] for one in seen}
    for kind, ours in kinds.items():
        calls, problems = sum(one.calls for one in ours), sum(len(one.problems) for one in ours)
        sys.stderr.write(f"{what}: {len(ours)} x {kind}: {calls} calls, {problems} problems, the longest took {worst_s(ours):.3f} s\n")


def main(kind: str, directory: Path, rest_s: float) -> None:
    """Work until standard input ends, then tell what was seen: `hash` reads every file, `import` imports every module anew.

    `change` reads as `hash` does, but a name may be gone by the time it is used. After each round it rests.
    """
    import select

    problems: list[str] = []
    calls, worst = 0, 0.0
    say("ready")
    while not select.select([sys.stdin], [], [], rest_s if calls else 0)[0]:
        for problem, took_s in import_all(directory) if kind == "import" else hash_all(directory, kind == "change"):
            problems += [problem] if problem else []
            calls, worst = calls + 1, max(worst, took_s)
    say(json.dumps([kind, problems[:20], calls, worst]))


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


_IMPORT_ALL = """
import time
moments = [time.monotonic()]
import importlib, json, os, sys
site = sys.argv[1]
packages = sorted(name for name in os.listdir(site) if name.isidentifier())
modules = [f"{package}.{name[:-3]}" for package in packages for name in sorted(os.listdir(f"{site}/{package}")) if name.endswith(".py")]
moments.append(time.monotonic())
for module in modules:
    assert importlib.import_module(module).VALUE is not None
    moments.append(time.monotonic())
print(json.dumps(moments))
"""


def import_all(directory: Path) -> Iterator[tuple[str, float]]:
    """(problem, seconds) of what a new process does: it starts, lists the packages in a directory, and imports every module of them."""
    python = directory.parents[2] / "bin/python"
    moments = [time.monotonic()]
    done = subprocess.run([python, "-B", "-c", _IMPORT_ALL, directory], capture_output=True, text=True, check=False)
    if done.returncode:
        yield done.stderr or f"{python} ended with {done.returncode}", time.monotonic() - moments[0]
        return
    moments += json.loads(done.stdout)
    yield from (("", after - before) for before, after in itertools.pairwise(moments))


@contextlib.contextmanager
def readers(directory: Path, *kinds: str, rest_s: float = 0.0) -> Iterator[list[Seen]]:
    """While the block runs, processes of these kinds use what is below a directory. The list is filled when they have ended."""
    seen: list[Seen] = []
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_start(kind, directory, rest_s)) for kind in kinds]
        yield seen
        for process in processes:
            answer, _ = process.communicate("", timeout=240)
            seen.append(Seen(*json.loads(answer)))


@contextlib.contextmanager
def _start(kind: str, directory: Path, rest_s: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.mounted.life", kind, str(directory), str(rest_s)]
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
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
