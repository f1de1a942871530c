"""Generation: one immutable state of an environment, and its two forms on disk.

`<n>.toml` is the truth: a PEP 751 lock file with a [tool.casfs] table, so that any tool can read it. `<n>.index` is derived from it and
from the manifests: the same facts as JSON, and each manifest's *outline*, which is what it holds in the few directories that every
distribution shares (bin, site-packages, ...). With it, one small read shows where everything is, and no manifest of a distribution that
nobody touches is opened. An index that does not belong to its lock file is made anew.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from casfs.digest import Digest, checksum_bytes, parse_digest, shard_path
from casfs.errors import InvalidValue
from casfs.paths import PYTHON_COMPONENT, SITE_PACKAGES
from casfs.store.manifests import Description, Manifest, build_manifest

SHARED_DIRECTORIES = ("", "bin", "include", "lib", f"lib/{PYTHON_COMPONENT}", SITE_PACKAGES)

Names = Mapping[str, int]  # name -> row
ReadManifest = Callable[[Digest], Manifest]

NOTHING = build_manifest(Description("", "", ""), [])
"""A manifest of nothing: with it whoever wants to know what a lock file says, and no outlines, parses that alone."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What a manifest holds in the shared directories: for each that it has, its row, its directories and its files."""

    directories: Mapping[int, tuple[Names, Names]]
    paths: Mapping[str, int]  # path of a shared directory -> row


@dataclass(frozen=True, slots=True)
class Layer:
    """A manifest's place in a generation."""

    manifest: Digest
    number: int
    outline: Outline
    size: int  # bytes of its files
    time: int  # of the manifest


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed project: what its wheel brings, and over it what installing adds (launchers, RECORD, ...)."""

    project: str
    name: str
    version: str
    wheel: Digest  # empty: no wheel is known that has these files
    wheel_size: int  # 0: no wheel was seen: a tool installed it, or it was known by its digest alone
    origin: str  # path or URL that the wheel came from; or else the tool
    requested: bool
    files: Layer
    installation: Layer


@dataclass(frozen=True, slots=True)
class BaseInterpreter:
    """The interpreter that a generation is for."""

    executable: str
    version: str
    cache_tag: str
    directory: str  # "python3.11"


@dataclass(frozen=True, slots=True)
class Generation:
    """One immutable state of an environment. Later distributions win where two claim one path."""

    number: int
    created: str  # ISO 8601, UTC
    command: str  # what made it: "add numpy 2.4.6"
    interpreter: BaseInterpreter
    skeleton: Layer
    distributions: tuple[Distribution, ...]
    _by_project: Mapping[str, Distribution] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_project", {distribution.project: distribution for distribution in self.distributions})

    @property
    def layers(self) -> list[Layer]:
        """All manifests, the lowest one first."""
        return [self.skeleton, *(layer for distribution in self.distributions for layer in (distribution.files, distribution.installation))]

    def find(self, project: str) -> Distribution | None:
        """The distribution of a project, by canonical name."""
        return self._by_project.get(project)


def outline_manifest(manifest: Manifest) -> Outline:
    """The manifest's outline."""
    rows = {path: row for row, path in enumerate(manifest.directories) if path in SHARED_DIRECTORIES}
    return Outline(
        {
            row: (dict(manifest.directories_in(row)), {manifest.names[index]: index for index in manifest.files_in(row)})
            for row in rows.values()
        },
        rows,
    )


def format_lock(generation: Generation) -> bytes:
    """The generation as a lock file (PEP 751)."""
    import tomli_w

    casfs = {
        "generation": generation.number,
        "created": generation.created,
        "command": generation.command,
        "interpreter": dataclasses.asdict(generation.interpreter),
        "skeleton": _lock_layer(generation.skeleton),
    }
    packages = [_lock_package(distribution) for distribution in generation.distributions]
    return tomli_w.dumps({"lock-version": "1.0", "created-by": "casfs", "packages": packages, "tool": {"casfs": casfs}}).encode()


def _lock_layer(layer: Layer) -> dict[str, Any]:
    return {"manifest": layer.manifest, "number": layer.number}


def _lock_package(distribution: Distribution) -> dict[str, Any]:
    casfs = {
        "name": distribution.name,
        "requested": distribution.requested,
        "files": _lock_layer(distribution.files),
        "installation": _lock_layer(distribution.installation),
    }
    if not _is_of_wheel(distribution):
        casfs |= {"wheel": distribution.wheel, "wheel-size": distribution.wheel_size, "origin": distribution.origin}
    return {"name": distribution.project, "version": distribution.version, "archive": _lock_archive(distribution), "tool": {"casfs": casfs}}


def _is_of_wheel(distribution: Distribution) -> bool:
    """Whether its origin is a wheel that somebody could fetch again, and whose digest is known."""
    return bool(distribution.wheel_size) and distribution.origin.partition("?")[0].endswith(".whl")


