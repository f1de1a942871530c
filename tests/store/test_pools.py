"""Shared pools: what they hold is not written again, what is damaged in one pool is read from another, and nothing is written to them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from casfs.digest import digest_bytes
from casfs.errors import StoreDamaged, StoreRefused
from casfs.store.environments import Environment
from casfs.store.fsck.check import check_store
from casfs.store.fsck.damage import DamageKind
from casfs.store.fsck.repair import repair
from casfs.store.ingest import Ingested
from casfs.store.manifests import manifest_path, read_manifest
from casfs.store.shared import add_shared_pool, read_config, remove_shared_pool, use_shared_pools, use_what_is_there
from casfs.store.store import Store, open_store
from tests.store.making import ingest, install, publish_files, publish_generation, put_blob
from tests.store.scene import DEMO, NEWER, ONLY, SHARED, WHEELS


@pytest.fixture
def shared(place: Path) -> Store:
    """A store that has demo 1.0."""
    store = open_store(place / "shared", create=True)
    ingest(store, place, DEMO)
    return store


@pytest.fixture
def tenant(store: Store, shared: Store) -> Store:
    """A store with the shared one behind it."""
    return rely_on(store, shared)


@pytest.fixture
def damaged_tenant(damaged_store: Store, shared: Store) -> Store:
    """The same, for tests that plant damage."""
    return rely_on(damaged_store, shared)


def rely_on(store: Store, *shared: Store) -> Store:
    for one in shared:
        add_shared_pool(store, one.root)
    use_shared_pools(store)
    return store


def files_of(store: Store, *parts: str) -> set[str]:
    """Files below a directory of the store, by their path there."""
    root = Path(store.path(*parts))
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def state_of(store: Store) -> dict[str, tuple[int, int, bytes]]:
    """Everything in a store: any change shows."""
    found = {}
    for path in sorted(Path(store.root).rglob("*")):
        stat = path.lstat()
        found[str(path)] = (stat.st_mode, stat.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


def use_demo(tenant: Store, place: Path) -> Ingested:
    """An environment "work" with demo 1.0."""
    [one] = ingest(tenant, place, DEMO)
    publish_generation(Environment(tenant, "work"), install(tenant, one))
    return one


# --- adding ---


def test_nothing_is_written_for_a_wheel_that_a_shared_pool_has(tenant: Store, place: Path) -> None:
    [one] = ingest(tenant, place, DEMO)
    assert (one.was_known, one.new_files, one.new_bytes) == (True, 0, 0)
    assert [files_of(tenant, name) for name in ("blobs", "manifests", "wheels")] == [set(), set(), set()]


def test_numbers_are_the_stores_own(tenant: Store, shared: Store, place: Path) -> None:
    before = files_of(shared, "numbers")
    ingest(tenant, place, DEMO)
    assert files_of(tenant, "numbers") == before == files_of(shared, "numbers")


def test_wheel_that_no_shared_pool_knows_is_written_whole(tenant: Store, place: Path) -> None:
    """Whoever keeps the shared pool may collect the blobs that it happens to have: no wheel that it knows need bring them."""
    [one] = ingest(tenant, place, NEWER)
    assert not one.was_known
    assert all(tenant.pool.is_private(file.digest, file.size) for file in one.content.iter_files())
    assert files_of(tenant, "wheels") == {one.wheel}
    assert len(files_of(tenant, "manifests")) == 1
    assert all(tenant.pool.read_blob(file.digest, file.size) is not None for file in one.content.iter_files())


def test_manifest_that_a_shared_pool_does_not_list_is_written(tenant: Store, shared: Store, place: Path) -> None:
    os.unlink(shared.path("wheels", next(iter(files_of(shared, "wheels")))))
    [apart] = ingest(tenant, place, DEMO)  # no wheel of the pool lists the manifest any more
    assert files_of(tenant, "manifests") == {f"{apart.manifest[:2]}/{apart.manifest[2:]}"}
    assert len(files_of(tenant, "blobs")) == apart.new_files


def test_shared_pool_is_never_written_to(damaged_tenant: Store, shared: Store, place: Path) -> None:
    Path(shared.pool.path(digest_bytes(SHARED))).chmod(0o644)
    Path(shared.pool.path(digest_bytes(SHARED))).write_bytes(b"rot")
    before = state_of(shared)
    use_demo(damaged_tenant, place)
    ingest(damaged_tenant, place, *WHEELS)
    report = check_store(damaged_tenant)
    assert all(damage.path.startswith(f"{damaged_tenant.root}/") for damage in report.damages)
    repair(damaged_tenant, report)
    assert state_of(shared) == before


def test_wheel_is_unpacked_again_when_its_shared_pool_is_gone(tenant: Store, shared: Store, place: Path) -> None:
    use_demo(tenant, place)
    remove_shared_pool(tenant, shared.root)
    use_shared_pools(tenant)
    [one] = ingest(tenant, place, DEMO)
    assert not one.was_known
    assert tenant.pool.read_blob(digest_bytes(ONLY), len(ONLY)) == ONLY


# --- reading ---


def test_damage_in_the_private_pool_does_not_hide_a_good_shared_copy(
    damaged_tenant: Store, shared: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(damaged_tenant.pool.path(digest_bytes(SHARED)))
    path.parent.mkdir()
    path.write_bytes(b"short")
    fd = damaged_tenant.pool.open_blob(digest_bytes(SHARED), len(SHARED))
    assert os.read(fd, 100) == SHARED
    os.close(fd)
    assert f"{path}: the blob has 5 bytes" in caplog.text


def test_wrong_bytes_in_one_pool_are_read_from_the_next(damaged_tenant: Store, shared: Store, caplog: pytest.LogCaptureFixture) -> None:
    path = Path(damaged_tenant.pool.path(digest_bytes(SHARED)))
    path.parent.mkdir()
    path.write_bytes(SHARED[::-1])
    assert damaged_tenant.pool.read_blob(digest_bytes(SHARED), len(SHARED)) == SHARED
    assert str(path) in caplog.text


def test_damage_in_one_shared_pool_does_not_hide_the_next_one(tenant: Store, shared: Store, place: Path) -> None:
    shutil.copytree(shared.root, place / "second")
    rely_on(tenant, open_store(place / "second"))
    for path in (shared.pool.path(digest_bytes(SHARED)), next(map(str, Path(shared.path("manifests")).rglob("??/*")))):
        os.unlink(path)
        Path(path).write_bytes(b"rot")
    [one] = ingest(tenant, place, DEMO)
    assert one.was_known
    assert tenant.pool.read_blob(digest_bytes(SHARED), len(SHARED)) == SHARED
    assert files_of(tenant, "blobs") == files_of(tenant, "manifests") == set()


def test_what_is_in_the_private_pool_alone_needs_no_shared_one(tenant: Store, caplog: pytest.LogCaptureFixture) -> None:
    digest = put_blob(tenant, b"mine")
    assert tenant.pool.read_blob(digest, 4) == b"mine"
    assert caplog.text == ""


def test_missing_everywhere_is_named_by_its_private_path(tenant: Store) -> None:
    digest = digest_bytes(b"nobody has this")
    with pytest.raises(StoreDamaged, match="the blob is missing") as caught:
        tenant.pool.open_blob(digest, 15)
    assert caught.value.subject == tenant.pool.path(digest)


def test_damage_everywhere_names_every_pool(damaged_tenant: Store, shared: Store) -> None:
    path = Path(shared.pool.path(digest_bytes(SHARED)))
    path.unlink()
    path.write_bytes(b"rot")
    with pytest.raises(StoreDamaged, match="the blob is missing") as caught:
        damaged_tenant.pool.open_blob(digest_bytes(SHARED), len(SHARED))
    assert str(path) in str(caught.value)


# --- who may have what ---


def test_digest_of_a_manifest_that_no_wheel_is_known_for_gives_nothing(tenant: Store, shared: Store) -> None:
    digest, _, _ = publish_files(shared, {"secret.py": b"KEY = 1\n"})
    assert os.path.exists(manifest_path(shared, digest))
    with pytest.raises(StoreDamaged, match="the manifest is missing"):
        read_manifest(tenant, digest)


def test_digest_of_a_manifest_of_a_forgotten_wheel_gives_nothing(tenant: Store, shared: Store, place: Path) -> None:
    [one] = ingest(shared, place, NEWER)
    assert read_manifest(tenant, one.manifest) == one.content
    os.unlink(shared.path("wheels", one.wheel))
    with pytest.raises(StoreDamaged, match="the manifest is missing"):
        read_manifest(tenant, one.manifest)


# --- checking ---


def test_check_counts_what_is_shared_as_there_and_says_so(tenant: Store, shared: Store, place: Path) -> None:
    one = use_demo(tenant, place)
    report = check_store(tenant)
    assert report.damages == ()
    [(root, count)] = report.totals.shared
    assert root == shared.root
    assert count == len({file.digest for file in one.content.iter_files()})


def test_check_finds_a_blob_that_a_shared_pool_lost(damaged_tenant: Store, shared: Store, place: Path) -> None:
    use_demo(damaged_tenant, place)
    os.unlink(shared.pool.path(digest_bytes(SHARED)))
    [damage] = check_store(damaged_tenant).damages
    assert (damage.kind, damage.environments) == (DamageKind.MISSING_BLOB, ("work",))


def test_check_finds_a_manifest_that_a_shared_pool_lost(damaged_tenant: Store, shared: Store, place: Path) -> None:
    one = use_demo(damaged_tenant, place)
    os.unlink(manifest_path(shared, one.manifest))
    kinds = {damage.kind for damage in check_store(damaged_tenant).damages}
    assert DamageKind.MISSING_MANIFEST in kinds


def test_check_finds_private_damage_although_a_shared_copy_is_good(damaged_tenant: Store, place: Path) -> None:
    one = use_demo(damaged_tenant, place)
    path = Path(manifest_path(damaged_tenant, one.manifest))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"rot")
    assert path in {Path(damage.path) for damage in check_store(damaged_tenant).damages}
    assert read_manifest(damaged_tenant, one.manifest) == one.content


# --- the config ---


def test_config_keeps_pools_in_their_order(store: Store, shared: Store, place: Path) -> None:
    second = open_store(place / "second", create=True)
    assert read_config(store.root) == ()
    assert add_shared_pool(store, second.root)
    assert add_shared_pool(store, shared.root)
    assert not add_shared_pool(store, second.root)
    assert read_config(store.root) == (second.root, shared.root)
    remove_shared_pool(store, second.root)
    assert read_config(store.root) == (shared.root,)
    with pytest.raises(StoreRefused, match="is not a shared pool of"):
        remove_shared_pool(store, second.root)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (b"shared_pools = []", "unknown key 'shared_pools'"),
        (b"shared-pools = ['relative']", "absolute paths"),
        (b"shared-pools = '/srv'", "absolute paths"),
        (b"shared-pools = [1]", "absolute paths"),
        (b"shared-pools = [", "is not TOML"),
        (b"\xff", "is not TOML"),
    ],
)
def test_config_that_makes_no_sense_is_refused(store: Store, config: bytes, reason: str) -> None:
    Path(store.path("config.toml")).write_bytes(config)
    with pytest.raises(StoreRefused, match=reason):
        use_shared_pools(store)


def _replace(path: Path, content: str) -> None:
    path.rename(f"{path}.away")
    path.write_text(content)


BAD_POOLS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda pool: pool.rename(f"{pool}.away"), "shared is missing"),
    "no store": (lambda pool: (pool / "format").rename(pool / "away"), "format is missing"),
    "without blobs": (lambda pool: (pool / "blobs").rename(pool / "away"), "blobs is missing"),
    "with a file for blobs": (lambda pool: _replace(pool / "blobs", ""), "not a directory"),
    "of another format": (lambda pool: _replace(pool / "format", "casfs store 9"), "'casfs store 9'"),
}


@pytest.mark.parametrize("name", BAD_POOLS)
def test_shared_pool_that_cannot_be_used_is_named_at_once(tenant: Store, shared: Store, name: str) -> None:
    spoil, reason = BAD_POOLS[name]
    spoil(Path(shared.root))
    with pytest.raises(StoreRefused, match=reason) as caught:
        use_shared_pools(tenant)
    assert caught.value.subject == shared.root


def test_store_cannot_lie_behind_itself(store: Store) -> None:
    with pytest.raises(StoreRefused, match="the store itself"):
        add_shared_pool(store, store.root)


def test_pool_with_a_pool_of_its_own_comes_after_that(store: Store, shared: Store, place: Path) -> None:
    middle = open_store(place / "middle", create=True)
    rely_on(middle, shared)
    with pytest.raises(StoreRefused, match="add that one first"):
        add_shared_pool(store, middle.root)
    rely_on(store, shared, middle)
    assert store.shared == (shared.root, middle.root)


def test_who_must_go_on_does_without_a_missing_pool_until_it_is_back(tenant: Store, shared: Store, place: Path) -> None:
    said: list[str] = []
    os.rename(shared.root, place / "away")
    use_what_is_there(tenant, said.append)
    assert (tenant.shared, len(said)) == ((), 1)
    assert said[0].startswith(f"{shared.root}: ")
    os.rename(place / "away", shared.root)
    use_what_is_there(tenant, said.append)
    assert (tenant.shared, len(said)) == ((shared.root,), 1)


def test_who_must_go_on_keeps_its_pools_when_the_config_makes_no_sense(tenant: Store, shared: Store) -> None:
    said: list[str] = []
    config = Path(tenant.path("config.toml"))
    config.write_bytes(b"?")
    use_what_is_there(tenant, said.append)
    assert (tenant.shared, len(said)) == ((shared.root,), 1)
