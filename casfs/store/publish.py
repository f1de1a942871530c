"""Publishing: the one way in which files become visible in a store.

A batch stages its files in a directory of its own below tmp/, on the same file system. `commit` then

    1. syncs the file system, so that what is staged is on the disk, and the name of all that was published before,
    2. links or renames each file to its final name,
    3. syncs again, so that the names are on the disk too.

A reader sees all of a file or none of it, and what one batch published is durable before the next batch refers to it. The order is what
survives a power cut: names that are synced before their bytes come back as empty files. A batch that fails leaves at most whole, durable
files that nothing refers to yet; what a dead process left in tmp/ is swept by the next batch.

A command that changes an environment commits several times, and step 1 of each commit does what step 3 of the one before was for. So within
`Syncs.once` step 3 is left to the end. `casfs add` of new wheels then takes these steps, each of which begins with a sync:

    1. blobs of the wheels (and of a new environment's skeleton), their manifests, the numbers of these
    2. blobs of bytecode, the manifests that have it, their numbers; the records by which the wheels of step 1 are known
    3. the records by which that bytecode is known: before its lock is let go, so that who waits for it compiles nothing again
    4. blobs of what installing adds, their manifests, their numbers; then the generation, whose two files are synced by themselves
    5. `current`
    6. nothing; only now the command says that it is done

Steps 2 and 3 are for what has to be compiled: without them there are four syncs. The names of one step come in this order, but a power cut
may leave any of them. Nothing goes by a number to a manifest that was not reached in another way, nor to a generation above `current`.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from types import TracebackType


def sync_file_system(fd: int) -> None:
    """Flush everything of the file system that holds `fd` to its disk (syncfs(2)).

    Raises OSError also for an earlier write-back error since `fd` was opened (Linux 5.8), so open `fd` before writing.
    """
    import ctypes  # 2 ms, which who only reads need not wait

    if ctypes.CDLL(None, use_errno=True).syncfs(fd):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write all of `content`: write(2) may take less than it is given."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Let an OSError out of the block say which file it is about: those of write(2) and other calls on a descriptor don't know."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = path
        raise


def room_problem(directory: str, size: int) -> str:
    """Why the disk of a directory can't hold `size` bytes more; "" if it can."""
    disk = os.statvfs(directory)
    free = (disk.f_bavail if os.geteuid() else disk.f_bfree) * disk.f_frsize
    return f"needs {size} bytes, and the disk of the store has only {free}" if size > free else ""


