"""Metadata twins: manifests laid out as directories, which an overlay shows without asking any daemon.

    twins/ab/cdef...-python3.11     the manifest abcdef... as an environment shows it whose interpreter has its library in lib/python3.11
    twins/tops/<digest>             what one list of manifests shows above their twins (see `twin_plan`)

A twin is the same for all environments, is made once and never changes: no overlay that shows it could bear that. It is derived: deleting
it loses nothing, as long as nobody mounts it. It appears under its name when all of it is on the disk, so no crash leaves files that
have a size but don't say which blob is theirs.

Only root can make and use twins, and only where the disk takes trusted attributes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from casfs.digest import Digest, digest_bytes
from casfs.errors import CasfsError
from casfs.store.generations import Generation
from casfs.store.locking import holding
from casfs.store.manifests import read_manifest
from casfs.store.publish import naming, sync_file_system
from casfs.store.store import Store
from casfs.venv.tree import Content, FileNode, Tree
from casfs.venv.twins.files import format_mark, is_twin, lay_out
from casfs.venv.twins.plan import TwinDirectory, is_stackable, iter_top, iter_twin, iter_upwards

if TYPE_CHECKING:
    from logging import Logger

TOPS = "tops"
TWIN_NAME = re.compile("([0-9a-f]{62})-(.+)")
TOP_NAME = re.compile("[0-9a-f]{64}")

_FULL = (errno.ENOSPC, errno.EDQUOT)

_Plan = Callable[[], Iterable[TwinDirectory]]
"""Tells what is in a twin."""


def _log() -> Logger:
    from logging import getLogger

    return getLogger("casfs")


def twin_path(store: Store, manifest: Digest, python_directory: str) -> str:
    """Where a manifest's twin is, or would be."""
    return store.path("twins", manifest[:2], f"{manifest[2:]}-{python_directory}")


def top_path(store: Store, generation: Generation) -> str:
    """Where a generation's top is, or would be. Generations that show the same share it."""
    manifests = [layer.manifest for layer in (generation.skeleton, *iter_upwards(generation))]
    return store.path("twins", TOPS, digest_bytes("\n".join([generation.interpreter.directory, *manifests]).encode()))


def find_stack(store: Store, generation: Generation) -> list[str] | None:
    """The lower layers that show a generation, uppermost first; None if one is missing, or if no overlay could show them."""
    stack = _list_stack(store, generation)
    return stack if stack and all(map(is_twin, stack)) else None


def build_stack(store: Store, generation: Generation) -> list[str] | None:
    """The same after making what is missing; None where that can't be done.

    Raises OSError for a full disk; then nothing is left of what was begun.
    """
    stack = _list_stack(store, generation)
    if stack is None or all(map(is_twin, stack)):
        return stack
    return stack if _try_to_build(store, _plans(store, generation)) else None


def _list_stack(store: Store, generation: Generation) -> list[str] | None:
    layers = [twin_path(store, layer.manifest, generation.interpreter.directory) for layer in iter_upwards(generation)]
    stack = [top_path(store, generation), *dict.fromkeys(reversed(layers))]  # no overlay takes a directory twice
    is_possible = "/" not in generation.interpreter.directory and is_stackable(generation)
    return stack if is_possible else None


def build_twins(store: Store, manifests: Iterable[Digest], python_directory: str) -> None:
    """Make the twins of manifests that have none yet, ahead of the environments that will have them.

    Where twins can't be made nothing happens. Raises OSError for a full disk.
    """
    if "/" not in python_directory:
        _try_to_build(store, {twin_path(store, one, python_directory): _plan(store, one, python_directory) for one in manifests})


def _try_to_build(store: Store, plans: Mapping[str, _Plan]) -> bool:
    """Whether all twins that were planned are there now."""
    try:
        _build(store, plans)
    except (CasfsError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        _log().info("no twins: %s", error)
        return False
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        _log().warning("no twins, since a manifest makes no sense: %r", error)  # reading one checks its digest and its shape; fsck the rest
        return False
    return True


def _build(store: Store, plans: Mapping[str, _Plan]) -> None:
    with store.batch() as batch, _syncing(batch.directory) as sync:
        made: dict[str, str] = {}
        for target, plan in plans.items():
            if not is_twin(target):
                made[target] = f"{batch.directory}/twin{len(made)}"
                with _about(target):
                    lay_out(plan(), made[target], format_mark(target), lambda node: read_target(store, node))
        sync()
        _publish(store, made)


@contextlib.contextmanager
def _about(target: str) -> Iterator[None]:
    """Let an OSError out of the block name the twin, rather than a descriptor or a name within some directory."""
    try:
        yield
    except OSError as error:
        error.filename = target
        raise


def read_target(store: Store, node: FileNode) -> bytes:
    """Where a symbolic link points to. Raises StoreDamaged."""
    return store.pool.read_blob(node.digest, node.size)


@contextlib.contextmanager
def _syncing(directory: str) -> Iterator[Callable[[], None]]:
    """A function that syncs the file system of `directory`; it raises OSError also for what went wrong since the block began."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with naming(directory):
            yield lambda: sync_file_system(fd)
    finally:
        os.close(fd)


def _plans(store: Store, generation: Generation) -> dict[str, _Plan]:
    """Each twin of a generation, and what tells what is in it."""
    python_directory = generation.interpreter.directory
    layers = [layer.manifest for layer in iter_upwards(generation)]
    twins = {twin_path(store, one, python_directory): _plan(store, one, python_directory) for one in layers}
    return {top_path(store, generation): lambda: iter_top(generation, partial(read_layers, store)), **twins}


def _plan(store: Store, manifest: Digest, python_directory: str) -> _Plan:
    return lambda: iter_twin(manifest, read_manifest(store, manifest), python_directory)


def read_layers(store: Store, tree: Tree, layers: list[int]) -> None:
    """Give a tree what it needs: manifests, but not the older identities of their rows. Raises StoreDamaged."""
    for index in layers:
        tree.add_content(index, Content(read_manifest(store, tree.layers[index].layer.manifest), {}))


def _publish(store: Store, made: dict[str, str]) -> None:
    """Give twins their names, unless another process was faster. What has such a name and is no twin ends with the batch."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(store.path("twins"), 0o700)
    with holding(store.path("locks", "twins")):  # a twin that somebody just made may be mounted already
        for target, staged in made.items():
            if not is_twin(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    os.rename(target, f"{staged}.replaced")
                os.rename(staged, target)
