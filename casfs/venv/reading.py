"""Reading from the store what trees ask for."""

from __future__ import annotations

from weakref import WeakValueDictionary

from casfs.store.generations import Layer
from casfs.store.manifests import read_manifest
from casfs.store.numbers import read_number
from casfs.store.store import Store
from casfs.venv.tree import Content, Tree


class LayerReader:
    """Reads layers from a store; what it has read is there for all trees that ask, for as long as one of them uses it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._contents: WeakValueDictionary[str, Content] = WeakValueDictionary()

    def read(self, layer: Layer) -> Content:
        """The layer's manifest and the older identities of its rows. Raises StoreDamaged."""
        if (content := self._contents.get(layer.manifest)) is None:
            record = read_number(self._store, layer.number)
            content = Content(read_manifest(self._store, layer.manifest), record.inherited if record else {})
            self._contents[layer.manifest] = content
        return content

    def fill(self, tree: Tree, layers: list[int]) -> None:
        """Give `tree` the content of these layers."""
        for index in layers:
            tree.add_content(index, self.read(tree.layers[index].layer))
