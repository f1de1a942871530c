"""Collect: what nothing needs goes, all of it; what anything needs stays, whole."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from casfs.digest import Digest, digest_bytes
from casfs.errors import StoreRefused
from casfs.store.bytecode import NOT_COMPILED, Compiled, Target, stage_compiled, stage_outcome
from casfs.store.environments import Environment
from casfs.store.fsck.check import check_store
from casfs.store.gc.gc import Collected, CollectOptions, collect
from casfs.store.gc.needed import iter_shards
from casfs.store.generations import Distribution
from casfs.store.shared import add_shared_pool, shared_store_lock, use_shared_pools
from casfs.store.store import Store, open_store
from tests.store.collecting import nobody_seeing, telling
from tests.store.harm import write
from tests.store.making import ingest, install, publish_files, publish_generation, publish_layer, put_blob
from tests.store.scene import DEMO, ONLY, SHARED, Scene

EVERYTHING = CollectOptions(unused_wheels=True, keep=1)

TARGET = Target("cpython-311", "a70d0d0a")


def run(store: Store, wish: CollectOptions = EVERYTHING, seen: Iterable[str] = ()) -> Collected:
    return collect(store, wish, lambda: contextlib.nullcontext({*seen}))


def files(store: Store) -> dict[str, bytes]:
    """All that a collection may take away."""
    root = Path(store.root)
    places = [root / name for name in ("blobs", "manifests", "wheels", "stamps", "environments", "bytecode")]
    return {str(path.relative_to(root)): path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}


def counts(collected: Collected) -> tuple[int, int, int, int]:
    return collected.generations, collected.wheels, collected.manifests, collected.blobs


def has(store: Store, *contents: bytes) -> list[bool]:
    return [store.pool.has_blob(digest_bytes(content), len(content)) for content in contents]


def test_in_a_store_where_everything_is_needed_nothing_goes(scene: Scene):
    before = files(scene.store)
    collected = run(scene.store, CollectOptions(unused_wheels=True))
    assert (counts(collected), collected.size) == ((0, 0, 0, 0), 0)
    assert files(scene.store) == before


def test_an_empty_store_has_nothing_to_collect(store: Store):
    assert counts(run(store)) == (0, 0, 0, 0)


def test_blobs_and_manifests_that_a_killed_command_left_go(store: Store):
    put_blob(store, b"left")
    publish_files(store, {"demo.py": b"nobody's"})
    assert counts(run(store, CollectOptions())) == (0, 0, 1, 2)
    assert has(store, b"left", b"nobody's") == [False, False]


def test_a_wheel_that_no_environment_has_stays_until_that_is_wished(store: Store, place: Path):
    [one] = ingest(store, place, DEMO)
    before = files(store)
    collected = run(store, CollectOptions(keep=1))
    assert (counts(collected), collected.spare_wheels) == ((0, 0, 0, 0), 1)
    assert files(store) == before
    assert counts(run(store)) == (0, 1, 1, one.new_files)
    assert files(store) == {}


def test_what_a_dry_run_counts_is_what_goes_and_it_takes_nothing(scene: Scene):
    put_blob(scene.store, b"left")
    before = files(scene.store)
    planned = run(scene.store, CollectOptions(unused_wheels=True, keep=1, is_dry=True))
    assert files(scene.store) == before
    assert run(scene.store) == planned
    assert planned.size > len(b"left")
    assert counts(planned)[0] == 1


def test_dropped_generations_take_what_only_they_had(scene: Scene):
    before = files(scene.store)
    assert scene.environment("work").numbers() == [1, 2]
    assert counts(run(scene.store))[:2] == (1, 1)
    assert scene.environment("work").numbers() == [2]
    assert has(scene.store, ONLY, SHARED) == [True, True]
    assert not scene.wheel(scene.demo).exists()
    assert {path: content for path, content in before.items() if path in files(scene.store)} == files(scene.store)


def test_the_current_generation_stays_even_if_it_is_an_old_one(scene: Scene):
    current = Path(scene.environment("work").directory, "current")
    current.unlink()
    current.symlink_to("generations/1.toml")
    assert counts(run(scene.store))[0] == 0
    assert scene.environment("work").numbers() == [1, 2]


def test_an_environment_that_somebody_sees_keeps_all_its_generations(scene: Scene):
    before = files(scene.store)
    collected = run(scene.store, seen=["work"])
    assert (counts(collected), collected.kept) == ((0, 0, 0, 0), ["work"])
    assert files(scene.store) == before


SOURCE = "lib/{python}/site-packages/demo.py"
BYTECODE = "lib/{python}/site-packages/__pycache__/demo.cpython-311.pyc"


def make_distribution(store: Store, contents: Mapping[str, bytes]) -> Distribution:
    """A distribution that no wheel is known for."""
    layer = publish_layer(store, contents, "demo")
    return Distribution("demo", "demo", "1.0", Digest(""), 0, "pip", True, layer, publish_layer(store, {}, "demo"))


def compile_one(store: Store, source: bytes, bytecode: bytes) -> Digest:
    """A manifest of one source; the store knows what it becomes, and what the source does."""
    plain, _, _ = publish_files(store, {SOURCE: source})
    compiled, _, _ = publish_files(store, {SOURCE: source, BYTECODE: bytecode})
    with store.batch() as batch:
        stage_outcome(store, batch, TARGET, digest_bytes(source), Compiled(digest_bytes(bytecode), len(bytecode)))
        stage_compiled(store, batch, TARGET, plain, compiled)
        batch.commit()
    return plain


def record(store: Store, kind: str, digest: str) -> Path:
    return Path(store.path("bytecode", str(TARGET), kind, digest[:2], digest[2:]))


def test_bytecode_stays_with_what_it_is_of_and_goes_with_it(store: Store):
    manifests = [compile_one(store, b"x = 1", b"bytecode of x"), compile_one(store, b"y = 1", b"bytecode of y")]
    publish_generation(Environment(store, "work"), make_distribution(store, {SOURCE: b"x = 1"}))
    run(store)
    assert has(store, b"x = 1", b"bytecode of x", b"y = 1", b"bytecode of y") == [True, True, False, False]
    assert [record(store, "manifests", one).exists() for one in manifests] == [True, False]
    assert [record(store, "sources", digest_bytes(one)).is_symlink() for one in (b"x = 1", b"y = 1")] == [True, False]


def test_that_a_source_does_not_compile_is_known_as_long_as_the_source(store: Store):
    publish_generation(Environment(store, "work"), make_distribution(store, {SOURCE: b"x ="}))
    for source in (b"x =", b"y ="):
        with store.batch() as batch:
            stage_outcome(store, batch, TARGET, digest_bytes(source), NOT_COMPILED)
            batch.commit()
    run(store)
    assert [record(store, "sources", digest_bytes(one)).is_symlink() for one in (b"x =", b"y =")] == [True, False]


@pytest.mark.parametrize("wish", [CollectOptions(), EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize("what", ["manifest", "generation", "wheel"])
def test_nothing_is_collected_from_a_store_that_can_not_say_what_it_needs(damaged_scene: Scene, what: str, wish: CollectOptions):
    store, generation = damaged_scene.store, Path(damaged_scene.environment("plain").path(1))
    generation.with_suffix(".index").unlink()
    harm = {
        "manifest": damaged_scene.manifest(damaged_scene.other),
        "generation": generation,
        "wheel": damaged_scene.wheel(damaged_scene.other),
    }
    write(harm[what], b"nonsense")
    put_blob(store, b"left")
    before = files(store)
    with pytest.raises(StoreRefused, match="nothing is collected from a damaged store"):
        run(store, wish)
    dropped = {"environments/work/generations/1.toml", "environments/work/generations/1.index"} if wish.keep else set()
    assert before.keys() - files(store).keys() <= dropped


def test_what_lies_in_a_shared_pool_is_not_touched_and_what_is_needed_beside_it_stays(store: Store, tmp_path: Path):
    shared = open_store(tmp_path / "shared", create=True)
    ingest(shared, tmp_path, DEMO)
    own = put_blob(store, ONLY)
    add_shared_pool(store, shared.root)
    use_shared_pools(store)
    [one] = ingest(store, tmp_path, DEMO)
    publish_generation(Environment(store, "work"), install(store, one))
    before = files(shared)
    put_blob(store, b"left")
    assert counts(run(store))[3] == 1
    assert store.pool.is_private(own, len(ONLY))
    assert files(shared) == before


def test_a_collection_waits_for_a_change_and_sees_what_it_made(store: Store):
    """What a change found in the pool before the collection began is published only while that waits."""
    waiting = threading.Event()
    publish_files(store, {"demo.py": b"nobody's yet"})

    def collect_all() -> None:
        with telling(waiting.set):
            collect(store, EVERYTHING, nobody_seeing)

    thread = threading.Thread(target=collect_all, daemon=True)
    with shared_store_lock(store):
        thread.start()
        assert waiting.wait(60)
        publish_generation(Environment(store, "work"), make_distribution(store, {"demo.py": b"nobody's yet"}))
    thread.join(60)
    assert has(store, b"nobody's yet") == [True]


def test_what_comes_to_be_needed_while_a_collection_is_under_way_stays(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("casfs.store.gc.gc._TURN_S", 0)
    contents = {f"{number}.py": b"%d" % number for number in range(300)}
    publish_files(store, contents)
    begun = threading.Event()

    def begin(path: str) -> Iterator[str]:
        begun.set()
        return iter_shards(path)

    def publish() -> None:
        assert begun.wait(60)
        with shared_store_lock(store):
            publish_generation(Environment(store, "work"), make_distribution(store, contents))

    thread = threading.Thread(target=publish, daemon=True)
    monkeypatch.setattr("casfs.store.gc.gc.iter_shards", begin)
    thread.start()
    collect(store, EVERYTHING, nobody_seeing)
    thread.join(60)
    assert has(store, *contents.values()) == [True] * 300
    assert check_store(store).damages == ()


def test_a_wheel_that_comes_and_that_no_environment_has_while_a_collection_is_under_way_stays_whole(
    store: Store, place: Path, monkeypatch: pytest.MonkeyPatch
):
    """As of an environment that was made and removed meanwhile. A record that led to nothing would look like damage."""
    monkeypatch.setattr("casfs.store.gc.gc._TURN_S", 0)
    ingest(store, place, DEMO)
    before = files(store)
    once = iter([DEMO])

    def let_happen(path: str) -> Iterator[str]:
        for wheel in once:
            ingest(store, place, wheel)
        return iter_shards(path)

    monkeypatch.setattr("casfs.store.gc.gc.iter_shards", let_happen)
    collected = collect(store, EVERYTHING, nobody_seeing)
    assert counts(collected) == (0, 1, 0, 0)
    assert {path for path in files(store) if path.startswith("wheels")} == {path for path in before if path.startswith("wheels")}
    assert check_store(store).damages == ()
    run(store, CollectOptions())
    assert has(store, ONLY) == [True]
