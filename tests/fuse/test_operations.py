from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pyfuse3
import pytest

from casfs.digest import Digest, digest_bytes
from casfs.errors import EnvironmentRefused, StoreDamaged
from casfs.fuse import operations as operations_module
from casfs.fuse.blob_verifier import BlobVerifier
from casfs.fuse.descriptors import Descriptors
from casfs.fuse.inodes import ROOT, encode_directory, encode_file
from casfs.fuse.operations import Operations
from casfs.fuse.view import USER, Listed, NeedsRead, Node, View, is_current
from casfs.store.manifests import Kind
from casfs.venv.tree import DirectoryNode, FileNode, Part

CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)
FOR_EVER_S = 86400.0 * 365
OWNER = (1234, 5678)

TIME_NS = 1_796_097_600_000_000_000
FILE = FileNode((7, 1), digest_bytes(CONTENT), len(CONTENT), Kind.FILE, TIME_NS)
PROGRAM = FileNode((7, 2), digest_bytes(b"#!"), 2, Kind.EXECUTABLE, TIME_NS)
LINK = FileNode((7, 3), digest_bytes(b"target"), 6, Kind.SYMLINK, TIME_NS)
EMPTY = FileNode((7, 4), digest_bytes(b""), 0, Kind.FILE, TIME_NS)
SHORT = FileNode((7, 5), digest_bytes(b"short"), 5, Kind.FILE, TIME_NS)  # its blob holds less than that
MISSING = FileNode((7, 6), digest_bytes(b"missing"), 7, Kind.FILE, TIME_NS)
TOP = DirectoryNode("", (Part(0, 0),), (3, 0), 1_000_000_000_123_456_789)
DIRECTORY = DirectoryNode("lib", (Part(0, 1),), (3, 1), 1_000_000_000_000_000_001)
GONE = DirectoryNode("gone", (), (4, 1), 0)

NODES: dict[int, Node] = {
    ROOT: TOP,
    **{encode_directory(node.identity): node for node in (DIRECTORY, GONE)},
    **{encode_file(node.identity): node for node in (FILE, PROGRAM, LINK, EMPTY, SHORT, MISSING)},
}
INO = {id(node): ino for ino, node in NODES.items()}
CTX = object()


def ino_of(node: Node) -> int:
    return INO[id(node)]


