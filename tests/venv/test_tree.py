from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casfs.digest import Digest, digest_bytes
from casfs.paths import SITE_PACKAGES
from casfs.store.generations import SHARED_DIRECTORIES
from casfs.store.manifests import FIRST_TIME, Description, Kind, Manifest, build_manifest
from casfs.venv.tree import DirectoryNode, FileEntry, FileNode, Tree, read_entries, shown_time_ns
from tests.make_generations import BASE, Shelf, make_manifest, make_row, walk
from tests.venv.stacks import Drawn, build_generation, flatten, merge, parents, show, stacks

Stack = tuple[Drawn, list[tuple[Drawn, Drawn]]]

SHOWN_SITE = f"lib/{BASE.directory}/site-packages"
SKELETON = make_manifest({"bin/python": b"/usr/bin/python3.11", "pyvenv.cfg": b"home"}, "skeleton", empty=[SITE_PACKAGES])


def make_tree(shelf: Shelf, *manifests: Manifest, skeleton: Manifest = SKELETON) -> Tree:
    return Tree(shelf.generation(skeleton, [shelf.distribution(one) for one in manifests]))


def enter(tree: Tree, shelf: Shelf, path: str) -> DirectoryNode | FileEntry:
    entry: DirectoryNode | FileEntry = tree.root
    for name in path.split("/") if path else ():
        assert isinstance(entry, DirectoryNode)
        entry = read_entries(tree, entry, shelf.fill)[name]
    return entry


def listing(tree: Tree, shelf: Shelf, path: str) -> set[str]:
    directory = enter(tree, shelf, path)
    assert isinstance(directory, DirectoryNode)
    return set(read_entries(tree, directory, shelf.fill))


@settings(max_examples=150)
@given(stacks())
def test_a_tree_shows_what_unpacking_its_layers_over_each_other_gives(stack: Stack):
    shelf = Shelf()
    nodes = walk(Tree(build_generation(shelf, *stack)), shelf)
    shown = {path: (node.digest, node.size, node.kind) if isinstance(node, FileNode) else None for path, node in nodes.items()}
    assert shown == merge(flatten(*stack))


@settings(max_examples=40)
@given(stacks())
def test_each_place_has_an_identity_of_its_own(stack: Stack):
    shelf = Shelf()
    nodes = walk(Tree(build_generation(shelf, *stack)), shelf)
    identities = [(type(node), node.identity) for node in nodes.values() if isinstance(node, FileNode | DirectoryNode)]
    assert len(set(identities)) == len(nodes)


@settings(max_examples=40)
@given(stacks())
def test_nothing_is_read_that_has_no_part_in_what_was_asked(stack: Stack):
    shelf = Shelf()
    generation = build_generation(shelf, *stack)
    manifests = flatten(stack[0], stack[1])
    manifests = [manifests[-1], *manifests[:-1]]  # by index of layer
    for path, kind in merge(flatten(*stack)).items():
        tree = Tree(generation)
        shelf.reads.clear()
        entry = enter(tree, shelf, path)
        if isinstance(entry, DirectoryNode):
            read_entries(tree, entry, shelf.fill)
        else:
            shelf.fill(tree, tree.unread_for_files([entry]))
            tree.file(entry)
        asked = [*parents(path), path] if kind is None else parents(path)
        for index in shelf.reads:
            own = {row.path for row in manifests[index].files}
            directories = {one for row in own for one in parents(row)} | {p for e in manifests[index].empty for p in (*parents(e), e)}
            is_in_own_directory = any(show(one) in asked for one in directories - set(SHARED_DIRECTORIES))
            assert is_in_own_directory or path in map(show, own)


@settings(max_examples=40)
@given(stacks(), st.randoms(use_true_random=False))
def test_the_order_in_which_a_tree_is_explored_changes_nothing(stack: Stack, order: random.Random):
    shelf = Shelf()
    generation = build_generation(shelf, *stack)
    expected = walk(Tree(generation), shelf)
    tree = Tree(generation)
    paths = list(expected)
    order.shuffle(paths)
    for path in paths:
        entry = enter(tree, shelf, path)
        node = expected[path]
        if isinstance(entry, FileEntry):
            shelf.fill(tree, tree.unread_for_files([entry]))
            assert tree.file(entry) == node
        else:
            assert isinstance(node, DirectoryNode)
            assert (entry.identity, entry.mtime_ns, entry.parts) == (node.identity, node.mtime_ns, node.parts)


