"""Programs that know nothing of casfs see an ordinary disk: the same tree in regular files gives them the same answers."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import random
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.daemons import wait_until
from tests.mounted.harness import Casfs, make_template, site_packages

BIG = random.Random(7).randbytes(1_234_567)
MANY = 5_000
SOME = 500  # more than the kernel asks for at once
FILES: dict[str, bytes] = {
    "demo/__init__.py": b"VALUE = 1\n",
    "demo/big.bin": BIG,
    "demo/page": bytes(4096),
    "demo/page and one": bytes(4097),
    "demo/empty": b"",
    "demo/run.sh": b"#!/bin/sh\necho run $1\n",
    "demo/ leading space": b"1",
    "demo/-dash": b"2",
    "demo/Gr\u00fc\u00dfe \u65e5\u672c\u8a9e.txt": b"3",
    'demo/quo\'te "double" $HOME `x` *?[a]': b"4",
    "demo/" + "n" * 255: b"5",
    "demo/" + "\u00e4" * 127: b"6",
    "demo/a/b/c/d/e/f/deep.txt": b"needle in a deep place\n",
}
CROWD = {f"{name}/{number:04}": b"" for name, count in (("crowd", MANY), ("group", SOME)) for number in range(count)}
EXECUTABLE = ["demo/run.sh"]


class Twins:
    """The package on a mount, and the same in regular files."""

    def __init__(self, casfs: Casfs, directory: Path) -> None:
        self.casfs = casfs
        casfs.add("--no-compile", casfs.wheel("demo", files=FILES | CROWD, executable=EXECUTABLE))
        self.mountpoint = casfs.mount()
        self.shown = site_packages(self.mountpoint) / "demo"
        self.crowd = site_packages(self.mountpoint) / "crowd"
        self.group = site_packages(self.mountpoint) / "group"
        self.plain = directory / "plain/demo"
        for name, content in FILES.items():
            path = self.plain.parent / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755 if name in EXECUTABLE else 0o644)

    def outputs(self, *command: str) -> tuple[str, str]:
        """What the command prints on the mount and in the plain twin; it must succeed on both, in silence."""
        return run_in(self.shown, *command), run_in(self.plain, *command)


def run_in(directory: Path, *command: str) -> str:
    environ = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    directory = tmp_path_factory.mktemp("disk")
    with Casfs(directory, make_template(directory / "template")) as casfs:
        yield Twins(casfs, directory)


@pytest.mark.parametrize(
    "command",
    [
        ("sh", "-c", "find . | sort"),
        ("sh", "-c", "find . -type f -size +4k -print0 | sort -z"),
        ("sh", "-c", r"find . -printf '%P %y %m %n\n' -type f -printf '%s\n' | sed 's/ d 755 .*/ d/' | sort"),
        ("sh", "-c", "find . -perm /111 -type f"),
        ("sh", "-c", "ls -1AR"),
        ("sh", "-c", "ls -lR --time-style=+ | grep -v ^total | sed -E 's/^d(\\S+) +[0-9]+ (\\S+ \\S+) +[0-9]+/d\\1 \\2/'"),
        ("sh", "-c", "find . -type f -print0 | sort -z | xargs -0 sha256sum -b"),
        ("sh", "-c", "find . -maxdepth 1 -type f -print0 | sort -z | xargs -0 cat | md5sum"),
        ("sh", "-c", "grep -rl needle . | sort"),
        ("sh", "-c", "grep -c needle a/b/c/d/e/f/deep.txt"),
        ("du", "--apparent-size", "--bytes", "big.bin", "page and one", "empty", "__init__.py"),
        ("du", "--block-size=1", "page", "page and one", "big.bin", "empty"),
        ("sh", "-c", "tail -c 1000 big.bin | md5sum; head -c 1000 big.bin | md5sum"),
        ("sh", "-c", "dd if=big.bin bs=777 skip=100 count=900 status=none | md5sum"),
        ("wc", "-c", "big.bin", "empty", "page", "./-dash"),
        ("sh", "-c", "cat -- -dash ' leading space'"),
        ("./run.sh", "me"),
        ("sh", "-c", "find . -maxdepth 1 -type f -exec stat -c '%F %a %U %G %s %b %h %n' {} + | sort"),
        ("sh", "-c", "stat -c '%F %a %U %G %n' -- *"),
        ("sh", "-c", "cmp big.bin big.bin && diff -r a a && echo same"),
    ],
    ids=lambda command: command[-1][:40],
)
def test_program_prints_the_same_as_on_plain_files(twins: Twins, command: tuple[str, ...]) -> None:
    shown, plain = twins.outputs(*command)
    assert shown == plain
    assert shown or command[0] == "cmp"


def test_du_of_everything_counts_real_sizes(twins: Twins) -> None:
    apparent = int(run_in(twins.shown, "du", "-sb", "--apparent-size", ".").split()[0])
    directories = 1 + sum(len(names) for _, names, _ in os.walk(twins.shown))
    assert apparent == sum(map(len, FILES.values())) + 4096 * directories
    blocks = int(run_in(twins.shown, "du", "-s", "--block-size=1", ".").split()[0])
    assert blocks == sum(-(-len(content) // 4096) * 4096 for content in FILES.values()) + 4096 * directories


def test_cp_copies_everything_with_modes_and_times(twins: Twins, tmp_path: Path) -> None:
    run_in(twins.shown.parent, "cp", "-a", "demo", str(tmp_path))
    assert describe(tmp_path / "demo") == describe(twins.shown)
    assert run_in(tmp_path, "diff", "-r", str(tmp_path / "demo"), str(twins.plain)) == ""


def test_tar_takes_everything_with_modes_and_times(twins: Twins, tmp_path: Path) -> None:
    entered_ns = (twins.shown / "big.bin").stat().st_mtime_ns
    wait_until(lambda: time.time_ns() >= entered_ns)  # now is rounded up where files are dated, and tar warns of what is ahead
    run_in(twins.shown.parent, "tar", "-cf", str(tmp_path / "demo.tar"), "demo")
    run_in(tmp_path, "tar", "-xf", "demo.tar")
    assert {path: facts[:3] for path, facts in describe(tmp_path / "demo").items()} == {
        path: (*facts[:2], facts[2] // 10**9 * 10**9) for path, facts in describe(twins.shown).items()
    }
    with tarfile.open(tmp_path / "demo.tar") as archive:
        assert not any(member.islnk() or member.issparse() for member in archive)


def describe(directory: Path) -> dict[str, tuple[int, int, int]]:
    """(mode, size, mtime) of everything; a directory's size is its file system's business."""
    found = {}
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            facts = os.lstat(os.path.join(parent, name))
            size = facts.st_size if stat.S_ISREG(facts.st_mode) else 0
            found[os.path.relpath(os.path.join(parent, name), directory)] = (facts.st_mode, size, facts.st_mtime_ns)
    return found


def test_everything_is_the_owners_and_nothing_is_special(twins: Twins) -> None:
    owner = os.stat(twins.casfs.store / "environments/default")
    device = os.stat(twins.mountpoint).st_dev
    for parent, directories, files in os.walk(twins.mountpoint):
        for name in (*directories, *files):
            facts = os.lstat(os.path.join(parent, name))
            assert (facts.st_uid, facts.st_gid, facts.st_dev) == (owner.st_uid, owner.st_gid, device)
            assert facts.st_mode in {0o100644, 0o100755, 0o040755, 0o120777}
            assert facts.st_atime_ns == facts.st_mtime_ns == facts.st_ctime_ns
            assert facts.st_mtime_ns > 315_532_800 * 10**9  # 1980
            if not stat.S_ISDIR(facts.st_mode):
                assert facts.st_nlink == 1
                assert facts.st_blocks == -(-facts.st_size // 4096) * 8


def test_all_that_one_wheel_brought_has_the_whole_second_in_which_it_entered(twins: Twins) -> None:
    names = ["big.bin", "page", "page and one", "empty", "run.sh", "-dash", "../crowd/0000", "../crowd/4999"]
    [time_ns] = {(twins.shown / name).stat().st_mtime_ns for name in names}
    assert time_ns % 10**9 == 0
    source = (twins.shown / "__init__.py").stat()
    assert source.st_mtime_ns % 10**9 == 0
    assert source.st_mtime_ns < time_ns  # an edit of it is never in the same second


# --- directories


def numbers_in(directory: Path) -> list[tuple[str, int]]:
    """(name, inode number) as a listing alone gives them."""
    rows = (line.split(maxsplit=1) for line in run_in(directory, "ls", "-afi").split("\n")[:-1])
    return [(name, int(number)) for number, name in rows]


def test_listing_has_dot_and_dot_dot_and_each_name_once(twins: Twins) -> None:
    listed = numbers_in(twins.crowd)
    entries = dict(listed)
    assert len(entries) == len(listed) == MANY + 2
    assert entries["."] == twins.crowd.stat().st_ino
    assert entries[".."] == twins.crowd.parent.stat().st_ino
    assert entries["0007"] == (twins.crowd / "0007").stat().st_ino
    assert dict(numbers_in(twins.mountpoint))["."] == twins.mountpoint.stat().st_ino


class Directory:
    """A directory by getdents64(2), which gives as little at a time as one asks for."""

    _GETDENTS64 = {"x86_64": 217, "aarch64": 61, "riscv64": 61}[os.uname().machine]

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.fd)

    def read(self, size: int) -> list[tuple[str, int]]:
        """(name, position after it) of the next entries."""
        buffer = ctypes.create_string_buffer(size)
        count = self._libc.syscall(self._GETDENTS64, self.fd, buffer, size)
        assert count >= 0, os.strerror(ctypes.get_errno())
        entries, start = [], 0
        while start < count:
            position, length = (
                int.from_bytes(buffer.raw[start + 8 : start + 16], "little"),
                int.from_bytes(buffer.raw[start + 16 : start + 18], "little"),
            )
            entries.append((buffer.raw[start + 19 : start + length].partition(b"\0")[0].decode(), position))
            start += length
        return entries

    def read_all(self, size: int) -> list[tuple[str, int]]:
        return [entry for chunk in iter(lambda: self.read(size), []) for entry in chunk]


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (32, SOME),  # one entry at a time
        (100, SOME),
        pytest.param(32, MANY, marks=pytest.mark.long),
        pytest.param(100, MANY, marks=pytest.mark.long),
        (1000, MANY),
        (4096, MANY),
        (1 << 20, MANY),
    ],
)
def test_many_entries_are_complete_with_any_buffer(twins: Twins, size: int, count: int) -> None:
    with Directory(twins.crowd if count == MANY else twins.group) as directory:
        names = [name for name, _ in directory.read_all(size)]
    assert len(names) == count + 2
    assert {*names} == {".", "..", *(f"{number:04}" for number in range(count))}


def test_positions_of_a_listing_can_be_returned_to(twins: Twins) -> None:
    with Directory(twins.crowd) as directory:
        entries = directory.read_all(1 << 16)
        for index in random.Random(5).sample(range(len(entries)), 30):
            os.lseek(directory.fd, entries[index][1], os.SEEK_SET)
            assert [name for name, _ in directory.read_all(1 << 16)] == [name for name, _ in entries[index + 1 :]]
        os.lseek(directory.fd, 0, os.SEEK_SET)
        assert directory.read_all(1 << 16) == entries


def test_buffer_too_small_for_a_long_name_is_an_error_and_no_loss(twins: Twins) -> None:
    with Directory(twins.shown) as directory:
        libc = ctypes.CDLL(None, use_errno=True)
        seen = []
        while (count := libc.syscall(Directory._GETDENTS64, directory.fd, ctypes.create_string_buffer(64), 64)) > 0:
            seen.append(count)
        assert (count, ctypes.get_errno()) == (-1, 22)  # EINVAL: "result buffer is too small" (getdents(2))
        assert "n" * 255 in {name for name, _ in directory.read_all(4096)}


# --- reading


def test_read_at_any_offset_gives_exactly_what_is_there(twins: Twins) -> None:
    with (twins.shown / "big.bin").open("rb", buffering=0) as file:
        for offset, length in [
            (0, 1),
            (1, 4095),
            (4095, 2),
            (131_071, 131_073),
            (1_000_001, 999_999),
            (1_234_566, 10),
            (1_234_567, 10),
            (1 << 40, 1),
        ]:
            assert os.pread(file.fileno(), length, offset) == BIG[offset : offset + length]
        buffers = [bytearray(10), bytearray(100_000)]
        assert os.preadv(file.fileno(), buffers, 5) == 100_010
        assert b"".join(buffers) == BIG[5:100_015]
        assert os.lseek(file.fileno(), 100, os.SEEK_DATA) == 100
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == len(BIG)
        assert os.lseek(file.fileno(), 0, os.SEEK_END) == len(BIG)
        assert file.read() == b""


def test_mapped_file_is_the_file(twins: Twins) -> None:
    with (twins.shown / "big.bin").open("rb") as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[1_000_000:1_234_567] == BIG[1_000_000:]
            assert mapped[:] == BIG
        with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as private:
            private[0:4] = b"mine"
    assert (twins.shown / "big.bin").read_bytes() == BIG


def test_sendfile_and_splice_take_all(twins: Twins, tmp_path: Path) -> None:
    with (twins.shown / "big.bin").open("rb") as source, (tmp_path / "copy").open("w+b") as target:
        offset = 0
        while count := os.sendfile(target.fileno(), source.fileno(), offset, 1 << 20):
            offset += count
        target.seek(0)
        assert target.read() == BIG
    reading, writing = os.pipe()
    with (twins.shown / "big.bin").open("rb") as source, os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb") as end:
        count = os.splice(source.fileno(), end.fileno(), 60_000, offset_src=100_000)
        assert pipe.read1(count) == BIG[100_000 : 100_000 + count]


@pytest.mark.parametrize("offset", [0, 4096, 1_232_896])
def test_direct_reads_give_the_same(twins: Twins, offset: int) -> None:
    fd = os.open(twins.shown / "big.bin", os.O_RDONLY | os.O_DIRECT)
    try:
        buffer = mmap.mmap(-1, 65536)
        count = os.preadv(fd, [buffer], offset)
        assert buffer[:count] == BIG[offset : offset + 65536]
        assert count == min(65536, len(BIG) - offset)
    finally:
        os.close(fd)


def test_statvfs_says_read_only_and_how_much_there_is(twins: Twins) -> None:
    found = os.statvfs(twins.shown)
    assert found.f_flag & os.ST_RDONLY
    assert found.f_flag & os.ST_NOSUID
    assert found.f_namemax == 255
    assert found.f_blocks * found.f_frsize >= len(BIG)
    assert found.f_bfree == found.f_bavail == 0
    assert run_in(twins.shown, "df", "--output=fstype,pcent", ".").split()[2:] == ["fuse.casfs", "100%"]


# --- extended attributes


def test_getfattr_shows_digest_distribution_and_version(twins: Twins) -> None:
    lines = run_in(twins.shown, "getfattr", "-d", "-m-", "big.bin").split("\n")
    digest = hashlib.sha256(BIG).hexdigest()
    assert lines == [
        "# file: big.bin",
        f'user.casfs.digest="{digest}"',
        'user.casfs.distribution="demo"',
        'user.casfs.version="1.0"',
        "",
        "",
    ]
    assert run_in(twins.shown, "sha256sum", "big.bin").split()[0] == digest


def test_attributes_of_what_belongs_to_no_distribution(twins: Twins) -> None:
    assert {*os.listxattr(twins.mountpoint / "pyvenv.cfg")} >= {"user.casfs.digest"}
    assert os.listxattr(twins.shown) == []
    assert os.listxattr(twins.mountpoint) == []
    assert os.listxattr(twins.mountpoint / "bin/python3", follow_symlinks=False) == []


@pytest.mark.parametrize(
    "name", ["user.other", "user.casfs.", "security.capability", "security.selinux", "trusted.overlay.opaque", "system.posix_acl_access"]
)
def test_unknown_attribute_is_no_data(twins: Twins, name: str) -> None:
    for path in (twins.shown / "big.bin", twins.shown):
        with pytest.raises(OSError, match="No data available"):
            os.getxattr(path, name)
