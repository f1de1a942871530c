from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casfs.paths import SITE_PACKAGES
from casfs.store.generations import Generation
from casfs.store.manifests import Manifest
from casfs.upper.differences import ChangedDirectory, ChangedEntry, Conflict, iter_conflicts, iter_differences
from casfs.venv.tree import DirectoryNode, FileNode, Tree
from tests.make_generations import BASE, Shelf, make_manifest, walk
from tests.venv.stacks import Drawn, layers, merge, parents, show, skeletons

SHOWN_SITE = show(SITE_PACKAGES)
SKELETON = make_manifest({"bin/python": b"/usr/bin/python3.11"}, "skeleton", empty=[SITE_PACKAGES])

Number = tuple[bool, int, int]
"""What a kernel knows a place by: whether it is a directory, and its identity."""

Changes = list[ChangedEntry | ChangedDirectory]


def number(node: object) -> Number:
    assert isinstance(node, DirectoryNode | FileNode)
    return isinstance(node, DirectoryNode), *node.identity


@dataclass(slots=True)
class Seen:
    """All that can be seen of a tree."""

    entries: dict[tuple[Number, str], Number] = field(default_factory=dict)
    times: dict[Number, int] = field(default_factory=dict)


def see(tree: Tree, shelf: Shelf) -> Seen:
    nodes = walk(tree, shelf)
    seen = Seen()
    for path, node in nodes.items():
        if path:
            parent, _, name = path.rpartition("/")
            seen.entries[number(nodes[parent]), name] = number(node)
        if isinstance(node, DirectoryNode):
            seen.times[number(node)] = node.mtime_ns
    return seen


class Kernel:
    """Keeps every answer until it is told to forget it, of directories that are not in the tree any more too.

    It is the worst kernel that there can be: a process works in every directory that there ever was, and asks for every name.
    """

    def __init__(self) -> None:
        self.entries: dict[tuple[Number, str], Number | None] = {}
        self.times: dict[Number, int] = {}

    def ask_everything(self, seen: Seen, names: set[str]) -> None:
        for directory, time in seen.times.items():
            self.times.setdefault(directory, time)
            for name in names:
                self.entries.setdefault((directory, name), seen.entries.get((directory, name)))

    def forget(self, changes: Changes) -> None:
        for change in changes:
            if isinstance(change, ChangedEntry):
                self.entries.pop((number(change.directory), change.name), None)
            else:
                self.times.pop(number(change.directory), None)

    def mistakes(self, seen: Seen) -> list[object]:
        """What it has kept of directories that are in the tree, and is not true."""
        names: list[object] = [key for key, kept in self.entries.items() if key[0] in seen.times and kept != seen.entries.get(key)]
        return names + [directory for directory, time in self.times.items() if seen.times.get(directory, time) != time]


SMALL = ("bin", SITE_PACKAGES, f"{SITE_PACKAGES}/ns", f"{SITE_PACKAGES}/ns/deep", f"lib/{BASE.directory}/site-packages/ns", "share")


@st.composite
def histories(draw: st.DrawFn) -> tuple[Shelf, list[Generation]]:
    """A shelf and some generations of one environment: projects come, go, change version and place."""
    shelf = Shelf()
    versions = {
        project: [
            (draw(layers(SMALL)).manifest(project, version), draw(layers(SMALL, most=2)).manifest(project, version))
            for version in ("1.0", "2.0")
        ]
        for project in ("p0", "p1", "p2")
    }
    skeleton = draw(skeletons()).manifest("skeleton")
    installed = st.lists(st.tuples(st.sampled_from(sorted(versions)), st.integers(0, 1)), max_size=3, unique_by=lambda pair: pair[0])
    generations = []
    for count, chosen in enumerate(draw(st.lists(installed, min_size=2, max_size=4)), start=1):
        distributions = [shelf.distribution(*versions[project][version]) for project, version in chosen]
        generations.append(shelf.generation(skeleton, distributions, count))
    return shelf, generations


def compare(shelf: Shelf, old: Tree, new: Tree) -> Changes:
    return list(iter_differences(old, new, shelf.fill))