class FakeView:
    """A few nodes. It asks for one read before each kind of question, and `trouble` is raised instead of an answer."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.reads: set[str] = set()
        self.forgotten: list[int] = []
        self.pinned = False
        self.namespace = USER

    def attributes(self, ino: int) -> str:
        return self.namespace

    def is_pinned(self, ino: int) -> bool:
        return self.pinned

    def _begin(self, question: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        if question not in self.reads:
            raise NeedsRead(lambda: self.reads.add(question))

    @property
    def tree(self) -> FakeView:
        return self

    @property
    def total_size(self) -> int:
        self._begin("total_size")
        return 10_000

    def node(self, ino: int) -> Node:
        self._begin("node")
        return NODES[ino]

    def file(self, ino: int) -> FileNode:
        node = self.node(ino)
        if not isinstance(node, FileNode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        return node

    def directory(self, ino: int) -> DirectoryNode:
        node = self.node(ino)
        if not isinstance(node, DirectoryNode):
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory")
        return node

    def look_up(self, parent: int, name: bytes) -> tuple[tuple[int, Node] | None, bool]:
        self._begin("look_up")
        names: dict[bytes, Node] = {b"file": FILE, b"lib": DIRECTORY}
        node = names.get(name)
        return (None if node is None else (ino_of(node), node)), parent == ROOT

    def listing(self, ino: int, after: int) -> tuple[list[Listed], bool]:
        self._begin("listing")
        listed = [Listed(ino_of(node), ino_of(node), node, name) for name, node in ((b"file", FILE), (b"link", LINK), (b"lib", DIRECTORY))]
        return [one for one in listed if one.ino > after], ino == ROOT

    def parent(self, ino: int) -> tuple[int, DirectoryNode]:
        self._begin("parent")
        return ROOT, TOP

    def owner_ids(self, ino: int) -> tuple[int, int]:
        return OWNER

    def is_current(self, ino: int, directory: DirectoryNode) -> bool:
        return is_current(ino, directory)

    def owner(self, ino: int) -> tuple[str, str] | None:
        self._begin("owner")
        return ("Dem\u00f6", "1.0") if ino == ino_of(FILE) else None

    def forget(self, ino: int) -> None:
        self.forgotten.append(ino)


class FakeBlobs:
    """Blobs in regular files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for content in (CONTENT, b"#!", b"target", b""):
            (directory / digest_bytes(content)).write_bytes(content)
        (directory / SHORT.digest).write_bytes(b"sho")

    def open_blob(self, digest: Digest, size: int) -> int:
        try:
            return os.open(self._directory / digest, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise StoreDamaged(digest, "the blob is missing") from None


class FakeSoundness:
    """Every blob is sound but those named."""

    def __init__(self) -> None:
        self.unsound: set[Digest] = set()
        self.failed: list[str] = []

    def note_failed_read(self, error: StoreDamaged) -> None:
        self.failed.append(error.subject)

    def is_verified(self, node: FileNode) -> bool:
        return node.digest not in self.unsound

    def require(self, node: FileNode) -> None:
        if not self.is_verified(node):
            raise StoreDamaged(node.digest, "is not sound")


@pytest.fixture
def verifier() -> FakeSoundness:
    return FakeSoundness()


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
def operations(view: FakeView, verifier: FakeSoundness, tmp_path: Path) -> Iterator[Operations]:
    descriptors = Descriptors(FakeBlobs(tmp_path), 4)
    yield Operations(cast(View, view), descriptors, cast(BlobVerifier, verifier))
    descriptors.close()


Request = Callable[[Operations], Awaitable[object]]

REQUESTS: dict[str, Request] = {
    "lookup": lambda one: one.lookup(ROOT, b"file", CTX),
    "getattr": lambda one: one.getattr(ROOT, CTX),
    "readlink": lambda one: one.readlink(ino_of(LINK), CTX),
    "open": lambda one: one.open(ino_of(FILE), os.O_RDONLY, CTX),
    "read": lambda one: one.read(ino_of(FILE), 0, 10),
    "opendir": lambda one: one.opendir(ROOT, CTX),
    "readdir": lambda one: one.readdir(ROOT, 0, cast(Any, None)),
    "getxattr": lambda one: one.getxattr(ino_of(FILE), b"user.casfs.digest", CTX),
    "listxattr": lambda one: one.listxattr(ino_of(FILE), CTX),
    "statfs": lambda one: one.statfs(CTX),
}
"""Every request that asks the view."""


@contextmanager
def refused(code: int) -> Iterator[None]:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        yield
    assert errno.errorcode[caught.value.errno] == errno.errorcode[code]


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("trouble", [KeyError("x"), RuntimeError("x"), EnvironmentRefused("x", "y"), OSError(), ValueError()])
async def test_whatever_goes_wrong_the_mount_lives_on_and_the_log_tells(
    operations: Operations, view: FakeView, caplog: pytest.LogCaptureFixture, kind: str, trouble: Exception
):
    view.trouble = trouble
    with refused(errno.EIO):
        await REQUESTS[kind](operations)
    if not isinstance(trouble, OSError):
        [record] = caplog.records
        assert (record.levelno, record.getMessage()) == (logging.ERROR, f"{kind} failed")
        assert record.exc_info is not None
        assert record.exc_info[1] is trouble


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOMEM, errno.ENOTDIR, errno.EACCES])
async def test_an_error_of_the_system_is_passed_on(operations: Operations, view: FakeView, kind: str, code: int):
    view.trouble = OSError(code, os.strerror(code))
    with refused(code):
        await REQUESTS[kind](operations)


