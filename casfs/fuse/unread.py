"""NeedsRead: what is raised where an answer needs something to be read first, and blocking is not allowed."""

from __future__ import annotations

from collections.abc import Callable


class NeedsRead(Exception):
    """The question can be answered once `read` has run."""

    def __init__(self, read: Callable[[], None]) -> None:
        super().__init__(read)
        self.read = read