@settings(max_examples=100)
@given(histories())
def test_a_kernel_that_forgets_what_it_is_told_to_knows_nothing_that_is_not_true(history: tuple[Shelf, list[Generation]]):
    shelf, generations = history
    seen = [see(Tree(generation), shelf) for generation in generations]
    names = {name for one in seen for _, name in one.entries}
    kernel = Kernel()
    kernel.ask_everything(seen[0], names)
    for old, new, now in zip(generations, generations[1:], seen[1:], strict=False):
        kernel.forget(compare(shelf, Tree(old), Tree(new)))
        assert kernel.mistakes(now) == []
        kernel.ask_everything(now, names)


@settings(max_examples=40)
@given(histories())
def test_nothing_is_told_that_did_not_change(history: tuple[Shelf, list[Generation]]):
    shelf, (old, new, *_) = history
    before, after = (walk(Tree(generation), shelf) for generation in (old, new))
    changes = compare(shelf, Tree(old), Tree(new))
    for change in changes:
        path = change.directory.path
        if any(number(before[one]) != number(after[one]) for one in [*parents(path), path] if one in before and one in after):
            continue  # inside a directory that is another one now
        if path not in before or path not in after:
            continue  # inside one that comes or goes
        if isinstance(change, ChangedEntry):
            entry = f"{path}/{change.name}".lstrip("/")
            was, now = before.get(entry), after.get(entry)
            assert (was and number(was)) != (now and number(now))
        else:
            was, now = before[path], after[path]
            assert isinstance(was, DirectoryNode)
            assert isinstance(now, DirectoryNode)
            assert was.mtime_ns != now.mtime_ns


@settings(max_examples=15)
@given(histories())
def test_a_generation_does_not_differ_from_itself_and_comparing_it_reads_nothing(history: tuple[Shelf, list[Generation]]):
    shelf, (generation, *_) = history
    assert compare(shelf, Tree(generation), Tree(generation)) == []
    assert shelf.reads == []


def make_tree(shelf: Shelf, *manifests: Manifest) -> Tree:
    return Tree(shelf.generation(SKELETON, [shelf.distribution(one) for one in manifests]))


def told(changes: Changes) -> set[str]:
    """The paths of names, and those of directories with a slash at the end."""
    names = {f"{one.directory.path}/{one.name}".lstrip("/") for one in changes if isinstance(one, ChangedEntry)}
    return names | {f"{one.directory.path}/" for one in changes if isinstance(one, ChangedDirectory)}


def package(project: str, version: str = "1.0", **files: bytes) -> Manifest:
    content = files or {"__init__": version.encode()}
    return make_manifest({f"{SITE_PACKAGES}/{project}/{name}.py": text for name, text in content.items()}, project, version)


ABOVE = {"/", "lib/", "lib/python3.11/", f"{SHOWN_SITE}/"}


def test_a_new_distribution_is_a_new_name_and_the_times_above_it():
    shelf = Shelf()
    kept, new = package("kept"), package("new")
    changes = compare(shelf, make_tree(shelf, kept), make_tree(shelf, kept, new))
    assert told(changes) == {f"{SHOWN_SITE}/new", f"{SHOWN_SITE}/new/", *ABOVE}
    assert shelf.reads == []


def test_an_upgrade_is_the_name_of_its_directory_and_does_not_touch_others():
    shelf = Shelf()
    other, old, new = package("other"), package("demo"), package("demo", "2.0")
    changes = compare(shelf, make_tree(shelf, old, other), make_tree(shelf, other, new))
    assert {path for path in told(changes) if not path.endswith("/")} == {f"{SHOWN_SITE}/demo"}
    assert shelf.reads == []


def test_in_a_shared_directory_only_the_names_that_changed_are_told():
    shelf = Shelf()
    namespace = make_manifest({f"{SITE_PACKAGES}/ns/kept.py": b"", f"{SITE_PACKAGES}/ns/deep/kept.py": b""}, "first")
    old, new = (make_manifest({f"{SITE_PACKAGES}/ns/changed.py": version.encode()}, "second", version) for version in ("1.0", "2.0"))
    changes = compare(shelf, make_tree(shelf, namespace, old), make_tree(shelf, namespace, new))
    assert told(changes) == {f"{SHOWN_SITE}/ns/changed.py", f"{SHOWN_SITE}/ns/", *ABOVE}


def test_a_file_that_hid_another_one_is_told_when_it_goes():
    shelf = Shelf()
    below, above = (make_manifest({f"{SITE_PACKAGES}/x.py": name.encode()}, name) for name in ("below", "above"))
    changes = compare(shelf, make_tree(shelf, below, above), make_tree(shelf, below))
    assert f"{SHOWN_SITE}/x.py" in told(changes)


