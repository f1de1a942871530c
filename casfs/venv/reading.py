"""Reading from the store what trees ask for, and single files of manifests."""

from __future__ import annotations

import posixpath
from weakref import WeakValueDictionary

from casfs.paths import SITE_PACKAGES
from casfs.store.generations import Distribution, Layer
from casfs.store.manifests import Manifest, read_manifest
from casfs.store.store import Store
from casfs.venv.tree import Tree


class LayerReader:
    """Reads layers from a store; what it has read is there for all trees that ask, for as long as one of them uses it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._contents: WeakValueDictionary[str, Manifest] = WeakValueDictionary()

    def read(self, layer: Layer) -> Manifest:
        """The layer's manifest. Raises StoreDamaged."""
        if (content := self._contents.get(layer.manifest)) is None:
            content = self._contents[layer.manifest] = read_manifest(self._store, layer.manifest)
        return content

    def fill(self, tree: Tree, layers: list[int]) -> None:
        """Give `tree` the content of these layers."""
        for index in layers:
            tree.add_content(index, self.read(tree.layers[index].layer))


def read_member(store: Store, manifest: Manifest, path: str) -> bytes | None:
    """The content of a small file of a manifest; None if it has no such file. Raises StoreDamaged."""
    parent, name = posixpath.split(path)
    if parent not in manifest.directories:
        return None
    directory = manifest.directories.index(parent)
    for index in manifest.files_in(directory):
        if manifest.names[index] == name:
            row = manifest.row(index, directory)
            with open(store.pool.open_blob(row.digest, row.size), "rb") as file:
                return file.read()
    return None


def read_direct_url(store: Store, distribution: Distribution) -> bytes | None:
    """direct_url.json of a distribution (PEP 610); None for what was found in an index by its name. Raises StoreDamaged."""
    manifest = read_manifest(store, distribution.installation.manifest)
    for directory in manifest.directories:
        if directory.endswith(".dist-info") and posixpath.dirname(directory) == SITE_PACKAGES:
            return read_member(store, manifest, f"{directory}/direct_url.json")
    return None
