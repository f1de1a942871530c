"""Generations: the lock file is the truth, any tool can read it, and the index never says anything else."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.pylock import Pylock

from casfs.digest import Digest, checksum_bytes
from casfs.paths import SITE_PACKAGES
from casfs.store.generations import (
    BaseInterpreter,
    Distribution,
    Generation,
    build_layer,
    format_index,
    format_lock,
    outline_manifest,
    parse_index,
    parse_lock,
)
from casfs.store.manifests import Manifest, build_manifest
from tests.store.making import INTERPRETER, about, row

MANIFESTS = {
    Digest(digit * 64): manifest
    for digit, manifest in {
        "0": build_manifest(about("skeleton"), [row("pyvenv.cfg"), row("bin/python")], [SITE_PACKAGES, "include"]),
        "1": build_manifest(about(), [row(f"{SITE_PACKAGES}/demo/__init__.py"), row(f"{SITE_PACKAGES}/demo.py"), row("bin/demo")]),
        "2": build_manifest(about(), [row(f"{SITE_PACKAGES}/demo-1.0.dist-info/INSTALLER", b"casfs\n")]),
        "3": build_manifest(about(), []),
    }.items()
}


def read(digest: Digest) -> Manifest:
    return MANIFESTS[digest]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
names = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True)
versions = st.from_regex(r"[1-9]{1,3}(\.[1-9]){0,2}", fullmatch=True)
digests = st.text("0123456789abcdef", min_size=64, max_size=64).map(Digest)
layers = st.builds(
    lambda digest, number: build_layer(digest, number, MANIFESTS[digest]), st.sampled_from([*MANIFESTS]), st.integers(1, 2**24 - 1)
)
origins = st.one_of(
    st.builds(lambda name: f"/wheels/{name}-1.0-py3-none-any.whl", names),
    st.builds(lambda name: f"https://wheels.invalid/{name}-1.0-py3-none-any.whl", names),
    st.builds(lambda name: f"https://wheels.invalid/{name}-1.0.tar.gz#sha256={'0' * 64}", names),
    st.sampled_from(["/home/me/project", "git+https://wheels.invalid/project@f00", "pip"]),
)
distributions = st.builds(Distribution, names, texts, versions, digests, st.integers(0, 2**40), origins, st.booleans(), layers, layers)
generations = st.builds(
    Generation,
    st.integers(1, 10**6),
    st.just("2026-01-02T03:04:05+00:00"),
    texts,
    st.builds(BaseInterpreter, texts, texts, texts, texts),
    layers,
    st.lists(distributions, max_size=4, unique_by=lambda one: one.project).map(tuple),
)

skeleton = build_layer(Digest("0" * 64), 1, MANIFESTS[Digest("0" * 64)])
demo = Distribution(
    "demo",
    "Demo",
    "1.0",
    Digest("ab" * 32),
    1234,
    "/wheels/demo-1.0-py3-none-any.whl",
    True,
    build_layer(Digest("1" * 64), 2, MANIFESTS[Digest("1" * 64)]),
    build_layer(Digest("2" * 64), 3, MANIFESTS[Digest("2" * 64)]),
)
GENERATION = Generation(1, "2026-01-02T03:04:05+00:00", "add Demo 1.0", INTERPRETER, skeleton, (demo,))


@given(generations)
def test_a_generation_comes_back_from_its_lock_file(generation):
    assert parse_lock(format_lock(generation), read) == generation


@given(generations)
def test_a_generation_comes_back_from_its_index(generation):
    lock = format_lock(generation)
    assert parse_index(format_index(generation, lock), lock) == generation


@given(generations)
def test_a_lock_file_is_what_the_standard_says(generation):
    data = tomllib.loads(format_lock(generation).decode())
    lock = Pylock.from_dict(data)
    lock.validate()
    assert [(package.name, str(package.version)) for package in lock.packages] == [
        (one.project, one.version) for one in generation.distributions
    ]
    for package, one in zip(lock.packages, generation.distributions, strict=True):
        assert package.archive is not None
        if one.wheel_size and one.origin.endswith(".whl"):
            assert package.archive.hashes == {"sha256": one.wheel}
            assert (package.archive.path or package.archive.url) == one.origin
        else:  # what was built, or a tool installed
            manifest = one.files.manifest
            assert package.archive.hashes == {"sha256": manifest}
            assert package.archive.path == f"../../../manifests/{manifest[:2]}/{manifest[2:]}"


def test_an_index_of_another_lock_file_is_not_believed():
    lock = format_lock(GENERATION)
    other = format_lock(dataclasses.replace(GENERATION, command="another"))
    assert parse_index(format_index(GENERATION, lock), other) is None


@given(st.integers(0, len(format_index(GENERATION, b"")) - 1), st.integers(0, 7))
def test_a_damaged_index_is_not_believed(at, bit):
    content = bytearray(format_index(GENERATION, b"lock"))
    content[at] ^= 1 << bit
    assert parse_index(bytes(content), b"lock") is None


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"casfs index 3\n{}", f"casfs index 3 {checksum_bytes(b'')} {checksum_bytes(b'{}')}\n{{}}".encode()]
)
def test_what_is_no_index_is_not_believed(content):
    assert parse_index(content, b"") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.replace("[tool.casfs]", "[tool.other]"),
        lambda text: text.replace("sha256 = ", "sha512 = "),
        lambda text: text.replace("0" * 64, "0" * 63),
        lambda text: text.replace("cache_tag", "cache_tags"),
        lambda text: text.replace("requested = true\n", ""),
        lambda text: text.replace("size = 1234\n", ""),
        lambda text: text.replace("number = 2", 'number = "two"'),
        lambda text: text.replace("number = 2", "number = inf"),
        lambda text: f"x = {'[' * 10_000}",
        lambda text: text.replace('"', ""),
        lambda text: "packages = 1\n[tool.casfs]\n",
    ],
)
def test_a_lock_file_that_casfs_did_not_write_is_refused(change):
    with pytest.raises(ValueError):
        parse_lock(change(format_lock(GENERATION).decode()).encode(), read)


@given(st.binary())
def test_bytes_that_are_no_lock_file_are_refused(content):
    with pytest.raises(ValueError):
        parse_lock(content, read)


@given(st.lists(st.tuples(st.integers(0, len(format_lock(GENERATION)) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_mutated_lock_file_is_refused_or_read(changes):
    content = bytearray(format_lock(GENERATION))
    for at, value in changes:
        content[at] = value
    with contextlib.suppress(ValueError):
        assert isinstance(parse_lock(bytes(content), lambda digest: MANIFESTS[Digest("3" * 64)]), Generation)


def test_an_outline_has_the_shared_directories_and_no_others():
    manifest = MANIFESTS[Digest("1" * 64)]
    outline = outline_manifest(manifest)
    assert set(outline.paths) == {"", "bin", "lib", "lib/{python}", SITE_PACKAGES}
    found = {
        path: (sorted(outline.directories[number][0]), sorted(outline.directories[number][1])) for path, number in outline.paths.items()
    }
    assert found == {
        "": (["bin", "lib"], []),
        "bin": ([], ["demo"]),
        "lib": (["{python}"], []),
        "lib/{python}": (["site-packages"], []),
        SITE_PACKAGES: (["demo"], ["demo.py"]),
    }
    paths = [file.path for file in manifest.iter_files()]
    [(_, files)] = [outline.directories[number] for path, number in outline.paths.items() if path == SITE_PACKAGES]
    assert paths[files["demo.py"]] == f"{SITE_PACKAGES}/demo.py"


def test_a_distribution_is_found_by_its_project():
    assert GENERATION.find("demo") == demo
    assert GENERATION.find("Demo") is None


def test_an_index_is_small():
    files = [row(f"{SITE_PACKAGES}/demo/module{number}.py") for number in range(1000)]
    large = dataclasses.replace(demo, files=build_layer(Digest("1" * 64), 2, build_manifest(about(), files)))
    index = format_index(dataclasses.replace(GENERATION, distributions=(large,)), b"")
    assert len(index) < 2000
    assert json.loads(index.partition(b"\n")[2])
