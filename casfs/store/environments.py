"""Environments: named sequences of generations, of which one is current.

Whoever changes an environment holds its lock from reading the current generation until the next one is published. Readers take no lock:
`current` is a symbolic link that is replaced atomically, and a generation never changes.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from casfs.errors import EnvironmentRefused, StoreDamaged
from casfs.paths import parse_environment_name
from casfs.store.generations import Generation, format_index, format_lock, parse_index, parse_lock
from casfs.store.locking import holding
from casfs.store.manifests import read_manifest
from casfs.store.publish import Batch
from casfs.store.regular_file import read_plain_file
from casfs.store.store import Store


class Environment:
    """One environment of a store; it may not exist yet."""

    def __init__(self, store: Store, name: str) -> None:
        """Raises InvalidValue for a name that can't be one."""
        self.store = store
        self.name = parse_environment_name(name)
        self.directory = store.path("environments", name)

    def owner_ids(self) -> tuple[int, int]:
        """User and group to whom the environment belongs."""
        status = os.stat(self.directory)
        return status.st_uid, status.st_gid

    def current_number(self) -> int | None:
        """Number of the current generation; None while there is none."""
        try:
            target = os.readlink(f"{self.directory}/current")
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = "is not a symbolic link" if error.errno == errno.EINVAL else f"can't be read: {error.strerror}"
            raise StoreDamaged(f"{self.directory}/current", reason) from None
        number = os.path.basename(target).removesuffix(".toml")
        if not number.isdecimal():
            raise StoreDamaged(f"{self.directory}/current", f"points to {target!r}, which is not a generation")
        return int(number)

    def numbers(self) -> list[int]:
        """Numbers of all generations, oldest first."""
        try:
            names = os.listdir(f"{self.directory}/generations")
        except FileNotFoundError:
            return []
        stems = [name.removesuffix(".toml") for name in names if name.endswith(".toml")]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def current(self) -> Generation | None:
        """The current generation; None while there is none. Raises StoreDamaged."""
        while (number := self.current_number()) is not None:
            try:
                return self.read(number)
            except StoreDamaged:
                if self.current_number() == number:
                    raise  # else it is not the current one any more, and may have been collected or removed just now
        return None

    def read_all(self) -> list[Generation]:
        """Every generation, oldest first, but for those that are removed while they are read. Raises StoreDamaged."""
        found = []
        for number in self.numbers():
            try:
                found.append(self.read(number))
            except StoreDamaged:
                if os.path.lexists(self.path(number)):
                    raise
        return found

    def require(self) -> Generation:
        """The current generation. Raises EnvironmentRefused if the environment does not exist."""
        if (generation := self.current()) is None:
            raise EnvironmentRefused(self.name, f"there is no environment of this name; {self._meant()}`casfs add` makes one")
        return generation

    def _meant(self) -> str:
        """`did you mean 'NAME'? ` if there is an environment of almost this name."""
        from difflib import get_close_matches

        with contextlib.suppress(OSError):
            above = os.path.dirname(self.directory)
            known = [name for name in sorted(os.listdir(above)) if os.path.lexists(f"{above}/{name}/current")]
            if found := get_close_matches(self.name, known, n=1):
                return f"did you mean {found[0]!r}? "
        return ""

    def path(self, number: int) -> str:
        """The lock file of a generation."""
        return f"{self.directory}/generations/{number}.toml"

    def read(self, number: int) -> Generation:
        """A generation: from its index or, where that does not fit, from its lock file and the manifests. Raises StoreDamaged."""
        path = self.path(number)
        try:
            lock = read_plain_file(path)
        except FileNotFoundError:
            raise StoreDamaged(path, f"generation {number} of environment {self.name!r} is missing") from None
        with contextlib.suppress(FileNotFoundError, StoreDamaged):
            if (generation := parse_index(read_plain_file(self.index_path(number)), lock)) is not None:
                return generation
        return self.parse(number, lock)

    def index_path(self, number: int) -> str:
        """The index of a generation (derived)."""
        return f"{self.directory}/generations/{number}.index"

    def parse(self, number: int, lock: bytes) -> Generation:
        """The generation as its lock file says. Raises StoreDamaged."""
        try:
            return parse_lock(lock, lambda digest: read_manifest(self.store, digest))
        except ValueError as error:
            raise StoreDamaged(self.path(number), str(error)) from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to publish the next generation; others wait. Who waited while the environment was removed has it for a new one."""
        with contextlib.ExitStack() as stack:
            while True:
                os.makedirs(self.directory, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # it was removed just now
                    stack.enter_context(holding(f"{self.directory}/lock"))
                    break
            yield

    def next_number(self) -> int:
        """Number for the next generation: one that was never used. Call it with the lock held."""
        return max(self.numbers(), default=0) + 1

    def publish(self, generation: Generation) -> None:
        """Make `generation` durable and current. Call it with the lock held, when all that it refers to is published."""
        self._withdraw_unfinished()
        try:
            with self.store.syncs.once():
                self._publish(generation)
        except BaseException:
            with contextlib.suppress(OSError, StoreDamaged):
                if self.current_number() != generation.number:
                    self._withdraw(generation.number)
            raise

    def _publish(self, generation: Generation) -> None:
        lock = format_lock(generation)
        with self.store.batch() as batch:
            batch.add(self.path(generation.number), lock, exclusive=True)
            batch.add(self.index_path(generation.number), format_index(generation, lock))
            batch.commit_small()
            self._point_current_at(batch, generation.number)
            batch.commit()

    def _withdraw_unfinished(self) -> None:
        """Withdraw generations above the current one: who made them died before they became current."""
        if (current := self.current_number()) is not None:
            for number in self.numbers():
                if number > current:
                    self._withdraw(number)

    def _withdraw(self, number: int) -> None:
        """Take a generation that never was current off the list, so that a rollback can't lead to it."""
        for path in (self.path(number), self.index_path(number)):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, f"{path}.unfinished")

    def _point_current_at(self, batch: Batch, number: int) -> None:
        batch.add_link(f"{self.directory}/current", f"generations/{number}.toml")
