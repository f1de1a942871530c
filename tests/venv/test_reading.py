from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casfs.digest import Digest
from casfs.errors import StoreDamaged
from casfs.store.generations import Layer
from casfs.store.manifests import manifest_path
from casfs.venv.reading import LayerReader
from casfs.venv.tree import Tree
from tests.make_generations import Workshop, open_workshop
from tests.make_wheels import make_wheel


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    with open_workshop(tmp_path) as one:
        yield one


def test_a_manifest_is_read_once_for_all_trees(workshop: Workshop):
    generation = workshop.add(make_wheel()).after
    reader = LayerReader(workshop.store)
    one, other = Tree(generation), Tree(generation)
    for tree in (one, other):
        reader.fill(tree, [0, 1, 2])
    assert [layer.content for layer in one.layers] == [layer.content for layer in other.layers]
    assert all(mine.content is theirs.content for mine, theirs in zip(one.layers, other.layers, strict=True))


def test_what_a_tree_uses_is_kept_and_all_else_forgotten(workshop: Workshop):
    old = workshop.add(make_wheel()).after
    new = workshop.add(make_wheel(None, "demo", "2.0")).after
    reader = LayerReader(workshop.store)
    contents = [reader.read(layer) for layer in (old.skeleton, old.distributions[0].files)]
    reader.keep_only(Tree(new))
    assert reader.read(new.skeleton) is contents[0]
    assert reader.read(old.distributions[0].files) is not contents[1]


def test_a_file_that_an_older_version_had_keeps_its_identity(workshop: Workshop):
    old = workshop.add(make_wheel()).after.distributions[0].files
    new = workshop.add(make_wheel(None, "demo", "2.0")).after.distributions[0].files
    content = LayerReader(workshop.store).read(new)
    [row] = [row for row, file in enumerate(content.manifest.iter_files()) if file.path.endswith("demo/__init__.py")]
    assert content.inherited[row][0] == old.number


def test_a_manifest_that_is_missing_is_damage(workshop: Workshop):
    layer = workshop.add(make_wheel()).after.skeleton
    path = manifest_path(workshop.store, layer.manifest)
    os.rename(path, f"{path}.away")
    with pytest.raises(StoreDamaged) as caught:
        LayerReader(workshop.store).read(layer)
    os.rename(f"{path}.away", path)
    assert caught.value.subject == path


class Interrupted(str):
    """A digest that lets another thread do something while it is looked up."""

    __slots__ = ("interrupt",)
    interrupt: Callable[[], object]

    def __hash__(self) -> int:
        self.interrupt()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)


def test_another_thread_may_read_while_the_reader_forgets(workshop: Workshop):
    generation = workshop.add(make_wheel()).after
    reader = LayerReader(workshop.store)
    skeleton = generation.skeleton
    digest = Interrupted(skeleton.manifest)
    digest.interrupt = lambda: None
    reader.read(Layer(Digest(digest), skeleton.number, skeleton.outline, skeleton.size))
    digest.interrupt = lambda: reader.read(generation.distributions[0].files)
    reader.keep_only(Tree(generation))
    assert reader.read(skeleton).manifest.directories
