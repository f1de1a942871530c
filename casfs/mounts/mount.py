"""Mounting: an environment comes to be seen at a path, for root through the kernel, for others through a daemon of their own."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from casfs.daemon.start import start_process
from casfs.errors import CasfsError, MountRefused
from casfs.mounts.hosts import end_idle_host, host_on_demand, start_beside
from casfs.mounts.mounting import make_mount
from casfs.mounts.mountpoints import KERNEL, PLAIN, MountRecord, find_mount_record, locked_mounts
from casfs.mounts.other_namespace import is_ours_in, unmount_from
from casfs.mounts.serving import serve
from casfs.overlay.mountinfo import find_mount, is_dead, is_ours, prepare_mountpoint
from casfs.store.environments import Environment
from casfs.store.leases import iter_leases
from casfs.store.runtime_files import now_utc
from casfs.store.store import Store


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How an environment shall be mounted."""

    owner: tuple[int, int] | None = None  # user and group to whom the files belong; None: as the environment's directory
    data_path: str = ""  # KERNEL, PLAIN, or what the kernel allows
    is_read_only: bool = False
    namespace: int = 0  # mount namespace in which the path is; 0 is our own
    pid: int = 0  # a process that is there
    after: str = ""  # why the daemon that showed it before ended, if somebody knows


def mount(
    environment: Environment, path: str, options: MountOptions, require_generation: Callable[[], None], warn: Callable[[str], None]
) -> MountRecord | None:
    """Let an environment be seen at a path. Answers the record of the mount; None if a daemon of this user serves it alone.

    1. A path that can't be mounted is refused; the directory is made (`prepared`).
    2. The environment has a generation (`require_generation`).
    3. A plain user gets a daemon of its own, which mounts FUSE (see casfs.daemon).
    4. For root, with the mounts locked: the kernel mounts the image of the generation and an overlay over the pools, or what our own file
       system shows (`mounting.make_mount`), and a record in run/ remembers it.
    5. A host starts beside it that nothing waits for: it scrubs, and answers `status`.

    Raises MountRefused; then nothing is left behind.
    """
    refuse_mountpoint(environment, path, options)
    with prepared(path) if not options.namespace else contextlib.nullcontext():
        if options.namespace and is_ours_in(options.pid, path, must_be_dead=True):
            unmount_from(options.pid, path, is_lazy=True)
        require_generation()
        if os.geteuid() != 0:
            start_process(path, functools.partial(serve, environment.store, environment.name, path, after=options.after))
            return None
        try:
            while (made := _mount_locked(environment, path, options, warn)) is None:
                require_generation()  # somebody has removed the environment just now
        except BaseException:
            with contextlib.suppress(CasfsError, OSError):  # why it failed is what matters
                end_idle_host(environment.store, is_lazy=False)  # it was started for this
            raise
        start_beside(environment.store)
        return made


def refuse_mountpoint(environment: Environment, path: str, options: MountOptions) -> None:
    """Raises MountRefused where nothing can be mounted as asked."""
    if f"{path}/".startswith(f"{os.path.realpath(environment.store.root)}/") and not options.namespace:
        raise MountRefused(path, "is in the store itself")
    if options.owner is not None and os.geteuid() != 0:
        raise MountRefused(path, "only root can choose the owner of a mount's files (--owner)")
    if options.data_path == KERNEL and os.geteuid() != 0:
        raise MountRefused(path, "only root's daemon has the kernel's data path; `casfs run` has it for everybody")


@contextlib.contextmanager
def prepared(path: str) -> Iterator[None]:
    """A directory to mount on. If the block fails, what was made of it and above it is removed again."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    try:
        prepare_mountpoint(missing[0] if missing else path)
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # somebody uses one
            for made in missing:
                os.rmdir(made)
        raise


def _mount_locked(environment: Environment, path: str, options: MountOptions, warn: Callable[[str], None]) -> MountRecord | None:
    """None if the environment is gone. Only while the mounts are locked can nobody remove it."""
    store = environment.store
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_mounts(store))
        if environment.current_number() is None:
            return None
        require_host = stack.enter_context(host_on_demand(store, warn))
        uid, gid = options.owner or environment.owner_ids()
        wish = MountRecord(
            path,
            environment.name,
            uid,
            gid,
            "",
            now_utc(),
            options.namespace,
            options.pid,
            data_path=options.data_path,
            is_read_only=options.is_read_only,
        )
        return make_mount(store, require_host, wish)


def is_mounted_already(environment: Environment, path: str, options: MountOptions) -> bool:
    """Whether the path shows this environment as asked. Raises MountRefused if something else is mounted there."""
    if options.namespace:
        return _is_mounted_inside(environment, path, options)
    found = find_mount(path)
    if found is None or is_dead(path):
        return False
    shown = _shown_at(environment.store, path)
    if not is_ours(found) or shown is None:
        raise MountRefused(path, f"something else is mounted there ({found.type})")
    if shown != environment.name:
        raise MountRefused(path, f"already shows environment {shown!r}")
    record = find_mount_record(environment.store, path)
    if record is not None and (difference := _difference(record, options)):
        raise MountRefused(path, f"already shows environment {shown!r}, {difference}; first `casfs umount {shlex.quote(path)}`")
    return True


def _difference(record: MountRecord, options: MountOptions) -> str:
    """How a mount that is there differs from the one that is asked for; empty if it does not."""
    if options.is_read_only and not record.is_read_only and record.overlay:
        return "writable"
    if options.data_path and options.data_path != (KERNEL if record.overlay else PLAIN):
        return f"on the data path {KERNEL if record.overlay else PLAIN!r}"
    if options.owner is not None and options.owner != (record.uid, record.gid):
        return f"as the files of user {record.uid}"
    return ""


def _shown_at(store: Store, path: str) -> str | None:
    """The environment that a live mount of this store shows."""
    if (record := find_mount_record(store, path)) is not None:
        return record.environment
    return next((lease.environment for lease in iter_leases(store) if lease.mountpoint == path), None)


def _is_mounted_inside(environment: Environment, path: str, options: MountOptions) -> bool:
    """Whether the process sees this environment there. Raises MountRefused if it is another one."""
    if not is_ours_in(options.pid, path) or is_ours_in(options.pid, path, must_be_dead=True):
        return False
    record = find_mount_record(environment.store, path, options.namespace)
    if record is None or record.environment != environment.name:
        what = f"already shows environment {record.environment!r}" if record else "is mounted already"
        raise MountRefused(f"{path} of process {options.pid}", what)
    return True
