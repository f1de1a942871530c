"""Hidden mounts: where mounts are attached in private.

A file in run/ says of each that it is there, whoever is killed before the overlay, or the image, that it is for is remembered.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from casfs.overlay.kernel import mount_identity, unmount
from casfs.store.publish import naming
from casfs.store.store import Store

_PREFIX = "anchor-"
_IMAGE = "image-"
_PRIVATE = "/run/casfs"


def make_hidden_mount(store: Store, token: str) -> str:
    """A private directory for a mount. Raises FileExistsError if there is one of this token."""
    path = _private_path(store, os.urandom(6).hex())
    record = store.run_path(_PREFIX + token)
    try:
        with naming(record), open(record, "x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(path)
        os.mkdir(path, 0o700)
    except FileExistsError:
        raise
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(record)
        raise
    return path


def is_attached(hidden_mount: str) -> bool:
    """Whether something is attached there: after a start of the machine run/ speaks of some that are directories, or nothing at all.

    Who takes one of these for a mount would show an empty directory, or make the whole file system below it read-only.
    """
    identity = mount_identity(hidden_mount)
    return identity != mount_identity(os.path.dirname(hidden_mount)) if identity else os.path.ismount(hidden_mount)


def end_hidden_mount(store: Store, token: str, hidden_mount: str) -> None:
    """Take away what is attached there; it lives on for as long as somebody uses it."""
    while True:
        with contextlib.suppress(OSError):
            unmount(hidden_mount, is_lazy=True)
            if is_attached(hidden_mount):  # a command was killed that had attached something on top (see `overlay`)
                continue
        break
    for remove, path in ((os.rmdir, hidden_mount), (os.unlink, store.run_path(_PREFIX + token))):
        with contextlib.suppress(OSError):
            remove(path)


def find_hidden_mount(store: Store, token: str) -> str | None:
    """The private directory that was made for a token."""
    with contextlib.suppress(OSError), open(store.run_path(_PREFIX + token), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
    return None


def image_token(uuid: str) -> str:
    """The token of the hidden mount that an image has."""
    return _IMAGE + uuid


def image_of_token(token: str) -> str | None:
    """The UUID, if a hidden mount's token is that of an image."""
    uuid = token.removeprefix(_IMAGE)
    return uuid if uuid != token else None


def end_image(store: Store, uuid: str) -> None:
    """Let an image go that no overlay needs any more; it lives on for as long as one has it."""
    if (path := find_hidden_mount(store, image_token(uuid))) is not None:
        end_hidden_mount(store, image_token(uuid), path)


def iter_hidden_mounts(store: Store) -> Iterator[tuple[str, str]]:
    """(token, private directory) of every mount that was made and not ended."""
    for name in os.listdir(store.run_path()):
        if (token := name.removeprefix(_PREFIX)) != name and (path := find_hidden_mount(store, token)) is not None:
            yield token, path


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
    return os.path.realpath(store.run_path(f"{name}.mnt"))