@pytest.mark.parametrize("kind", REQUESTS)
async def test_damage_is_an_input_output_error_and_a_line_that_names_it(
    operations: Operations, view: FakeView, caplog: pytest.LogCaptureFixture, kind: str
):
    view.trouble = StoreDamaged("/store/manifests/ab/cd", "the manifest is missing")
    with refused(errno.EIO):
        await REQUESTS[kind](operations)
    assert [record.getMessage() for record in caplog.records] == ["/store/manifests/ab/cd: the manifest is missing"]


@pytest.mark.parametrize("kind", [*REQUESTS, "flush", "access", "release", "releasedir"])
async def test_requests_are_counted_by_kind_also_those_that_fail(
    operations: Operations, view: FakeView, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pyfuse3, "readdir_reply", lambda *arguments: True)
    more: dict[str, Request] = {
        "flush": lambda one: one.flush(cast(Any, 1)),
        "access": lambda one: one.access(ROOT, 0, CTX),
        "release": lambda one: one.release(cast(Any, 1)),
        "releasedir": lambda one: one.releasedir(cast(Any, 1)),
    }
    for trouble in (None, KeyError("x")):
        view.trouble = trouble
        with suppress(pyfuse3.FUSEError):
            await (REQUESTS | more)[kind](operations)
    assert operations.requests == {kind: 2}
    timed = {kind: sum(histogram) for kind, histogram in operations.durations.items()}
    assert timed == ({} if kind in ("release", "releasedir") else {kind: 2})  # those have nothing to do that could take time


async def test_each_kind_of_node_has_the_attributes_that_pip_would_give_it(operations: Operations):
    modes = {FILE: 0o100644, PROGRAM: 0o100755, LINK: 0o120777, EMPTY: 0o100644}
    for node, mode in modes.items():
        entry = await operations.getattr(ino_of(node), CTX)
        assert (entry.st_ino, entry.st_mode, entry.st_size, entry.st_nlink) == (ino_of(node), mode, node.size, 1)
        assert entry.st_mtime_ns == entry.st_ctime_ns == entry.st_atime_ns == node.mtime_ns
        assert entry.st_blocks * 512 >= node.size
        assert entry.st_blocks * 512 < node.size + 4096
    entry = await operations.getattr(ino_of(DIRECTORY), CTX)
    assert stat.S_ISDIR(entry.st_mode)
    assert stat.S_IMODE(entry.st_mode) == 0o755
    assert entry.st_mtime_ns == DIRECTORY.mtime_ns
    assert entry.st_nlink == 1


async def test_everything_belongs_to_the_owner_of_the_environment(operations: Operations):
    for ino in NODES:
        entry = await operations.getattr(ino, CTX)
        assert (entry.st_uid, entry.st_gid) == OWNER
        assert not entry.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX)


async def test_what_is_in_the_tree_may_be_kept_for_ever(operations: Operations):
    for name in (b"file", b"lib"):
        entry = await operations.lookup(ROOT, name, CTX)
        assert entry.entry_timeout > FOR_EVER_S
        assert entry.attr_timeout > FOR_EVER_S


async def test_a_miss_has_no_number_and_may_be_kept_for_ever(operations: Operations):
    entry = await operations.lookup(ROOT, b"absent", CTX)
    assert entry.st_ino == 0
    assert entry.entry_timeout > FOR_EVER_S


async def test_what_is_reached_through_a_directory_that_is_gone_is_not_kept(operations: Operations):
    gone = ino_of(GONE)
    assert (await operations.lookup(gone, b"absent", CTX)).entry_timeout == 0
    entry = await operations.lookup(gone, b"file", CTX)
    assert entry.entry_timeout == 0
    assert entry.attr_timeout > FOR_EVER_S  # a file's number never means other bytes
    entry = await operations.getattr(gone, CTX)
    assert entry.attr_timeout == 0
    assert entry.st_nlink == 0


