"""Host: every environment of a store in one file system, as directories of its root.

Each is a slot: an environment, the user to whom its files belong, and which generation: the current one, or one that never changes, as an
overlay needs it below itself. The slots are numbered in the order in which they came, the number
stands in bits 44 and up of every inode number below them, and the list is in a file beside the daemon's lease: a worker that takes over
reads it and knows every number that its predecessor gave out. Slots are added, never removed or reordered, while the file system is
mounted; those of an environment that was removed lose its name, and another one of that name gets new ones.

A host answers the same questions as a view, by handing them to the view of the slot.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from casfs.errors import MountRefused, StoreDamaged
from casfs.fuse.inodes import MAX_SLOTS, ROOT, host_number, slot_number, view_number
from casfs.fuse.view import USER, Listed, Node, View, is_current
from casfs.store.runtime_files import read_fields, write_record
from casfs.venv.tree import DirectoryNode, FileNode


@dataclass(frozen=True, slots=True)
class Slot:
    """An environment as one user's files."""

    environment: str  # empty: one that was removed
    uid: int
    gid: int
    generation: int = 0  # 0: the one that is current, whichever that is
    attributes: str = USER  # namespace of those that tell an overlay where blobs are (xattr(7))

    @property
    def name(self) -> str:
        """The directory of the host's root that shows it."""
        more = (self.generation or "", self.attributes if self.attributes != USER else "")
        return "@".join([self.environment, f"{self.uid}.{self.gid}", *(str(one) for one in more if one)])


def _read_slot(data: object) -> Slot:
    """A slot of the table; one that is not right, which an earlier version took, shows nothing, but keeps its number."""
    try:
        return read_fields(Slot, data)
    except ValueError:
        return Slot("", 0, 0)


