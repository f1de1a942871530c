"""The store: one directory that holds pool, manifests and environments.

    format                          version of this layout; an unknown one is refused, never guessed
    blobs/ab/cdef...                immutable, 0444, named by the SHA-256 of the content; nothing else lives here
    manifests/ab/cdef...            all files of one distribution; named by the SHA-256 of the manifest's own bytes
    wheels/<wheel sha256>           holds the digest of the wheel's manifest: "have I seen this wheel?" is one open()
    stamps/<key>                    digest of a wheel file that has not changed since it was hashed (derived, may be deleted)
    stamps/<manifest>.blobs         what its blobs were when they were last known to be right (derived, may be deleted; see `blob_stamps`)
    stamps/<manifest>.inodes        a distribution's share of metadata images (derived, may be deleted; see `casfs.venv.image.fragments`)
    stamps/<manifest>.installed     what installing its wheel came to (derived, may be deleted; see `remembered`)
    stamps/<key>.locked             what a lock names for an interpreter (derived, may be deleted; see `casfs.lockfiles.known`)
    stamps/scrub.json               how far the scrub is, and what it found (may be deleted; see `scrub`); beside it the lock of who scrubs
    interpreters/<key>.json         what an interpreter answered when it was asked (derived, may be deleted)
    numbers/ab/cdef                 the manifest that has this number; numbers are never given twice (see `numbers`)
    numbers/by-project/<project>/   a marker for each number that a manifest of a project got (see `times`)
    environments/<name>/            generations/<n>.toml, generations/<n>.index (derived), current -> generations/<n>.toml, lock;
                                    synced: what was synced last (derived, may be deleted; see `casfs.cli.synced`);
                                    upper/, if somebody may write into its mounts (see `uppers`)
    run/                            what is mounted, and by whom (see `leases`)
    bytecode/                       what manifests and sources become when they are compiled (derived, see `bytecode`); made when needed
    locks/                          empty files, of whoever changes something (see `locking`); made when needed
    downloads/<file sha256>         what was fetched for a command that then ended too early (see `kept`); made when needed
    clock                           the newest time that something in the store has (see `clock` and `times`)
    tmp/                            staging; leftovers are not damage
    identity                        device and inode of the directory that this is: in a copy run/ means nothing
    config.toml                     which shared pools lie behind this store (see `shared`); may be absent
    quarantine/                     what `casfs fsck --repair` set aside; made when it is needed, never read

Nothing in it but config.toml is meant to be edited; all of it may be looked at.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
from collections.abc import Sequence

from casfs.errors import StoreRefused
from casfs.store.blobs import LocalPool
from casfs.store.following import resolve_path
from casfs.store.migration import FORMAT, OLD_FORMAT, RUN, is_half_old, migrate_store, rename_records
from casfs.store.pools import Pools
from casfs.store.publish import Batch, Syncs
from casfs.store.runtime_files import is_file_locked, write_record

DIRECTORIES = ("blobs", "manifests", "wheels", "stamps", "interpreters", "numbers", "environments", RUN, "tmp")


class Store:
    """An open store: where things are. It holds its path, those of the shared pools behind it, and what is to be synced."""

    def __init__(self, root: str, run: str = RUN) -> None:
        """`run` is the name of its run directory, which differs in a store of the format before that is in use."""
        self.root = root
        self.run = run
        self.pool = Pools(f"{root}/blobs")
        self.shared: tuple[str, ...] = ()
        self.syncs = Syncs(self.path("tmp"))

    def rely_on(self, roots: Sequence[str]) -> None:
        """Let these stores lie behind this one: what they hold counts as there, and nothing is ever written to them."""
        self.pool.shared = [LocalPool(f"{root}/blobs") for root in roots]
        self.shared = tuple(roots)

    def path(self, *parts: str) -> str:
        """Path of something in the store."""
        return "/".join((self.root, *parts))

    def run_path(self, *parts: str) -> str:
        """Path of something in run/."""
        return "/".join((self.root, self.run, *parts))

    def batch(self) -> Batch:
        """A new batch of files to publish."""
        return Batch(self.path("tmp"), self.syncs)


def open_store(root: str | os.PathLike[str], *, create: bool = False) -> Store:
    """The store at `root`; with `create`, an absent or empty directory becomes one.

    Raises StoreRefused for anything that is not a store of this format.
    """
    path = os.path.abspath(root)
    try:
        with open(f"{path}/format", encoding="utf-8", errors="replace") as file:
            found = file.read()
    except FileNotFoundError:
        if not create:
            raise StoreRefused(path, "is not a casfs store; `casfs add` makes one") from None
        _create(resolve_path(path))
        _forget_leases_of_original(path, RUN)
        return Store(path)
    except NotADirectoryError:
        raise StoreRefused(path, "is not a directory") from None
    if found not in {FORMAT, OLD_FORMAT}:
        raise StoreRefused(path, f"has the format {found.strip()[:40]!r}; this casfs knows only {FORMAT.strip()!r}")
    run = migrate_store(path) if found == OLD_FORMAT else RUN
    if run == RUN and is_half_old(path):
        with contextlib.suppress(OSError):  # somebody else's store, which we only read
            rename_records(path)
    _forget_leases_of_original(path, run)
    return Store(path, run)


def open_new_lease(store: Store, path: str) -> int:
    """A descriptor of a new file in run/, which is locked. Raises StoreRefused on a read-only disk."""
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        way = f"`casfs --store DIR pool add {shlex.quote(store.root)}` lets it lie behind a store of your own"
        raise StoreRefused(store.root, f"is on a read-only disk, and every mount and every change is noted in its store; {way}") from None
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _forget_leases_of_original(path: str, run: str) -> None:
    """In a copy of a store run/ speaks of mounts that are the original's: they must not be taken for ours."""
    status, known = os.stat(path), None
    identity = [status.st_dev, status.st_ino]
    with contextlib.suppress(OSError, ValueError), open(f"{path}/identity", encoding="utf-8") as file:
        known = json.load(file)
    if known == identity:
        return
    with contextlib.suppress(OSError):  # somebody else's store, which we only read
        if known and not any(map(is_file_locked, _files(f"{path}/{run}"))):
            for name in _files(f"{path}/{run}"):
                os.unlink(name)
        write_record(f"{path}/identity", identity)


def _files(directory: str) -> list[str]:
    return [f"{directory}/{name}" for name in os.listdir(directory) if not name.endswith(".mnt")]


def _create(path: str) -> None:
    """Make an empty store. Private to its owner: whoever may read a pool may read every wheel that was added to it."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    names = set(os.listdir(path))
    if "format" in names:
        return  # another process has made it meanwhile
    strangers = sorted(names - {*DIRECTORIES, "locks", "config.toml", "identity", "identity.new"})
    if strangers:
        raise StoreRefused(path, f"is not a casfs store and not empty (it holds {strangers[0]!r})")
    for name in DIRECTORIES:
        os.makedirs(f"{path}/{name}", mode=0o700, exist_ok=True)  # the store's own directory may have been there before
    with Batch(f"{path}/tmp") as batch:
        batch.add(f"{path}/format", FORMAT.encode(), mode=0o644)
        batch.commit_small()
