"""Overlays: one for each environment that is mounted on the kernel data path. All mounts of the environment show it.

An overlay is attached in private and remembered in a file in run/. It shows one generation and one upper layer, and never changes: when
either is another, or a damaged blob was set aside that it may have opened, a new overlay takes its place, and the mounts move over to it
one by one (see `mounting`). The old one ends with its last user. Call all of this with the mounts locked.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from casfs.descriptors import closing_fd
from casfs.errors import CasfsError, MountRefused
from casfs.mounts.overlay_layers import FUSE, IMAGE, OverlaySpec, RequireHost, explain, open_fastest
from casfs.overlay import kernel
from casfs.overlay.hidden_mounts import end_hidden_mount, end_image, image_of_token, is_attached, iter_hidden_mounts, make_hidden_mount
from casfs.overlay.overlayfs import is_work_in_use
from casfs.store.environments import Environment
from casfs.store.leases import iter_leases, iter_private_leases
from casfs.store.locking import LockBusy, holding
from casfs.store.quarantine import read_losses
from casfs.store.runtime_files import read_fields, write_record
from casfs.store.store import Store
from casfs.store.uppers import current_upper, require_upper, sweep_uppers

_PREFIX = "overlay-"

OLD_METADATA = "twins"
"""What an earlier casfs says that an overlay stands on: directories of files without bytes, on disk."""

_HIDDEN_MOUNT = "anchor"
"""What a record calls it: as the version before did, whose overlays and commands there may still be."""

_MOST_OLDER = 8
"""So many replaced overlays on one upper layer can be written to still; each costs the kernel some memory."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """The overlay of an environment."""

    id: str
    environment: str
    uid: int
    gid: int
    generation: int
    upper: int  # number of the upper layer
    metadata: str  # what says what there is: IMAGE, FUSE (our own file system), or OLD_METADATA
    why: str  # why it is not the fastest way
    host: str  # id of the lease of the host that answers if it is FUSE
    hidden_mount: str  # where it is attached in private
    image: str = ""  # UUID of the image
    executable: str = ""  # of the interpreter
    losses: str = ""  # which blobs had been lost when it was made (see `casfs.store.quarantine.Losses`)
    older: tuple[tuple[str, str], ...] = ()  # ids and hidden mounts of those that it replaced and that have the same upper layer

    @property
    def hidden_mounts(self) -> list[tuple[str, str]]:
        """Its own id and hidden mount, and those of the older ones."""
        return [(self.id, self.hidden_mount), *self.older]

    @property
    def owner(self) -> tuple[int, int]:
        """To whom the files belong."""
        return self.uid, self.gid


def iter_overlays(store: Store) -> Iterator[Overlay]:
    """Every overlay."""
    yield from filter(None, map(_find_attached, iter_remembered_overlays(store)))


def iter_remembered_overlays(store: Store) -> Iterator[Overlay]:
    """Every overlay that is remembered, also from before the machine was started anew, or in another mount namespace."""
    for name in sorted(os.listdir(store.run_path())):
        if name.startswith(_PREFIX) and (overlay := _read(store.run_path(name))) is not None:
            yield overlay


def find_overlay(store: Store, environment: str) -> Overlay | None:
    """The overlay of an environment."""
    overlay = _read(_record_path(store, environment))
    return overlay and _find_attached(overlay)


def _find_attached(overlay: Overlay) -> Overlay | None:
    """The overlay with those of the older ones that are still there; None if it is not there itself."""
    if not is_attached(overlay.hidden_mount):
        return None
    return replace(overlay, older=tuple((token, hidden_mount) for token, hidden_mount in overlay.older if is_attached(hidden_mount)))


def _read(path: str) -> Overlay | None:
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        said = json.load(file)
        if isinstance(said, dict) and _HIDDEN_MOUNT in said:
            said["hidden_mount"] = said.pop(_HIDDEN_MOUNT)
        overlay = read_fields(Overlay, said)
        if overlay.environment:
            return replace(overlay, older=tuple((token, hidden_mount) for token, hidden_mount in overlay.older))
    return None


def is_current(store: Store, overlay: Overlay) -> bool:
    """Whether the overlay shows what it should: the current generation and upper layer, no damaged blob, and nothing of a dead host."""
    environment = Environment(store, overlay.environment)
    upper = current_upper(environment)
    shown = (overlay.generation, overlay.upper, overlay.losses)
    if shown != (environment.current_number(), upper and upper.number, read_losses(store).state):
        return False
    return overlay.metadata == IMAGE or (overlay.metadata == FUSE and any(lease.id == overlay.host for lease in iter_leases(store)))


def find_shown(store: Store, environment: str) -> str:
    """The interpreter of an environment whose overlay shows what it should; empty if it has none, or that one does not."""
    overlay = find_overlay(store, environment)
    return overlay.executable if overlay is not None and is_current(store, overlay) else ""


def require_overlay(store: Store, require_host: RequireHost, environment: Environment, owner: tuple[int, int]) -> Overlay:
    """An overlay that shows the environment as it is now; one that does not is replaced. Raises MountRefused if the kernel can't."""
    found = find_overlay(store, environment.name)
    if found is not None and found.owner == owner and is_current(store, found):
        return found
    overlay = _make(store, require_host, environment, owner)
    _touch(environment, overlay)
    older = found.hidden_mounts if found is not None and found.upper == overlay.upper and found.metadata != OLD_METADATA else []
    overlay = replace(overlay, older=tuple(older[:_MOST_OLDER]))
    try:
        _remember(store, overlay)
    except BaseException:
        end_hidden_mount(store, overlay.id, overlay.hidden_mount)
        raise
    if found is not None:
        for token, hidden_mount in found.hidden_mounts:
            if (token, hidden_mount) not in overlay.older:
                _retire(store, token, hidden_mount)
        _end_unused_images(store, {found.image} - {overlay.image})
    return overlay


