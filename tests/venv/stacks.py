"""Stacks of layers as hypothesis makes them, and the plain dict that a tree over them must equal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

from casfs.digest import Digest
from casfs.paths import SITE_PACKAGES
from casfs.store.generations import Generation
from casfs.store.manifests import Description, Kind, Manifest, ManifestFile, build_manifest
from tests.make_generations import BASE, Shelf, make_row

DIRECTORIES = (
    "",
    "bin",
    "lib",
    "lib/{python}",
    SITE_PACKAGES,
    f"{SITE_PACKAGES}/ns",
    f"{SITE_PACKAGES}/ns/deep",
    f"{SITE_PACKAGES}/a",
    f"lib/{BASE.directory}/site-packages",  # a data file that spells it out
    f"lib/{BASE.directory}/site-packages/ns",
    "include/site/{python}/a",
    "share/{python}",  # not a place where it stands for anything
)
NAMES = ("a", "A", "ns", "deep", "é", "e\u0301", 'x, "y".py', "lib", BASE.directory)
KINDS = (Kind.FILE, Kind.FILE, Kind.EXECUTABLE, Kind.SYMLINK)

Facts = tuple[Digest, int, Kind]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The files and empty directories of a layer. No two of its paths clash, as in every wheel that is accepted."""

    files: tuple[ManifestFile, ...]
    empty: tuple[str, ...]

    def manifest(self, project: str, version: str = "1.0") -> Manifest:
        return build_manifest(Description(project, project, version), self.files, self.empty)


def show(path: str) -> str:
    """A manifest's path as it is shown."""
    parts = path.split("/")
    for parent in (["lib"], ["include", "site"]):
        place = len(parent)
        if parts[:place] == parent and parts[place : place + 1] == ["{python}"]:
            parts[place] = BASE.directory
    return "/".join(parts)


def parents(path: str) -> list[str]:
    """Every directory above a path, from the root."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts))] if path else []


@st.composite
def layers(draw: st.DrawFn, directories: Sequence[str] = DIRECTORIES, most: int = 6) -> Drawn:
    """One layer."""
    paths = st.tuples(st.sampled_from(directories), st.sampled_from(NAMES)).map(lambda pair: "/".join(filter(None, pair)))
    files: dict[str, ManifestFile] = {}
    used: set[str] = set()
    for path in draw(st.lists(paths, max_size=most)):
        shown = show(path)
        if shown not in files and shown not in used and not files.keys() & set(parents(shown)):
            files[shown] = make_row(path, draw(st.sampled_from([b"", b"1", b"22"])), draw(st.sampled_from(KINDS)))
            used.update(parents(shown))
    wanted = draw(st.lists(st.sampled_from(directories), max_size=2))
    empty = [path for path in wanted if show(path) not in files and not files.keys() & set(parents(show(path)))]
    return Drawn(tuple(files.values()), tuple(empty))


def skeletons() -> st.SearchStrategy[Drawn]:
    """A skeleton: what every environment has, and anything else."""
    own = {path: make_row(path, path.encode(), Kind.SYMLINK) for path in ("bin/python", "pyvenv.cfg", "lib64")}

    def complete(drawn: Drawn) -> Drawn:
        return Drawn((*own.values(), *drawn.files), (*drawn.empty, SITE_PACKAGES))

    return layers(("bin", "include", SITE_PACKAGES), most=2).map(complete)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Drawn, list[tuple[Drawn, Drawn]]]:
    """A skeleton, and for each distribution its files and its installation."""
    return draw(skeletons()), draw(st.lists(st.tuples(layers(), layers(most=3)), max_size=4))


def build_generation(shelf: Shelf, skeleton: Drawn, drawn: Sequence[tuple[Drawn, Drawn]]) -> Generation:
    """The generation of a stack."""
    distributions = [shelf.distribution(one.manifest(f"p{i}"), other.manifest(f"p{i}")) for i, (one, other) in enumerate(drawn)]
    return shelf.generation(skeleton.manifest("skeleton"), distributions)


def merge(stack: Iterable[Drawn]) -> dict[str, Facts | None]:
    """What unpacking layer after layer over each other gives: path -> facts of a file, None for a directory."""
    shown: dict[str, Facts | None] = {"": None}
    for drawn in stack:
        for file in drawn.files:
            path = show(file.path)
            _make_directories(shown, parents(path))
            for below in [one for one in shown if one.startswith(f"{path}/")]:
                del shown[below]
            shown[path] = (file.digest, file.size, file.kind)
        for path in drawn.empty:
            _make_directories(shown, [*parents(show(path)), show(path)])
    return shown


def _make_directories(shown: dict[str, Facts | None], paths: Iterable[str]) -> None:
    for path in paths:
        shown[path] = None


_T = TypeVar("_T")


def flatten(skeleton: _T, drawn: Iterable[tuple[_T, _T]]) -> list[_T]:
    """The layers in the order in which they win."""
    return [*(layer for pair in drawn for layer in pair), skeleton]
