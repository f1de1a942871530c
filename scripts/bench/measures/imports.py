"""Importing large packages: from plain files and from each kind of mount, first, again and cold; and what the daemon is asked for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.bench.bench import Bench, read_all
from scripts.bench.figures import Figure
from scripts.bench.pagecache import can_drop, drop_caches
from scripts.bench.peers import peers_of
from scripts.bench.rounds import Turn
from scripts.bench.stores import Store
from scripts.bench.tools import say, without_bytecode
from scripts.bench.ways import Way
from scripts.bench.works import LEAST, import_from

_ALLOWED_S = {"small": 35, "science": 50, "deep": 100}
_WARM = 0.55
"""Of that time; the cold imports get the rest."""

_COMPILING = "small"

_PLAIN = {
    "native": "uv, copies",
    "uv, hard links": "uv, hard links",
    "symlink farm": "symlink farm",
    "uvl-fuse": "uvl-fuse, --compile-bytecode",
}
"""Contenders, and what they are made by."""

_ALONE = ("science", "deep")
"""Works that casfs shows against native files alone: making these environments again takes longer than all that is measured."""

_PROCESS = "a whole process. `native, again` is the same environment as `native`: its ratio is the noise"
_WHAT = {
    "first": f"{_PROCESS}. All files are in the page cache. casfs's mounts and daemon are new each time, uvl-fuse's is made once",
    "again": f"{_PROCESS}. The second one on that mount",
    "cold": f"{_PROCESS}. All of the machine's caches are dropped (drop_caches, 3) before; mounts are made before that",
}
_BYTECODE = (
    "Everything has bytecode, as people get it: plain files their own __pycache__, which an import before the rounds has written; casfs"
    " that of the pool, which `casfs add` makes by default"
)
_NO_BYTECODE = "Nobody has bytecode: each process compiles what it imports (PYTHONDONTWRITEBYTECODE)"
_REQUESTS = "what `casfs status` counts during the import. Counted once"


@dataclass(frozen=True, slots=True)
class _Scene:
    """The same wheels as plain files and in a store."""

    bench: Bench
    work: str
    folder: Path
    plain: Mapping[str, Path]
    """Environments of files, by contender."""
    store: Store
    ways: tuple[Way, ...]
    env: Mapping[str, str]

    @property
    def mountpoint(self) -> Path:
        return self.folder / "mount"

    def environment(self, way: Way) -> str:
        """Each way has one of its own, and so its own upper layer."""
        return f"{self.work}-{way.key}"


def measure(bench: Bench) -> Iterator[Figure]:
    """Small against all others, science against native files; if it must be quick, the small one alone."""
    works = ["small"] if bench.is_quick else ["small", "science"]
    for work in [*works, *(["deep"] if bench.is_large else [])]:
        with bench.scratch(f"imports-{work}") as folder, _scene(bench, work, folder) as scene:
            yield from _measure(scene)
    if not bench.is_quick:
        with bench.scratch("imports-compiling") as folder:
            yield from _measure_compiling(bench, folder)


@contextmanager
def _scene(bench: Bench, work: str, folder: Path) -> Iterator[_Scene]:
    wanted = {"native": _PLAIN["native"]} if work in _ALONE else _PLAIN
    peers = peers_of(bench, work, ["casfs", *wanted.values()])
    made = {contender: peers[name] for contender, name in wanted.items() if name in peers}
    for contender, peer in made.items():
        peer.make(folder / contender)
    plain = {contender: peer.environment(folder / contender) for contender, peer in made.items()}
    store = Store(bench.tools, peers["casfs"].top / "store", bench.env)
    ways = tuple(bench.ways())
    scene = _Scene(bench, work, folder, {"native": plain["native"], "native, again": plain["native"], **plain}, store, ways, bench.env)
    for way in ways:
        store.add_by_default(scene.environment(way), bench.wheels(work))
    yield scene
    for contender, peer in made.items():
        peer.leave(folder / contender)


def _measure(scene: _Scene) -> Iterator[Figure]:
    for environment in set(scene.plain.values()):
        import_from(environment, scene.work, scene.env)
    for way in scene.ways:
        with scene.store.mounted(scene.environment(way), scene.mountpoint, way=way):
            import_from(scene.mountpoint, scene.work, scene.env)
    read_all([*scene.plain.values(), scene.store.path])
    rounds = scene.bench.take_turns(_turns(scene), _ALLOWED_S[scene.work] * _WARM, LEAST.get(scene.work))
    for metric in rounds.values:
        yield rounds.figure("imports", metric, f"{scene.work}, {metric}", "s", f"{_WHAT[metric]}. {_BYTECODE}")
    if not scene.bench.is_quick:
        yield from _request_figures(scene)
    if not can_drop():
        say("imports from a cold cache are left out: only root can drop caches")
        return
    rounds = scene.bench.take_turns(_cold_turns(scene), _ALLOWED_S[scene.work] * (1 - _WARM), LEAST.get(scene.work))
    yield rounds.figure("imports", "cold", f"{scene.work}, cold", "s", f"{_WHAT['cold']}. {_BYTECODE}")


def _turns(scene: _Scene) -> dict[str, Turn]:
    def twice(environment: Path) -> Mapping[str, float]:
        return {metric: import_from(environment, scene.work, scene.env) for metric in ("first", "again")}

    def mounted(way: Way, number: int) -> Mapping[str, float]:
        with scene.store.mounted(scene.environment(way), scene.mountpoint, way=way):
            return twice(scene.mountpoint)

    plain: dict[str, Turn] = {name: lambda number, path=path: twice(path) for name, path in scene.plain.items()}  # type: ignore[misc]
    return {**plain, **{way.name: partial(mounted, way) for way in scene.ways}}


def _cold_turns(scene: _Scene) -> dict[str, Turn]:
    def cold(environment: Path, number: int) -> Mapping[str, float]:
        drop_caches()
        return {"cold": import_from(environment, scene.work, scene.env)}

    def mounted(way: Way, number: int) -> Mapping[str, float]:
        with scene.store.mounted(scene.environment(way), scene.mountpoint, way=way):
            return cold(scene.mountpoint, number)

    plain: dict[str, Turn] = {name: partial(cold, path) for name, path in scene.plain.items() if name != "native, again"}
    return {**plain, **{way.name: partial(mounted, way) for way in scene.ways}}


def _measure_compiling(bench: Bench, folder: Path) -> Iterator[Figure]:
    """With what the run has prepared, for that has no bytecode."""
    native, store = bench.native(_COMPILING), bench.store(_COMPILING)
    env = without_bytecode(bench.env)

    def mounted(way: Way, number: int) -> Mapping[str, float]:
        with store.mounted(_COMPILING, folder / "mount", way=way):
            return {"first": import_from(folder / "mount", _COMPILING, env)}

    turns: dict[str, Turn] = {name: lambda number: {"first": import_from(native, _COMPILING, env)} for name in ("native", "native, again")}
    turns |= {way.name: partial(mounted, way) for way in bench.ways()}
    rounds = bench.take_turns(turns, 15)
    yield rounds.figure("imports", "first", f"{_COMPILING}, first, no bytecode", "s", f"{_WHAT['first']}. {_NO_BYTECODE}")


def _request_figures(scene: _Scene) -> Iterator[Figure]:
    """Counted once: they are the same each time."""
    for way in scene.ways:
        with scene.store.mounted(scene.environment(way), scene.mountpoint, way=way) as mounted:
            counts = [mounted.requests()]
            for which in ("first", "second"):
                import_from(scene.mountpoint, scene.work, scene.env)
                counts.append(mounted.requests())
                yield _request_figure(f"{scene.work}, requests of the {which} import, {way.name}", *counts[-2:])


def _request_figure(what: str, before: Mapping[str, int], after: Mapping[str, int]) -> Figure:
    made = {kind: float(count - before.get(kind, 0)) for kind, count in sorted(after.items())}
    values = {"all": [sum(made.values())], **{kind: [count] for kind, count in made.items() if count}}
    return Figure("imports", what, "requests", _REQUESTS, values, has_ratios=False)
