"""Manifests with bytecode: what Python itself would make, once for each source and interpreter, and nothing else changes."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from casfs.changes.changes import AddOptions, Change, WheelToAdd, add_wheels, compile_distributions
from casfs.digest import checksum_bytes
from casfs.errors import EnvironmentRefused, StoreDamaged
from casfs.interpreters.interpreter import Interpreter, ask_interpreter
from casfs.paths import SITE_PACKAGES
from casfs.store import times
from casfs.store.blob_stamps import UNKNOWN, read_blob_stat_cache
from casfs.store.bytecode import Target, bytecode_path
from casfs.store.environments import Environment
from casfs.store.generations import parse_index
from casfs.store.manifests import FIRST_TIME, Kind, Manifest, ManifestFile, read_manifest
from casfs.store.quarantine import note_failed_read
from casfs.store.store import open_store
from casfs.venv.bytecode.bytecode import BytecodeMaker, format_header, target_of
from casfs.venv.origins import SourceKind
from tests.make_generations import Workshop, accept_any, make_manifest
from tests.make_wheels import MadeWheel, make_wheel
from tests.python_versions import VERSIONS, find_python, has_python

TARGET = Target("cpython-311", "a70d0d0a")
PACKAGE = {"demo/__init__.py": b"VALUE = 1\n", "demo/more.py": b"VALUE = 2\n", "demo/data.txt": b"words"}


def maker_of(workshop: Workshop, interpreter: Interpreter, level: int = 0) -> BytecodeMaker:
    return BytecodeMaker(workshop.store, interpreter.executable, target_of(interpreter, level))


def add(workshop: Workshop, interpreter: Interpreter, *wheels: MadeWheel, name: str = "test") -> tuple[Change, BytecodeMaker]:
    paths = [str(wheel.write_to(workshop.wheels)) for wheel in wheels]
    maker = maker_of(workshop, interpreter)
    environment = Environment(workshop.store, name)
    return add_wheels(environment, interpreter, paths, accept_any, AddOptions(make_bytecode=maker.make)), maker


def files_of(workshop: Workshop, change: Change, project: str = "demo") -> Manifest:
    one = change.after.find(project)
    assert one
    return read_manifest(workshop.store, one.files.manifest)


def bytecode_in(manifest: Manifest) -> dict[str, int]:
    """Path below site-packages -> row."""
    paths = {file.path.removeprefix(f"{SITE_PACKAGES}/"): row for row, file in enumerate(manifest.iter_files())}
    return {path: row for path, row in paths.items() if path.endswith(".pyc")}


def pycs(*names: str, tag: str) -> set[str]:
    return {f"{name.rpartition('/')[0]}/__pycache__/{name.rpartition('/')[2]}.{tag}.pyc" for name in names}


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("name", ["demo/x.py", "demo/a.b.py", "demo/.py", "demo/x-y z.py", "demo/__init__.py"])
def test_bytecode_is_where_python_looks_for_it(own_interpreter: Interpreter, name: str, level: int):
    expected = importlib.util.cache_from_source(name, optimization=level or "")
    assert bytecode_path(name, target_of(own_interpreter, level)) == expected


def test_every_source_gains_bytecode_and_nothing_else_changes(workshop: Workshop, own_interpreter: Interpreter):
    change, maker = add(workshop, own_interpreter, make_wheel(PACKAGE))
    [ingested] = change.ingested
    manifest = files_of(workshop, change)
    assert bytecode_in(manifest).keys() == pycs("demo/__init__", "demo/more", tag=own_interpreter.cache_tag)
    assert [file for file in manifest.iter_files() if not file.path.endswith(".pyc")] == list(ingested.content.iter_files())
    assert manifest.description == ingested.content.description
    assert (maker.made.files, maker.made.compiled, maker.made.failed) == (2, 2, [])


def test_bytecode_begins_as_python_expects_of_a_source_with_our_time(workshop: Workshop, own_interpreter: Interpreter):
    manifest = files_of(workshop, add(workshop, own_interpreter, make_wheel(PACKAGE))[0])
    for path, row in bytecode_in(manifest).items():
        source = next(one for one in manifest.iter_files() if one.path.endswith(f"demo/{path.split('/')[-1].split('.')[0]}.py"))
        content = workshop.store.pool.read_blob(manifest.digest(row), manifest.sizes[row])
        assert content[:16] == format_header(target_of(own_interpreter), source)
        assert content[:4] == bytes.fromhex(own_interpreter.magic)
        assert f"<casfs {source.digest}>".encode() in content


def test_what_is_known_is_not_compiled_again(workshop: Workshop, own_interpreter: Interpreter):
    first, _ = add(workshop, own_interpreter, make_wheel(PACKAGE))
    again, maker = add(workshop, own_interpreter, make_wheel(PACKAGE))
    assert again.after == first.after
    assert (maker.made.compiled, maker.made.files) == (0, 2)
    other, maker = add(workshop, own_interpreter, make_wheel(PACKAGE), name="other")
    assert maker.made.compiled == 0
    assert files_of(workshop, other) == files_of(workshop, first)


def record_of(workshop: Workshop, change: Change, interpreter: Interpreter) -> Path:
    """What the store says that the manifest of the wheel became."""
    digest = change.ingested[0].manifest
    return Path(workshop.store.path("bytecode", str(target_of(interpreter)), "manifests", digest[:2], digest[2:]))


def rewrite(path: Path, content: str) -> None:
    path.chmod(0o644)
    path.write_text(content)


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_record_that_names_another_manifest_is_not_believed(
    workshop: Workshop, own_interpreter: Interpreter, tmp_path: Path, is_shared: bool, is_compiled: bool
):
    wheel = make_wheel(PACKAGE)
    first, _ = add(workshop, own_interpreter, wheel)
    other, _ = add(workshop, own_interpreter, make_wheel({"other/__init__.py": b"x = 1\n"}, "other"), name="other")
    record = record_of(workshop, first, own_interpreter)
    right = record.read_text()
    rewrite(record, record_of(workshop, other, own_interpreter).read_text())
    place = dataclasses.replace(workshop, store=open_store(tmp_path / "mine", create=True)) if is_shared else workshop
    if is_shared:
        place.store.rely_on([workshop.store.root])
    maker = maker_of(place, own_interpreter)
    options = AddOptions(make_bytecode=maker.make if is_compiled else maker.take_known)
    path = str(wheel.write_to(workshop.wheels))
    again = add_wheels(Environment(place.store, "again"), own_interpreter, [path], accept_any, options)
    expected = files_of(workshop, first) if is_compiled else again.ingested[0].content
    assert files_of(place, again) == expected
    if is_compiled:
        assert record_of(place, again, own_interpreter).read_text() == right
    rewrite(record, right)  # fsck calls it damage


def test_a_source_that_another_distribution_has_is_not_compiled_again(workshop: Workshop, own_interpreter: Interpreter):
    add(workshop, own_interpreter, make_wheel(PACKAGE))
    change, maker = add(workshop, own_interpreter, make_wheel({"new/moved.py": PACKAGE["demo/more.py"], "new/x.py": b"x = 3"}, "new"))
    assert maker.made.compiled == 1
    assert len(bytecode_in(files_of(workshop, change, "new"))) == 2


def test_a_source_that_does_not_compile_is_remembered(workshop: Workshop, own_interpreter: Interpreter):
    broken = make_wheel({**PACKAGE, "demo/broken.py": b"print 'x'\n"})
    change, maker = add(workshop, own_interpreter, broken)
    assert maker.made.failed == [f"{SITE_PACKAGES}/demo/broken.py"]
    assert len(bytecode_in(files_of(workshop, change))) == 2
    _, maker = add(workshop, own_interpreter, make_wheel({"other/broken.py": b"print 'x'\n"}, "other"))
    assert (maker.made.compiled, maker.made.failed) == (0, [])


def test_a_source_that_is_too_large_is_left_out(workshop: Workshop, own_interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("casfs.venv.bytecode.bytecode._MAX_SOURCE", 12)
    change, maker = add(workshop, own_interpreter, make_wheel({**PACKAGE, "demo/large.py": b"x = 1000000000\n"}))
    assert maker.made.compiled == 2
    assert len(bytecode_in(files_of(workshop, change))) == 2


def test_bytecode_of_the_wheel_itself_gives_way_as_with_pip(workshop: Workshop, own_interpreter: Interpreter):
    own, foreign = (f"demo/__pycache__/__init__.{tag}.pyc" for tag in (own_interpreter.cache_tag, "cpython-27"))
    change, _ = add(workshop, own_interpreter, make_wheel({**PACKAGE, own: b"stale", foreign: b"of another Python"}))
    manifest = files_of(workshop, change)
    rows = bytecode_in(manifest)
    sizes = {path: manifest.sizes[row] for path, row in rows.items()}
    assert sizes[own] > len(b"stale")
    assert sizes[foreign] == len(b"of another Python")
    installation = read_manifest(workshop.store, change.after.distributions[0].installation.manifest)
    [record] = [file for file in installation.iter_files() if file.path.endswith("/RECORD")]
    listed = workshop.store.pool.read_blob(record.digest, record.size).decode().splitlines()
    assert {f"{own},,", f"{foreign},,"} <= {*listed}
    assert not any("more.cpython" in line for line in listed)


@pytest.mark.parametrize("path", ["demo/__pycache__", "demo/__pycache__/__init__.cpython-311.pyc/x"])
def test_bytecode_takes_the_place_of_nothing_else(path: str, tmp_path: Path, workshop: Workshop, own_interpreter: Interpreter):
    path = path.replace("cpython-311", own_interpreter.cache_tag)
    change, _ = add(workshop, own_interpreter, make_wheel({"demo/__init__.py": b"", path: b"odd"}))
    assert [file.path for file in files_of(workshop, change).iter_files() if file.path.endswith((".pyc", "odd"))] == []


def test_only_what_can_be_imported_is_compiled(workshop: Workshop, own_interpreter: Interpreter):
    wheel = make_wheel({"demo-1.0.data/scripts/tool.py": b"#!python\n", "demo-1.0.data/data/x.py": b""})
    change, maker = add(workshop, own_interpreter, wheel)
    assert maker.made.files == 0
    assert change.after.distributions[0].files.manifest == change.ingested[0].manifest


def test_two_distributions_with_different_sources_at_one_path_dispute_the_sources_alone(workshop: Workshop, own_interpreter: Interpreter):
    change, _ = add(workshop, own_interpreter, make_wheel(PACKAGE), make_wheel({"demo/__init__.py": b"OTHER = 1\n"}, "other"))
    assert [conflict.path for conflict in change.conflicts] == [f"lib/{own_interpreter.python_directory}/site-packages/demo/__init__.py"]


def test_levels_are_made_when_asked_for_and_stay(workshop: Workshop, own_interpreter: Interpreter):
    add(workshop, own_interpreter, make_wheel(PACKAGE), make_wheel(None, "other"))
    change = compile_distributions(workshop.environment, maker_of(workshop, own_interpreter, 1).make)
    tag = own_interpreter.cache_tag
    names = ("demo/__init__", "demo/more")
    assert bytecode_in(files_of(workshop, change)).keys() == pycs(*names, tag=tag) | pycs(*names, tag=f"{tag}.opt-1")
    assert [one.project for one in change.after.distributions] == ["demo", "other"]
    for level in (0, 1):
        again = compile_distributions(workshop.environment, maker_of(workshop, own_interpreter, level).make)
        assert again.before == again.after == change.after


def test_an_environment_without_bytecode_gets_it_later(workshop: Workshop, own_interpreter: Interpreter):
    paths = [str(make_wheel(PACKAGE).write_to(workshop.wheels))]
    before = add_wheels(workshop.environment, own_interpreter, paths, accept_any, AddOptions()).after
    change = compile_distributions(workshop.environment, maker_of(workshop, own_interpreter).make)
    assert (change.before, change.after.number, change.after.command) == (before, 2, "compile")
    assert len(bytecode_in(files_of(workshop, change))) == 2


def test_an_environment_that_does_not_exist_is_not_made_by_compiling(workshop: Workshop, own_interpreter: Interpreter):
    with pytest.raises(EnvironmentRefused):
        compile_distributions(Environment(workshop.store, "absent"), maker_of(workshop, own_interpreter).make)
    assert not os.path.exists(workshop.store.path("environments", "absent"))


def test_known_bytecode_is_taken_without_compiling(workshop: Workshop, own_interpreter: Interpreter):
    add(workshop, own_interpreter, make_wheel(PACKAGE))
    maker = maker_of(workshop, own_interpreter)
    paths = [str(wheel.write_to(workshop.wheels)) for wheel in (make_wheel(PACKAGE), make_wheel(None, "new"))]
    other = Environment(workshop.store, "other")
    change = add_wheels(other, own_interpreter, paths, accept_any, AddOptions(make_bytecode=maker.take_known))
    assert [len(bytecode_in(files_of(workshop, change, project))) for project in ("demo", "new")] == [2, 0]
    assert maker.made.compiled == 0


def test_blobs_that_are_known_to_be_right_stay_known(workshop: Workshop, own_interpreter: Interpreter):
    change, _ = add(workshop, own_interpreter, make_wheel(PACKAGE))
    manifest = files_of(workshop, change)
    stamps = read_blob_stat_cache(workshop.store.root, change.after.distributions[0].files.manifest)
    assert stamps is not None
    assert UNKNOWN not in [stamps.facts(row) for row in range(len(manifest.names))]


@pytest.mark.parametrize("lost", ["blobs", "manifest", "records"])
def test_what_is_lost_is_made_again_with_the_same_bytes(workshop: Workshop, own_interpreter: Interpreter, lost: str):
    change, _ = add(workshop, own_interpreter, make_wheel(PACKAGE))
    manifest, digest = files_of(workshop, change), change.after.distributions[0].files.manifest
    if lost == "blobs":
        for row in bytecode_in(manifest).values():
            os.unlink(path := workshop.store.pool.path(manifest.digest(row)))
            assert note_failed_read(workshop.store, StoreDamaged(path, "the blob is missing"))
    elif lost == "manifest":
        os.unlink(workshop.store.path("manifests", digest[:2], digest[2:]))
    else:
        os.rename(workshop.store.path("bytecode"), workshop.store.path("tmp", "gone"))
    again, maker = add(workshop, own_interpreter, make_wheel(PACKAGE))
    assert again.after == change.after
    assert maker.made.compiled == (0 if lost == "manifest" else 2)


def test_bytecode_of_another_source_is_not_taken(workshop: Workshop, own_interpreter: Interpreter):
    """Should a link be wrong, its bytecode says so itself."""
    add(workshop, own_interpreter, make_wheel(PACKAGE))
    root = Path(workshop.store.path("bytecode", str(target_of(own_interpreter)), "sources"))
    one, other = sorted(path for path in root.glob("*/*"))
    kept = os.readlink(one)
    one.unlink()
    one.symlink_to(os.readlink(other))
    change, maker = add(workshop, own_interpreter, make_wheel({**PACKAGE, "demo/x.txt": b""}, "demo", "2.0"))
    assert maker.made.compiled == 1
    assert os.readlink(one) == kept
    assert len(bytecode_in(files_of(workshop, change))) == 2


def test_what_a_shared_pool_has_is_not_compiled_again(workshop: Workshop, own_interpreter: Interpreter, tmp_path: Path):
    first, _ = add(workshop, own_interpreter, make_wheel(PACKAGE))
    other = open_store(tmp_path / "other", create=True)
    other.rely_on([workshop.store.root])
    theirs = dataclasses.replace(workshop, store=other)
    change, maker = add(theirs, own_interpreter, make_wheel(PACKAGE))
    assert (maker.made.compiled, maker.made.files) == (0, 2)
    assert [one.files.manifest for one in change.after.distributions] == [one.files.manifest for one in first.after.distributions]
    assert not os.path.exists(other.path("bytecode"))
    change, maker = add(theirs, own_interpreter, make_wheel({"new/x.py": PACKAGE["demo/more.py"], "new/y.py": b"y = 1"}, "new"))
    assert maker.made.compiled == 2  # the shared pool keeps what its own wheels bring, and promises nothing of a single source


def test_whoever_is_stopped_in_the_middle_has_lost_only_what_was_under_way(
    workshop: Workshop, own_interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("casfs.venv.bytecode.bytecode._TOGETHER", 3)
    wheel = make_wheel({f"demo/m{number}.py": f"x = {number}".encode() for number in range(10)})

    def stop(name: str, done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    maker = BytecodeMaker(workshop.store, own_interpreter.executable, target_of(own_interpreter), stop)
    options = AddOptions(make_bytecode=maker.make)
    with pytest.raises(KeyboardInterrupt):
        add_wheels(workshop.environment, own_interpreter, [str(wheel.write_to(workshop.wheels))], accept_any, options)
    assert workshop.environment.current() is None
    change, second = add(workshop, own_interpreter, wheel)
    assert second.made.compiled == 7
    assert len(bytecode_in(files_of(workshop, change))) == 10


def test_one_pool_serves_several_interpreters_each_with_its_own(workshop: Workshop, record_property: Callable[[str, object], None]):
    interpreters = [ask_interpreter(find_python(version)) for version in ("3.8", *VERSIONS, "3.14") if has_python(version)]
    for count, interpreter in enumerate(interpreters, 1):
        record_property("python", interpreter.release)
        change, maker = add(workshop, interpreter, make_wheel(PACKAGE), name=f"e{count}")
        assert maker.made.compiled == 2
        assert bytecode_in(files_of(workshop, change)).keys() == pycs("demo/__init__", "demo/more", tag=interpreter.cache_tag)
    assert len(os.listdir(workshop.store.path("bytecode"))) == len(interpreters)


def test_links_are_not_compiled(own_interpreter: Interpreter):
    from casfs.venv.bytecode.bytecode import iter_sources

    manifest = make_manifest({f"{SITE_PACKAGES}/demo/x.py": b"target"})
    assert len(list(iter_sources(manifest, TARGET))) == 1
    assert list(iter_sources(dataclasses.replace(manifest, kinds=str(int(Kind.SYMLINK))), TARGET)) == []


def bytecode_of(workshop: Workshop, manifest: Manifest, name: str) -> bytes:
    """The bytecode of demo/<name>.py."""
    [row] = [row for path, row in bytecode_in(manifest).items() if path.startswith(f"demo/__pycache__/{name}.")]
    return workshop.store.pool.read_blob(manifest.digest(row), manifest.sizes[row])


def source_of(manifest: Manifest, name: str) -> ManifestFile:
    """demo/<name>.py."""
    [file] = [file for file in manifest.iter_files() if file.path.endswith(f"/demo/{name}.py")]
    return file


def test_versions_share_the_bytecode_of_what_they_did_not_change(workshop: Workshop, own_interpreter: Interpreter):
    first = files_of(workshop, add(workshop, own_interpreter, make_wheel(PACKAGE))[0])
    change, maker = add(workshop, own_interpreter, make_wheel(PACKAGE | {"demo/more.py": b"VALUE = 3\n"}, version="2.0"))
    second = files_of(workshop, change)
    assert maker.made.compiled == 1
    assert bytecode_of(workshop, second, "__init__") == bytecode_of(workshop, first, "__init__")
    assert source_of(second, "__init__") == source_of(first, "__init__")
    assert source_of(second, "more").time > source_of(first, "more").time


def test_a_source_that_came_back_has_another_time_and_is_not_compiled_again(workshop: Workshop, own_interpreter: Interpreter):
    first = files_of(workshop, add(workshop, own_interpreter, make_wheel(PACKAGE))[0])
    add(workshop, own_interpreter, make_wheel(PACKAGE | {"demo/more.py": b"VALUE = 3\n"}, version="2.0"))
    change, maker = add(workshop, own_interpreter, make_wheel(PACKAGE | {"demo/data.txt": b"others"}, version="3.0"))
    third = files_of(workshop, change)
    assert maker.made.compiled == 0
    before, after = bytecode_of(workshop, first, "more"), bytecode_of(workshop, third, "more")
    assert after[:16] == format_header(target_of(own_interpreter), source_of(third, "more")) != before[:16]
    assert after[16:] == before[16:]


def test_sources_of_the_same_bytes_are_compiled_once_for_all_their_times(workshop: Workshop, own_interpreter: Interpreter):
    wheels = [make_wheel({f"{name}/__init__.py": b"VALUE = 1\n", "README": name.encode()}, name) for name in ("demo", "other")]
    _, maker = add(workshop, own_interpreter, *wheels)
    assert (maker.made.compiled, maker.made.files) == (1, 2)


@contextmanager
def version_before(workshop: Workshop) -> Iterator[None]:
    """What is published in the block is published as the version before did it: without times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(times, "_date", lambda store, manifest, time: manifest)
        yield
    for number in workshop.environment.numbers():
        path = Path(workshop.environment.index_path(number))
        body = json.loads(path.read_bytes().partition(b"\n")[2])
        layers = [body["skeleton"], *(layer for one in body["distributions"] for layer in one[-2:])]
        assert [layer.pop() for layer in layers] == [0] * len(layers)
        text = json.dumps(body, separators=(",", ":"))
        lock = Path(workshop.environment.path(number)).read_bytes()
        rewrite(path, f"casfs index 1 {checksum_bytes(lock)} {checksum_bytes(text.encode())}\n{text}")


