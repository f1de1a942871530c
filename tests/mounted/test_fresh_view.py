"""A freshly started daemon answers for numbers that it never handed out: the kernel remembers them, and it must not need to.

No mount here: what a daemon answers from is a View, and a new one is what a new daemon has.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from casfs.errors import StoreDamaged
from casfs.fuse.inodes import ROOT
from casfs.fuse.view import NeedsRead, Node, View
from casfs.store.environments import Environment
from casfs.store.store import open_store
from casfs.venv.tree import DirectoryNode, FileNode
from tests.mounted.harness import Casfs, make_template

T = TypeVar("T")

PACKAGE = {
    "demo/__init__.py": b"VALUE = 1\n",
    "demo/sub/deep/er/x.py": b"",
    "demo/data/1": b"one",
    "ns/demo.py": b"",
    "Grüße.py": b"",
}
TREE = {
    **PACKAGE,
    "demo-1.0.data/scripts/demo": b"#!python\n",
    "demo-1.0.data/headers/demo.h": b"",
    "demo-1.0.data/data/share/man/demo.1": b"",
}


def ask(question: Callable[..., T], *arguments: object) -> T:
    """The answer, after reading what it needs, as the daemon does it."""
    while True:
        try:
            return question(*arguments)
        except NeedsRead as unread:
            unread.read()


def walk(view: View, ino: int = ROOT) -> Iterator[tuple[int, Node]]:
    """Every node below a directory with its number."""
    for one in ask(view.listing, ino, 0)[0]:
        yield one.ino, one.node
        if isinstance(one.node, DirectoryNode):
            yield from walk(view, one.ino)


def facts(node: Node) -> object:
    """What the kernel is told of a node."""
    if isinstance(node, DirectoryNode):
        return node.path, node.identity, node.mtime_ns
    return node


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Casfs]:
    directory = tmp_path_factory.mktemp("view")
    with Casfs(directory, make_template(directory / "template")) as casfs:
        casfs.add(casfs.wheel("demo", files=TREE, executable=["demo/data/1"]), casfs.wheel("other", files={"ns/other.py": b""}))
        yield casfs


def new_view(casfs: Casfs) -> View:
    environment = Environment(open_store(casfs.store), "default")
    return View(environment.store, environment.require)


def switch(view: View, casfs: Casfs) -> None:
    environment = Environment(open_store(casfs.store), "default")
    tree, _ = view.prepare(environment.require())
    view.show(tree)


def test_each_number_alone_is_enough_for_a_fresh_view(scene: Casfs) -> None:
    known = dict(walk(new_view(scene)))
    assert len(known) > len(TREE)
    for ino, node in known.items():
        assert facts(ask(new_view(scene).node, ino)) == facts(node)


def test_a_fresh_view_asked_in_any_order_agrees(scene: Casfs) -> None:
    known = [(ROOT, ask(new_view(scene).node, ROOT)), *walk(new_view(scene))]
    random.Random(1).shuffle(known)
    view = new_view(scene)
    for ino, node in known:
        assert facts(ask(view.node, ino)) == facts(node)
        if isinstance(node, DirectoryNode):
            assert [one.ino for one in ask(view.listing, ino, 0)[0]] == [one.ino for one in ask(new_view(scene).listing, ino, 0)[0]]


def test_what_was_forgotten_is_found_again(scene: Casfs) -> None:
    view = new_view(scene)
    known = dict(walk(view))
    for ino in known:
        view.forget(ino)
    assert {ino: facts(ask(view.node, ino)) for ino in known} == {ino: facts(node) for ino, node in known.items()}


def test_owner_is_known_from_the_number_alone(scene: Casfs) -> None:
    owners: dict[tuple[str, str] | None, list[int]] = {}
    for ino, node in walk(new_view(scene)):
        if isinstance(node, FileNode):
            owners.setdefault(ask(new_view(scene).owner, ino), []).append(ino)
    assert {("demo", "1.0"), ("other", "1.0")} <= {*owners}


def test_old_numbers_stand_for_the_same_bytes_after_a_switch(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files=TREE), casfs.wheel("gone", files={"gone/__init__.py": b"1", "gone/sub/x.py": b"2"}))
    view = new_view(casfs)
    old = dict(walk(view))
    casfs.add(casfs.wheel("demo", "2.0", {path: content + b"#" for path, content in PACKAGE.items()}))
    casfs.run("remove", "gone")
    switch(view, casfs)
    for one in (view, new_view(casfs)):
        for ino, node in old.items():
            found = ask(one.node, ino)
            assert isinstance(found, DirectoryNode) == isinstance(node, DirectoryNode)
            if isinstance(node, FileNode):
                assert found == node
        [gone] = [ino for ino, node in old.items() if isinstance(node, DirectoryNode) and node.path.endswith("/gone")]
        assert ask(one.listing, gone, 0) == ([], False)
        assert ask(one.look_up, gone, b"__init__.py") == (None, False)


def test_a_directory_that_lost_its_place_answers_but_nothing_is_kept(casfs: Casfs) -> None:
    """And no directory gets there the number that it has in the tree: the kernel would move it there."""
    casfs.add(casfs.wheel("demo", "1.0", TREE))
    view = new_view(casfs)
    old = {node.path: ino for ino, node in walk(view) if isinstance(node, DirectoryNode)}
    casfs.add(casfs.wheel("demo", "2.0", {**PACKAGE, "demo/more.py": b""}))
    switch(view, casfs)
    new = {node.path: ino for ino, node in walk(view) if isinstance(node, DirectoryNode)}
    [path] = [path for path in old if path.endswith("site-packages/demo")]
    assert old[path] != new[path]
    found, is_kept = ask(view.look_up, old[path], b"more.py")
    assert found is not None
    assert not is_kept
    entries, is_kept = ask(view.listing, old[path], 0)
    assert {one.name for one in entries} == {b"__init__.py", b"__pycache__", b"more.py", b"sub", b"data"}
    assert not is_kept
    assert not {one.ino for one in entries if isinstance(one.node, DirectoryNode)} & {*new.values()}
    below = next(one.ino for one in entries if one.name == b"sub")
    assert ask(view.listing, below, 0)[1] is False
    assert ask(view.listing, new[path], 0)[1] is True


@pytest.mark.parametrize("ino", [2, 4711, 1 << 20, 1 << 62, 1 << 62 | 1 << 20 | 1, (1 << 63) - 1, (0xABCDEF << 20) | 5])
def test_a_number_that_was_never_given_is_an_error_and_no_node(scene: Casfs, ino: int) -> None:
    with pytest.raises(StoreDamaged):
        ask(new_view(scene).node, ino)