@settings(max_examples=40)
@given(stacks(), st.randoms(use_true_random=False))
def test_distributions_that_share_no_file_may_come_in_any_order(stack: Stack, order: random.Random):
    skeleton, drawn = stack
    kept: list[tuple[Drawn, Drawn]] = []
    for pair in drawn:
        try_out = flatten(skeleton, [*kept, pair])
        files = [show(row.path) for layer in try_out for row in layer.files]
        above = {one for layer in try_out for row in layer.files for one in parents(show(row.path))}
        empty = {one for layer in try_out for path in layer.empty for one in (*parents(show(path)), show(path))}
        if len(files) == len(set(files)) and not set(files) & (above | empty):
            kept.append(pair)
    one = _walk_anew(skeleton, kept)
    order.shuffle(kept)
    other = _walk_anew(skeleton, kept)
    assert {path: _content(node) for path, node in one.items()} == {path: _content(node) for path, node in other.items()}


def _walk_anew(skeleton: Drawn, drawn: list[tuple[Drawn, Drawn]]) -> dict[str, object]:
    shelf = Shelf()
    return walk(Tree(build_generation(shelf, skeleton, drawn)), shelf)


def _content(node: object) -> object:
    return (node.digest, node.kind) if isinstance(node, FileNode) else None


@settings(max_examples=40)
@given(stacks(), stacks())
def test_the_time_of_a_directory_changes_exactly_when_its_parts_do(one: Stack, other: Stack):
    shelf = Shelf()
    times: dict[object, int] = {}
    for stack in (one, other):
        generation = build_generation(shelf, *stack)
        tree = Tree(generation)
        for node in walk(tree, shelf).values():
            if isinstance(node, DirectoryNode):
                parts = tuple((tree.layers[part.layer].layer.manifest, part.row) for part in node.parts)
                assert times.setdefault(parts, node.mtime_ns) == node.mtime_ns
    assert len(set(times.values())) == len(times)


def test_entering_site_packages_reads_no_distribution():
    shelf = Shelf()
    projects = [make_manifest({f"{SITE_PACKAGES}/p{i}/__init__.py": b"", f"bin/p{i}": b"x"}, f"p{i}") for i in range(9)]
    tree = make_tree(shelf, *projects)
    assert listing(tree, shelf, SHOWN_SITE) == {f"p{i}" for i in range(9)}
    assert listing(tree, shelf, "bin") == {"python", *(f"p{i}" for i in range(9))}
    assert listing(tree, shelf, "") == {"bin", "lib", "pyvenv.cfg"}
    assert shelf.reads == []


def test_entering_one_distribution_reads_its_manifest_and_no_other():
    shelf = Shelf()
    tree = make_tree(shelf, *(make_manifest({f"{SITE_PACKAGES}/p{i}/__init__.py": b""}, f"p{i}") for i in range(9)))
    assert listing(tree, shelf, f"{SHOWN_SITE}/p4") == {"__init__.py"}
    assert [tree.layers[index].distribution for index in shelf.reads] == [tree.generation.distributions[4]]


def test_a_file_in_a_shared_directory_reads_its_own_manifest_and_no_other():
    shelf = Shelf()
    tree = make_tree(shelf, *(make_manifest({f"{SITE_PACKAGES}/p{i}.py": b"1"}, f"p{i}") for i in range(9)))
    entry = enter(tree, shelf, f"{SHOWN_SITE}/p4.py")
    assert isinstance(entry, FileEntry)
    assert shelf.reads == []
    assert tree.distribution(entry) == tree.generation.distributions[4]
    assert [tree.layers[index].distribution for index in tree.unread_for_files([entry])] == [tree.generation.distributions[4]]


def test_what_was_not_read_is_a_mistake_and_not_an_empty_answer():
    shelf = Shelf()
    tree = make_tree(shelf, make_manifest({f"{SITE_PACKAGES}/p/x.py": b"1", f"{SITE_PACKAGES}/p.py": b"1"}, "p"))
    directory, entry = enter(tree, shelf, f"{SHOWN_SITE}/p"), enter(tree, shelf, f"{SHOWN_SITE}/p.py")
    assert isinstance(directory, DirectoryNode)
    assert isinstance(entry, FileEntry)
    with pytest.raises(LookupError, match="was not read"):
        tree.entries(directory)
    with pytest.raises(LookupError, match="was not read"):
        tree.file(entry)


