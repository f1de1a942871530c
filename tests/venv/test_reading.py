from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.errors import StoreDamaged
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


def test_what_no_tree_uses_is_forgotten(workshop: Workshop):
    old = workshop.add(make_wheel()).after
    reader, tree = LayerReader(workshop.store), Tree(old)
    reader.fill(tree, [0, 1])
    kept, forgotten = weakref.ref(reader.read(old.skeleton)), weakref.ref(reader.read(old.distributions[0].files))
    other = Tree(workshop.add(make_wheel(None, "demo", "2.0")).after)
    reader.fill(other, [0])
    del tree
    gc.collect()
    assert kept() is not None
    assert forgotten() is None


def test_a_manifest_that_is_missing_is_damage(workshop: Workshop):
    layer = workshop.add(make_wheel()).after.skeleton
    path = manifest_path(workshop.store, layer.manifest)
    os.rename(path, f"{path}.away")
    with pytest.raises(StoreDamaged) as caught:
        LayerReader(workshop.store).read(layer)
    os.rename(f"{path}.away", path)
    assert caught.value.subject == path
