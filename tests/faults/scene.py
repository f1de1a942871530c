"""A small store, wheels to add to it, and what it must hold before and after."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from casfs.venv.bytecode_names import is_bytecode
from tests.faults.commands import Contents, Done, casfs, check_clean, check_refusal, must, read_contents
from tests.faults.prepared import Prepared
from tests.make_wheels import MadeWheel, make_wheel

SITE_PACKAGES = "lib/{python}/site-packages"


def source(project: str, version: str, module: int) -> bytes:
    """What a module of a synthetic wheel says; a few are the same in every version."""
    return f"VALUE = {(project, version if module % 2 else '', module)!r}\n".encode() * 40


def synthetic_wheel(project: str, version: str = "1.0", modules: int = 4) -> MadeWheel:
    """A wheel with modules in two directories, a script and a launcher."""
    files = {f"{project}/{'deep/' * (number % 2)}m{number}.py": source(project, version, number) for number in range(modules)}
    files[f"{project}-{version}.data/scripts/{project}-script"] = b"#!python\nprint('run')\n"
    return make_wheel(files, project, version, entry_points=f"[console_scripts]\n{project} = {project}:main\n")


@dataclass(frozen=True)
class Scene:
    """An `add` that upgrades one distribution and brings a new one."""

    store: Path
    """In the old state. Never changed: `copy` it."""
    wheels: tuple[Path, ...]
    old: Contents
    new: Contents
    prepared: Prepared

    def copy(self, to: Path) -> Path:
        shutil.copytree(self.store, to, symlinks=True)
        return to

    def add(self, store: Path, tracer: Sequence[str] = ()) -> Done:
        return self.prepared.run(store, "add", *self.wheels, tracer=tracer)

    def play(self, store: Path, tracer: Sequence[str] = ()) -> Done:
        """What is disturbed is the add."""
        return self.add(store, tracer)

    def check_interrupted(self, store: Path, done: Done) -> None:
        """All that an `add` promises, however it ended: the store is whole, old or new, and the next `add` completes."""
        if not done.was_killed and done.code != 0:
            check_refusal(done)
        if (store / "format").exists():
            check_clean(store, self.prepared.run)
            now = read_contents(store)
            new = self.new
            if "nothing is compiled" in done.errors:  # an add goes on without bytecode, and the next one makes it
                now, new = without_bytecode(now), without_bytecode(new)
            assert now == new if done.code == 0 else now in (self.old, new)
        else:
            now = {}
            assert not self.old
        self.check_next_add(store)
        if now != self.new:
            check_clean(store, self.prepared.run)

    def check_next_add(self, store: Path) -> None:
        must(self.add(store))
        assert read_contents(store) == self.new
        assert not list((store / "tmp").iterdir()), "what was left in tmp/ must be swept"


def without_bytecode(contents: Contents) -> Contents:
    return {one: {path: what for path, what in files.items() if not is_bytecode(path)} for one, files in contents.items()}


def make_scene(prepared: Prepared, directory: Path, wheels: list[MadeWheel], before: MadeWheel | None = None) -> Scene:
    """Play it once undisturbed to learn what must come out."""
    for name in ("wheels", "before", "after"):
        (directory / name).mkdir(parents=True)
    paths = tuple(wheel.write_to(directory / "wheels") for wheel in wheels)
    store, after = directory / "before", directory / "after"
    old: Contents = {}
    if before:
        must(casfs(store, "add", before.write_to(directory / "wheels")))
        old = read_contents(store)
    scene = Scene(store, paths, old, {}, prepared)
    shutil.copytree(store, after, symlinks=True, dirs_exist_ok=True)
    must(scene.add(after))
    return Scene(store, paths, old, read_contents(after), prepared)


def check_is_synthetic(contents: Contents, project: str, version: str, *, modules: int = 4) -> None:
    """The distribution holds exactly the bytes that its wheel was made of."""
    files = contents[f"{project} {version}"]
    for number in range(modules):
        path = f"{SITE_PACKAGES}/{project}/{'deep/' * (number % 2)}m{number}.py"
        assert files[path] == hashlib.sha256(source(project, version, number)).hexdigest()
    assert {f"bin/{project}", f"bin/{project}-script", f"{SITE_PACKAGES}/{project}-{version}.dist-info/RECORD"} <= files.keys()