def test_what_stands_in_for_pip_gives_way_to_pip():
    shelf = Shelf()
    skeleton = make_manifest({"bin/python": b"base", "bin/pip": b"stand-in", "bin/pip3": b"stand-in"}, "skeleton")
    alone = walk(make_tree(shelf, skeleton=skeleton), shelf)
    beside = walk(make_tree(shelf, make_manifest({"bin/pip": b"pip", "bin/python": b"mine"}, "pip"), skeleton=skeleton), shelf)
    assert [name for name in alone if alone[name] != beside[name]] == ["", "bin", "bin/pip"]


def test_the_later_distribution_wins_and_nobody_wins_against_the_skeleton():
    shelf = Shelf()
    one = make_manifest({f"{SITE_PACKAGES}/x.py": b"one", "bin/python": b"evil", "pyvenv.cfg/x": b""}, "one")
    two = make_manifest({f"{SITE_PACKAGES}/x.py": b"two", "bin": b"evil"}, "two")
    nodes = walk(make_tree(shelf, one, two), shelf)
    digests = {path: node.digest for path, node in nodes.items() if isinstance(node, FileNode)}
    expected = {f"{SHOWN_SITE}/x.py": b"two", "bin/python": b"/usr/bin/python3.11", "pyvenv.cfg": b"home"}
    assert digests == {path: digest_bytes(content) for path, content in expected.items()}


def test_an_installation_wins_against_the_wheel_that_it_belongs_to():
    shelf = Shelf()
    wheel, made = make_manifest({"bin/tool": b"#!python"}), make_manifest({"bin/tool": b"#!/bin/sh"})
    tree = Tree(shelf.generation(SKELETON, [shelf.distribution(wheel, made)]))
    node = walk(tree, shelf)["bin/tool"]
    assert isinstance(node, FileNode)
    assert node.digest == digest_bytes(b"#!/bin/sh")


def test_case_twins_and_two_spellings_of_one_letter_are_different_files():
    shelf = Shelf()
    names = ["case.py", "Case.py", "é.py", "e\u0301.py"]
    tree = make_tree(shelf, make_manifest({f"{SITE_PACKAGES}/{name}": name.encode() for name in names}))
    assert listing(tree, shelf, SHOWN_SITE) == set(names)


def test_a_file_whose_mode_alone_changed_is_another_file():
    shelf = Shelf()
    path = f"{SITE_PACKAGES}/p/tool"
    plain, executable = make_manifest({path: b"1"}, "p"), make_manifest({path: b"1"}, "p", "2.0", executable=[path])
    before, after = (walk(make_tree(shelf, one), shelf)[show(path)] for one in (plain, executable))
    assert isinstance(before, FileNode)
    assert isinstance(after, FileNode)
    assert before.digest == after.digest
    assert before.identity != after.identity


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("", ""),
        ("lib/{python}", "lib/python3.11"),
        ("lib/{python}/site-packages/{python}/x", "lib/python3.11/site-packages/{python}/x"),
        ("include/site/{python}/demo/x.h", "include/site/python3.11/demo/x.h"),
        ("include/{python}/x.h", "include/{python}/x.h"),
        ("share/lib/{python}/x", "share/lib/{python}/x"),
        ("lib/{python}x", "lib/{python}x"),
        ("lib/x{python}/y", "lib/x{python}/y"),
        ("{python}", "{python}"),
    ],
)
def test_where_the_python_component_stands_for_the_interpreter(path: str, shown: str):
    assert make_tree(Shelf()).shown_path(path) == shown


@settings(max_examples=40)
@given(stacks())
def test_every_path_of_a_manifest_is_shown_where_shown_path_says(stack: Stack):
    shelf = Shelf()
    tree = Tree(build_generation(shelf, *stack))
    for layer in flatten(*stack):
        for row in layer.files:
            assert tree.shown_path(row.path) == show(row.path)


def test_headers_and_data_of_two_interpreters_come_from_one_manifest():
    shelf = Shelf()
    manifest = make_manifest({"include/site/{python}/demo/x.h": b"", f"{SITE_PACKAGES}/demo.py": b""})
    generation = make_tree(shelf, manifest).generation
    for directory in ("python3.8", "python3.13t"):
        interpreter = type(BASE)(BASE.executable, BASE.version, BASE.cache_tag, directory)
        moved = type(generation)(2, "", "", interpreter, generation.skeleton, generation.distributions)
        nodes = walk(Tree(moved), shelf)
        assert {f"include/site/{directory}/demo/x.h", f"lib/{directory}/site-packages/demo.py"} <= nodes.keys()
        assert not any("{python}" in path for path in nodes)