def test_a_directory_that_was_shared_tells_all_that_was_in_it_when_it_goes():
    """A process that works in it may have asked for anything."""
    shelf = Shelf()
    one, two = (make_manifest({f"{SITE_PACKAGES}/ns/{name}.py": b""}, name) for name in ("one", "two"))
    changes = compare(shelf, make_tree(shelf, one, two), make_tree(shelf, two))
    assert {f"{SHOWN_SITE}/ns", f"{SHOWN_SITE}/ns/", f"{SHOWN_SITE}/ns/one.py", f"{SHOWN_SITE}/ns/two.py"} <= told(changes)


def conflicts_of(*manifests: Manifest) -> list[Conflict]:
    shelf = Shelf()
    return sorted(iter_conflicts(make_tree(shelf, *manifests), shelf.fill), key=lambda one: (one.path, one.loser.project))


def test_one_path_with_different_bytes_is_a_conflict_that_names_both():
    [conflict] = conflicts_of(*(make_manifest({"share/doc": name.encode()}, name) for name in ("one", "two")))
    assert (conflict.path, conflict.loser.project, conflict.winner.project) == ("share/doc", "one", "two")
    assert not conflict.is_impossible
    assert str(conflict) == "share/doc is claimed by one 1.0 and by two 1.0 with different contents"


def test_one_path_with_the_same_bytes_is_none():
    assert conflicts_of(*(make_manifest({"share/doc": b"same", "share/doc.d/x": b""}, name) for name in ("one", "two"))) == []


@pytest.mark.parametrize("is_file_first", [True, False])
def test_a_file_and_a_directory_of_one_name_are_impossible(is_file_first: bool):
    file = make_manifest({f"{SITE_PACKAGES}/x": b""}, "file")
    directory = make_manifest({f"{SITE_PACKAGES}/x/y.py": b""}, "directory")
    [conflict] = conflicts_of(*([file, directory] if is_file_first else [directory, file]))
    assert conflict.path == f"{SHOWN_SITE}/x"
    assert conflict.is_impossible
    assert {conflict.loser.project, conflict.winner.project} == {"file", "directory"}
    assert str(conflict).endswith("as a file and as a directory")


CODE = f"{SITE_PACKAGES}/ns/__pycache__/x.cpython-311.pyc"
SHOWN_CODE = show(CODE)
SOURCE = f"{SITE_PACKAGES}/ns/x.py"


def test_bytecode_beside_its_own_source_is_not_disputed():
    one, two = ({SOURCE: name, CODE: name + b"code", CODE.replace(".pyc", ".opt-1.pyc"): name} for name in (b"1", b"2"))
    assert [one.path for one in conflicts_of(make_manifest(one, "one"), make_manifest(two, "two"))] == [show(SOURCE)]


@pytest.mark.parametrize("is_foreign_first", [True, False])
@pytest.mark.parametrize("name", ["x.cpython-311.pyc", "x.cpython-311.opt-2.pyc"])
def test_bytecode_of_a_source_that_another_distribution_has_is_a_conflict(is_foreign_first: bool, name: str):
    place = CODE.replace("x.cpython-311.pyc", name)
    own = make_manifest({SOURCE: b"", place: b"code"}, "own")
    foreign = make_manifest({place: b"evil"}, "foreign")
    [conflict] = conflicts_of(*([foreign, own] if is_foreign_first else [own, foreign]))
    assert (conflict.path, conflict.is_impossible) == (show(place), False)
    assert conflict.winner.project == ("own" if is_foreign_first else "foreign")
    assert conflict.outcome == f"the later one, {conflict.winner.name}, wins"


@pytest.mark.parametrize("is_foreign_first", [True, False])
def test_bytecode_of_a_source_that_another_distribution_did_not_compile_is_a_conflict(is_foreign_first: bool):
    own, foreign = make_manifest({SOURCE: b""}, "own"), make_manifest({CODE: b"evil"}, "foreign")
    [conflict] = conflicts_of(*([foreign, own] if is_foreign_first else [own, foreign]))
    assert (conflict.path, conflict.loser.project, conflict.winner.project) == (SHOWN_CODE, "own", "foreign")
    assert f"{conflict}; {conflict.outcome}" == (
        f"{SHOWN_CODE} of foreign 1.0 is bytecode of a source that own 1.0 has; Python may run it instead"
    )


