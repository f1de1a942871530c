"""Anchors: where mounts are attached in private.

A file in leases/ says of each that it is there, whoever is killed before the overlay, or the image, that it is for is remembered.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from casfs.mount.kernel import mount_identity, unmount
from casfs.store.publish import naming
from casfs.store.store import Store

_PREFIX = "anchor-"
_IMAGE = "image-"
_PRIVATE = "/run/casfs"


def make_anchor(store: Store, token: str) -> str:
    """A private directory for a mount. Raises FileExistsError if there is one of this token."""
    path = _private_path(store, os.urandom(6).hex())
    record = store.path("leases", _PREFIX + token)
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


def is_attached(anchor: str) -> bool:
    """Whether something is attached there: after a start of the machine leases/ speaks of anchors that are directories, or nothing at all.

    Who takes one of these for a mount would show an empty directory, or make the whole file system below it read-only.
    """
    identity = mount_identity(anchor)
    return identity != mount_identity(os.path.dirname(anchor)) if identity else os.path.ismount(anchor)


def end_anchor(store: Store, token: str, anchor: str) -> None:
    """Take away what is attached there; it lives on for as long as somebody uses it."""
    while True:
        with contextlib.suppress(OSError):
            unmount(anchor, is_lazy=True)
            if is_attached(anchor):  # a command was killed that had attached something on top (see `overlay`)
                continue
        break
    for remove, path in ((os.rmdir, anchor), (os.unlink, store.path("leases", _PREFIX + token))):
        with contextlib.suppress(OSError):
            remove(path)


def find_anchor(store: Store, token: str) -> str | None:
    """The private directory that was made for a token."""
    with contextlib.suppress(OSError), open(store.path("leases", _PREFIX + token), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
    return None


def image_token(uuid: str) -> str:
    """The token of the anchor that an image has."""
    return _IMAGE + uuid


def image_of_token(token: str) -> str | None:
    """The UUID, if an anchor's token is that of an image."""
    uuid = token.removeprefix(_IMAGE)
    return uuid if uuid != token else None


def end_image(store: Store, uuid: str) -> None:
    """Let an image go that no overlay needs any more; it lives on for as long as one has it."""
    if (path := find_anchor(store, image_token(uuid))) is not None:
        end_anchor(store, image_token(uuid), path)


def iter_anchors(store: Store) -> Iterator[tuple[str, str]]:
    """(token, private directory) of every mount that was made and not ended."""
    for name in os.listdir(store.path("leases")):
        if (token := name.removeprefix(_PREFIX)) != name and (path := find_anchor(store, token)) is not None:
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
    return os.path.realpath(store.path("leases", f"{name}.mnt"))