async def test_the_attributes_of_a_directory_under_a_number_that_is_not_its_own_are_not_kept(operations: Operations, view: FakeView):
    other = encode_directory((99, 9))
    NODES[other] = DIRECTORY
    try:
        entry = await operations.getattr(other, CTX)
        assert (entry.st_ino, entry.attr_timeout) == (other, 0)
    finally:
        del NODES[other]


@pytest.mark.parametrize(("length", "code"), [(255, None), (256, errno.ENAMETOOLONG), (1024, errno.ENAMETOOLONG)])
async def test_a_name_too_long_for_any_disk_is_told_so(operations: Operations, length: int, code: int | None):
    if code is None:
        assert (await operations.lookup(ROOT, b"n" * length, CTX)).st_ino == 0
    else:
        with refused(code):
            await operations.lookup(ROOT, b"n" * length, CTX)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND])
async def test_nothing_is_opened_for_writing(operations: Operations, flags: int):
    with refused(errno.EROFS):
        await operations.open(ino_of(FILE), flags, CTX)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK])
async def test_an_open_file_is_known_by_its_number_and_its_pages_are_kept(operations: Operations, flags: int):
    info = await operations.open(ino_of(FILE), flags, CTX)
    assert info.fh == ino_of(FILE)
    assert info.keep_cache
    assert not info.direct_io


async def test_a_directory_is_not_opened_as_a_file_nor_a_file_as_a_directory(operations: Operations):
    with refused(errno.EISDIR):
        await operations.open(ROOT, os.O_RDONLY, CTX)
    with refused(errno.ENOTDIR):
        await operations.opendir(ino_of(FILE), CTX)
    with refused(errno.EISDIR):
        await operations.readlink(ROOT, CTX)
    assert await operations.opendir(ROOT, CTX) == ROOT