def _retire(store: Store, token: str, hidden_mount: str) -> None:
    """Let a replaced overlay go. Who is in a directory of it still may not write there any more: `absorb` would lose that."""
    with contextlib.suppress(OSError):  # somebody has a file open for writing; that one is not lost before it is closed
        if is_attached(hidden_mount):
            kernel.freeze_file_system(hidden_mount, is_read_only=True)
    end_hidden_mount(store, token, hidden_mount)


def _touch(environment: Environment, overlay: Overlay) -> None:
    """Where tools have written into site-packages its time is the upper layer's. It must change, for running processes to look again."""
    path = f"lib/{environment.read(overlay.generation).interpreter.directory}/site-packages"
    with contextlib.suppress(OSError):  # nothing was written there, or it is no directory any more
        os.close(_open_below(f"{environment.directory}/upper/{overlay.upper}/files", path))
        with closing_fd(_open_below(overlay.hidden_mount, path)) as fd:
            os.utime(fd)


def _open_below(top: str, path: str) -> int:
    """Descriptor of a directory. Tools may have put symbolic links in its way: they don't lead out of `top`."""
    with closing_fd(os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        return kernel.open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)


@contextlib.contextmanager
def frozen(store: Store, environment: str) -> Iterator[None]:
    """Nobody writes into the environment's mounts during the block, nor ever again into those whose overlay was replaced in it.

    The mounts need not be locked. Raises MountRefused while somebody has a file there open for writing.
    """
    with _locked_uppers(store, environment) as is_locked:
        overlay = find_overlay(store, environment) if is_locked else None
        if overlay is None:
            yield
            return
        hidden_mounts = [hidden_mount for _, hidden_mount in overlay.hidden_mounts]
        _freeze(environment, hidden_mounts)
        try:
            yield
        finally:
            if find_overlay(store, environment) == overlay:
                _thaw(hidden_mounts)


def _freeze(environment: str, hidden_mounts: list[str]) -> None:
    """All or none. Raises MountRefused."""
    for number, hidden_mount in enumerate(hidden_mounts):
        try:
            kernel.freeze_file_system(hidden_mount, is_read_only=True)
        except OSError as error:
            _thaw(hidden_mounts[:number])
            reason = "somebody has a file there open for writing" if error.errno == errno.EBUSY else explain(error)
            raise MountRefused(environment, f"its mounts can't be made read-only for a moment: {reason}") from None


def _thaw(hidden_mounts: list[str]) -> None:
    for hidden_mount in hidden_mounts:
        with contextlib.suppress(OSError):
            kernel.freeze_file_system(hidden_mount, is_read_only=False)


