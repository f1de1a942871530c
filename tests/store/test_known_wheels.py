"""Wheels that a store knows, by project and version: private ones first, and none that is damaged."""

from __future__ import annotations

import os
from pathlib import Path

from casfs.store.known_wheels import iter_wheels
from casfs.store.manifests import manifest_path
from casfs.store.store import Store, open_store
from tests.make_wheels import make_wheel
from tests.store.making import ingest

DEMO, TWIN = make_wheel(), make_wheel(tag="py2.py3-none-any")


def test_every_wheel_of_a_version_is_found_and_no_other(store: Store, place: Path):
    demo, twin, *_ = ingest(store, place, DEMO, TWIN, make_wheel(None, "demo", "2.0"), make_wheel(None, "other"))
    found = {wheel: (digest, content) for wheel, digest, content in iter_wheels(store, "demo", "1.0")}
    assert found == {one.wheel: (one.manifest, one.content) for one in (demo, twin)}
    assert list(iter_wheels(store, "nothing", "1.0")) == []


def test_a_shared_pool_is_asked_too(store: Store, place: Path):
    (place / "wheels").mkdir()
    shared = open_store(place / "shared", create=True)
    [demo] = ingest(shared, place / "wheels", DEMO)
    assert list(iter_wheels(store, "demo", "1.0")) == []
    store.rely_on([shared.root])
    assert [wheel for wheel, _, _ in iter_wheels(store, "demo", "1.0")] == [demo.wheel]


def test_what_is_damaged_is_passed_over(damaged_store: Store, place: Path):
    demo, twin = ingest(damaged_store, place, DEMO, TWIN)
    os.unlink(manifest_path(damaged_store, demo.manifest))
    Path(damaged_store.path("wheels", "stranger")).write_text("nonsense")
    assert [wheel for wheel, _, _ in iter_wheels(damaged_store, "demo", "1.0")] == [twin.wheel]