class Syncs:
    """Which syncs of a store's batches are put off, and what waits for the next one."""

    def __init__(self, temporary: str) -> None:
        self._temporary = temporary
        self._is_once = self._is_due = False
        self._waiting: dict[str, bytes] = {}

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """Let all names that are published in the block be on the disk at its end, by one sync. Not for threads side by side."""
        if self._is_once:
            yield
            return
        fd = os.open(self._temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._is_once = True
        try:
            yield
            self._is_once = False
            self._publish(self.take_waiting())
            if self._is_due:
                with naming(self._temporary):
                    sync_file_system(fd)
        finally:
            self._is_once = self._is_due = False
            self._waiting = {}
            os.close(fd)

    def publish_next(self, records: Mapping[str, bytes]) -> None:
        """Publish what refers to something that is published: with the next commit, which syncs that first, or at the end of the block."""
        if self._is_once:
            self._waiting |= records
        else:
            self._publish(records)

    def take_waiting(self) -> dict[str, bytes]:
        """What the next commit has to publish."""
        taken, self._waiting = self._waiting, {}
        return taken

    def give_back(self, records: Mapping[str, bytes]) -> None:
        """The commit failed."""
        self._waiting = {**records, **self._waiting} if self._is_once else {}

    def settle(self, fd: int) -> None:
        """Sync the file system after a commit, now or at the end of the block."""
        if self._is_once:
            self._is_due = True
        else:
            self._is_due = False
            sync_file_system(fd)

    def _publish(self, records: Mapping[str, bytes]) -> None:
        with Batch(self._temporary, self) as batch:
            for target, content in records.items():
                batch.add(target, content)
            batch.commit()


class Batch:
    """Files that are staged one by one and published together. A context manager: what is not committed is removed."""

    def __init__(self, temporary: str, syncs: Syncs | None = None) -> None:
        """`temporary` is the store's tmp/ directory."""
        _sweep(temporary)
        self._syncs = syncs or Syncs(temporary)
        self._directory, self._lock_fd = _own_directory(temporary)
        self._staged: dict[str, str] = {}
        self._exclusive: set[str] = set()
        self._count = itertools.count(1)  # next() of it is atomic: threads stage side by side

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        os.close(self._lock_fd)

    def __contains__(self, target: str) -> bool:
        return target in self._staged

    @property
    def directory(self) -> str:
        """Where files are staged. Whatever else is put there ends with the batch, or with the next one if this process dies."""
        return self._directory

    @contextlib.contextmanager
    def undoing(self) -> Iterator[None]:
        """Take back what was placed in the block if an exception leaves it. No target of an earlier file is placed again in it."""
        before = set(self._staged)
        try:
            yield
        except BaseException:
            for target in self._staged.keys() - before:
                self._exclusive.discard(target)
                with contextlib.suppress(OSError):
                    os.unlink(self._staged.pop(target))
            raise

    @contextlib.contextmanager
    def writing(self, mode: int = 0o444) -> Iterator[tuple[str, int]]:
        """A new staged file: its name and a descriptor that is open for writing. It is published only if `place` is called."""
        name = f"{self._directory}/{next(self._count)}"
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
        with naming(name):
            try:
                os.fchmod(fd, mode)  # whatever the umask
                yield name, fd
            finally:
                os.close(fd)

    def place(self, staged: str, target: str, *, exclusive: bool = False) -> None:
        """Let `commit` publish the staged file as `target`. `exclusive`: commit raises FileExistsError if the name is taken by then."""
        self._staged[target] = staged
        if exclusive:
            self._exclusive.add(target)

    def add(self, target: str, content: bytes, *, mode: int = 0o444, exclusive: bool = False) -> None:
        """Stage `content` for `target`."""
        with self.writing(mode) as (name, fd):
            write_all(fd, content)
        self.place(name, target, exclusive=exclusive)

    def add_link(self, target: str, points_to: str) -> None:
        """Stage a symbolic link named `target`; it replaces an older one atomically."""
        name = f"{self._directory}/{next(self._count)}"
        try:
            os.symlink(points_to, name)
        except OSError as error:
            raise OSError(error.errno, error.strerror, name) from None  # it names what the link points to
        self.place(name, target)

    def commit(self) -> None:
        """Publish everything that was placed, durably (see `Syncs`). Raises OSError; each file is either published whole or not at all."""
        if not self._staged:
            return
        waiting = self._syncs.take_waiting()
        try:
            for target, content in waiting.items():
                self.add(target, content)
            with naming(self._directory):
                sync_file_system(self._lock_fd)
                self._publish_all()
                self._syncs.settle(self._lock_fd)
        except BaseException:
            self._syncs.give_back(waiting)
            raise

    def commit_small(self) -> None:
        """Publish a few small files, which are synced one by one (fsync(2)), and whose names are on the disk after the next commit."""
        for staged in self._staged.values():
            with open(staged, "rb") as file, naming(staged):
                os.fsync(file.fileno())
        self._publish_all()

    def _publish_all(self) -> None:
        for target, staged in [*self._staged.items()]:
            self._publish(staged, target)
            del self._staged[target]
            self._exclusive.discard(target)

    def _publish(self, staged: str, target: str) -> None:
        move = os.link if target in self._exclusive else os.rename
        try:
            move(staged, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            move(staged, target)


def _own_directory(temporary: str) -> tuple[str, int]:
    """A new directory below `temporary` and a descriptor that holds its lock: nobody sweeps it while we live."""
    while True:
        name = f"{temporary}/{os.urandom(8).hex()}"
        os.mkdir(name, 0o700)
        with contextlib.suppress(FileNotFoundError), naming(name):  # swept between mkdir and open
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.exists(name):
                return name, fd
            os.close(fd)


def _sweep(temporary: str) -> None:
    """Remove what dead processes left in tmp/."""
    for entry in os.listdir(temporary):
        name = f"{temporary}/{entry}"
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            shutil.rmtree(name, ignore_errors=True)
        finally:
            os.close(fd)
