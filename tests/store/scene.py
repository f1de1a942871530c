"""A store with everything in it: the scene in which damage is planted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from casfs.digest import digest_bytes
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.ingest import Ingested
from casfs.store.manifests import manifest_path
from casfs.store.numbers import number_path
from casfs.store.store import Store
from tests.make_wheels import MadeWheel, make_wheel
from tests.store.making import ingest, install, publish_generation

SHARED = b"in both projects\n"
ONLY = b"VALUE = 1\n" * 40_000  # large enough to be compared in a thread

DEMO = make_wheel({"demo/__init__.py": ONLY, "demo/LICENSE": SHARED}, "demo", "1.0")
NEWER = make_wheel({"demo/__init__.py": ONLY, "demo/LICENSE": SHARED, "demo/new.py": b"2\n"}, "demo", "2.0")
OTHER = make_wheel({"other/__init__.py": b"OTHER = 1\n", "other/LICENSE": SHARED}, "other", "1.0")


@dataclass(frozen=True)
class Scene:
    """Three wheels; environment "work" has demo 1.0 and other, then demo 2.0 and other; "plain" has other; "empty" has nothing."""

    store: Store
    place: Path
    demo: Ingested
    newer: Ingested
    other: Ingested

    def environment(self, name: str) -> Environment:
        return Environment(self.store, name)

    def generation(self) -> Generation:
        return self.environment("work").require()

    def blob(self, content: bytes) -> Path:
        return Path(self.store.pool.path(digest_bytes(content)))

    def manifest(self, one: Ingested) -> Path:
        return Path(manifest_path(self.store, one.manifest))

    def number(self, one: Ingested) -> Path:
        return Path(number_path(self.store, one.number))

    def wheel(self, one: Ingested) -> Path:
        return Path(self.store.path("wheels", one.wheel))

    def path(self, *parts: str) -> Path:
        return Path(self.store.path(*parts))


def make_scene(store: Store, place: Path) -> Scene:
    ingested = add_again(store, place)
    scene = Scene(store, place, *ingested)
    demo, newer, other = (install(store, one) for one in ingested)
    publish_generation(scene.environment("work"), demo, other)
    publish_generation(scene.environment("work"), newer, other)
    publish_generation(scene.environment("plain"), other)
    publish_generation(scene.environment("empty"))
    return scene


def add_again(store: Store, place: Path) -> list[Ingested]:
    """What `casfs add` does first with the wheels of the scene."""
    return ingest(store, place, *WHEELS)


WHEELS: tuple[MadeWheel, ...] = (DEMO, NEWER, OTHER)
