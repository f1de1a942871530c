"""Shown: which generation of each environment the kernel has been told of, so that a worker may die in the middle of a switch.

A switch shows the new generation, makes the kernel forget what differs, and only then writes the new number down. A worker that takes over
begins with the generation that is written down, and switches from there: whatever its predecessor had managed to tell the kernel, all that
differs is forgotten once more.
"""

from __future__ import annotations

import contextlib
import json
import threading

from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.runtime_files import is_environment, is_right, write_record
from casfs.store.store import Store


class AcknowledgedGenerations:
    """The numbers of one daemon's generations, in a file beside its lease. They matter as long as its mount, so nothing is synced."""

    def __init__(self, store: Store, lease_id: str) -> None:
        self._store = store
        self._path = store.run_path(f"{lease_id}.shown")
        self._writing = threading.Lock()
        self.numbers: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError, ValueError), open(self._path, encoding="utf-8") as file:
            found = json.load(file)
            if is_right("numbers", "dict[str, int]", found):
                self.numbers = {name: number for name, number in found.items() if is_environment(name) and number}

    def read(self, name: str) -> Generation:
        """The generation of an environment to begin with. Raises StoreDamaged."""
        environment = Environment(self._store, name)
        if (number := self.numbers.get(name)) is not None:
            return environment.read(number)
        generation = environment.require()
        self.write(name, generation.number)
        return generation

    def write(self, name: str, number: int) -> None:
        """The kernel knows nothing of any other generation any more."""
        with self._writing:
            self._write({**self.numbers, name: number})

    def forget(self, name: str) -> None:
        """The kernel knows nothing of the environment any more."""
        with self._writing:
            self._write({other: number for other, number in self.numbers.items() if other != name})

    def _write(self, numbers: dict[str, int]) -> None:
        write_record(self._path, numbers)
        self.numbers = numbers
