from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from casfs.changes.changes import remove_distributions
from casfs.errors import StoreDamaged
from casfs.fuse import view as view_module
from casfs.fuse.inodes import ROOT, decode, encode_directory, encode_file, is_directory
from casfs.fuse.view import NeedsRead, Node, View, is_current
from casfs.store.generations import Generation
from casfs.store.manifests import Kind
from casfs.store.numbers import NUMBER_BITS, read_number
from casfs.venv.tree import DirectoryNode, FileNode, Tree
from tests.make_generations import Workshop
from tests.make_wheels import MadeWheel, make_wheel

_T = TypeVar("_T")

SITE = "lib/python3.11/site-packages"


def ask(question: Callable[..., _T], *arguments: Any) -> _T:
    """The view's answer, after it was given all that it asks for: as the operations do it, without threads."""
    while True:
        try:
            return question(*arguments)
        except NeedsRead as unread:
            unread.read()


def find(view: View, path: str) -> int:
    """Number of what is at a path."""
    ino = ROOT
    for name in path.split("/") if path else ():
        found, _ = ask(view.look_up, ino, name.encode("utf-8", "surrogateescape"))
        assert found is not None, path
        ino = found[0]
    return ino


def explore(view: View) -> dict[str, int]:
    """Numbers of everything, by path, from listings alone."""
    numbers = {"": ROOT}

    def visit(path: str, ino: int) -> None:
        for one in ask(view.listing, ino, 0)[0]:
            below = f"{path}/{one.name.decode()}".lstrip("/")
            numbers[below] = one.ino
            if isinstance(one.node, DirectoryNode):
                visit(below, one.ino)

    visit("", ROOT)
    return numbers


def facts(node: Node) -> object:
    if isinstance(node, FileNode):
        return node
    return node.path, node.parts, node.identity, node.mtime_ns


def library(name: str, version: str = "1.0", **more: bytes) -> MadeWheel:
    files = {f"{name}/__init__.py": b"same in all versions\n", f"{name}/version.py": version.encode(), f"ns/{name}.py": b""}
    files |= {f"{name}/{path}": content for path, content in more.items()} | {f"{name}/deep/x.py": b""}
    return make_wheel(files, name, version, entry_points=f"[console_scripts]\n{name} = {name}:main\n")


def show(workshop: Workshop, view: View, generation: Generation) -> None:
    tree, _ = view.prepare(generation)
    view.show(tree)


@pytest.fixture
def view(workshop: Workshop) -> View:
    workshop.add(library("one"), library("two"), make_wheel({"six.py": b"x = 6\n", "Case.py": b"", "case.py": b""}, "six", "1.16.0"))
    return View(workshop.store, workshop.environment.require)


def renewed(workshop: Workshop) -> View:
    """A view of the current generation as a daemon has it that has just been started."""
    return View(workshop.store, workshop.environment.require)


def test_a_view_that_was_never_asked_before_knows_every_number(workshop: Workshop, view: View):
    numbers = explore(view)
    expected = {ino: facts(ask(view.node, ino)) for ino in numbers.values()}
    assert len(expected) == len(numbers) > 40
    together = renewed(workshop)
    order = random.Random(1)
    for ino in order.sample(sorted(expected), len(expected)):
        assert facts(ask(together.node, ino)) == expected[ino]
        assert facts(ask(renewed(workshop).node, ino)) == expected[ino]


def test_a_view_that_was_never_asked_before_looks_up_and_lists_by_any_number(workshop: Workshop, view: View):
    for ino in explore(view).values():
        if is_directory(ino):
            listed = list(ask(view.listing, ino, 0)[0])
            assert [one.ino for one in ask(renewed(workshop).listing, ino, 0)[0]] == [one.ino for one in listed]
            for one in listed:
                found, is_kept = ask(renewed(workshop).look_up, ino, one.name)
                assert found is not None
                assert (found[0], facts(found[1]), is_kept) == (one.ino, facts(one.node), True)


def test_numbers_of_an_older_generation_still_mean_the_same_bytes(workshop: Workshop, view: View):
    numbers = explore(view)
    before = {ino: ask(view.node, ino) for ino in numbers.values()}
    workshop.add(library("one", "2.0"))
    remove_distributions(workshop.environment, ["two"])
    show(workshop, view, workshop.environment.require())
    for ino, node in before.items():
        if isinstance(node, FileNode):
            assert ask(view.node, ino) == node
            assert ask(renewed(workshop).node, ino) == node
        else:
            again = ask(renewed(workshop).node, ino)
            assert isinstance(again, DirectoryNode)
            assert again.path == node.path