class Host:
    """The views of all slots, by inode number."""

    def __init__(self, table: str, open_view: Callable[[str, int], View]) -> None:
        """`table` is the file that lists the slots; `open_view` makes the view of an environment's generation (0: the current one)."""
        self._table = table
        self._open_view = open_view
        self.slots: list[Slot] = []
        self._numbers: dict[str, int] = {}  # of the slots, by name
        self._views: dict[tuple[str, int], View] = {}
        self._root = DirectoryNode("", (), (0, 0), 0)
        self._load()

    def _load(self) -> None:
        try:
            with open(self._table, encoding="utf-8") as file:
                self._use([_read_slot(slot) for slot in json.load(file)])
        except FileNotFoundError:
            self._use([])

    def _use(self, slots: list[Slot]) -> None:
        self.slots = slots
        self._numbers = {slot.name: number for number, slot in enumerate(slots, 1) if slot.environment}

    def add_slot(self, slot: Slot) -> str:
        """The name of the slot's directory. The table knows it before anybody is told.

        Who shows a generation is done with the environment's others: their views are dropped, and made again for those who still ask.
        """
        if slot.name not in self._numbers:
            if len(self.slots) >= MAX_SLOTS:
                raise MountRefused(slot.name, f"one daemon shows at most {MAX_SLOTS} environments")
            slots = [*self.slots, slot]
            write_record(self._table, [dataclasses.asdict(one) for one in slots])
            self._use(slots)
            for other in [key for key in self._views if slot.generation and key[0] == slot.environment and key[1]]:
                del self._views[other]
        return slot.name

    def slot_names(self, environment: str) -> list[str]:
        """The directories of the root that show an environment."""
        return [slot.name for slot in self.slots if slot.environment == environment]

    def retire(self, environment: str) -> None:
        """Show nothing of an environment any more, by any number that was given out."""
        slots = [dataclasses.replace(slot, environment="") if slot.environment == environment else slot for slot in self.slots]
        write_record(self._table, [dataclasses.asdict(one) for one in slots])
        self._use(slots)
        for key in [key for key in self._views if key[0] == environment]:
            del self._views[key]

    def changing_views(self) -> list[tuple[int, str, View]]:
        """(slot number, environment, view) of every slot that shows the current generation and was looked into."""
        named = [(number, slot.environment) for number, slot in enumerate(self.slots, 1) if not slot.generation]
        return [(number, name, self._views[name, 0]) for number, name in named if (name, 0) in self._views]

    def view(self, environment: str, generation: int = 0) -> View:
        """The view of an environment, or of one generation of it."""
        key = (environment, generation)
        if (view := self._views.get(key)) is None:
            view = self._views[key] = self._open_view(environment, generation)
        return view

    def _view(self, slot: int) -> View:
        if not 1 <= slot <= len(self.slots):
            raise StoreDamaged(self._table, f"there is no slot {slot}")
        found = self.slots[slot - 1]
        if not found.environment:
            raise StoreDamaged(self._table, f"the environment of slot {slot} was removed")
        return self.view(found.environment, found.generation)

    def owner_ids(self, ino: int) -> tuple[int, int]:
        """User and group to whom a node belongs."""
        slot = slot_number(ino)
        return (self.slots[slot - 1].uid, self.slots[slot - 1].gid) if slot else (0, 0)

    def is_pinned(self, ino: int) -> bool:
        """See View."""
        return bool((slot := slot_number(ino)) and self.slots[slot - 1].generation)

    def attributes(self, ino: int) -> str:
        """See View."""
        return self.slots[slot - 1].attributes if (slot := slot_number(ino)) else USER

    def is_current(self, ino: int, directory: DirectoryNode) -> bool:
        """See View."""
        return ino == ROOT or is_current(view_number(ino), directory)

    def node(self, ino: int) -> Node:
        """See View."""
        return self._root if ino == ROOT else self._view(slot_number(ino)).node(view_number(ino))

    def directory(self, ino: int) -> DirectoryNode:
        """See View."""
        return self._root if ino == ROOT else self._view(slot_number(ino)).directory(view_number(ino))

    def file(self, ino: int) -> FileNode:
        """See View."""
        if ino == ROOT:
            raise IsADirectoryError
        return self._view(slot_number(ino)).file(view_number(ino))

    def look_up(self, parent: int, name: bytes) -> tuple[tuple[int, Node] | None, bool]:
        """See View. What the root lacks today it may have tomorrow, so the kernel keeps no miss there."""
        slot = slot_number(parent)
        if parent == ROOT:
            if (slot := self._numbers.get(os.fsdecode(name), 0)) == 0:
                return None, False
            return (host_number(slot, ROOT), self._view(slot).tree.root), True
        found, is_kept = self._view(slot).look_up(view_number(parent), name)
        return (found and (host_number(slot, found[0]), found[1])), is_kept

    def listing(self, ino: int, after: int) -> tuple[Iterable[Listed], bool]:
        """See View. The root shows nothing: it is private, and a listing of it would make every environment be read."""
        if ino == ROOT:
            return [], False
        slot = slot_number(ino)
        listing, is_kept = self._view(slot).listing(view_number(ino), after)
        return [dataclasses.replace(one, ino=host_number(slot, one.ino)) for one in listing], is_kept

    def parent(self, ino: int) -> tuple[int, DirectoryNode]:
        """See View."""
        if ino == ROOT or view_number(ino) == ROOT:
            return ROOT, self._root
        slot = slot_number(ino)
        above, node = self._view(slot).parent(view_number(ino))
        return host_number(slot, above), node

    def owner(self, ino: int) -> tuple[str, str] | None:
        """See View."""
        return None if ino == ROOT else self._view(slot_number(ino)).owner(view_number(ino))

    @property
    def total_size(self) -> int:
        """Bytes of all files of what was looked into."""
        return sum(view.total_size for view in self._views.values())

    def forget(self, ino: int) -> None:
        """See View."""
        if (slot := slot_number(ino)) and self.slots[slot - 1].environment:
            self._view(slot).forget(view_number(ino))
