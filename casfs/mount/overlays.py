"""Overlays: one for each environment that is mounted on the kernel data path. All places of the environment show it.

An overlay is attached in private and remembered in a file in leases/. It shows one generation and one upper layer, and never changes: when
either is another, a new overlay takes its place, and the places move over to it one by one (see `places`). The old one ends with its last
user. Call all of this with the places locked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from casfs.errors import CasfsError, MountRefused
from casfs.mount import kernel
from casfs.mount.control import Request, ask_daemon, raise_problem
from casfs.mount.mounts import detach
from casfs.mount.overlay import Layers, Lower, is_work_in_use, make_nested_overlay, make_overlay
from casfs.mount.soundness import check_generation
from casfs.mount.view import TRUSTED, USER
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.leases import Lease, iter_private_leases
from casfs.store.store import Store
from casfs.store.uppers import Upper, current_upper, require_upper, sweep_uppers
from casfs.venv.twins import find_stack

log = logging.getLogger("casfs")

_PREFIX, _ANCHOR = "overlay-", "anchor-"

TWINS, FUSE = "twins", "fuse"


@dataclass(frozen=True, slots=True)
class Overlay:
    """The overlay of an environment."""

    id: str
    environment: str
    uid: int
    gid: int
    generation: int
    upper: int  # number of the upper layer
    metadata: str  # who says what there is: "twins" on disk, or "fuse", our own file system
    why: str  # why it is not twins
    host: str  # id of the lease of the host that answers if it is "fuse"
    anchor: str  # where it is attached in private

    @property
    def owner(self) -> tuple[int, int]:
        """To whom the files belong."""
        return self.uid, self.gid


def iter_overlays(store: Store) -> Iterator[Overlay]:
    """Every overlay that is remembered."""
    for name in sorted(os.listdir(store.path("leases"))):
        if name.startswith(_PREFIX) and (overlay := _read(store.path("leases", name))) is not None:
            yield overlay


def find_overlay(store: Store, environment: str) -> Overlay | None:
    """The overlay of an environment."""
    return _read(_record_path(store, environment))


def _read(path: str) -> Overlay | None:
    with contextlib.suppress(OSError, ValueError, TypeError), open(path, encoding="utf-8") as file:
        return Overlay(**json.load(file))
    return None


def is_current(store: Store, overlay: Overlay, host: str) -> bool:
    """Whether the overlay shows what it should: the current generation, the current upper layer, and nothing of a host that is gone."""
    environment = Environment(store, overlay.environment)
    upper = current_upper(environment)
    shown = (overlay.generation, overlay.upper)
    return shown == (environment.current_number(), upper and upper.number) and (overlay.metadata != FUSE or overlay.host == host)


def require_overlay(store: Store, host: Lease, environment: Environment, owner: tuple[int, int]) -> Overlay:
    """An overlay that shows the environment as it is now; one that does not is replaced. Raises MountRefused if the kernel can't."""
    found = find_overlay(store, environment.name)
    if found is not None and found.owner == owner and is_current(store, found, host.id):
        return found
    overlay = _make(store, host, environment, owner, found)
    _touch(environment, overlay)
    _remember(store, overlay)
    if found is not None:
        _end_anchor(store, found.id, found.anchor)
    return overlay


def _touch(environment: Environment, overlay: Overlay) -> None:
    """Where tools have written into site-packages its time is the upper layer's. It must change, for running processes to look again."""
    path = f"lib/{environment.read(overlay.generation).interpreter.directory}/site-packages"
    with contextlib.suppress(OSError):  # nothing was written there, or it is no directory any more
        os.close(_open_below(f"{environment.directory}/upper/{overlay.upper}/files", path))
        fd = _open_below(overlay.anchor, path)
        try:
            os.utime(fd)
        finally:
            os.close(fd)


def _open_below(top: str, path: str) -> int:
    """Descriptor of a directory. Tools may have put symbolic links in its way: they don't lead out of `top`."""
    root = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return kernel.open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(root)