@contextlib.contextmanager
def _locked_uppers(store: Store, environment: str, *, must_wait: bool = True) -> Iterator[bool]:
    """Whether the right to freeze an environment's mounts is held during the block; not if there is nothing to freeze."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(holding(f"{Environment(store, environment).directory}/upper/lock", may_wait=must_wait))
        except (FileNotFoundError, LockBusy):
            yield False
            return
        yield True


def heal_overlays(store: Store) -> None:
    """After a command was killed: overlays that nobody remembers end, and those that it has left frozen can be written to again."""
    end_lost(store)
    for overlay in iter_overlays(store):
        with _locked_uppers(store, overlay.environment, must_wait=False) as is_locked, contextlib.suppress(OSError):
            upper = current_upper(Environment(store, overlay.environment))
            is_shown = upper is not None and upper.number == overlay.upper  # what is written into another would be lost
            if is_locked and is_shown and os.statvfs(overlay.hidden_mount).f_flag & os.ST_RDONLY:
                _thaw([hidden_mount for _, hidden_mount in overlay.hidden_mounts])


def end_lost(store: Store) -> None:
    """End overlays that were made but not remembered, or not ended when they were forgotten."""
    known = {token for overlay in iter_remembered_overlays(store) for token, _ in overlay.hidden_mounts}
    hidden_mounts = list(iter_hidden_mounts(store))
    for token, hidden_mount in hidden_mounts:
        if token not in known and image_of_token(token) is None:
            end_hidden_mount(store, token, hidden_mount)
    _end_unused_images(store, {uuid for token, _ in hidden_mounts if (uuid := image_of_token(token)) is not None})


def _end_unused_images(store: Store, uuids: set[str]) -> None:
    """Let those of the images go that no overlay has."""
    for uuid in (uuids - {""}) - {overlay.image for overlay in iter_remembered_overlays(store)} if uuids - {""} else ():
        end_image(store, uuid)


def end_overlay(store: Store, overlay: Overlay) -> None:
    """Forget an overlay that no mount shows. It lives on for as long as somebody uses it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_record_path(store, overlay.environment))
    for token, hidden_mount in overlay.hidden_mounts:
        _retire(store, token, hidden_mount)
    _end_unused_images(store, {overlay.image})
    with contextlib.suppress(CasfsError):  # what is damaged there is told by who needs it
        sweep_work(Environment(store, overlay.environment))


def sweep_work(environment: Environment) -> None:
    """Remove what overlays have left that nobody uses any more: work directories, and upper layers that are not current."""
    import tempfile

    is_shown_privately = any(lease.environment == environment.name for lease in iter_private_leases(environment.store))
    with tempfile.TemporaryDirectory(dir=environment.store.path("tmp")) as spare:
        # a private mount may have any upper layer as a lower one
        sweep_uppers(environment, lambda path: is_shown_privately if path.endswith("/files") else is_work_in_use(path, spare))


def _make(store: Store, require_host: RequireHost, environment: Environment, owner: tuple[int, int]) -> Overlay:
    generation, upper, losses = environment.require(), require_upper(environment), read_losses(store)
    token = os.urandom(6).hex()
    hidden_mount = make_hidden_mount(store, token)
    try:
        status = os.stat(upper.files)
        if (status.st_uid, status.st_gid) != owner:
            os.chown(upper.files, *owner)
        opened = open_fastest(store, require_host, OverlaySpec(environment, generation, losses.lost, upper, owner, hidden_mount))
        with closing_fd(opened.mount_fd):
            kernel.attach_mount(opened.mount_fd, hidden_mount)
    except BaseException as error:
        end_hidden_mount(store, token, hidden_mount)
        _end_unused_images(store, {uuid for name, _ in iter_hidden_mounts(store) if (uuid := image_of_token(name)) is not None})
        if isinstance(error, OSError):
            raise MountRefused(environment.name, explain(error)) from None
        raise
    return Overlay(
        id=token,
        environment=environment.name,
        uid=owner[0],
        gid=owner[1],
        generation=generation.number,
        upper=upper.number,
        metadata=opened.metadata,
        why=opened.why,
        host=opened.host,
        hidden_mount=hidden_mount,
        image=opened.image,
        executable=generation.interpreter.executable,
        losses=losses.state,
    )


def _remember(store: Store, overlay: Overlay) -> None:
    said = asdict(overlay)
    said[_HIDDEN_MOUNT] = said.pop("hidden_mount")
    write_record(_record_path(store, overlay.environment), said)


def _record_path(store: Store, environment: str) -> str:
    return store.run_path(_PREFIX + environment)
