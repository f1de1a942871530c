"""Records of bytecode: what is written is read again, and what makes no sense is not believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casfs.digest import Digest, digest_bytes
from casfs.paths import SITE_PACKAGES
from casfs.store.bytecode import (
    LEVELS,
    NOT_COMPILED,
    Compiled,
    Outcome,
    Target,
    bytecode_path,
    compiled_problem,
    find_outcome,
    format_outcome,
    parse_outcome,
    parse_target,
    stage_outcome,
)
from casfs.store.manifests import Manifest
from casfs.store.store import Store, open_store
from tests.make_generations import make_manifest

TARGET = Target("cpython-311", "a70d0d0a")
SOURCE, CONTENT = digest_bytes(b"x = 1"), b"bytecode"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


def link(store: Store, target: Target = TARGET) -> Path:
    return Path(store.path("bytecode", str(target), "sources", SOURCE[:2], SOURCE[2:]))


def put(store: Store, outcome: Outcome, target: Target = TARGET) -> None:
    with store.batch() as batch:
        store.pool.stage(batch, CONTENT, digest_bytes(CONTENT))
        batch.commit()
        stage_outcome(store, batch, target, SOURCE, outcome)
        batch.commit()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cache_tag", ["cpython-38", "cpython-313", "cpython-314"])
def test_a_target_is_known_by_its_name(cache_tag: str, level: int):
    target = Target(cache_tag, "f30d0d0a", level)
    assert parse_target(str(target)) == target


@pytest.mark.parametrize("name", ["", "cpython-311", "cpython-311-a70d0d0a.opt-3", "../cpython-311-a70d0d0a", "cpython-311-a70d0d0a/x"])
def test_other_names_are_no_targets(name: str):
    assert parse_target(name) is None


@pytest.mark.parametrize("outcome", [NOT_COMPILED, Compiled(SOURCE, 0), Compiled(Digest("f" * 64), 0xFFFFFFFF)])
def test_an_outcome_is_read_as_it_was_written_and_fits_into_an_inode(outcome: Outcome):
    text = format_outcome(outcome)
    assert parse_outcome(text) == outcome
    assert len(text) < 60  # the most that ext4 keeps without a block


@pytest.mark.parametrize("text", ["", "x", "/etc/passwd", "a" * 43, f"{'a' * 43}.", f"{'a' * 43}.xyz", f"{'a' * 44}.1"])
def test_what_makes_no_sense_is_no_outcome(text: str):
    assert parse_outcome(text) is None


def test_a_store_remembers_what_a_source_became(store: Store):
    assert find_outcome(store, TARGET, SOURCE) is None
    put(store, Compiled(digest_bytes(CONTENT), len(CONTENT)))
    assert find_outcome(store, TARGET, SOURCE) == Compiled(digest_bytes(CONTENT), len(CONTENT))


def test_each_target_has_its_own(store: Store):
    put(store, NOT_COMPILED)
    others = (Target("cpython-312", "cb0d0d0a"), Target("cpython-311", "a60d0d0a"), Target("cpython-311", "a70d0d0a", 1))
    assert [find_outcome(store, other, SOURCE) for other in others] == [None] * 3
    assert find_outcome(store, TARGET, SOURCE) is NOT_COMPILED


def test_bytecode_that_is_gone_is_not_known(store: Store):
    put(store, Compiled(digest_bytes(CONTENT), len(CONTENT)))
    os.unlink(store.pool.path(digest_bytes(CONTENT)))
    assert find_outcome(store, TARGET, SOURCE) is None


def test_a_damaged_link_is_not_believed(store: Store):
    put(store, NOT_COMPILED)
    link(store).unlink()
    link(store).symlink_to("/etc/passwd")
    assert find_outcome(store, TARGET, SOURCE) is None
    link(store).unlink()
    link(store).write_bytes(b"-")
    assert find_outcome(store, TARGET, SOURCE) is None


def test_what_a_shared_pool_knows_of_a_single_source_does_not_count(store: Store, tmp_path: Path):
    other = open_store(tmp_path / "other", create=True)
    other.rely_on([store.root])
    put(store, Compiled(digest_bytes(CONTENT), len(CONTENT)))
    assert find_outcome(other, TARGET, SOURCE) is None


SITE = SITE_PACKAGES
SOURCES = {f"{SITE}/one.py": b"1", f"{SITE}/pkg/two.py": b"2", f"{SITE}/pkg/data": b"", "bin/tool.py": b"3"}
MADE = {bytecode_path(path, TARGET): b"code" for path in SOURCES if path.endswith(".py") and path.startswith(SITE)}
SHIPPED = {f"{SITE}/pkg/__pycache__/gone{TARGET.suffix}": b"old", f"{SITE}/pkg/__pycache__/two.cpython-310.pyc": b"older"}


def manifest(*parts: dict[str, bytes], empty: tuple[str, ...] = ()) -> Manifest:
    return make_manifest({path: content for part in parts for path, content in part.items()}, empty=empty)


@pytest.mark.parametrize(
    ("before", "made"),
    [
        (manifest(SOURCES), manifest(SOURCES, MADE)),
        (manifest(SOURCES), manifest(SOURCES)),
        (manifest(SOURCES, SHIPPED), manifest(SOURCES, SHIPPED, MADE)),
        (manifest(SOURCES, dict.fromkeys(MADE, b"of the wheel")), manifest(SOURCES, MADE)),
        (manifest(SOURCES, empty=("share/nothing",)), manifest(SOURCES, MADE, empty=("share/nothing",))),
    ],
)
def test_a_manifest_may_gain_bytecode_of_its_sources(before: Manifest, made: Manifest):
    assert compiled_problem(before, made, TARGET) is None


@pytest.mark.parametrize(
    "made",
    [
        make_manifest({**SOURCES, **MADE, **SHIPPED}, "another"),
        manifest(SOURCES, MADE, SHIPPED, {f"{SITE}/one.py": b"another"}),
        manifest(SOURCES, MADE, SHIPPED, {f"{SITE}/pkg/new.py": b""}),
        manifest(SOURCES, MADE, SHIPPED, {f"{SITE}/new/x.py": b""}),
        manifest(SOURCES, MADE, SHIPPED, empty=("share",)),
        manifest(MADE, SHIPPED),
        manifest(SOURCES, MADE),
        manifest(SOURCES, MADE, SHIPPED, {f"{SITE}/pkg/__pycache__/two.cpython-310.pyc": b"another"}),
        manifest(SOURCES, MADE, SHIPPED, {f"{SITE}/pkg/__pycache__/gone{TARGET.suffix}": b"another"}),
        manifest(SOURCES, MADE, SHIPPED, {f"{SITE}/pkg/__pycache__/foreign{TARGET.suffix}": b"code"}),
        manifest(SOURCES, MADE, SHIPPED, {f"{SITE}/new/__pycache__/x{TARGET.suffix}": b"code"}),
        manifest(SOURCES, MADE, SHIPPED, {f"bin/__pycache__/tool{TARGET.suffix}": b"code"}),
    ],
)
def test_nothing_but_bytecode_of_its_sources(made: Manifest):
    assert compiled_problem(manifest(SOURCES, SHIPPED), made, TARGET) is not None
