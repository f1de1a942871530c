"""The store: one directory that holds pool, manifests and environments.

    format                          version of this layout; an unknown one is refused, never guessed
    blobs/ab/cdef...                immutable, 0444, named by the SHA-256 of the content; nothing else lives here
    manifests/ab/cdef...            all files of one distribution; named by the SHA-256 of the manifest's own bytes
    wheels/<wheel sha256>           holds the digest of the wheel's manifest: "have I seen this wheel?" is one open()
    stamps/<key>                    digest of a wheel file that has not changed since it was hashed (derived, may be deleted)
    stamps/<manifest>.blobs         what its blobs were when they were last known to be right (derived, may be deleted; see `blob_stamps`)
    interpreters/<key>              what an interpreter answered when it was asked (derived, may be deleted)
    numbers/ab/cdef                 the manifest that has this number; numbers are never given twice (see `numbers`)
    environments/<name>/            generations/<n>.toml, generations/<n>.index (derived), current -> generations/<n>.toml, lock;
                                    upper/, if somebody may write into its mounts (see `uppers`)
    leases/                         what is mounted, and by whom: files beside each daemon's lease, one for each place (see `leases`)
    twins/                          manifests laid out as directories for overlays (derived, see `casfs.venv.twins`); made when needed
    tmp/                            staging; leftovers are not damage
    identity                        device and inode of the directory that this is: in a copy leases/ means nothing
    config.toml                     which shared pools lie behind this store (see `shared`); may be absent
    quarantine/                     what `casfs fsck --repair` set aside; made when it is needed, never read

Nothing in it but config.toml is meant to be edited; all of it may be looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from casfs.errors import StoreRefused
from casfs.store.blobs import LocalPool
from casfs.store.pools import Pools
from casfs.store.publish import Batch

FORMAT = "casfs store 1\n"

DIRECTORIES = ("blobs", "manifests", "wheels", "stamps", "interpreters", "numbers", "environments", "leases", "tmp")


class Store:
    """An open store: where things are. It holds no state but its path and the paths of the shared pools behind it."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.pool = Pools(f"{root}/blobs")
        self.shared: tuple[str, ...] = ()

    def rely_on(self, roots: Sequence[str]) -> None:
        """Let these stores lie behind this one: what they hold counts as there, and nothing is ever written to them."""
        self.pool.shared = [LocalPool(f"{root}/blobs") for root in roots]
        self.shared = tuple(roots)

    def path(self, *parts: str) -> str:
        """Path of something in the store."""
        return "/".join((self.root, *parts))

    def batch(self) -> Batch:
        """A new batch of files to publish."""
        return Batch(self.path("tmp"))


def open_store(root: Path, *, create: bool = False) -> Store:
    """The store at `root`; with `create`, an absent or empty directory becomes one.

    Raises StoreRefused for anything that is not a store of this format.
    """
    path = os.path.abspath(root)
    try:
        found = Path(path, "format").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if not create:
            raise StoreRefused(path, "is not a casfs store; `casfs add` makes one") from None
        _create(path)
        _forget_leases_of_original(path)
        return Store(path)
    except NotADirectoryError:
        raise StoreRefused(path, "is not a directory") from None
    if found != FORMAT:
        raise StoreRefused(path, f"has the format {found.strip()[:40]!r}; this casfs knows only {FORMAT.strip()!r}")
    _forget_leases_of_original(path)
    return Store(path)


def _forget_leases_of_original(path: str) -> None:
    """In a copy of a store leases/ speaks of mounts that are the original's: they must not be taken for ours."""
    found = os.stat(path)
    identity = f"{found.st_dev}:{found.st_ino}\n"
    known = ""
    with contextlib.suppress(OSError), open(f"{path}/identity", encoding="utf-8", errors="replace") as file:
        known = file.read()
    if known == identity:
        return
    with contextlib.suppress(OSError):  # somebody else's store, which we only read
        if known and not any(map(_is_held, _files(f"{path}/leases"))):
            for name in _files(f"{path}/leases"):
                os.unlink(name)
        _write_identity(path, identity)


def _write_identity(path: str, identity: str) -> None:
    """Raises OSError, and then leaves nothing."""
    staged = f"{path}/tmp/identity.{os.getpid()}"
    try:
        with open(staged, "w", encoding="utf-8") as file:
            file.write(identity)
        os.rename(staged, f"{path}/identity")
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)
        raise


def _files(directory: str) -> list[str]:
    return [f"{directory}/{name}" for name in os.listdir(directory) if not name.endswith(".mnt")]


def _is_held(path: str) -> bool:
    """Whether a process holds a lock on the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _create(path: str) -> None:
    """Make an empty store. Private to its owner: whoever may read a pool may read every wheel that was added to it."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    strangers = sorted(set(os.listdir(path)) - {*DIRECTORIES, "format", "config.toml"})
    if strangers:
        raise StoreRefused(path, f"is not a casfs store and not empty (it holds {strangers[0]!r})")
    for name in DIRECTORIES:
        os.makedirs(f"{path}/{name}", mode=0o700, exist_ok=True)  # the store's own directory may have been there before
    with Batch(f"{path}/tmp") as batch:
        batch.add(f"{path}/format", FORMAT.encode(), mode=0o644)
        batch.commit()
