"""Makes what stores hold: manifests, known wheels, generations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from casfs.digest import Digest, checksum_bytes, digest_bytes
from casfs.store.environments import Environment
from casfs.store.generations import BaseInterpreter, Distribution, Generation, Layer, build_layer
from casfs.store.ingest import Ingested, MadeFiles, Request, ingest_files, ingest_wheels
from casfs.store.manifests import Description, Kind, Manifest, ManifestFile, NewFile, stage_manifest
from casfs.store.numbers import assign_numbers
from casfs.store.store import Store
from tests.make_wheels import MadeWheel

Contents = Mapping[str, bytes]

ANY_WHEEL = Request(lambda path, about: None)

INTERPRETER = BaseInterpreter("/usr/bin/python3.11", "3.11.7", "cpython-311", "python3.11")


def row(path: str, content: bytes = b"", kind: Kind = Kind.FILE) -> ManifestFile:
    """A row of a manifest for a file with this content."""
    return ManifestFile(path, digest_bytes(content), checksum_bytes(content), len(content), kind)


def about(project: str = "demo", version: str = "1.0") -> Description:
    return Description(project, project, version)


def put_blob(store: Store, content: bytes) -> Digest:
    """A blob with this content, published."""
    digest = digest_bytes(content)
    with store.batch() as batch:
        store.pool.stage(batch, content, digest)
        batch.commit()
    return digest


def publish_files(
    store: Store, contents: Contents, project: str = "demo", version: str = "1.0", executable: Sequence[str] = ()
) -> tuple[Digest, Manifest, int]:
    """Digest, content and number of a published manifest of these files."""
    files = [NewFile(path, content, Kind.EXECUTABLE if path in executable else Kind.FILE) for path, content in contents.items()]
    [made] = ingest_files(store, [MadeFiles(about(project, version), files)])
    return made


def publish_undated(store: Store, *manifests: Manifest) -> list[tuple[Digest, Manifest, int]]:
    """Digest, content and number of manifests without times, published as the version before did."""
    with store.batch() as batch:
        staged = [(stage_manifest(store, batch, manifest), manifest) for manifest in manifests]
        batch.commit()
    return [(*one, number) for one, number in zip(staged, assign_numbers(store, staged), strict=True)]


def ingest(store: Store, place: Path, *wheels: MadeWheel, request: Request = ANY_WHEEL) -> list[Ingested]:
    """The wheels, written to `place` and taken into the store."""
    return ingest_wheels(store, [str(wheel.write_to(place)) for wheel in wheels], request)


def publish_layer(store: Store, contents: Contents, project: str, version: str = "1.0") -> Layer:
    digest, manifest, number = publish_files(store, contents, project, version)
    return build_layer(digest, number, manifest)


def install(store: Store, one: Ingested) -> Distribution:
    """A wheel as a distribution of a generation, with something that installing added."""
    described = one.content.description
    made = publish_layer(store, {f"bin/{described.project}": b"#!launcher\n"}, described.project, described.version)
    files = build_layer(one.manifest, one.number, one.content)
    return Distribution(
        described.project, described.name, described.version, one.wheel, one.wheel_size, one.path, True, files, made
    )  # fmt: skip


def publish_generation(environment: Environment, *distributions: Distribution) -> Generation:
    """The next generation of an environment, with these distributions."""
    skeleton = publish_layer(environment.store, {"pyvenv.cfg": b"home = /usr/bin\n"}, "skeleton")
    with environment.locked():
        generation = Generation(environment.next_number(), "2026-01-02T03:04:05+00:00", "add", INTERPRETER, skeleton, distributions)
        environment.publish(generation)
    return generation
