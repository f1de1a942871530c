"""Every kind of damage that can be done to a store, and what a check must say of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from casfs.digest import Digest, checksum_bytes, digest_bytes
from casfs.store.fsck.damage import DamageKind
from casfs.store.generations import format_index
from casfs.store.ingest import Ingested
from casfs.store.manifests import Manifest, format_manifest, manifest_path
from casfs.store.store import DIRECTORIES
from tests.store.harm import CHANGES, REPLACEMENTS, make_directory, make_fifo, make_link, remove, write
from tests.store.scene import ONLY, SHARED, Scene


@dataclass(frozen=True)
class Planted:
    """What a check must say of a damage."""

    kind: DamageKind
    path: Path
    words: str
    environments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plant:
    """One way to damage a scene. `is_healed`: by repair and by adding the same wheels again."""

    name: str
    act: Callable[[Scene], Planted]
    is_healed: bool = True

    def __str__(self) -> str:
        return self.name


def _of_blob(name: str, content: bytes, environments: tuple[str, ...], needed_by: str) -> list[Plant]:
    def plant(damage: Callable[[Path], None], kind: DamageKind) -> Callable[[Scene], Planted]:
        def act(scene: Scene) -> Planted:
            damage(scene.blob(content))
            return Planted(kind, scene.blob(content), needed_by, environments)

        return act

    found = [Plant(f"{name}: {damage.__name__}", plant(damage, DamageKind.BLOB)) for damage in (*CHANGES, *REPLACEMENTS)]
    return [*found, Plant(f"{name}: remove", plant(remove, DamageKind.MISSING_BLOB))]


def _of_manifest() -> list[Plant]:
    def plant(damage: Callable[[Path], None], kind: DamageKind) -> Callable[[Scene], Planted]:
        def act(scene: Scene) -> Planted:
            damage(scene.manifest(scene.other))
            return Planted(kind, scene.manifest(scene.other), "", ("plain", "work"))

        return act

    found = [Plant(f"manifest: {damage.__name__}", plant(damage, DamageKind.MANIFEST)) for damage in (*CHANGES, *REPLACEMENTS)]
    return [*found, Plant("manifest: remove", plant(remove, DamageKind.MISSING_MANIFEST))]


def _write_blob(scene: Scene) -> Planted:
    scene.blob(SHARED).chmod(0o644)
    return Planted(DamageKind.MODE, scene.blob(SHARED), "0644")


def plant_manifest(scene: Scene, manifest: Manifest) -> tuple[Digest, Path]:
    """A manifest under its own digest, whatever it says; the record of the wheel "other" now names it."""
    content = format_manifest(manifest)
    digest = digest_bytes(content)
    path = Path(manifest_path(scene.store, digest))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    write(scene.wheel(scene.other), f"{digest}\n")
    return digest, path


def _lie_about_size(scene: Scene) -> Planted:
    content = scene.other.content
    _, path = plant_manifest(scene, replace(content, sizes=[size + 1 for size in content.sizes]))
    return Planted(DamageKind.MANIFEST, path, "wrong size or checksum")


def _lie_about_checksum(scene: Scene) -> Planted:
    content = scene.other.content
    _, path = plant_manifest(scene, replace(content, checksums=content.checksums[::-1]))
    return Planted(DamageKind.MANIFEST, path, "wrong size or checksum")


def _lead_outside(scene: Scene) -> Planted:
    content = scene.other.content
    _, path = plant_manifest(scene, replace(content, names=["..", *content.names[1:]]))
    return Planted(DamageKind.MANIFEST, path, "leaves its directory")


def _promise_what_nobody_has(scene: Scene) -> Planted:
    content = scene.other.content
    digest = "ab" * 32
    plant_manifest(scene, replace(content, digests=digest + content.digests[64:]))
    return Planted(DamageKind.MISSING_BLOB, Path(scene.store.pool.path(Digest(digest))), "other 1.0")


def _of_wheel() -> list[Plant]:
    def plant(damage: Callable[[Scene], None], kind: DamageKind, words: str) -> Callable[[Scene], Planted]:
        def act(scene: Scene) -> Planted:
            damage(scene)
            return Planted(kind, scene.wheel(scene.demo), words)

        return act

    contents = {"empty": "", "nonsense": "nonsense", "no digest": "AB" * 32, "two lines": f"{'ab' * 32}\n\n"}
    plants = [
        Plant(
            f"wheel: {name}",
            plant(lambda scene, content=content: write(scene.wheel(scene.demo), content), DamageKind.WHEEL, "SHA-256"),  # type: ignore[misc]
        )
        for name, content in contents.items()
    ]
    return plants + [
        Plant(
            f"wheel: {damage.__name__}",
            plant(lambda scene, damage=damage: damage(scene.wheel(scene.demo)), DamageKind.WHEEL, "instead of"),  # type: ignore[misc]
        )
        for damage in REPLACEMENTS
    ]


def _name_another_wheels_manifest(scene: Scene) -> Planted:
    write(scene.wheel(scene.demo), f"{scene.other.manifest}\n")
    return Planted(DamageKind.WHEEL, scene.wheel(scene.demo), "another wheel: other 1.0")


def _name_no_manifest(scene: Scene) -> Planted:
    write(scene.wheel(scene.demo), f"{'ab' * 32}\n")
    return Planted(DamageKind.MISSING_MANIFEST, scene.path("manifests", "ab", "ab" * 31), "missing")


def _of_number() -> list[Plant]:
    def plant(damage: Callable[[Path], None], words: str) -> Callable[[Scene], Planted]:
        def act(scene: Scene) -> Planted:
            damage(scene.number(scene.demo))
            return Planted(DamageKind.NUMBER, scene.number(scene.demo), words)

        return act

    texts = {"empty": "", "list": "[]", "no manifest": "{}", "deep": "[" * 100_000}
    found = [Plant(f"number: {name}", plant(lambda path, text=text: write(path, text), "can't be read")) for name, text in texts.items()]  # type: ignore[misc]
    return [*found, *(Plant(f"number: {damage.__name__}", plant(damage, "instead of")) for damage in REPLACEMENTS)]


def _record(scene: Scene, one: Ingested, **changes: object) -> None:
    path = scene.number(one)
    write(path, json.dumps(json.loads(path.read_text()) | changes))


def _give_number_to_another(scene: Scene) -> Planted:
    _record(scene, scene.demo, manifest=scene.other.manifest)
    return Planted(DamageKind.NUMBER, scene.number(scene.demo), "can't be found by its number", ("plain", "work"))


def _lose_number(scene: Scene) -> Planted:
    scene.number(scene.demo).unlink()
    return Planted(DamageKind.ENVIRONMENT, Path(scene.environment("work").path(1)), "which it has not", ("work",))


def _change_whose_number_it_is(scene: Scene) -> Planted:
    """One bit that leaves a record which makes sense by itself."""
    last = {"0": "1"}.get(scene.demo.manifest[-1], "0")
    _record(scene, scene.demo, manifest=scene.demo.manifest[:-1] + last)
    return Planted(DamageKind.ENVIRONMENT, Path(scene.environment("work").path(1)), "which it has not", ("work",))


def _mark_for_another_project(scene: Scene) -> Planted:
    marker = scene.path("numbers", "by-project", "demo", f"{scene.other.number:06x}")
    marker.touch()
    return Planted(DamageKind.MARKER, marker, "that other has")


def _mark_nothing(scene: Scene) -> Planted:
    marker = scene.path("numbers", "by-project", "demo", "abcdef")
    marker.touch()
    return Planted(DamageKind.MARKER, marker, "no manifest has")


def _stranger(*parts: str) -> Plant:
    def act(scene: Scene) -> Planted:
        path = scene.path(*parts)
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return Planted(DamageKind.STRANGER, path, "a regular file that casfs did not put there")

    return Plant(f"stranger: {'/'.join(parts)[:40]}", act)


STRANGERS = [
    _stranger("blobs", "note.txt"),
    _stranger("blobs", "ab"),
    _stranger("blobs", "ab", "note.txt"),
    _stranger("blobs", "ab", "cd" * 30),
    _stranger("blobs", "ab", "CD" * 31),
    _stranger("manifests", "note.txt"),
    _stranger("manifests", "ab", ".hidden"),
    _stranger("wheels", "demo-1.0-py3-none-any.whl"),
    _stranger("numbers", "ab", "cdefab"),
    _stranger("numbers", "by-project", "demo-1.0"),
    _stranger("numbers", "by-project", "demo", "note"),
    _stranger("environments", "note.txt"),
    _stranger("environments", "-"),
]


def _add_strange_directory(scene: Scene) -> Planted:
    path = scene.path("blobs", "AB")
    (path / "cd").mkdir(parents=True)
    return Planted(DamageKind.STRANGER, path, "a directory that casfs did not put there")


def _lose_whole_directory(name: str, is_healed: bool) -> Plant:
    def act(scene: Scene) -> Planted:
        scene.path(name).rename(scene.place / "elsewhere")
        return Planted(DamageKind.LAYOUT, scene.path(name), "is missing")

    return Plant(f"directory lost: {name}", act, is_healed)


def _make_directory_a_file(scene: Scene) -> Planted:
    scene.path("wheels").rename(scene.place / "elsewhere")
    scene.path("wheels").touch()
    return Planted(DamageKind.LAYOUT, scene.path("wheels"), "is a regular file instead of a directory")


def _change_format(scene: Scene) -> Planted:
    scene.path("format").write_text("casfs store 9\n")
    return Planted(DamageKind.LAYOUT, scene.path("format"), "casfs store 9")


def _current(target: str) -> Plant:
    def act(scene: Scene) -> Planted:
        current = scene.path("environments", "work", "current")
        current.unlink()
        current.symlink_to(target)
        return Planted(DamageKind.ENVIRONMENT, current, "which is not a generation", ("work",))

    return Plant(f"current: {target}", act, is_healed=False)


def _make_current_a_file(scene: Scene) -> Planted:
    current = scene.path("environments", "work", "current")
    current.unlink()
    current.write_text("generations/2.toml")
    return Planted(DamageKind.ENVIRONMENT, current, "is not a symbolic link", ("work",))


def _lock(name: str, change: Callable[[str], str], words: str) -> Plant:
    def act(scene: Scene) -> Planted:
        path = Path(scene.environment("work").path(2))
        write(path, change(path.read_text()))
        return Planted(DamageKind.ENVIRONMENT, path, words, ("work",))

    return Plant(f"lock: {name}", act, is_healed=False)


LOCKS = [
    _lock("empty", lambda text: "", "is not a generation"),
    _lock("torn", lambda text: text[: len(text) // 2], ""),
    _lock("another number", lambda text: text.replace("generation = 2", "generation = 1"), "says that it is generation 1"),
    _lock("another project", lambda text: text.replace('name = "demo"', 'name = "other"', 1), "demo 2.0 for other 2.0"),
    _lock("another version", lambda text: text.replace('version = "2.0"', 'version = "3.0"', 1), "has the manifest of demo"),
    _lock("no version of the standard", lambda text: text.replace('lock-version = "1.0"\n', ""), "is not a valid lock file"),
    _lock("a number that can't be", lambda text: text.replace("number = ", "number = 1 # ", 1), "has the number 000001, which it has not"),
    _lock("infinite", lambda text: text.replace("number = ", "number = inf # ", 1), "is not a generation"),
    *(
        Plant(
            f"lock: {damage.__name__}",
            lambda scene, damage=damage: (  # type: ignore[misc]
                damage(Path(scene.environment("work").path(2))),
                Planted(DamageKind.ENVIRONMENT, Path(scene.environment("work").path(2)), "instead of", ("work",)),
            )[1],
            is_healed=False,
        )
        for damage in (make_fifo, make_directory, make_link)
    ),
]


def _forge_index(scene: Scene) -> Planted:
    """An index that fits its lock file, but shows a file that is not there."""
    environment = scene.environment("work")
    generation = scene.generation()
    forged = replace(generation, skeleton=replace(generation.skeleton, size=generation.skeleton.size + 1))
    write(Path(environment.index_path(2)), format_index(forged, Path(environment.path(2)).read_bytes()))
    return Planted(DamageKind.INDEX, Path(environment.index_path(2)), "differs", ("work",))


def _write_senseless_index(scene: Scene) -> Planted:
    environment = scene.environment("work")
    lock = Path(environment.path(2)).read_bytes()
    write(Path(environment.index_path(2)), f"casfs index 1 {checksum_bytes(lock)} {checksum_bytes(b'[]')}\n[]")
    return Planted(DamageKind.INDEX, Path(environment.index_path(2)), "makes no sense", ("work",))


PLANTS: list[Plant] = [
    *_of_blob("small blob of two projects", SHARED, ("plain", "work"), "demo 1.0 (lib/{python}/site-packages/demo/LICENSE)"),
    *_of_blob("large blob", ONLY, ("work",), "demo 2.0 (lib/{python}/site-packages/demo/__init__.py)"),
    Plant("mode", _write_blob),
    *_of_manifest(),
    Plant("manifest lies about a size", _lie_about_size),
    Plant("manifest lies about a checksum", _lie_about_checksum),
    Plant("manifest leads outside", _lead_outside),
    Plant("manifest names a blob that never was", _promise_what_nobody_has),
    *_of_wheel(),
    Plant("wheel: another wheel's manifest", _name_another_wheels_manifest),
    Plant("wheel: no manifest", _name_no_manifest),
    *_of_number(),
    Plant("number: another manifest's", _give_number_to_another),
    Plant("number: lost", _lose_number),
    Plant("number: of a manifest that nobody has", _change_whose_number_it_is),
    Plant("marker: another project's", _mark_for_another_project),
    Plant("marker: nobody's", _mark_nothing),
    *STRANGERS,
    Plant("stranger: directory", _add_strange_directory),
    *(_lose_whole_directory(name, is_healed=name not in ("blobs", "manifests")) for name in DIRECTORIES),
    Plant("directory: a file", _make_directory_a_file),
    Plant("format changed", _change_format, is_healed=False),
    _current("generations/9.toml"),
    _current("generations/02.toml"),
    _current("2.toml"),
    _current("/etc/passwd"),
    Plant("current: a file", _make_current_a_file, is_healed=False),
    *LOCKS,
    Plant("index: forged", _forge_index),
    Plant("index: senseless", _write_senseless_index),
]
