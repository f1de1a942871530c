"""Operations: pyfuse3's requests answered from a view. Every handler is a few lines; what they decide stands in `view`.

The mount is read-only and immutable: the kernel may keep entries, misses, attributes and pages for ever, and is told when a generation
changes. No handler blocks: what is resident is read inline, everything else in a thread. No handler can end the main loop: whatever it
raises becomes an errno and, if it was not expected, a line in the log.

How long requests took is counted in buckets that double, so that counting costs next to nothing.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from time import perf_counter_ns
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3
import trio

from casfs.digest import shard_path
from casfs.errors import StoreDamaged
from casfs.fuse.blob_verifier import BlobVerifier
from casfs.fuse.descriptors import Descriptors
from casfs.fuse.host import Host
from casfs.fuse.inodes import ROOT, is_directory
from casfs.fuse.view import TRUSTED, USER, NeedsRead, Node, View
from casfs.paths import MAX_COMPONENT
from casfs.store.manifests import Kind
from casfs.venv.tree import DirectoryNode, FileNode

log = logging.getLogger("casfs")

_FOR_EVER_S = 1e9
_BLOCK = 4096
_HERE, _ABOVE = 1, 2  # positions of "." and ".."; every other entry's is larger

_MODES = {Kind.FILE: stat.S_IFREG | 0o644, Kind.EXECUTABLE: stat.S_IFREG | 0o755, Kind.SYMLINK: stat.S_IFLNK | 0o777}

_OVERLAY_PREFIXES = tuple(f"{namespace}.overlay.".encode() for namespace in (USER, TRUSTED))
_OVERLAY_NAMES = {
    f"{namespace}.overlay.{name}".encode(): (namespace, name) for namespace in (USER, TRUSTED) for name in ("metacopy", "redirect")
}

_SAME_LOOKUP_NS = 2_000_000
"""An overlay's three questions about one file follow each other within microseconds; one look at the blob answers them all."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _guarded(
    method: Callable[Concatenate[Any, _P], Awaitable[_T]],
) -> Callable[Concatenate[Any, _P], Coroutine[Any, Any, _T]]:
    """Count the request and its duration, and let nothing but FUSEError out: pyfuse3 ends the whole mount on any other exception."""
    kind = method.__name__

    async def handler(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        self.requests[kind] += 1
        began_ns = perf_counter_ns()
        try:
            return await method(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except StoreDamaged as error:
            log.error("%s", error)
            await trio.to_thread.run_sync(self._verifier.note_failed_read, error)
            raise pyfuse3.FUSEError(errno.EIO) from None
        except OSError as error:
            if error.errno == errno.EIO:
                log.error("%s: %s", kind, error)
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        except Exception:
            log.exception("%s failed", kind)
            raise pyfuse3.FUSEError(errno.EIO) from None
        finally:
            self.durations[kind][(perf_counter_ns() - began_ns).bit_length()] += 1

    handler.__name__ = kind
    return handler


class Operations(pyfuse3.Operations):
    """Requests of one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, view: View | Host, descriptors: Descriptors, verifier: BlobVerifier) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()
        self.durations: defaultdict[str, list[int]] = defaultdict(new_histogram)  # by kind; see `latency`
        self.view = view
        self._descriptors = descriptors
        self._verifier = verifier
        self._redirect = (0, b"", 0)  # what was answered last: of which file, where its blob is, and until when that holds

    async def _ask(self, question: Callable[..., _T], *arguments: Any) -> _T:
        """The view's answer; what it needs is read in a thread, and then it is asked again."""
        while True:
            try:
                return question(*arguments)
            except NeedsRead as unread:
                await trio.to_thread.run_sync(unread.read)

    def _attributes(self, ino: int, node: Node, is_kept: bool = True) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(ino)
        entry.st_uid, entry.st_gid = self.view.owner_ids(ino)
        entry.entry_timeout = _FOR_EVER_S if is_kept else 0
        entry.attr_timeout = _FOR_EVER_S if isinstance(node, FileNode) or self.view.is_current(ino, node) else 0
        entry.st_blksize = _BLOCK
        if isinstance(node, DirectoryNode):
            entry.st_mode, entry.st_size, entry.st_nlink = pyfuse3.ModeT(stat.S_IFDIR | 0o755), _BLOCK, 1 if node.parts else 0
        else:
            entry.st_mode, entry.st_size = pyfuse3.ModeT(_MODES[node.kind]), node.size
        entry.st_blocks = -(-entry.st_size // _BLOCK) * (_BLOCK // 512)
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = node.mtime_ns
        return entry

    @_guarded
    async def lookup(self, parent_inode: int, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:
        if len(name) > MAX_COMPONENT:
            raise pyfuse3.FUSEError(errno.ENAMETOOLONG)  # as every disk says; the kernel itself stops only at 1,024
        found, is_kept = await self._ask(self.view.look_up, parent_inode, name)
        if found is not None:
            return self._attributes(*found, is_kept)
        miss = pyfuse3.EntryAttributes()
        miss.entry_timeout = _FOR_EVER_S if is_kept else 0  # number 0 and a timeout: a miss that the kernel keeps
        return miss

    @_guarded
    async def getattr(self, inode: int, ctx: object) -> pyfuse3.EntryAttributes:
        return self._attributes(inode, await self._ask(self.view.node, inode))

    @_guarded
    async def readlink(self, inode: int, ctx: object) -> bytes:
        node = await self._ask(self.view.file, inode)
        return bytes(await self._read(node, 0, node.size))

    @_guarded
    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            raise pyfuse3.FUSEError(errno.EROFS)
        await self._ask(self._verifier.require, await self._ask(self.view.file, inode))
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    @_guarded
    async def read(self, fh: int, off: int, size: int) -> bytes | memoryview:  # type: ignore[override]  # pyfuse3 takes any buffer
        return await self._read(await self._ask(self.view.file, fh), off, size)

    async def _read(self, node: FileNode, offset: int, length: int) -> bytes | memoryview:
        """Exactly what the file has there. Raises StoreDamaged where the blob has less."""
        length = max(0, min(length, node.size - offset))
        with self._descriptors.using(node.digest, node.size) as fd:
            content = _read_resident(fd, offset, length)
            if content is None:
                content = await trio.to_thread.run_sync(os.pread, fd, length, offset)
        if len(content) != length:
            raise StoreDamaged(node.digest, f"the blob ends {length - len(content)} bytes early")
        return content

    async def release(self, fh: int) -> None:
        self.requests["release"] += 1

    @_guarded
    async def flush(self, fh: int) -> None:
        raise pyfuse3.FUSEError(errno.ENOSYS)  # the kernel never asks again

    @_guarded
    async def opendir(self, inode: int, ctx: object) -> int:
        await self._ask(self.view.directory, inode)
        return inode

    @_guarded
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        if start_id < _HERE and not self._reply(token, b".", fh, await self._ask(self.view.node, fh), _HERE):
            return
        if start_id < _ABOVE and not self._reply(token, b"..", *await self._ask(self.view.parent, fh), _ABOVE):
            return
        listing, is_kept = await self._ask(self.view.listing, fh, start_id)
        for one in listing:
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(one.name), self._attributes(one.ino, one.node, is_kept), one.position):
                return

    def _reply(self, token: pyfuse3.ReaddirToken, name: bytes, ino: int, node: Node, position: int) -> bool:
        return pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), self._attributes(ino, node), position)

    async def releasedir(self, fh: int) -> None:
        self.requests["releasedir"] += 1

    @_guarded
    async def getxattr(self, inode: int, name: bytes, ctx: object) -> bytes:
        if (wanted := _OVERLAY_NAMES.get(name)) is not None and wanted[0] == self.view.attributes(inode):
            return await self._overlay_attribute(inode, wanted[1])
        if name.startswith(_OVERLAY_PREFIXES):
            raise pyfuse3.FUSEError(errno.ENODATA)
        if (value := (await self._extended(inode)).get(name)) is None:
            raise pyfuse3.FUSEError(errno.ENODATA)
        return value

    @_guarded
    async def listxattr(self, inode: int, ctx: object) -> Sequence[bytes]:
        """Below an overlay nothing is listed: it would copy all of it to a file that somebody edits."""
        return [] if self.view.is_pinned(inode) else list(await self._extended(inode))

    async def _overlay_attribute(self, ino: int, what: str) -> bytes:
        """What tells an overlay that it may read the blob itself. It asks three times for each file, and the kernel keeps no answer."""
        if is_directory(ino):
            raise pyfuse3.FUSEError(errno.ENODATA)
        asked, redirect, until_ns = self._redirect
        if asked != ino or perf_counter_ns() > until_ns:
            try:
                node = self._redirected(ino)
            except NeedsRead:
                node = await self._ask(self._redirected, ino)
            redirect = f"/{shard_path(node.digest)}".encode() if node else b""
            self._redirect = ino, redirect, perf_counter_ns() + _SAME_LOOKUP_NS
        if not redirect:
            raise pyfuse3.FUSEError(errno.ENODATA)
        return b"" if what == "metacopy" else redirect

    def _redirected(self, ino: int) -> FileNode | None:
        """The file, if an overlay may read its blob. Raises NeedsRead."""
        node = self.view.file(ino)
        return node if node.kind is not Kind.SYMLINK and self._verifier.is_verified(node) else None

    async def _extended(self, ino: int) -> dict[bytes, bytes]:
        """Extended attributes: whose file it is, and which blob."""
        node = await self._ask(self.view.node, ino)
        if isinstance(node, DirectoryNode) or node.kind is Kind.SYMLINK:
            return {}
        attributes = {b"user.casfs.digest": node.digest.encode()}
        if owner := await self._ask(self.view.owner, ino):
            attributes[b"user.casfs.distribution"], attributes[b"user.casfs.version"] = (text.encode() for text in owner)
        return attributes

    @_guarded
    async def statfs(self, ctx: object) -> pyfuse3.StatvfsData:
        total = pyfuse3.StatvfsData()
        total.f_bsize = total.f_frsize = _BLOCK
        size = await self._ask(lambda: self.view.total_size)
        total.f_blocks = -(-size // _BLOCK)
        total.f_namemax = MAX_COMPONENT
        return total

    @_guarded
    async def access(self, inode: int, mode: int, ctx: object) -> bool:
        raise pyfuse3.FUSEError(errno.ENOSYS)  # default_permissions: the kernel decides by itself

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for ino, _ in inode_list:
            if ino != ROOT:
                self.view.forget(ino)


def _read_resident(fd: int, offset: int, length: int) -> bytes | memoryview | None:
    """What the page cache holds of a blob; None if some of it would have to come from a disk."""
    buffer = bytearray(length)
    try:
        count = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:  # a file system without it, such as tmpfs on older kernels
            return os.pread(fd, length, offset)
        raise
    return memoryview(buffer) if count == length else None


BUCKETS = 64  # a longer time than 2**63 ns nobody waits


def new_histogram() -> list[int]:
    """Nothing was counted yet. `histogram[duration_ns.bit_length()] += 1` counts a duration."""
    return [0] * BUCKETS


def percentile_ns(histogram: Sequence[int], share: float) -> float:
    """The time within which `share` of all requests (0 to 1) were answered, in nanoseconds; 0 if there were none."""
    rank = max(1, math.ceil(share * sum(histogram)))
    below = 0
    for bits, count in enumerate(histogram):
        if below + count >= rank:
            lowest, width = (1 << bits - 1, 1 << bits - 1) if bits else (0, 0)
            return lowest + width * (rank - below) / count
        below += count
    return 0.0


def summarize(histograms: Mapping[str, Sequence[int]]) -> dict[str, list[float]]:
    """Kind of request -> [p50, p99] in microseconds."""
    return {kind: [round(percentile_ns(one, share) / 1000, 1) for share in (0.5, 0.99)] for kind, one in histograms.items()}