def test_the_size_of_a_tree_is_the_sum_of_its_files():
    shelf = Shelf()
    assert make_tree(shelf, make_manifest({"share/x": b"12345"})).total_size == 5 + SKELETON.total_size


class Interrupted(str):
    """A directory's path that lets somebody else ask while its parent's children are being collected."""

    __slots__ = ("ask",)
    ask: Callable[[], object]

    def rpartition(self, separator: str) -> tuple[str, str, str]:
        self.ask()
        return str(self).rpartition(separator)


def test_who_asks_for_directories_while_another_thread_collects_them_sees_all_of_them():
    manifest = build_manifest(Description("demo", "demo", "1.0"), [make_row(f"d{i}/x", b"") for i in range(4)])
    everything = build_manifest(manifest.description, manifest.iter_files()).directories_in(0)
    seen: list[list[tuple[str, int]]] = []
    interrupted = Interrupted("d2")

    def ask_once() -> None:
        interrupted.ask = lambda: None
        seen.append([*manifest.directories_in(0)])

    interrupted.ask = ask_once
    manifest.directories[manifest.directories.index("d2")] = interrupted
    assert manifest.directories_in(0) == everything
    assert seen == [everything]


@given(st.integers(0, 2**60 - 1), st.integers(0, 2**60 - 1))
def test_times_from_content_are_older_than_all_that_is_dated_and_in_1980_in_every_time_zone(one: int, other: int):
    """The dates of zip files begin with 1980-01-01 in the local time; 1980-01-02T12:00Z is still 1980 twelve hours behind."""
    first, second = (shown_time_ns(0, Digest(f"{bits:015x}{'0' * 49}")) for bits in (one, other))
    assert (first // 10**9 == second // 10**9) == (one >> 30 == other >> 30)
    assert 315_662_400 <= first // 10**9 < FIRST_TIME


def test_times_survive_the_system_calls_that_copy_them(tmp_path: os.PathLike[str]):
    path = os.path.join(tmp_path, "x")
    moment = shown_time_ns(0, digest_bytes(b"x"))
    with open(path, "wb"):
        os.utime(path, ns=(moment, moment))
    assert os.stat(path).st_mtime_ns == moment


def test_kinds_are_kept():
    shelf = Shelf()
    rows = [make_row("share/a", b""), make_row("share/b", b"", Kind.EXECUTABLE), make_row("share/c", b"a", Kind.SYMLINK)]
    nodes = walk(make_tree(shelf, build_manifest(Description("demo", "demo", "1.0"), rows)), shelf)
    kinds = [node.kind for path in ("a", "b", "c") if isinstance(node := nodes[f"share/{path}"], FileNode)]
    assert kinds == [Kind.FILE, Kind.EXECUTABLE, Kind.SYMLINK]


def dated(manifest: Manifest, time: int) -> Manifest:
    return replace(manifest, time=time, times=[time] * len(manifest.names))


def test_a_directory_is_as_new_as_its_newest_part_and_differs_when_any_part_goes():
    shelf = Shelf()
    skeleton = dated(make_manifest({}, "skeleton", empty=[SITE_PACKAGES]), FIRST_TIME)
    modules = [make_manifest({f"{SITE_PACKAGES}/{name}.py": b""}, name) for name in "abc"]
    parts = [shelf.distribution(dated(module, FIRST_TIME + age)) for age, module in enumerate(modules)]
    shown = []
    for kept in (parts, parts[1:], parts[:2], parts[:1], []):
        node = walk(Tree(shelf.generation(skeleton, kept)), shelf)[SHOWN_SITE]
        assert isinstance(node, DirectoryNode)
        shown.append(node.mtime_ns)
    assert [time_ns // 10**9 - FIRST_TIME for time_ns in shown] == [2, 2, 1, 0, 0]
    assert len(set(shown)) == len(shown)


def test_a_file_shows_the_time_of_its_row():
    manifest = replace(make_manifest({"bin/old": b"1", "bin/new": b"2"}), time=FIRST_TIME + 1, times=[FIRST_TIME + 1, FIRST_TIME])
    shelf = Shelf()
    nodes = walk(make_tree(shelf, manifest), shelf)
    times = {path: node.mtime_ns for path, node in nodes.items() if isinstance(node, FileNode)}
    assert times["bin/new"] == (FIRST_TIME + 1) * 10**9
    assert times["bin/old"] == FIRST_TIME * 10**9
