"""A store of the format before becomes one of this format when it is first used: its run/ was called leases/ there.

Who serves mounts has paths in it, and what is mounted in private hangs below it. So it keeps its name for as long as anything in it lives,
and is used by that name. While it is renamed the lock is held that commands of the version before take to mount. Every step may be the
last, or be taken by two processes at once; the format is written when all others are on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os

from casfs.descriptors import closing_fd
from casfs.store.locking import holding
from casfs.store.runtime_files import is_file_locked

FORMAT = "casfs store 2\n"
OLD_FORMAT = "casfs store 1\n"

RUN, OLD_RUN = "run", "leases"

MOUNT_SUFFIX = {RUN: ".mount", OLD_RUN: ".place"}
"""What the name of a mount's record ends with."""

_NOT_OURS = {errno.EROFS, errno.EACCES, errno.EPERM}


def migrate_store(path: str) -> str:
    """Give a store of the format before this one. Answers the name of its run directory. Raises OSError."""
    old, new = f"{path}/{OLD_RUN}", f"{path}/{RUN}"
    try:
        with holding(f"{path}/locks/places"):
            if os.path.isdir(old) and not os.path.islink(old):
                if _is_alive(old):
                    return OLD_RUN
                os.rename(old, new)
            with contextlib.suppress(FileExistsError):
                os.symlink(RUN, old)  # for a command that began before; `casfs collect` removes it
            rename_records(path)
            _write_format(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):  # another process is a step ahead: what was a directory is a link
        return RUN if os.path.isdir(new) else OLD_RUN
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return OLD_RUN if os.path.isdir(old) else RUN
    return RUN


def is_half_old(path: str) -> bool:
    """Whether a command of the version before, which began before the store was migrated, may still write into its run directory."""
    return os.path.islink(f"{path}/{OLD_RUN}")


def rename_records(path: str) -> None:
    """Give records of mounts that the version before has written their names in this one."""
    for name in os.listdir(f"{path}/{RUN}"):
        if name.endswith(MOUNT_SUFFIX[OLD_RUN]):
            record = f"{path}/{RUN}/{name.removesuffix(MOUNT_SUFFIX[OLD_RUN])}{MOUNT_SUFFIX[RUN]}"
            with contextlib.suppress(FileNotFoundError):  # another process is a step ahead
                os.rename(f"{path}/{RUN}/{name}", record)


def _is_alive(directory: str) -> bool:
    """Whether a process holds a file in it, or something is mounted below it."""
    paths = [f"{directory}/{name}" for name in os.listdir(directory)]
    return any(os.path.ismount(path) if path.endswith(".mnt") else is_file_locked(path) for path in paths)


def _write_format(path: str) -> None:
    """After a power cut a store of this format has the directory of this format as well."""
    new = f"{path}/tmp/format-{os.getpid()}"
    with open(new, "w", encoding="utf-8") as file:
        file.write(FORMAT)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(new, 0o644)
    with closing_fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        os.fsync(fd)
        os.rename(new, f"{path}/format")
        os.fsync(fd)
