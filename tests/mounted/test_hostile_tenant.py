"""A tenant who writes into an environment, and is hostile: nothing outside the environment is changed by it, shown to it or unmounted."""

from __future__ import annotations

import _ctypes
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casfs.digest import digest_bytes
from casfs.errors import CasfsError
from casfs.overlay.mountinfo import attach, detach, find_mount
from tests.mounted.harness import REPOSITORY, Casfs, end_mounts, site_packages

TENANT = 1001

SECRET = b"VALUE = 'of another tenant'\n"
OWN = b"VALUE = 1\n"

PRELUDE = """
import ctypes, errno, fcntl, json, mmap, os, shutil, stat, sys
os.setgroups([]); os.setgid({tenant}); os.setuid({tenant})
libc = ctypes.CDLL(None, use_errno=True)
found = {{}}

def attempt(label, call):
    try:
        value = call()
        found[label] = value if isinstance(value, (str, int, list)) else ""
    except OSError as error:
        found[label] = errno.errorcode[error.errno]

def rename(source, target, flags):
    if libc.renameat2(-100, source, -100, target, flags):
        raise OSError(ctypes.get_errno(), "renameat2")
"""


class Hostile:
    """A tenant's environment, mounted, in a store that has somebody else's environment too."""

    def __init__(self, casfs: Casfs, metadata: str) -> None:
        self.casfs = casfs
        casfs.add(casfs.wheel("demo", "1.0", {"demo/__init__.py": OWN, "demo/data.txt": b"some words\n"}))
        casfs.add("--env", "victim", casfs.wheel("secret", files={"secret/__init__.py": SECRET}))
        if metadata == "fuse":
            casfs.force_way("fuse")
        self.mountpoint = casfs.mount("--owner", str(TENANT), data_path="", name="home/project/venv")
        self.site = site_packages(self.mountpoint)
        assert [one["metadata"] for one in casfs.status()] == [metadata]

    def run(self, source: str) -> dict[str, object]:
        """What the tenant's calls, made in site-packages, end with: the error's name, a value, or "" for anything else."""
        source = PRELUDE.format(tenant=TENANT) + textwrap.dedent(source) + "\nprint(json.dumps(found))"
        done = subprocess.run([sys.executable, "-c", source], cwd=self.site, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture(params=["image", "fuse"])
def hostile(casfs: Casfs, request: pytest.FixtureRequest) -> Iterator[Hostile]:
    scene = Hostile(casfs, request.param)
    yield scene
    for content in (OWN, SECRET):
        assert casfs.blob(digest_bytes(content)).read_bytes() == content
    for words in (["diff"], ["absorb"]):
        casfs.run(*words)


def test_no_way_of_writing_reaches_a_blob(hostile: Hostile):
    found = hostile.run("""
        fd = os.open("demo/__init__.py", os.O_RDONLY)
        attempt("write", lambda: os.write(fd, b"x"))
        attempt("ftruncate", lambda: os.ftruncate(fd, 0))
        attempt("fallocate", lambda: os.posix_fallocate(fd, 0, 100))
        attempt("copy_file_range", lambda: os.copy_file_range(os.open("demo/data.txt", os.O_RDONLY), fd, 4))
        attempt("shared mapping", lambda: mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
        attempt("immutable", lambda: fcntl.ioctl(fd, 0x40086602, b"\\x10" + bytes(7)))
        attempt("map_files", lambda: [os.open(f"/proc/self/map_files/{name}", os.O_RDWR) for name in os.listdir("/proc/self/map_files")])
        private = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        private[:4] = b"EVIL"
        attempt("link to a descriptor", lambda: os.link(f"/proc/self/fd/{fd}", "linked", follow_symlinks=True))
        attempt("link out", lambda: os.link("demo/data.txt", "/tmp/linked"))
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        attempt("open again", lambda: os.write(again, b"EVIL"))
        attempt("what is shown", lambda: open("demo/__init__.py").read())
    """)
    assert found.pop("open again") == 4  # a copy of the tenant's own
    assert found.pop("what is shown") == "EVILE = 1\n"
    assert set(found.values()) <= {"EBADF", "EINVAL", "EACCES", "ENOTTY", "EPERM", "EXDEV"}, found


def test_attributes_that_mean_something_to_overlayfs_mean_nothing_when_a_tenant_sets_them(hostile: Hostile):
    digest = digest_bytes(SECRET)
    source = f"""
        open("mine.txt", "w").write("x" * {len(SECRET)})
        redirect = b"/{digest[:2]}/{digest[2:]}"
        for name in ("mine.txt", "demo/data.txt", "demo"):
            for prefix in ("user.overlay.", "user.overlay.overlay.", "trusted.overlay."):
                for key, value in (("redirect", redirect), ("metacopy", b""), ("opaque", b"y"), ("origin", redirect)):
                    attempt(prefix + key, lambda: os.setxattr(name, prefix + key, value))
    """
    found = hostile.run(source)
    assert {value for label, value in found.items() if label.startswith("trusted")} == {"EPERM"}
    for again in range(3):
        shown = hostile.run("""
            attempt("mine", lambda: open("mine.txt").read())
            attempt("data", lambda: open("demo/data.txt").read())
            attempt("names", lambda: sorted(os.listdir("demo")))
        """)
        assert shown == {"mine": "x" * len(SECRET), "data": "some words\n", "names": ["__init__.py", "__pycache__", "data.txt"]}
        if again == 0:  # the kernel has forgotten what it knew: another overlay reads the upper layer
            hostile.casfs.umount(hostile.mountpoint)
            hostile.casfs.run("mount", "--owner", str(TENANT), hostile.mountpoint)
        else:  # and so does one of an upper layer that absorb has copied
            hostile.casfs.run("absorb")


def test_no_device_whiteout_or_setuid_program_is_made(hostile: Hostile):
    program = Path(shutil.which("id") or "/usr/bin/id")
    found = hostile.run(f"""
        attempt("whiteout", lambda: os.mknod("whiteout", stat.S_IFCHR | 0o600, os.makedev(0, 0)))
        attempt("null", lambda: os.mknod("null", stat.S_IFCHR | 0o600, os.makedev(1, 3)))
        attempt("disk", lambda: os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(8, 0)))
        attempt("rename leaving a whiteout", lambda: rename(b"demo/data.txt", b"moved", 4))
        attempt("give away", lambda: os.chown("demo/data.txt", 0, 0))
        shutil.copyfile({str(program)!r}, "suid")
        os.chmod("suid", 0o6755)
    """)
    assert found == {**dict.fromkeys(["whiteout", "null", "disk", "give away"], "EPERM"), "rename leaving a whiteout": "EINVAL"}
    command = [sys.executable, "-c", "import os; os.setgid(1002); os.setuid(1002); os.execv('./suid', ['id', '-u'])"]
    done = subprocess.run(command, cwd=hostile.site, capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout == "1002\n"


def test_what_belongs_to_the_store_can_not_be_entered(hostile: Hostile):
    store = str(hostile.casfs.store)
    os.chmod(hostile.casfs.directory, 0o755)
    names = ("blobs", "environments", "run", "manifests", "stamps", "tmp")
    there = [name for name in names if (hostile.casfs.store / name).exists()]
    lines = [f"attempt({name!r}, lambda: os.listdir({f'{store}/{name}'!r}))" for name in there]
    found = hostile.run("\n".join([*lines, "attempt('/run/casfs', lambda: os.listdir('/run/casfs'))"]))
    assert set(found.values()) == {"EACCES"}, found


def plant_link(site: Path, target: Path) -> None:
    shutil.rmtree(site)
    site.symlink_to(target)


def test_a_link_in_place_of_a_directory_leads_no_command_out(hostile: Hostile, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "private.py").write_text("")
    os.utime(outside, (1, 1))
    plant_link(hostile.site, outside)
    hostile.casfs.add(hostile.casfs.wheel("other"))
    assert outside.stat().st_mtime == 1
    assert "private.py" not in hostile.casfs.run("diff").stdout
    assert "is not a directory any more" in hostile.casfs.run("absorb", code=1).stderr
    hostile.casfs.run("reset", "--yes")
    assert os.listdir(outside) == ["private.py"]


SWAP_AT_A_BAD_MOMENT = """
import sys
from casfs.cli import main
main._recover_mounts = lambda arguments: None
main.main(sys.argv[1:])
"""
"""A command that has looked at its mounts already when somebody moves them."""


@pytest.mark.parametrize("make", [Path.symlink_to, lambda path, victim: path.mkdir()], ids=["link", "directory"])
def test_moving_a_directory_above_a_mount_ends_nobody_elses_mount(hostile: Hostile, tmp_path: Path, make: Callable[[Path, Path], object]):
    victim, home = tmp_path / "victim", hostile.mountpoint.parents[1]
    victim.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", victim], check=True)
    (victim / "important").write_text("")
    try:
        (home / "project").rename(home / "elsewhere")
        (home / "project").mkdir()
        make(hostile.mountpoint, victim)
        command = [sys.executable, "-c", SWAP_AT_A_BAD_MOMENT, "add", str(hostile.casfs.wheel("demo", "2.0"))]
        done = subprocess.run(command, env=hostile.casfs.environ, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=True)
        assert f"{hostile.mountpoint}: " in done.stderr
        assert "may still show the generation before" in done.stderr
        assert os.listdir(victim) == ["important"]
    finally:
        end_mounts(tmp_path)


@pytest.mark.parametrize(
    "words", ["mount", "mount --owner 1001", "mount --data-path fuse", "umount", "umount --lazy", "export", "lock --output"]
)
@pytest.mark.parametrize("below", ["", "/new"])
def test_root_is_not_led_by_a_tenants_link(casfs: Casfs, tmp_path: Path, words: str, below: str):
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.mkdir(mode=0o700)
    casfs.run("mount", victim / "venv")
    link.symlink_to(victim / "venv" if words.startswith("umount") else victim)
    os.lchown(link, TENANT, TENANT)
    refused = casfs.run(*words.split(), f"{link}{below or ('/x' if words.startswith('lock') else '')}", code=1)
    assert f"{link}: is a symbolic link of user {TENANT}" in refused.stderr
    assert os.listdir(victim) == ["venv"]
    assert (victim / "venv/pyvenv.cfg").exists()


def test_a_list_of_mounts_is_not_led_by_a_tenants_link(casfs: Casfs, tmp_path: Path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "link").symlink_to("victim")
    os.lchown(tmp_path / "link", TENANT, TENANT)
    (tmp_path / "list").write_text(f"default {tmp_path}/link\ndefault {tmp_path}/link/new\ndefault {tmp_path}/good\n")
    refused = casfs.run("mount", "--list", tmp_path / "list", code=1)
    assert refused.stderr.count(f"is a symbolic link of user {TENANT}") == 2
    assert os.listdir(tmp_path / "victim") == []
    assert (tmp_path / "good/pyvenv.cfg").exists()


def test_what_a_tenants_link_leads_to_is_not_adopted(casfs: Casfs, tmp_path: Path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "private"], check=True)
    (tmp_path / "link").symlink_to("private")
    os.lchown(tmp_path / "link", TENANT, TENANT)
    refused = casfs.run("--env", "new", "adopt", tmp_path / "link", code=1)
    assert f"{tmp_path}/link: is a symbolic link of user {TENANT}" in refused.stderr


def test_unmounting_and_mounting_touch_no_mount_behind_a_link(tmp_path: Path):
    victim, link = tmp_path / "victim", tmp_path / "link"
    (victim / "venv").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", victim / "venv"], check=True)
    try:
        link.symlink_to(victim)
        calls: list[Callable[[], None]] = [
            lambda: detach(f"{link}/venv"),
            lambda: detach(f"{victim}/venv"),
            lambda: attach(0, f"{link}/venv"),
        ]
        for call in calls:
            with pytest.raises((OSError, CasfsError)):
                call()
        mount = find_mount(f"{victim}/venv")
        assert mount is not None
        assert mount.type == "tmpfs"
    finally:
        end_mounts(tmp_path)


def test_a_mount_in_use_is_kept_by_umount_and_its_files_too(hostile: Hostile):
    with (hostile.site / "log").open("w") as file:
        refused = hostile.casfs.run("umount", hostile.mountpoint, code=1)
        assert "is in use by" in refused.stderr
        file.write("still here")
    assert (hostile.site / "log").read_text() == "still here"
    assert (hostile.site / "demo/data.txt").read_text() == "some words\n"


MAP = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
print("mapped", flush=True)
sys.stdin.read()
import demo
"""


def test_a_mount_of_which_a_process_has_a_library_in_memory_is_kept(hostile: Hostile):
    library = Path(str(_ctypes.__file__)).read_bytes()
    hostile.casfs.add(hostile.casfs.wheel("native", files={"native.so": library}))
    other = hostile.casfs.mount("--owner", str(TENANT), data_path="", name="other")
    python: list[str | Path] = [hostile.mountpoint / "bin/python", "-c", MAP, hostile.site / "native.so"]
    with subprocess.Popen(python, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "mapped\n"
        refused = hostile.casfs.run("umount", hostile.mountpoint, code=1)
        assert f"(process {process.pid})" in refused.stderr
        hostile.casfs.umount(other)
        process.communicate()
        assert process.returncode == 0
    hostile.casfs.umount(hostile.mountpoint)
    hostile.casfs.run("mount", "--owner", str(TENANT), hostile.mountpoint)


def test_many_files_are_only_slow(hostile: Hostile):
    hostile.run("""
        os.mkdir("many")
        for number in range(5000):
            os.close(os.open(f"many/{number}", os.O_CREAT | os.O_WRONLY))
    """)
    assert hostile.casfs.run("diff").stdout.count("site-packages/many/") == 5000
    hostile.casfs.add(hostile.casfs.wheel("demo", "2.0"))
    assert len(os.listdir(hostile.site / "many")) == 5000
    hostile.casfs.run("reset", "--yes")
    assert not (hostile.site / "many").exists()
