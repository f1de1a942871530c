"""A function that kills its process: what a crash at that point leaves behind."""

from __future__ import annotations

import os
import signal
from typing import Any


def die_at(owner: Any, name: str, moment: str, count: int) -> None:
    """Let the process be killed "before" or "after" the call number `count` of a function."""
    function, left = getattr(owner, name), count

    def die(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left:
            return function(*arguments, **options)
        if moment == "after":
            function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(owner, name, die)
