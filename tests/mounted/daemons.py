"""What tests ask of a daemon: who it is, and whether what it shows is right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

from casfs.daemon.control import Reply, Request, ask_daemon
from casfs.store.leases import iter_leases
from casfs.store.store import open_store
from tests.faults.commands import digest_of, read_contents
from tests.mounted.harness import PYTHON_DIRECTORY, Casfs


def ask(casfs: Casfs) -> Reply:
    """What the only daemon says of itself."""
    store = open_store(casfs.store)
    [lease] = iter_leases(store)
    return ask_daemon(store, lease, Request("status"))


def pause(longest_s: float, shortest_s: float = 0.0) -> None:
    """Until a moment that nobody has chosen."""
    threading.Event().wait(random.uniform(shortest_s, longest_s))


def wait_until(is_true: Callable[[], bool]) -> None:
    """What does not happen within a minute does not happen."""
    tick = threading.Event()
    assert any(is_true() or tick.wait(0.02) for _ in range(3000))


def other_supervisor(casfs: Casfs, than: int) -> int:
    """The supervisor that has taken over."""
    wait_until(lambda: ask(casfs).supervisor != than)
    return ask(casfs).supervisor


def check_shown(casfs: Casfs, site: Path, never: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Every name and every byte is the current generation's; of other names that once were, none is there."""
    prefix = f"lib/{PYTHON_DIRECTORY}/site-packages/"
    known = {
        path.replace("{python}", PYTHON_DIRECTORY).removeprefix(prefix): digest
        for files in read_contents(casfs.store).values()
        for path, digest in files.items()
        if path.startswith("lib/{python}/site-packages/")
    }
    shown = {str(path.relative_to(site)): path for path in site.rglob("*") if path.is_file()}
    assert shown.keys() == known.keys()
    assert {name: digest_of(name, path.read_bytes()) for name, path in shown.items()} == known
    directories = {str(Path(name).parent) for name in known}
    assert [name for name in never if (site / name).exists() != (name in known or name in directories)] == []
