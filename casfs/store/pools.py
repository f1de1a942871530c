"""Pools: the private pool of a store with shared ones behind it, which are only ever read.

A store takes whole wheels from a shared pool, which keeps what its own wheels bring (see `collect`). What is in neither is written to the
private pool with all its blobs, also with those that a shared pool happens to have: that one may do without them tomorrow.

A blob is looked for in the private pool first, then in each shared one. What is damaged in one pool does not hide a good copy in another;
it is logged, and the next pool is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from casfs.digest import Digest
from casfs.errors import StoreDamaged
from casfs.store.blobs import LocalPool

Place = TypeVar("Place")
Found = TypeVar("Found")


class Pools(LocalPool):
    """The private pool, to which everything is written, and the shared ones, in which blobs are found as well."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.shared: Sequence[LocalPool] = ()

    @property
    def directories(self) -> list[str]:
        """Where blobs are, in the order in which pools are asked."""
        return [self.directory, *(pool.directory for pool in self.shared)]

    def find_shared(self, digest: Digest, size: int) -> LocalPool | None:
        """The first shared pool that has the blob, readable."""
        for pool in self.shared:
            with contextlib.suppress(PermissionError):  # what is kept from us must be written again
                if pool.has_blob(digest, size):
                    return pool
        return None

    def has_blob(self, digest: Digest, size: int) -> bool:
        """Whether one of the pools has a regular file of the right size."""
        return self.is_private(digest, size) or self.find_shared(digest, size) is not None

    def open_blob(self, digest: Digest, size: int) -> int:
        """See BlobSource."""
        own = super().open_blob
        return try_each([own, *(pool.open_blob for pool in self.shared)], lambda open_blob: open_blob(digest, size))

    def read_blob(self, digest: Digest, size: int) -> bytes:
        """All bytes of a small blob, compared with its digest. Raises StoreDamaged."""
        own = LocalPool(self.directory)
        return try_each([own, *self.shared], lambda pool: pool.read_blob(digest, size))


def try_each(places: Sequence[Place], read: Callable[[Place], Found]) -> Found:
    """What `read` gives for the first place where it does not raise StoreDamaged. Raises StoreDamaged with the reason of every place."""
    problems: list[StoreDamaged] = []
    for place in places:
        try:
            found = read(place)
        except StoreDamaged as error:
            problems.append(error)
            continue
        log_damage(problems)
        return found
    first, *others = problems
    raise StoreDamaged(first.subject, *first.reasons, *(str(error) for error in others if not is_absence(error)))


def is_absence(error: StoreDamaged) -> bool:
    """Whether something is just not there."""
    return error.reasons in (("the blob is missing",), ("the manifest is missing",))


def log_damage(problems: Sequence[StoreDamaged]) -> None:
    """Tell the log what is damaged although a good copy was found."""
    if damages := [error for error in problems if not is_absence(error)]:
        import logging  # 5 ms, and mostly nothing is damaged

        for error in damages:
            logging.getLogger("casfs").warning("%s; another pool has it", error)