@contextlib.contextmanager
def frozen(store: Store, environment: str) -> Iterator[None]:
    """Nobody writes into the environment's mounts during the block, nor ever again into those whose overlay was replaced in it.

    The places need not be locked. Raises MountRefused while somebody has a file there open for writing.
    """
    with _locked_uppers(store, environment) as is_locked:
        overlay = find_overlay(store, environment) if is_locked else None
        if overlay is None:
            yield
            return
        try:
            kernel.freeze_file_system(overlay.anchor, is_read_only=True)
        except OSError as error:
            reason = "somebody has a file there open for writing" if error.errno == errno.EBUSY else explain(error)
            raise MountRefused(environment, f"its mounts can't be made read-only for a moment: {reason}") from None
        try:
            yield
        finally:
            if find_overlay(store, environment) == overlay:
                kernel.freeze_file_system(overlay.anchor, is_read_only=False)


@contextlib.contextmanager
def _locked_uppers(store: Store, environment: str, *, must_wait: bool = True) -> Iterator[bool]:
    """Whether the right to freeze an environment's mounts is held during the block; not if there is nothing to freeze."""
    try:
        fd = os.open(f"{Environment(store, environment).directory}/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if must_wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)


def heal_overlays(store: Store) -> None:
    """After a command was killed: overlays that nobody remembers end, and those that it has left frozen can be written to again."""
    _end_lost(store)
    for overlay in iter_overlays(store):
        with _locked_uppers(store, overlay.environment, must_wait=False) as is_locked, contextlib.suppress(OSError):
            upper = current_upper(Environment(store, overlay.environment))
            is_shown = upper is not None and upper.number == overlay.upper  # what is written into another would be lost
            if is_locked and is_shown and os.statvfs(overlay.anchor).f_flag & os.ST_RDONLY:
                kernel.freeze_file_system(overlay.anchor, is_read_only=False)


def _end_lost(store: Store) -> None:
    """End overlays that were made but not remembered, or not ended when they were forgotten."""
    known = {overlay.id for overlay in iter_overlays(store)}
    for name in os.listdir(store.path("leases")):
        token = name.removeprefix(_ANCHOR)
        if token != name and token not in known:
            with contextlib.suppress(OSError), open(store.path("leases", name), encoding="utf-8", errors="surrogateescape") as file:
                _end_anchor(store, token, file.read())


def end_overlay(store: Store, overlay: Overlay) -> None:
    """Forget an overlay that no place shows. It lives on for as long as somebody uses it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_record_path(store, overlay.environment))
    _end_anchor(store, overlay.id, overlay.anchor)
    with contextlib.suppress(CasfsError):  # what is damaged there is told by who needs it
        sweep_work(Environment(store, overlay.environment))


def sweep_work(environment: Environment) -> None:
    """Remove what overlays have left that nobody uses any more: work directories, and upper layers that are not current."""
    is_shown_privately = any(lease.environment == environment.name for lease in iter_private_leases(environment.store))
    with tempfile.TemporaryDirectory(dir=environment.store.path("tmp")) as spare:
        # a private mount may have any upper layer as a lower one
        sweep_uppers(environment, lambda path: is_shown_privately if path.endswith("/files") else is_work_in_use(path, spare))


def _make(store: Store, host: Lease, environment: Environment, owner: tuple[int, int], before: Overlay | None) -> Overlay:
    generation, upper = environment.require(), require_upper(environment)
    checked = environment.read(before.generation) if before and before.metadata == TWINS else None
    token = secrets.token_hex(6)
    anchor = _make_anchor(store, token)
    try:
        found = os.stat(upper.files)
        if (found.st_uid, found.st_gid) != owner:
            os.chown(upper.files, *owner)
        mount_fd, metadata, why = _open_best(store, host, _Recipe(environment, generation, upper, owner, anchor), checked)
        try:
            kernel.attach_mount(mount_fd, anchor)
        finally:
            os.close(mount_fd)
    except BaseException as error:
        _end_anchor(store, token, anchor)
        if isinstance(error, OSError):
            raise MountRefused(environment.name, explain(error)) from None
        raise
    return Overlay(token, environment.name, *owner, generation.number, upper.number, metadata, why, host.id, anchor)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What an overlay is to show."""

    environment: Environment
    generation: Generation
    upper: Upper
    owner: tuple[int, int]
    scratch: str  # an empty directory

    def layers(self, lower: Sequence[Lower]) -> Layers:
        """All layers of the overlay, with a new work directory."""
        pool = self.environment.store.pool
        data = [pool.directory, *(one.directory for one in pool.shared)]
        return Layers(lower, data, self.upper.files, self.upper.new_work())


def _open_best(store: Store, host: Lease, recipe: _Recipe, checked: Generation | None) -> tuple[int, str, str]:
    """A detached overlay, who says what there is, and why it is not twins. Raises OSError."""
    why = "not every distribution has one"
    if (stack := find_stack(store, recipe.generation)) is not None:
        try:
            check_generation(store, recipe.generation, checked)  # twins hand out all blobs at once
            with contextlib.ExitStack() as opened:
                lower = [_own(opened, path, recipe.owner) for path in stack]
                return make_nested_overlay(recipe.layers(lower), recipe.scratch), TWINS, ""
        except OSError as error:
            why = explain(error)
        except CasfsError as error:
            why = str(error)
    return _open_on_fuse(store, host, recipe), FUSE, why


def _open_on_fuse(store: Store, host: Lease, recipe: _Recipe) -> int:
    """A detached overlay of the host's own file system. Raises OSError."""

    def layers(attributes: str) -> Layers:
        request = Request("show", recipe.environment.name, *recipe.owner, recipe.generation.number, attributes)
        reply = ask_daemon(store, host, request)
        raise_problem(host, reply)
        return recipe.layers([f"{host.mountpoint}/{reply.slot}"])

    try:
        return make_overlay(layers(USER))
    except OSError as error:
        try:
            return make_nested_overlay(layers(TRUSTED), recipe.scratch)  # before Linux 6.16
        except OSError:
            raise error from None


def _own(opened: contextlib.ExitStack, path: str, owner: tuple[int, int]) -> Lower:
    """A layer that root owns, as the files of somebody else."""
    if owner == (0, 0):
        return path
    mount_fd = kernel.clone_owned(path, *owner)
    opened.callback(os.close, mount_fd)
    return mount_fd


def explain(error: OSError) -> str:
    """What the kernel says of an error: its own words, where it has any."""
    reason = (error.strerror or str(error)).lower()
    return f"{reason}: {error.filename}" if error.filename else reason


def _remember(store: Store, overlay: Overlay) -> None:
    path = _record_path(store, overlay.environment)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(asdict(overlay), file)
    os.rename(f"{path}.new", path)


def _record_path(store: Store, environment: str) -> str:
    return store.path("leases", _PREFIX + environment)


def _make_anchor(store: Store, token: str) -> str:
    """A private directory for an overlay. A file in leases/ says that it is there, whoever is killed before the overlay is remembered."""
    path = _private_path(store, token)
    with open(store.path("leases", _ANCHOR + token), "x", encoding="utf-8", errors="surrogateescape") as file:
        file.write(path)
    os.mkdir(path, 0o700)
    return path


def _end_anchor(store: Store, token: str, anchor: str) -> None:
    with contextlib.suppress(OSError):
        detach(anchor)
    for remove, path in ((os.rmdir, anchor), (os.unlink, store.path("leases", _ANCHOR + token))):
        with contextlib.suppress(OSError):
            remove(path)


_PRIVATE = "/run/casfs"


def make_private_directory(store: Store, name: str) -> str:
    """A directory for mounts that nobody else shall see."""
    os.mkdir(path := _private_path(store, name), 0o700)
    return path


def _private_path(store: Store, name: str) -> str:
    """Where it shall be: below the store where /run can't be written, as in a user namespace."""
    with contextlib.suppress(OSError):
        os.makedirs(_PRIVATE, mode=0o700, exist_ok=True)
        os.chmod(_PRIVATE, 0o700)  # whoever made it: all environments can be read below it
        if os.access(_PRIVATE, os.W_OK):
            return f"{_PRIVATE}/{name}"
    return os.path.realpath(store.path("leases", f"{name}.mnt"))