def test_a_store_of_the_version_before_stays_as_it_is_and_what_is_added_is_newer(workshop: Workshop, own_interpreter: Interpreter):
    with version_before(workshop):
        before, _ = add(workshop, own_interpreter, make_wheel(PACKAGE))
    lock, index = (Path(path(1)).read_bytes() for path in (workshop.environment.path, workshop.environment.index_path))
    assert parse_index(index, lock) == before.after == workshop.environment.require()
    again, maker = add(workshop, own_interpreter, make_wheel(PACKAGE))
    assert (again.after, maker.made.compiled) == (before.after, 0)
    change, maker = add(workshop, own_interpreter, make_wheel(PACKAGE | {"demo/more.py": b"VALUE = 3\n"}, version="2.0"))
    old, new = files_of(workshop, before), files_of(workshop, change)
    assert maker.made.compiled == 1
    assert bytecode_of(workshop, new, "__init__") == bytecode_of(workshop, old, "__init__")
    assert (old.time, source_of(old, "more").time, source_of(new, "__init__").time) == (0, 0, 0)
    assert source_of(old, "more").time < FIRST_TIME < source_of(new, "more").time < new.time


def test_the_same_files_in_another_wheel_are_what_was_there_also_if_others_came_between(workshop: Workshop, own_interpreter: Interpreter):
    """A build that changes nothing, in two environments that build one project from different sources in turn."""
    made: list[Change] = []
    for number, files in enumerate((PACKAGE, PACKAGE | {"demo/more.py": b"VALUE = 3\n"}, dict(reversed(PACKAGE.items())))):
        path = str(make_wheel(files).write_to(workshop.wheels))
        wheel_to_add = WheelToAdd(path, "/src/demo", form=SourceKind.DIRECTORY)
        maker = maker_of(workshop, own_interpreter)
        environment = Environment(workshop.store, f"env{number % 2}")
        made.append(add_wheels(environment, own_interpreter, [wheel_to_add], accept_any, AddOptions(make_bytecode=maker.make)))
    assert made[2].ingested[0].wheel != made[0].ingested[0].wheel
    assert made[2].after == made[0].after