def test_listing_and_look_up_agree_and_the_numbers_are_the_trees_own(view: View):
    for path, ino in explore(view).items():
        assert find(view, path) == ino
        node = ask(view.node, ino)
        if path:
            assert ino == (encode_file if isinstance(node, FileNode) else encode_directory)(node.identity)


def test_a_listing_can_be_continued_after_every_entry(view: View):
    directory = find(view, SITE)
    everything = list(ask(view.listing, directory, 2)[0])
    assert [one.position for one in everything] == sorted({one.position for one in everything})
    for place, one in enumerate(everything):
        assert list(ask(view.listing, directory, one.position)[0]) == everything[place + 1 :]


def test_who_reads_a_listing_while_it_changes_sees_what_stays_exactly_once(workshop: Workshop):
    for name in ("a", "b", "c", "d", "e"):
        workshop.add(make_wheel(None, name))
    old = workshop.environment.require()
    workshop.add(make_wheel(None, "f"), make_wheel(None, "g"))
    new = remove_distributions(workshop.environment, ["b", "d"]).after
    count = len(list(ask(View(workshop.store, lambda: old).listing, find(View(workshop.store, lambda: old), SITE), 0)[0]))
    for place in range(count):
        view = View(workshop.store, lambda: old)
        directory = find(view, SITE)
        first = list(ask(view.listing, directory, 2)[0])[: place + 1]
        ask(lambda view=view: show(workshop, view, new))
        rest = list(ask(view.listing, directory, first[-1].position)[0])
        names = [one.name for one in first + rest]
        assert len(names) == len(set(names))
        assert {b"a", b"a-1.0.dist-info", b"c", b"e", b"e-1.0.dist-info"} <= set(names)
        assert not {one.name for one in rest} & {b"b", b"b-1.0.dist-info", b"d", b"d-1.0.dist-info"}


def test_a_listing_that_an_upgrade_interrupts_has_each_name_once(workshop: Workshop):
    """All files and directories of the next version are other ones, with other numbers, but they have the same names."""
    old = workshop.add(library("six", inner=b"1", other=b"1")).after
    new = workshop.add(library("six", "2.0", inner=b"2", other=b"2")).after
    for read_before in range(7):
        view = View(workshop.store, lambda: old)
        directory = find(view, f"{SITE}/six")
        before = list(ask(view.listing, directory, 0)[0])[:read_before]
        ask(lambda view=view: show(workshop, view, new))
        after = list(ask(view.listing, directory, before[-1].position if before else 0)[0])
        names = [one.name for one in before + after]
        assert sorted(names) == sorted({*names})
        assert {*names} == {one.name for one in ask(view.listing, find(view, f"{SITE}/six"), 0)[0]}


def test_names_that_share_a_position_are_all_listed(workshop: Workshop, view: View, monkeypatch: pytest.MonkeyPatch):
    everything = {*explore(view)}
    monkeypatch.setattr(view_module, "position_of", lambda name: 7)
    assert {*explore(renewed(workshop))} == everything
    test_a_listing_can_be_continued_after_every_entry(renewed(workshop))


def test_a_directory_knows_the_one_above_it(view: View):
    numbers = explore(view)
    for path, ino in numbers.items():
        if is_directory(ino):
            parent, node = ask(view.parent, ino)
            assert parent == numbers[path.rpartition("/")[0]]
            assert node.path == path.rpartition("/")[0]


def test_a_number_says_whose_file_it_is(workshop: Workshop, view: View):
    for fresh in (view, renewed(workshop)):
        assert ask(fresh.owner, find(fresh, f"{SITE}/one/deep/x.py")) == ("one", "1.0")
        assert ask(fresh.owner, find(fresh, f"{SITE}/six.py")) == ("six", "1.16.0")
        assert ask(fresh.owner, find(fresh, "bin/two")) == ("two", "1.0")
        assert ask(fresh.owner, find(fresh, f"{SITE}/two-1.0.dist-info/RECORD")) == ("two", "1.0")
        assert ask(fresh.owner, find(fresh, "pyvenv.cfg")) is None


