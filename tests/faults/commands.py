"""casfs as a user types it, and what its store holds afterwards."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.manifests import read_manifest
from casfs.store.store import open_store

_REPOSITORY = Path(__file__).parents[2]

VARIABLES = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("CASFS_STORE", "CASFS_ENV"))},
    "PYTHONPATH": str(_REPOSITORY),
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # the `python3` of PATH is the one that runs the tests
    "PYTHONHASHSEED": "0",  # the same system calls in the same order each time
    "PYTHONWARNINGS": "error",
    "LC_ALL": "C.UTF-8",
}

Contents = dict[str, dict[str, str]]
"""For each distribution ("demo 1.0") the digest of each of its files, by path."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    output: str
    errors: str

    @property
    def was_killed(self) -> bool:
        return self.code in (-9, 137)


class Run(Protocol):
    """Runs a command to its end."""

    def __call__(self, store: Path, *words: object) -> Done: ...


def command_line(store: Path, *words: object) -> list[str]:
    """What to execute for `casfs WORDS`."""
    return [sys.executable, "-m", "casfs", "--store", str(store), *map(str, words)]


def casfs(store: Path, *words: object) -> Done:
    """Run a command to its end."""
    done = subprocess.run(
        command_line(store, *words),
        env=VARIABLES, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def must(done: Done) -> Done:
    """The command, which must have succeeded."""
    assert done.code == 0, f"exit code {done.code}: {done.errors}"
    return done


def check_clean(store: Path, run: Run = casfs) -> None:
    """`casfs fsck` finds nothing."""
    done = run(store, "fsck")
    assert done.code == 0, f"fsck found damage (exit code {done.code}):\n{done.output}{done.errors}"


def check_refusal(done: Done) -> None:
    """The command failed as a command should: exit code 1 and one line that says why."""
    assert "Traceback" not in done.errors, done.errors
    assert done.code == 1, (done.code, done.errors)
    lines = done.errors.splitlines()
    assert len(lines) == 1, done.errors
    assert lines[0].startswith("casfs: "), done.errors


def check_names_a_file(done: Done) -> None:
    """The line that says why begins with what it is about."""
    subject, _, reason = done.errors.removeprefix("casfs: ").partition(": ")
    assert subject, done.errors
    assert reason, done.errors


def read_contents(store: Path, name: str = "default") -> Contents:
    """What the environment holds; every byte of it is compared with its digest. An environment that does not exist holds nothing."""
    environment = Environment(open_store(store), name)
    generation = environment.current()
    return read_generation(environment, generation) if generation else {}


def read_generation(environment: Environment, generation: Generation) -> Contents:
    """What a generation holds; every byte of it is compared with its digest."""
    contents: Contents = {}
    _read_layers(environment, [generation.skeleton.manifest])
    for one in generation.distributions:
        contents[f"{one.project} {one.version}"] = _read_layers(environment, [one.files.manifest, one.installation.manifest])
    return contents


def _read_layers(environment: Environment, manifests: Iterable[str]) -> dict[str, str]:
    files: dict[str, str] = {}
    for manifest in manifests:
        for file in read_manifest(environment.store, manifest).iter_files():  # type: ignore[arg-type]
            content = Path(environment.store.pool.path(file.digest)).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file.digest, f"wrong bytes under the name of {file.path}"
            assert len(content) == file.size
            files[file.path] = digest_of(file.path, content)
    return files


def digest_of(path: str, content: bytes) -> str:
    """SHA-256 of a file; of bytecode without its first 16 bytes, which say when its source entered the store."""
    return hashlib.sha256(content[16:] if path.endswith(".pyc") else content).hexdigest()


def all_generations(store: Path, name: str = "default") -> dict[int, Contents]:
    """Every generation of an environment, read whole."""
    environment = Environment(open_store(store), name)
    return {number: read_generation(environment, environment.read(number)) for number in environment.numbers()}


def snapshot(store: Path) -> dict[str, str]:
    """Every name in the store but in tmp/, stamps/ and locks/, with what it holds: a copy has another identity, and the clock goes on."""
    found = {}
    for path in sorted(store.rglob("*")):
        name = str(path.relative_to(store))
        if name.split("/", maxsplit=1)[0] in ("tmp", "stamps", "locks", "identity", "clock") or (path.is_dir() and not path.is_symlink()):
            continue
        found[name] = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found
