"""Manifests: what goes in comes out, and whatever is in the file, reading it ends in a value or in an error that names it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs.digest import Digest, digest_bytes
from casfs.errors import StoreDamaged
from casfs.paths import MAX_COMPONENT, path_problem
from casfs.store.manifests import (
    FIRST_TIME,
    LAST_TIME,
    Description,
    Kind,
    Manifest,
    ManifestFile,
    build_manifest,
    format_manifest,
    manifest_path,
    manifest_problems,
    parse_manifest,
    read_manifest,
    stage_manifest,
)
from tests.store.making import about, publish_files, row

HEX = "0123456789abcdef"

# Few letters, so that paths share directories; "-" and "!" sort before "/", "{python}" and "é" after it.
components = st.one_of(st.text("ab-!é", min_size=1, max_size=3), st.just("{python}"), st.text(min_size=1, max_size=20)).filter(
    lambda text: "/" not in text and path_problem(text) is None
)
paths = st.lists(components, min_size=1, max_size=5).map("/".join)


def without_clashes(found: list[str]) -> list[str]:
    """Paths of which none is a directory of another."""
    directories = {path[:at] for path in found for at in range(len(path)) if path[at] == "/"}
    return [path for path in dict.fromkeys(found) if path not in directories]


rows = st.builds(
    ManifestFile,
    st.just(""),
    st.text(HEX, min_size=64, max_size=64).map(Digest),
    st.text(HEX, min_size=32, max_size=32),
    st.integers(0, 2**40),
    st.sampled_from(Kind),
)


@st.composite
def file_lists(draw: st.DrawFn) -> list[ManifestFile]:
    chosen = without_clashes(draw(st.lists(paths, max_size=20)))
    return [ManifestFile(path, one.digest, one.checksum, one.size, one.kind) for path in chosen for one in [draw(rows)]]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
descriptions = st.builds(
    Description,
    *[texts] * 4,
    st.lists(texts).map(tuple),
    st.none() | texts,
    texts,
    st.lists(st.tuples(texts, texts, texts)).map(tuple),
    st.lists(texts).map(tuple),
)


@given(descriptions, file_lists(), st.lists(paths, max_size=3))
def test_a_manifest_comes_back_as_it_was(described, files, empty):
    taken = {file.path for file in files}
    empty = [path for path in empty if not any(path == one or path.startswith(f"{one}/") for one in taken)]
    manifest = build_manifest(described, files, empty)
    again = parse_manifest(format_manifest(manifest))
    assert again == manifest
    assert format_manifest(again) == format_manifest(manifest)
    assert manifest_problems(again) == []
    assert sorted(again.iter_files(), key=lambda file: file.path) == sorted(files, key=lambda file: file.path)
    assert again.total_size == sum(file.size for file in files)
    assert set(empty) <= set(again.directories)


@given(file_lists())
def test_the_order_of_the_files_does_not_matter(files):
    assert format_manifest(build_manifest(about(), files)) == format_manifest(build_manifest(about(), files[::-1]))


@given(file_lists())
def test_each_row_is_found_from_both_sides(files):
    manifest = build_manifest(about(), files)
    for directory, path in enumerate(manifest.directories):
        for index in manifest.files_in(directory):
            assert manifest.directory_of(index) == directory
            file = manifest.row(index, directory)
            assert file in files
            assert file.path.rpartition("/")[0] == path


@given(file_lists())
def test_directories_form_a_tree(files):
    manifest = build_manifest(about(), files)
    reached = {0: ""}
    queue = [0]
    while queue:
        parent = queue.pop()
        for name, child in manifest.directories_in(parent):
            reached[child] = f"{reached[parent]}/{name}".lstrip("/")
            queue.append(child)
    assert reached == dict(enumerate(manifest.directories))
    wanted = {file.path[:at] for file in files for at in range(len(file.path)) if file.path[at] == "/"}
    assert set(manifest.directories) == {"", *wanted}


def test_empty_directories_bring_their_parents():
    manifest = build_manifest(about(), [], ["lib/{python}/site-packages", "include"])
    assert manifest.directories == ["", "include", "lib", "lib/{python}", "lib/{python}/site-packages"]
    assert list(manifest.iter_files()) == []


EXAMPLE = format_manifest(
    build_manifest(
        Description(
            "demo", "Demo", "1.0", "ab" * 32, ("py3-none-any",), ">=3.8", "demo-1.0.dist-info", (("demo", "demo", "main"),), ("no",)
        ),
        [
            row("bin/demo", b"#!", Kind.EXECUTABLE),
            row("lib/{python}/site-packages/demo/__init__.py", b"1\n"),
            replace(row("link", b"x", Kind.SYMLINK), time=1_796_097_600),
        ],
        time=1_796_097_601,
    )
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def parse_or_refuse(content: bytes) -> Manifest | None:
    """The manifest, looked into as far as fsck does; None if it is refused, in the one way in which it may be."""
    try:
        manifest = parse_manifest(content)
    except ValueError:
        return None
    manifest_problems(manifest)
    return manifest


@given(st.binary())
def test_bytes_that_are_no_manifest_are_refused(content):
    assert parse_or_refuse(content) is None


@given(st.lists(st.tuples(st.integers(0, len(EXAMPLE) - 1), st.binary(max_size=3)), min_size=1, max_size=5))
def test_a_mutated_manifest_is_refused_or_read(changes):
    content = bytearray(EXAMPLE)
    for at, new in changes:
        content[at : at + len(new)] = new
    parse_or_refuse(bytes(content))


@given(st.sampled_from([*json.loads(EXAMPLE)]), json_values)
def test_a_strange_value_in_any_field_is_refused_or_found(name, value):
    data = json.loads(EXAMPLE)
    manifest = parse_or_refuse(json.dumps(data | {name: value}).encode())
    if manifest is not None and not manifest_problems(manifest):
        assert parse_manifest(format_manifest(manifest)) == manifest
        assert all(isinstance(file, ManifestFile) for file in manifest.iter_files())


@given(st.sampled_from(["directories", "starts", "names", "sizes", "tags", "tolerated", "entry_points"]), st.integers(0, 4), json_values)
def test_a_strange_value_in_any_row_is_refused_or_found(name, index, value):
    data = json.loads(EXAMPLE)
    data[name][index : index + 1] = [value]
    manifest = parse_or_refuse(json.dumps(data).encode())
    if manifest is not None and not manifest_problems(manifest):
        assert all(path_problem(file.path) is None for file in manifest.iter_files())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("names", ["..", "demo", "__init__.py"]),
        ("names", ["a/b", "demo", "__init__.py"]),
        ("names", ["", "demo", "__init__.py"]),
        ("names", ["a\nb", "demo", "__init__.py"]),
        ("names", ["bin", "demo", "__init__.py"]),
        ("names", ["\ud800", "demo", "__init__.py"]),
        ("names", ["x" * (MAX_COMPONENT + 1), "demo", "__init__.py"]),
        ("sizes", [-1, 2, 2]),
        ("sizes", [1.5, 2, 2]),
        ("sizes", [True, 2, 2]),
        ("kinds", "013"),
        ("time", 1),
        ("time", "1796097600"),
        ("times", [0, 0, -1]),
        ("times", [0, 0, FIRST_TIME - 1]),
        ("times", [0, 0, LAST_TIME + 1]),
        ("times", [0, 0, True]),
        ("starts", [0, 2, 1, 2, 2, 2, 3]),
        ("digests", "AB" * 96),
        ("digests", " 0" * 96),
        ("checksums", "xx" * 48),
        ("directories", ["", "bin", "lib", "lib/{python}", "lib/{python}/site-packages", "lib/../demo"]),
        ("directories", ["", "bin", "lib", "lib/{python}", "lib/{python}/site-packages", "z/demo"]),
        ("directories", ["", "bin", "lib", "lib/{python}", "lib/{python}", "lib/{python}/site-packages"]),
        ("project", None),
        ("requires_python", 3),
    ],
)
def test_problems_inside_a_manifest_are_found(field, value):
    assert manifest_problems(parse_manifest(EXAMPLE)) == []
    strange = parse_manifest(json.dumps(json.loads(EXAMPLE) | {field: value}).encode())
    assert manifest_problems(strange)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("casfs-manifest", 1),
        ("casfs-manifest", 3),
        ("time", 0),
        ("times", [0, 0]),
        ("digests", "ab" * 97),
        ("names", ["one"]),
        ("names", "abc"),
        ("starts", {"0": 0}),
        ("directories", ["bin"] * 6),
        ("sizes", None),
        ("entry_points", [["too", "short"]]),
        ("unknown", 1),
    ],
)
def test_columns_that_do_not_belong_together_are_refused(field, value):
    with pytest.raises(ValueError):
        parse_manifest(json.dumps(json.loads(EXAMPLE) | {field: value}).encode())


def test_deep_nesting_is_refused():
    with pytest.raises(ValueError):
        parse_manifest(b"[" * 200_000)


def test_a_published_manifest_is_read_back(store):
    digest, manifest, _ = publish_files(store, {"a/b": b"1", "c": b"2"}, executable=["c"])
    assert read_manifest(store, digest) == manifest
    assert [(file.path, file.kind) for file in manifest.iter_files()] == [("c", Kind.EXECUTABLE), ("a/b", Kind.FILE)]


def test_staging_a_manifest_again_keeps_the_first(store):
    digest, manifest, _ = publish_files(store, {"a": b"1"})
    before = Path(manifest_path(store, digest)).stat().st_ino
    with store.batch() as batch:
        assert stage_manifest(store, batch, manifest) == digest
        assert manifest_path(store, digest) not in batch
        batch.commit()
    assert Path(manifest_path(store, digest)).stat().st_ino == before


def test_staging_a_damaged_manifest_restores_it(store):
    digest, manifest, _ = publish_files(store, {"a": b"1"})
    path = Path(manifest_path(store, digest))
    path.unlink()
    path.write_bytes(b"{}")
    with store.batch() as batch:
        stage_manifest(store, batch, manifest)
        batch.commit()
    assert read_manifest(store, digest) == manifest


@pytest.mark.parametrize("content", [b"", b"{}", EXAMPLE[:-1], EXAMPLE + b" ", EXAMPLE.replace(b"demo", b"Demo", 1)])
def test_a_manifest_with_other_bytes_is_damage(damaged_store, content):
    path = Path(manifest_path(damaged_store, digest_bytes(EXAMPLE)))
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match="does not have the bytes"):
        read_manifest(damaged_store, digest_bytes(EXAMPLE))


def test_bytes_that_are_no_manifest_are_damage_under_their_own_digest_too(damaged_store):
    path = Path(manifest_path(damaged_store, digest_bytes(b"[]")))
    path.parent.mkdir()
    path.write_bytes(b"[]")
    with pytest.raises(StoreDamaged, match="is not a manifest"):
        read_manifest(damaged_store, digest_bytes(b"[]"))


def test_a_blob_is_never_taken_for_a_manifest(store):
    with store.batch() as batch:
        store.pool.stage(batch, EXAMPLE, digest_bytes(EXAMPLE))
        batch.commit()
    with pytest.raises(StoreDamaged, match="is missing"):
        read_manifest(store, digest_bytes(EXAMPLE))
