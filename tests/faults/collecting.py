"""A store with garbage of every kind, and what a collection must leave of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from casfs.store.environments import Environment
from casfs.store.store import open_store
from tests.faults.commands import Contents, Done, check_clean, check_refusal, must, read_contents, snapshot
from tests.faults.prepared import Prepared
from tests.faults.scene import synthetic_wheel
from tests.store.making import publish_files, put_blob

COLLECT = ("collect", "--unused-wheels", "--keep", "1")

KEPT = ("work", "plain")
"""Environments that stay."""


@dataclass(frozen=True)
class Collecting:
    """A `casfs collect --unused-wheels --keep 1`."""

    store: Path
    """With its garbage. Never changed: `copy` it."""
    wheels: tuple[Path, ...]
    """Of the project that no environment has any more."""
    old: dict[str, Contents]
    lost: Contents
    """What these wheels became."""
    after: dict[str, str]
    """All that is in the store when it was collected."""
    prepared: Prepared

    def copy(self, to: Path) -> Path:
        shutil.copytree(self.store, to, symlinks=True)
        return to

    def play(self, store: Path, tracer: Sequence[str] = ()) -> Done:
        return self.prepared.run(store, *COLLECT, tracer=tracer)

    def check_interrupted(self, store: Path, done: Done) -> None:
        """All that a collection promises, however it ended: the store is whole, nothing needed is gone, and the next one ends the work."""
        if not done.was_killed and done.code != 0:
            check_refusal(done)
        self._check_kept(store)
        must(self.play(store))
        assert snapshot(store) == self.after

    def _check_kept(self, store: Path) -> None:
        check_clean(store, self.prepared.run)
        assert {name: read_contents(store, name) for name in KEPT} == self.old

    def check_comes_back(self, store: Path) -> None:
        """What was collected can be had again."""
        must(self.prepared.run(store, "--env", "again", "add", *self.wheels))
        assert read_contents(store, "again") == self.lost
        assert not list((store / "tmp").iterdir()), "what was left in tmp/ must be swept"
        self._check_kept(store)


def make_collecting(prepared: Prepared, directory: Path) -> Collecting:
    """Play it once undisturbed to learn what must be left."""
    wheels, store, after = (directory / name for name in ("wheels", "before", "after"))
    wheels.mkdir(parents=True)

    def run(name: str, *words: object) -> None:
        must(prepared.run(store, "--env", name, *words))

    for version in ("1.0", "2.0", "3.0"):
        run("work", "add", synthetic_wheel("demo", version).write_to(wheels))
    run("plain", "add", synthetic_wheel("other").write_to(wheels))
    lost = tuple(synthetic_wheel(name).write_to(wheels) for name in ("lost", "missed"))
    run("gone", "add", *lost)
    contents = read_contents(store, "gone")
    run("gone", "compile", "--optimize", "2")
    must(prepared.run(store, "env", "remove", "gone"))
    _make_orphans(store)
    old = {name: read_contents(store, name) for name in KEPT}
    shutil.copytree(store, after, symlinks=True)
    collecting = Collecting(store, lost, old, contents, {}, prepared)
    must(collecting.play(after))
    check_clean(after)
    return Collecting(store, lost, old, contents, snapshot(after), prepared)


def _make_orphans(path: Path) -> None:
    """What killed commands leave."""
    store = open_store(path)
    put_blob(store, b"nobody's")
    publish_files(store, {"nobody.py": b"NOBODY = 1\n"}, "nobody")
    assert Environment(store, "work").numbers() == [1, 2, 3]