def test_a_file_of_a_version_that_is_gone_stays_that_versions(workshop: Workshop, view: View):
    before = find(view, f"{SITE}/one/__init__.py")
    workshop.add(library("one", "2.0"))
    for fresh in (renewed(workshop), renewed(workshop)):
        assert ask(fresh.owner, before) == ("one", "1.0")
        assert ask(fresh.owner, find(fresh, f"{SITE}/one/__init__.py")) == ("one", "2.0")
    remove_distributions(workshop.environment, ["one"])
    assert ask(renewed(workshop).owner, before) == ("one", "1.0")


def test_a_question_reads_nothing_by_itself(workshop: Workshop):
    workshop.add(library("one"))
    reads = 0

    def read() -> Generation:
        nonlocal reads
        reads += 1
        return workshop.environment.require()

    view = View(workshop.store, read)
    with pytest.raises(NeedsRead) as caught:
        view.look_up(ROOT, b"lib")
    assert reads == 0
    thread = threading.Thread(target=caught.value.read)
    thread.start()
    thread.join()
    found, _ = view.look_up(ROOT, b"lib")
    assert found is not None
    assert reads == 1
    directory = find(view, f"{SITE}/one")
    with pytest.raises(NeedsRead):
        view.look_up(directory, b"__init__.py")


def test_what_was_read_is_not_asked_for_again(view: View):
    explore(view)
    for ino in list(explore(view).values()):
        view.forget(ino)
        assert view.node(ino) is not None


def test_a_tree_that_is_shown_while_the_first_is_read_stays(workshop: Workshop):
    old = workshop.add(library("one")).after
    new = workshop.add(library("two")).after

    def read() -> Generation:
        return new

    view = View(workshop.store, read)
    view.show(Tree(old))
    view.read_tree()
    assert view.tree.generation == old


def test_an_answer_is_about_the_tree_that_is_shown_when_it_is_given(workshop: Workshop, view: View):
    """Between question and answer the generation changed."""
    directory = find(view, f"{SITE}")
    with pytest.raises(NeedsRead) as caught:
        view.look_up(directory, b"six.py")
    show(workshop, view, remove_distributions(workshop.environment, ["six"]).after)
    caught.value.read()
    assert ask(view.look_up, directory, b"six.py") == (None, True)


@pytest.mark.parametrize("name", [b"absent", b"", b".", b"..", b"a/b", b"one\0", b"\xff\xfe", b"SIX.PY", b"\xed\xb2\x80", b"x" * 300])
def test_what_is_not_there_is_a_miss_that_may_be_kept(view: View, name: bytes):
    assert ask(view.look_up, find(view, SITE), name) == (None, True)
    assert ask(view.look_up, ROOT, name) == (None, True)


def test_names_beyond_ascii_are_found_by_their_bytes_alone(workshop: Workshop):
    names = ["Grüße.txt", "e\u0301.txt", "é.txt", "日本語.py"]
    workshop.add(make_wheel({f"demo/{name}": name.encode() for name in names}))
    view = renewed(workshop)
    directory = find(view, f"{SITE}/demo")
    assert {one.name for one in ask(view.listing, directory, 0)[0]} == {name.encode() for name in names}
    for name in names:
        found, _ = ask(view.look_up, directory, name.encode())
        assert found is not None
    assert ask(view.look_up, directory, "é.txt".encode("latin-1")) == (None, True)


def test_a_directory_that_is_gone_is_empty_and_nobody_may_keep_that(workshop: Workshop, view: View):
    directory, below = find(view, f"{SITE}/two"), find(view, f"{SITE}/two/deep")
    remove_distributions(workshop.environment, ["two"])
    fresh = renewed(workshop)
    for ino in (directory, below):
        node = ask(fresh.directory, ino)
        assert node.parts == ()
        assert encode_directory(node.identity) == ino
        assert not is_current(ino, node)
        assert ask(fresh.listing, ino, 0) == ([], False)
        assert ask(fresh.look_up, ino, b"__init__.py") == (None, False)
    assert ask(fresh.parent, directory)[1].path == SITE
    assert ask(fresh.parent, below) == (ROOT, fresh.tree.root)


def test_a_directory_that_was_replaced_answers_as_its_path_does_now_and_nobody_may_keep_that(workshop: Workshop, view: View):
    old = find(view, f"{SITE}/one")
    workshop.add(library("one", "2.0", new=b"new"))
    for fresh in (renewed(workshop), renewed(workshop)):
        new = find(fresh, f"{SITE}/one")
        assert new != old
        assert not is_current(old, ask(fresh.directory, old))
        assert is_current(new, ask(fresh.directory, new))
        found, is_kept = ask(fresh.look_up, old, b"version.py")
        assert found == ask(fresh.look_up, new, b"version.py")[0]
        assert not is_kept
        listed, is_kept = ask(fresh.listing, old, 0)
        assert {one.name for one in listed} == {one.name for one in ask(fresh.listing, new, 0)[0]}
        assert not is_kept