def test_bytecode_whose_source_nobody_has_or_that_has_dots_in_its_name_is_not_disputed():
    one = make_manifest({CODE: b"of a source that is gone"}, "one")
    two = make_manifest({f"{SITE_PACKAGES}/ns/y.z.py": b"", f"{SITE_PACKAGES}/ns/__pycache__/y.z.cpython-311.pyc": b"code"}, "two")
    three = make_manifest({f"{SITE_PACKAGES}/ns/y.py": b""}, "three")
    assert conflicts_of(one, two, three) == []


@pytest.mark.parametrize("is_file_first", [True, False])
def test_a_directory_with_the_name_of_bytecode_is_impossible(is_file_first: bool):
    file = make_manifest({SOURCE: b"", CODE: b"code"}, "file")
    directory = make_manifest({f"{CODE}/x": b""}, "directory")
    [conflict] = conflicts_of(*([file, directory] if is_file_first else [directory, file]))
    assert (conflict.path, conflict.is_impossible) == (SHOWN_CODE, True)


def test_a_wheel_and_its_own_installation_do_not_dispute():
    shelf = Shelf()
    one = shelf.distribution(make_manifest({"bin/x": b"#!python"}), make_manifest({"bin/x": b"#!/bin/sh"}))
    assert list(iter_conflicts(Tree(shelf.generation(SKELETON, [one])), shelf.fill)) == []


def test_what_two_of_three_agree_about_is_disputed_with_the_third():
    found = conflicts_of(*(make_manifest({"share/x": content}, name) for name, content in [("a", b"1"), ("b", b"1"), ("c", b"2")]))
    assert [(one.path, one.winner.project) for one in found] == [("share/x", "c")]


def test_looking_for_conflicts_enters_no_directory_that_one_distribution_has_alone():
    shelf = Shelf()
    tree = make_tree(shelf, *(package(f"p{i}") for i in range(5)))
    assert list(iter_conflicts(tree, shelf.fill)) == []
    assert shelf.reads == []


LAYERS = layers((SITE_PACKAGES, f"{SITE_PACKAGES}/ns", f"{SITE_PACKAGES}/ns/deep", "share", "bin"))


@settings(max_examples=100)
@given(st.lists(LAYERS, max_size=4))
def test_exactly_the_paths_with_different_bytes_are_in_conflict(stack: list[Drawn]):
    shelf = Shelf()
    tree = make_tree(shelf, *(drawn.manifest(f"p{i}") for i, drawn in enumerate(stack)))
    found = list(iter_conflicts(tree, shelf.fill))
    files: dict[str, set[str]] = {}
    for drawn in stack:
        for row in drawn.files:
            files.setdefault(show(row.path), set()).add(row.digest)
    directories = {path for drawn in stack for path, facts in merge([drawn]).items() if facts is None}
    impossible = files.keys() & directories
    assert bool(impossible) == any(one.is_impossible for one in found)
    if not impossible:
        assert {one.path for one in found} == {path for path, digests in files.items() if len(digests) > 1}
    for one in found:
        claims = [merge([stack[int(side.project[1:])]]) for side in (one.loser, one.winner)]
        assert all(one.path in claim for claim in claims)
        assert claims[0][one.path] != claims[1][one.path]
        assert tree.generation.distributions.index(one.loser) < tree.generation.distributions.index(one.winner)


def test_a_spelt_out_python_directory_and_the_component_are_one_place():
    spelt = make_manifest({f"lib/{BASE.directory}/site-packages/x.py": b"1"}, "spelt")
    usual = make_manifest({f"{SITE_PACKAGES}/x.py": b"2"}, "usual")
    [conflict] = conflicts_of(spelt, usual)
    assert conflict.path == f"{SHOWN_SITE}/x.py"


@pytest.mark.parametrize("is_file_first", [True, False])
def test_a_file_with_the_name_of_the_python_directory_is_impossible(is_file_first: bool):
    file = make_manifest({f"include/site/{BASE.directory}": b""}, "file")
    headers = make_manifest({"include/site/{python}/headers/x.h": b""}, "headers")
    [conflict] = conflicts_of(*([file, headers] if is_file_first else [headers, file]))
    assert (conflict.path, conflict.is_impossible) == (f"include/site/{BASE.directory}", True)
