"""fsck on bytecode: what a mount would show wrongly is damage, what readers would not believe is none, and repair leaves it right."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from casfs.changes.changes import AddOptions, add_wheels
from casfs.digest import digest_bytes
from casfs.interpreters.interpreter import Interpreter
from casfs.store.fsck.check import check_store
from casfs.store.fsck.damage import Damage, DamageKind
from casfs.store.fsck.repair import repair
from casfs.store.manifests import build_manifest, read_manifest, stage_manifest
from casfs.venv.bytecode.bytecode import BytecodeMaker, target_of
from casfs.venv.bytecode.check import check_bytecode
from tests.make_generations import Workshop, accept_any
from tests.make_wheels import make_wheel

WHEELS = (
    make_wheel({"demo/__init__.py": b"VALUE = 1\n", "demo/bad.py": b"print 'x'\n"}),
    make_wheel({"other/__init__.py": b"x = 2\n"}, "other"),
)
DAMAGES: list[Callable[[Path], Path]] = []


def a_damage(harm: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """One more that fsck must find."""
    DAMAGES.append(harm)
    return harm


@pytest.fixture
def root(workshop: Workshop, own_interpreter: Interpreter) -> Path:
    """What a store knows of one target."""
    fill(workshop, own_interpreter)
    return Path(workshop.store.path("bytecode", str(target_of(own_interpreter))))


def fill(workshop: Workshop, interpreter: Interpreter) -> int:
    maker = BytecodeMaker(workshop.store, interpreter.executable, target_of(interpreter))
    paths = [str(wheel.write_to(workshop.wheels)) for wheel in WHEELS]
    add_wheels(workshop.environment, interpreter, paths, accept_any, AddOptions(make_bytecode=maker.make))
    return maker.made.files


def damages(workshop: Workshop) -> list[Damage]:
    return list(check_store(workshop.store, check_bytecode=check_bytecode).damages)


def sources(root: Path) -> dict[str, Path]:
    """Link of each source, by its target's kind."""
    links = sorted(root.glob("sources/*/*"))
    bad = next(link for link in links if os.readlink(link) == "-")
    return {"bad": bad, **{str(number): link for number, link in enumerate(links) if link != bad}}


def replace_link(path: Path, target: str) -> Path:
    path.unlink()
    path.symlink_to(target)
    return path


@a_damage
def a_link_to_other_bytecode(root: Path) -> Path:
    one, other = [path for kind, path in sources(root).items() if kind != "bad"]
    return replace_link(one, os.readlink(other))


@a_damage
def a_link_to_elsewhere(root: Path) -> Path:
    return replace_link(sources(root)["bad"], "/etc/passwd")


@a_damage
def a_file_in_place_of_a_link(root: Path) -> Path:
    path = sources(root)["bad"]
    path.unlink()
    path.write_bytes(b"-")
    return path


def records(root: Path) -> list[Path]:
    """Records of manifests that become other ones."""
    return [path for path in sorted(root.glob("manifests/*/*")) if path.read_text().strip() != path.parent.name + path.name]


def rewrite(path: Path, content: str) -> Path:
    path.chmod(0o644)
    path.write_text(content)
    return path


@a_damage
def a_record_of_another_manifest(root: Path) -> Path:
    one, other = records(root)
    return rewrite(one, other.read_text())


@a_damage
def a_record_of_nonsense(root: Path) -> Path:
    return rewrite(records(root)[0], "nonsense\n")


@a_damage
def a_stranger(root: Path) -> Path:
    path = root.parent / "what"
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_repair_sets_it_aside(
    workshop: Workshop, own_interpreter: Interpreter, root: Path, damage: Callable[[Path], Path]
):
    assert damages(workshop) == []
    path = damage(root)
    [found] = damages(workshop)
    assert found.path == str(path)
    assert found.kind == (DamageKind.STRANGER if damage is a_stranger else DamageKind.BYTECODE)
    repair(workshop.store, check_store(workshop.store, check_bytecode=check_bytecode))
    assert damages(workshop) == []
    assert fill(workshop, own_interpreter) == 2


def test_bytecode_that_a_wheel_ships_without_its_source_is_no_damage(workshop: Workshop, own_interpreter: Interpreter):
    gone = f"left/__pycache__/gone.{own_interpreter.cache_tag}.pyc"
    wheel = make_wheel({"left/__init__.py": b"x = 1\n", gone: b"of a source that the wheel has not"}, "left")
    maker = BytecodeMaker(workshop.store, own_interpreter.executable, target_of(own_interpreter))
    path = str(wheel.write_to(workshop.wheels))
    add_wheels(workshop.environment, own_interpreter, [path], accept_any, AddOptions(make_bytecode=maker.make))
    assert maker.made.compiled == 1
    assert damages(workshop) == []


def test_a_record_of_a_manifest_whose_bytecode_is_of_another_source_is_damage(workshop: Workshop, own_interpreter: Interpreter, root: Path):
    """Places and sizes are right, so an add believes it; Python would compare times, unless the bytecode says that it need not."""
    generation = workshop.environment.require()
    one, other = (read_manifest(workshop.store, made.files.manifest) for made in generation.distributions)
    [foreign] = [file for file in other.iter_files() if file.path.endswith(".pyc")]
    files = [replace(foreign, path=file.path) if file.path.endswith(".pyc") else file for file in one.iter_files()]
    with workshop.store.batch() as batch:
        digest = stage_manifest(workshop.store, batch, build_manifest(one.description, files))
        batch.commit()
    [record] = [path for path in records(root) if path.read_text().strip() == generation.distributions[0].files.manifest]
    rewrite(record, f"{digest}\n")
    [found] = damages(workshop)
    assert (found.path, found.kind) == (str(record), DamageKind.BYTECODE)
    assert "bytecode of another source" in found.reason
    rewrite(record, f"{generation.distributions[0].files.manifest}\n")


def test_what_nobody_would_believe_is_no_damage(workshop: Workshop, root: Path):
    rewrite(records(root)[0], f"{digest_bytes(b'gone')}\n")
    one = sources(root)["bad"]
    replace_link(one, f"{'A' * 43}.10")
    assert damages(workshop) == []


def test_a_manifest_with_bytecode_is_not_one_that_nothing_refers_to(workshop: Workshop, root: Path):
    report = check_store(workshop.store, check_bytecode=check_bytecode)
    assert (report.totals.orphan_manifests, report.totals.orphan_blobs, report.totals.sources) == (0, 0, 3)


def test_bytecode_that_rots_is_a_damaged_blob_and_is_made_again(workshop: Workshop, own_interpreter: Interpreter, root: Path):
    generation = workshop.environment.require()
    digest = os.readlink(next(path for kind, path in sources(root).items() if kind != "bad"))
    from casfs.store.bytecode import Compiled, parse_outcome

    outcome = parse_outcome(digest)
    assert isinstance(outcome, Compiled)
    path = Path(workshop.store.pool.path(outcome.digest))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    path.chmod(0o444)
    assert [one.kind for one in damages(workshop)] == [DamageKind.BLOB]
    repair(workshop.store, check_store(workshop.store, check_bytecode=check_bytecode))
    assert fill(workshop, own_interpreter) == 2
    assert damages(workshop) == []
    assert workshop.environment.require() == generation