@pytest.mark.parametrize("is_resident", [True, False])
@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 10),
        (0, len(CONTENT)),
        (5, 4096),
        (len(CONTENT) - 1, 1),
        (len(CONTENT) - 1, 4096),
        (len(CONTENT), 1),
        (len(CONTENT) + 9, 9),
        (0, 0),
    ],
)
async def test_a_read_gives_what_the_file_has_there(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, is_resident: bool, offset: int, length: int
):
    if not is_resident:
        monkeypatch.setattr(operations_module, "_read_resident", lambda fd, offset, length: None)
    assert bytes(await operations.read(ino_of(FILE), offset, length)) == CONTENT[offset : offset + length]


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP])
async def test_where_the_page_cache_can_not_be_asked_reads_work_all_the_same(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, code: int
):
    def refuse(*arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(operations_module.os, "preadv", refuse)  # type: ignore[attr-defined]
    assert bytes(await operations.read(ino_of(FILE), 3, 7)) == CONTENT[3:10]


async def test_a_read_of_which_only_a_part_is_resident_is_whole(operations: Operations, monkeypatch: pytest.MonkeyPatch):
    preadv = os.preadv
    monkeypatch.setattr(operations_module.os, "preadv", lambda fd, buffers, *more: min(1, preadv(fd, buffers, *more)))  # type: ignore[attr-defined]
    assert bytes(await operations.read(ino_of(FILE), 3, 7)) == CONTENT[3:10]


@pytest.mark.parametrize("is_resident", [True, False])
@pytest.mark.parametrize("damage", [(SHORT, "the blob ends 2 bytes early"), (MISSING, "the blob is missing")])
async def test_a_damaged_blob_is_an_error_that_names_it_and_never_zeros(
    operations: Operations,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_resident: bool,
    damage: tuple[FileNode, str],
):
    node, reason = damage
    if not is_resident:
        monkeypatch.setattr(operations_module, "_read_resident", lambda fd, offset, length: None)
    with refused(errno.EIO):
        await operations.read(ino_of(node), 0, 4096)
    assert [record.getMessage() for record in caplog.records] == [f"{node.digest}: {reason}"]


async def test_a_part_of_a_damaged_blob_that_is_there_is_not_refused(operations: Operations):
    assert bytes(await operations.read(ino_of(SHORT), 0, 3)) == b"sho"


async def test_a_link_is_what_its_blob_says(operations: Operations):
    assert await operations.readlink(ino_of(LINK), CTX) == b"target"


async def test_an_empty_file_is_empty(operations: Operations):
    assert bytes(await operations.read(ino_of(EMPTY), 0, 4096)) == b""


async def test_a_file_tells_its_blob_and_its_distribution(operations: Operations):
    file = ino_of(FILE)
    expected = {b"user.casfs.digest": FILE.digest.encode(), b"user.casfs.distribution": "Demö".encode(), b"user.casfs.version": b"1.0"}
    assert set(await operations.listxattr(file, CTX)) == set(expected)
    assert {name: await operations.getxattr(file, name, CTX) for name in expected} == expected


async def test_a_file_of_the_environment_itself_tells_its_blob_alone(operations: Operations):
    assert await operations.listxattr(ino_of(PROGRAM), CTX) == [b"user.casfs.digest"]


@pytest.mark.parametrize("node", [TOP, DIRECTORY, LINK])
async def test_directories_and_links_have_no_attributes_of_that_kind(operations: Operations, node: Node):
    assert await operations.listxattr(ino_of(node), CTX) == []
    with refused(errno.ENODATA):
        await operations.getxattr(ino_of(node), b"user.casfs.digest", CTX)


@pytest.mark.parametrize("name", [b"security.selinux", b"system.posix_acl_access", b"user.other", b"", b"\xff", b"user.casfs.digest "])
async def test_an_unknown_attribute_is_no_data_and_never_not_implemented(operations: Operations, name: bytes):
    """After ENOSYS the kernel would never ask for any again."""
    for node in NODES.values():
        with refused(errno.ENODATA):
            await operations.getxattr(ino_of(node), name, CTX)


async def test_what_the_kernel_decides_by_itself_it_is_told_once(operations: Operations):
    with refused(errno.ENOSYS):
        await operations.flush(cast(Any, ino_of(FILE)))
    with refused(errno.ENOSYS):
        await operations.access(ROOT, os.R_OK, CTX)


async def test_a_full_file_system_of_the_size_of_its_files(operations: Operations):
    total = await operations.statfs(CTX)
    assert total.f_blocks * total.f_frsize >= 10_000 > (total.f_blocks - 1) * total.f_frsize
    assert (total.f_bfree, total.f_bavail, total.f_namemax) == (0, 0, 255)


async def test_the_root_is_never_forgotten_and_everything_else_is(operations: Operations, view: FakeView):
    await operations.forget([(ROOT, 5), (ino_of(FILE), 1), (ino_of(DIRECTORY), 3)])
    assert view.forgotten == [ino_of(FILE), ino_of(DIRECTORY)]


class Replies:
    """The kernel's buffer for a listing, with room for so many entries."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.got: list[tuple[bytes, pyfuse3.EntryAttributes, int]] = []

    def add(self, token: object, name: bytes, entry: pyfuse3.EntryAttributes, position: int) -> bool:
        if len(self.got) == self.room:
            return False
        self.got.append((name, entry, position))
        return True


async def test_a_listing_begins_with_the_directory_and_the_one_above(operations: Operations, monkeypatch: pytest.MonkeyPatch):
    replies = Replies()
    monkeypatch.setattr(pyfuse3, "readdir_reply", replies.add)
    await operations.readdir(cast(Any, ROOT), 0, cast(Any, None))
    assert [(name, entry.st_ino) for name, entry, _ in replies.got] == [
        (b".", ROOT),
        (b"..", ROOT),
        (b"file", ino_of(FILE)),
        (b"link", ino_of(LINK)),
        (b"lib", ino_of(DIRECTORY)),
    ]
    positions = [position for _, _, position in replies.got]
    assert positions == sorted(set(positions))
    assert all(0 < position < 2**63 for position in positions)


@pytest.mark.parametrize("room", [1, 2, 3, 4])
async def test_a_listing_in_pieces_is_the_listing(operations: Operations, monkeypatch: pytest.MonkeyPatch, room: int):
    names: list[bytes] = []
    position = 0
    while True:
        replies = Replies(room)
        monkeypatch.setattr(pyfuse3, "readdir_reply", replies.add)
        await operations.readdir(cast(Any, ROOT), position, cast(Any, None))
        if not replies.got:
            break
        names += [name for name, _, _ in replies.got]
        position = replies.got[-1][2]
    assert names == [b".", b"..", b"file", b"link", b"lib"]


@pytest.mark.parametrize(("node", "is_kept"), [(TOP, True), (GONE, False)])
async def test_entries_of_a_listing_are_kept_as_those_of_a_look_up(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, node: Node, is_kept: bool
):
    replies = Replies()
    monkeypatch.setattr(pyfuse3, "readdir_reply", replies.add)
    await operations.readdir(cast(Any, ino_of(node)), 2, cast(Any, None))
    for name, entry, _ in replies.got:
        looked_up = await operations.lookup(cast(Any, ino_of(node)), b"file", CTX)
        assert name in (b"file", b"link", b"lib")
        assert (entry.entry_timeout > FOR_EVER_S) == (looked_up.entry_timeout > FOR_EVER_S) == is_kept


def test_every_request_that_can_raise_is_guarded():
    """What is not may end the main loop."""
    unguarded = {"release", "releasedir", "forget"}
    own = {name for name, value in vars(Operations).items() if callable(value) and not name.startswith("_")}
    assert own == {*REQUESTS, "flush", "access", *unguarded}
    assert {name for name in own if vars(Operations)[name].__qualname__.startswith("_guarded")} == own - unguarded


OVERLAY = [f"{prefix}.overlay.{name}".encode() for prefix in ("user", "trusted") for name in ("metacopy", "redirect")]


@pytest.mark.parametrize("name", OVERLAY)
async def test_an_overlay_is_told_where_the_blob_of_a_file_is(operations: Operations, view: FakeView, name: bytes) -> None:
    view.namespace = name.split(b".")[0].decode()
    expected = b"" if name.endswith(b"metacopy") else f"/{FILE.digest[:2]}/{FILE.digest[2:]}".encode()
    assert await operations.getxattr(ino_of(FILE), name, CTX) == expected
    assert name not in await operations.listxattr(ino_of(FILE), CTX)


@pytest.mark.parametrize("name", [*OVERLAY, b"user.overlay.opaque"])
async def test_an_overlay_reads_links_and_directories_from_us(operations: Operations, name: bytes) -> None:
    for ino in (ROOT, ino_of(LINK)):
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await operations.getxattr(ino, name, CTX)
        assert caught.value.errno == errno.ENODATA


async def test_a_blob_that_was_changed_is_given_to_nobody(operations: Operations, verifier: FakeSoundness) -> None:
    verifier.unsound.add(FILE.digest)
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await operations.getxattr(ino_of(FILE), b"user.overlay.metacopy", CTX)
    assert caught.value.errno == errno.ENODATA
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await operations.open(ino_of(FILE), os.O_RDONLY, CTX)
    assert caught.value.errno == errno.EIO
    assert verifier.failed == [FILE.digest]


async def test_an_overlay_finds_nothing_to_copy_to_a_file_that_somebody_edits(operations: Operations, view: FakeView) -> None:
    view.pinned = True
    assert await operations.listxattr(ino_of(FILE), CTX) == []
