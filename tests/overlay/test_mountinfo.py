from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs.errors import MountRefused
from casfs.overlay.kernel import attach_mount, make_mount
from casfs.overlay.kernel import unmount as kernel_unmount
from casfs.overlay.mountinfo import (
    FILE_SYSTEM,
    Mount,
    detach,
    find_mount,
    find_topmost,
    is_dead,
    is_ours,
    iter_mounts,
    iter_users,
    parse_mountinfo,
    prepare_mountpoint,
    unmount,
)

LINE = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"  # the example of proc_pid_mountinfo(5)


def test_a_line_of_mountinfo():
    assert list(parse_mountinfo(LINE)) == [Mount("/mnt2", "ext3", "rw,noatime", "/dev/root")]
    assert list(parse_mountinfo(b"")) == []


@pytest.mark.parametrize("optional", ["", "shared:1 ", "shared:1 master:2 propagate_from:3 unbindable "])
def test_any_number_of_optional_fields(optional: str):
    [mount] = parse_mountinfo(f"1 2 0:3 / /mnt ro {optional}- fuse.casfs casfs ro\n".encode())
    assert mount == Mount("/mnt", "fuse.casfs", "ro", "casfs")


def escape(path: str) -> str:
    """As the kernel does it (mangle_path with " \\t\\n\\\\")."""
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in path)


PATHS = st.text(st.one_of(st.sampled_from(" \t\n\r\v\f\\-0174\x85\u2028\udcff"), st.characters(exclude_characters="\0", codec="utf-8")))


@given(st.lists(PATHS))
def test_a_mountpoint_is_read_back_whatever_is_in_its_name(names: list[str]):
    paths = [f"/mnt/{name}" for name in names]
    lines = [f"36 35 0:5 {escape('/ - x')} {escape(path)} ro,nosuid shared:1 - fuse.casfs casfs ro\n" for path in paths]
    mounts = parse_mountinfo("".join(lines).encode("utf-8", "surrogateescape"))
    assert list(mounts) == [Mount(path, "fuse.casfs", "ro,nosuid", "casfs") for path in paths]


def test_of_stacked_mounts_the_last_is_on_top():
    below, other = Mount("/mnt", "ext4", "rw", "/dev/a"), Mount("/mnt/deeper", "proc", "rw", "proc")
    above = Mount("/mnt", "fuse.casfs", "ro", "casfs")
    assert find_topmost([below, other, above], "/mnt") == above
    assert find_topmost([above, other, below], "/mnt") == below
    assert find_topmost([below, other, above], "/mn") is None
    assert find_topmost([], "/mnt") is None


def test_only_mounts_of_our_own_type_are_ours():
    assert is_ours(Mount("/mnt", f"fuse.{FILE_SYSTEM}", "ro", FILE_SYSTEM))
    assert is_ours(Mount("/mnt", "overlay", "rw", FILE_SYSTEM))
    assert not is_ours(Mount("/mnt", "overlay", "rw", "overlay"))
    assert not is_ours(Mount("/mnt", "fuse.sshfs", "ro", "host:"))
    assert not is_ours(Mount(f"/{FILE_SYSTEM}", "ext4", "ro", "/dev/a"))
    assert not is_ours(None)


def test_the_mounts_of_this_machine_can_be_read():
    mounts = list(iter_mounts())
    assert all(mount.path.startswith("/") and mount.type and mount.options for mount in mounts)
    proc = find_mount("/proc")
    assert proc is not None
    assert proc.type == "proc"
    assert find_mount("/proc/self/no-such-mount") is None


def test_a_directory_is_not_dead(tmp_path: Path):
    assert not is_dead(str(tmp_path))
    assert not is_dead(f"{tmp_path}/absent")


def test_an_absent_mountpoint_is_made_with_all_above_it(tmp_path: Path):
    prepare_mountpoint(f"{tmp_path}/a/b/c")
    prepare_mountpoint(f"{tmp_path}/a/b/c")
    assert os.listdir(f"{tmp_path}/a/b/c") == []


def test_a_mountpoint_that_holds_files_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / "zebra").write_text("y")
    with pytest.raises(MountRefused, match=r"is not empty \(it holds 'precious'\)"):
        prepare_mountpoint(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["precious", "zebra"]


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_mountpoint_that_is_no_directory_is_refused(tmp_path: Path, name: str):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MountRefused, match="not a directory"):
        prepare_mountpoint(f"{tmp_path}/{name}")
    assert (tmp_path / "file").read_text() == "x"


def test_unmounting_what_is_no_mount_is_refused(tmp_path: Path):
    with pytest.raises(MountRefused) as caught:
        unmount(str(tmp_path))
    assert caught.value.subject == str(tmp_path)


def uses_of_own_process(path: Path | str) -> list[int]:
    return [pid for pid, _ in iter_users(str(path)) if pid == os.getpid()]


def test_an_open_file_is_a_use_of_the_directories_above_it_and_of_no_others(tmp_path: Path):
    place = tmp_path / "mnt" / "lib"
    place.mkdir(parents=True)
    with open(place / "x", "wb"):
        assert uses_of_own_process(tmp_path / "mnt") == [os.getpid()]
        assert not uses_of_own_process(tmp_path / "mn")
    assert not uses_of_own_process(tmp_path / "mnt")


def test_a_mapped_library_is_a_use():
    """Nobody has it open any more."""
    assert uses_of_own_process(str(import_module("xxhash._xxhash").__file__)) == [os.getpid()]


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works in a directory and does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "print('here', flush=True); input()"], cwd=tmp_path, stdin=-1, stdout=-1)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate(b"\n")


def test_a_working_directory_is_a_use_that_names_process_and_program(tmp_path: Path, bystander: subprocess.Popen[bytes]):
    users = dict(iter_users(str(tmp_path)))
    name = Path(f"/proc/{bystander.pid}/comm").read_text(encoding="utf-8").strip()
    assert users == {bystander.pid: name}


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Path]:
    """A mount of ours, as root, with a directory in it."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount an overlay")
    path = tmp_path / "shown"
    for directory in (path, tmp_path / "below", tmp_path / "above/inner"):
        directory.mkdir(parents=True)
    lower: list[tuple[str, str | int | None]] = [("lowerdir+", str(tmp_path / name)) for name in ("above", "below")]
    attach_mount(fd := make_mount("overlay", [("source", FILE_SYSTEM), *lower], is_read_only=True), str(path))
    os.close(fd)
    yield path
    if find_mount(str(path)):
        detach(str(path))


def test_who_leaves_a_mount_before_anybody_can_tell_who_it_is_only_delays_the_unmount(shown: Path, monkeypatch: pytest.MonkeyPatch):
    """A mount within it stands for a process of which nothing can be told: the kernel says busy, and no process is found."""
    attach_mount(fd := make_mount("tmpfs", []), str(shown / "inner"))
    os.close(fd)

    def leave_and_look(path: str, viewer: int) -> Iterator[tuple[int, str]]:
        kernel_unmount(str(shown / "inner"), is_lazy=False)
        yield from iter_users(path, viewer)

    monkeypatch.setattr("casfs.overlay.mountinfo.iter_users", leave_and_look)
    unmount(str(shown))
    assert find_mount(str(shown)) is None


def test_who_stays_in_a_mount_is_named(shown: Path):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=shown) as process:
        with pytest.raises(MountRefused, match=rf"is in use by cat \(process {process.pid}\)"):
            unmount(str(shown))
        process.communicate()
    unmount(str(shown))