def test_below_a_replaced_directory_are_directories_of_other_numbers_that_lead_to_the_same(workshop: Workshop, view: View):
    """The kernel gives a directory one place: under its own number it would be moved there."""
    old = find(view, f"{SITE}/one")
    workshop.add(library("one", "2.0"))
    fresh = renewed(workshop)
    [below] = [one for one in ask(fresh.listing, old, 0)[0] if one.name == b"deep"]
    own = find(fresh, f"{SITE}/one/deep")
    assert ask(fresh.look_up, old, b"deep") == ((below.ino, below.node), False)
    assert below.ino != own
    assert is_directory(below.ino)
    assert decode(below.ino) == decode(own)
    again = ask(renewed(workshop).node, below.ino)
    assert facts(again) == facts(ask(fresh.node, own))
    assert isinstance(again, DirectoryNode)
    assert not is_current(below.ino, again)


def test_a_number_that_was_never_given_is_damage_and_not_a_crash(workshop: Workshop, view: View):
    free = next(number for number in range(1, 2**NUMBER_BITS) if read_number(workshop.store, number) is None)
    for ino in (encode_file((free, 0)), encode_directory((free, 0))):
        with pytest.raises(StoreDamaged, match=f"nothing has the number {free:06x}"):
            ask(view.node, ino)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_row_beyond_the_last_is_damage_and_not_another_file(view: View, layer: int):
    ask(view.read_tree)
    number = view.tree.layers[layer].layer.number
    with pytest.raises(StoreDamaged, match="has no row 9999"):
        ask(view.node, encode_file((number, 9999)))
    with pytest.raises(StoreDamaged, match="has no directory 9999"):
        ask(view.node, encode_directory((number, 9999)))


def test_a_file_is_no_directory_and_a_directory_no_file(view: View):
    file = find(view, "pyvenv.cfg")
    for question in (view.directory, view.parent):
        with pytest.raises(NotADirectoryError) as caught:
            ask(question, file)
        assert caught.value.errno
    with pytest.raises(NotADirectoryError):
        ask(view.look_up, file, b"x")
    with pytest.raises(NotADirectoryError):
        ask(view.listing, file, 0)
    for directory in (ROOT, find(view, SITE)):
        with pytest.raises(IsADirectoryError) as refused:
            ask(view.file, directory)
        assert refused.value.errno


def test_what_is_forgotten_is_found_again(view: View):
    numbers = explore(view)
    nodes = {ino: facts(ask(view.node, ino)) for ino in numbers.values()}
    for ino in nodes:
        view.forget(ino)
        view.forget(ino)
    assert {ino: facts(ask(view.node, ino)) for ino in nodes} == nodes


def test_few_nodes_at_hand_are_enough(view: View, monkeypatch: pytest.MonkeyPatch):
    expected = {path: facts(ask(view.node, ino)) for path, ino in explore(view).items()}
    monkeypatch.setattr(view_module, "_REMEMBERED", 3)
    assert {path: facts(ask(view.node, find(view, path))) for path in expected} == expected


def test_a_new_generation_is_seen_by_the_numbers_that_stay(workshop: Workshop, view: View):
    directory = find(view, SITE)
    before = ask(view.directory, directory).mtime_ns
    assert b"three" not in [one.name for one in ask(view.listing, directory, 0)[0]]
    generation = workshop.add(make_wheel(None, "three")).after
    tree, changes = view.prepare(generation)
    assert ask(view.look_up, directory, b"three") == (None, True)
    assert changes
    view.show(tree)
    found, is_kept = ask(view.look_up, directory, b"three")
    assert found is not None
    assert is_kept
    assert b"three" in [one.name for one in ask(view.listing, directory, 0)[0]]
    assert ask(view.directory, directory).mtime_ns != before


def test_links_and_programs_are_what_they_are(view: View):
    kinds = {path: ask(view.file, find(view, path)).kind for path in ("bin/python", "lib64", "bin/one", f"{SITE}/six.py")}
    assert kinds == {"bin/python": Kind.SYMLINK, "lib64": Kind.SYMLINK, "bin/one": Kind.EXECUTABLE, f"{SITE}/six.py": Kind.FILE}
