"""A store of the format before becomes one of this format when it is first used: its run/ was called leases/ there.

Who serves mounts has paths in it, and what is mounted in private hangs below it. So it keeps its name for as long as anything in it lives,
and is used by that name. Every step may be the last, or be taken by two processes at once; the format is written when all are done.
"""

from __future__ import annotations

import contextlib
import errno
import os

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
        if os.path.isdir(old) and not os.path.islink(old):
            if _is_alive(old):
                return OLD_RUN
            os.rename(old, new)
        for name in os.listdir(new):
            if name.endswith(MOUNT_SUFFIX[OLD_RUN]):
                os.rename(f"{new}/{name}", f"{new}/{name.removesuffix(MOUNT_SUFFIX[OLD_RUN])}{MOUNT_SUFFIX[RUN]}")
        with contextlib.suppress(FileExistsError):
            os.symlink(RUN, old)  # for a command that began before; `casfs collect` removes it
        _write_format(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):  # another process is a step ahead: what was a directory is a link
        return RUN if os.path.isdir(new) else OLD_RUN
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return OLD_RUN if os.path.isdir(old) else RUN
    return RUN


def _is_alive(directory: str) -> bool:
    """Whether a process holds a file in it, or something is mounted below it."""
    paths = [f"{directory}/{name}" for name in os.listdir(directory)]
    return any(os.path.ismount(path) if path.endswith(".mnt") else is_file_locked(path) for path in paths)


def _write_format(path: str) -> None:
    """The name is durable before anybody can rely on it."""
    new = f"{path}/format.{os.getpid()}"
    with open(new, "w", encoding="utf-8") as file:
        file.write(FORMAT)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(new, 0o644)
    os.rename(new, f"{path}/format")