def _lock_archive(distribution: Distribution) -> dict[str, Any]:
    """Where its files come from. For what was built, or installed by a tool, that is the manifest, by a path relative to the lock file."""
    if not _is_of_wheel(distribution):
        manifest = distribution.files.manifest
        return {"path": f"../../../manifests/{shard_path(manifest)}", "hashes": {"sha256": manifest}}
    place = "url" if "://" in distribution.origin else "path"
    return {place: distribution.origin, "size": distribution.wheel_size, "hashes": {"sha256": distribution.wheel}}


def parse_lock(content: bytes, read: ReadManifest) -> Generation:
    """The generation in a lock file that casfs wrote; `read` reads a manifest. Raises ValueError, and what `read` raises."""
    import tomllib  # 6 ms, and where the index fits nobody needs it

    try:
        data = tomllib.loads(content.decode())
        casfs = data["tool"]["casfs"]
        return Generation(
            casfs["generation"],
            casfs["created"],
            casfs["command"],
            BaseInterpreter(**casfs["interpreter"]),
            _parse_layer(casfs["skeleton"], read),
            tuple(_parse_package(package, read) for package in data["packages"]),
        )
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError, InvalidValue) as error:
        raise ValueError(f"is not a generation that casfs wrote: {error!r}") from None


def _parse_layer(data: Mapping[str, Any], read: ReadManifest) -> Layer:
    return build_layer(parse_digest(data["manifest"]), int(data["number"]), read(parse_digest(data["manifest"])))


def build_layer(digest: Digest, number: int, manifest: Manifest) -> Layer:
    """The manifest's place in a generation."""
    return Layer(digest, number, outline_manifest(manifest), manifest.total_size, manifest.time)


def _parse_package(data: Mapping[str, Any], read: ReadManifest) -> Distribution:
    archive, casfs = data["archive"], data["tool"]["casfs"]
    return Distribution(
        data["name"],
        casfs["name"],
        data["version"],
        _parse_wheel(casfs.get("wheel", archive["hashes"]["sha256"])),
        casfs.get("wheel-size", 0) if "wheel" in casfs else archive["size"],
        casfs["origin"] if "wheel" in casfs else archive.get("url") or archive["path"],
        casfs["requested"],
        _parse_layer(casfs["files"], read),
        _parse_layer(casfs["installation"], read),
    )


def _parse_wheel(text: str) -> Digest:
    return parse_digest(text) if text else Digest("")


_INDEX, _OLD_INDEX = "casfs index 2", "casfs index 1"  # the old one says no times, since no manifest had any


def format_index(generation: Generation, lock: bytes) -> bytes:
    """The index that belongs to the lock file `lock`."""
    data = {name: getattr(generation, name) for name in _SCALARS}
    data["interpreter"] = dataclasses.asdict(generation.interpreter)
    data["skeleton"] = dump_layer(generation.skeleton)
    data["distributions"] = [_dump_distribution(distribution) for distribution in generation.distributions]
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return f"{_INDEX} {checksum_bytes(lock)} {checksum_bytes(body)}\n".encode() + body


@functools.lru_cache(maxsize=1)
def parse_index(content: bytes, lock: bytes) -> Generation | None:
    """The generation in an index, or None if the index is damaged, of another format, or of another lock file.

    The last one is remembered: most commands read a generation several times, and a thousand distributions take 17 ms.
    """
    head, _, body = content.partition(b"\n")
    if head not in {f"{form} {checksum_bytes(lock)} {checksum_bytes(body)}".encode() for form in (_INDEX, _OLD_INDEX)}:
        return None
    data = json.loads(body)
    distributions = tuple(_load_distribution(*one) for one in data["distributions"])
    interpreter = BaseInterpreter(**data["interpreter"])
    number, created, command = (data[name] for name in _SCALARS)
    return Generation(number, created, command, interpreter, load_layer(data["skeleton"]), distributions)


_SCALARS = ("number", "created", "command")


def _dump_distribution(distribution: Distribution) -> list[Any]:
    facts = [
        distribution.project,
        distribution.name,
        distribution.version,
        distribution.wheel,
        distribution.wheel_size,
        distribution.origin,
        distribution.requested,
    ]
    return [*facts, dump_layer(distribution.files), dump_layer(distribution.installation)]


def _load_distribution(  # noqa: PLR0917 - the columns that `_dump_distribution` writes
    project: str, name: str, version: str, wheel: Digest, size: int, origin: str, requested: bool, files: list[Any], made: list[Any]
) -> Distribution:
    return Distribution(project, name, version, wheel, size, origin, requested, load_layer(files), load_layer(made))


def dump_layer(layer: Layer) -> list[Any]:
    """The layer as JSON; `load_layer` is the reverse."""
    outline = layer.outline
    shared = [(path, row, *outline.directories[row]) for path, row in outline.paths.items()]
    return [layer.manifest, layer.number, layer.size, shared, layer.time]


_LAYER_FACTS = 5


def load_layer(data: list[Any]) -> Layer:
    """The layer that `dump_layer` has written. Raises ValueError and TypeError."""
    manifest, number, size, shared, time = data if len(data) == _LAYER_FACTS else (*data, 0)
    directories = {row: (directories, files) for _, row, directories, files in shared}
    return Layer(manifest, number, Outline(directories, {path: row for path, row, _, _ in shared}), size, time)
