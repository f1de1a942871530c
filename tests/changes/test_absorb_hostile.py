"""Absorb, when whoever wrote into the mount means harm: the distribution is refused in one line, and nothing outside is read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casfs.changes.absorb import Absorption, absorb_upper
from casfs.changes.absorbed import _Absorption
from casfs.digest import digest_bytes
from casfs.errors import EnvironmentRefused
from casfs.upper import written
from tests.changes.test_absorb import absorb, installed, reasons
from tests.make_generations import open_workshop
from tests.make_wheels import hash_field, make_wheel
from tests.upper.uppers import SITE, MountedWorkshop

SECRET = b"the secret of another tenant\n"
INIT = f"{SITE}/demo/__init__.py"
Harm = Callable[[MountedWorkshop, Path], object]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[MountedWorkshop]:
    with open_workshop(tmp_path) as workshop:
        workshop.add(make_wheel({"other/__init__.py": b""}, "other"))
        yield MountedWorkshop(workshop)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "outside" / "__init__.py"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


def absorb_upper_of(mounted: MountedWorkshop) -> Absorption:
    """Absorb where what is shown can't be read whole, to be compared."""
    done = absorb_upper(mounted.workshop.environment)
    assert done is not None
    return done


def replace_with(make: Callable[[str, Path], object]) -> Harm:
    """Put something else in the place of a file of the distribution."""

    def harm(mounted: MountedWorkshop, secret: Path) -> None:
        path = mounted.upper / INIT
        path.unlink()
        make(str(path), secret)

    return harm


def make_socket(path: str, secret: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(os.path.dirname(path))  # an address may not be long
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.basename(path))
    finally:
        os.fchdir(here)
        os.close(here)


def link_directory(mounted: MountedWorkshop, secret: Path) -> None:
    (mounted.upper / INIT).unlink()
    (mounted.upper / INIT).parent.rmdir()
    (mounted.upper / INIT).parent.symlink_to(secret.parent)


def hard_link(mounted: MountedWorkshop, secret: Path) -> None:
    os.link(mounted.upper / INIT, mounted.upper / "another name")


def belong_to_another(mounted: MountedWorkshop, secret: Path) -> None:
    if os.geteuid() == 0:
        os.chown(mounted.upper, 1234, 1234)
    else:  # what nobody may read is refused as well
        (mounted.upper / INIT).chmod(0)
        return
    (mounted.upper / INIT).chmod(0o600)


HARMS: list[tuple[str, Harm, str]] = [
    ("symbolic link", replace_with(lambda path, secret: os.symlink(secret, path)), "is a symbolic link"),
    ("link for a directory", link_directory, "is not there"),
    ("FIFO", replace_with(lambda path, secret: os.mkfifo(path)), "is a FIFO, a socket or a device"),
    ("socket", replace_with(make_socket), "is a FIFO, a socket or a device"),
    ("directory", replace_with(lambda path, secret: os.mkdir(path)), "is a directory"),
    ("whiteout", lambda mounted, secret: mounted.delete(INIT), "is not there"),
    ("setuid", lambda mounted, secret: (mounted.upper / INIT).chmod(0o4755), "setuid"),
    ("setgid", lambda mounted, secret: (mounted.upper / INIT).chmod(0o2755), "setgid"),
    ("hard link", hard_link, "hard links"),
    ("unreadable", belong_to_another, "read"),
    ("truncated", lambda mounted, secret: os.truncate(mounted.upper / INIT, 3), "has 3 bytes"),
    ("huge", lambda mounted, secret: os.truncate(mounted.upper / INIT, 1 << 40), "the limit is 68719476736"),
]


@pytest.mark.parametrize(("harm", "words"), [(harm, words) for _, harm, words in HARMS], ids=[name for name, _, _ in HARMS])
def test_a_file_that_is_not_what_record_says(mounted: MountedWorkshop, secret: Path, harm: Harm, words: str):
    row = (hash_field(SECRET), str(len(SECRET))) if "symbolic" in words or "not there" in words else None
    mounted.install("demo", rows={"demo/__init__.py": row} if row else None)
    mounted.install("good")
    harm(mounted, secret)
    done = absorb_upper_of(mounted)
    assert installed(done) == {"other": "1.0", "good": "1.0"}
    assert words in reasons(done)
    assert "\n" not in reasons(done)
    assert not mounted.workshop.store.pool.has_blob(digest_bytes(SECRET), len(SECRET))


def test_a_file_that_is_nothing_but_a_hole_is_not_read(mounted: MountedWorkshop):
    mounted.install("demo", rows={"demo/__init__.py": (hash_field(b""), str(1 << 35))})
    os.truncate(mounted.upper / INIT, 1 << 35)
    assert "has 34359738368 bytes, but hardly any on the disk" in reasons(absorb_upper_of(mounted))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../../../../outside/__init__.py", "leaves its directory with '..'"),
        ("/etc/passwd", "is an absolute path"),
        ("demo/a\nb.py", "control character"),
        ("", "empty"),
        ("../../../bin/python", "belongs to the environment itself"),
        ("../../../pyvenv.cfg", "belongs to the environment itself"),
        ("other", "is a directory"),
    ],
)
def test_a_row_that_points_where_it_may_not(mounted: MountedWorkshop, secret: Path, row: str, words: str):
    mounted.install("demo", rows={row: (hash_field(SECRET), str(len(SECRET)))})
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0"}
    assert words in reasons(done)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("METADATA", None, "has no METADATA"),
        ("METADATA", b"Name: another\nVersion: 1.0\n", "is about"),
        ("RECORD", None, "has no RECORD"),
        ("RECORD", b"\xff\xfe", "is not UTF-8"),
        ("RECORD", b'"', "is not CSV"),
        ("entry_points.txt", b"[console_scripts]\n../../x = demo:main\n", "has a path for a name"),
    ],
)
def test_a_dist_info_that_makes_no_sense(mounted: MountedWorkshop, name: str, content: bytes | None, words: str):
    mounted.install("demo")
    path = mounted.upper / SITE / "demo-1.0.dist-info" / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0"}
    assert words in reasons(done)


@pytest.mark.parametrize("name", ["RECORD", "METADATA", "INSTALLER", "direct_url.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["FIFO", "link"])
def test_an_odd_file_in_the_dist_info_stops_nobody(mounted: MountedWorkshop, name: str, make: Callable[[Path], object]):
    mounted.install("demo", own={"direct_url.json": b"{}"})
    path = mounted.upper / SITE / "demo-1.0.dist-info" / name
    path.unlink()
    make(path)
    done = absorb_upper_of(mounted)
    assert installed(done) == {"other": "1.0"}
    assert len(done.refused) == 1


def test_an_installer_of_endless_words_is_refused(mounted: MountedWorkshop):
    mounted.install("demo", own={"INSTALLER": b"pip " * (1 << 19)})
    done = absorb(mounted)
    assert reasons(done) == "demo 1.0: INSTALLER has more than 1048576 bytes"


def test_what_record_does_not_list_stays_unless_it_is_the_installers(mounted: MountedWorkshop):
    mounted.install("demo")
    info = f"{SITE}/demo-1.0.dist-info"
    os.mkfifo(mounted.upper / info / "REQUESTED")
    mounted.write(f"{info}/direct_url.json", b"{}")
    mounted.write(f"{info}/unlisted", b"")
    absorb(mounted)
    assert mounted.written() == [f"{info}/REQUESTED", f"{info}/unlisted"]


@pytest.mark.parametrize("name", [b"\xff-1.0.dist-info", b"a\nb-1.0.dist-info", b".dist-info", b"x-1.0-nonsense.dist-info"])
def test_a_dist_info_with_an_odd_name_is_named_in_one_printable_line(mounted: MountedWorkshop, name: bytes):
    mounted.install("demo")
    os.mkdir(os.fsencode(mounted.upper / SITE) + b"/" + name)
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0", "demo": "1.0"}
    [refused] = done.refused
    assert str(refused).isprintable()


def test_names_that_are_not_utf_8_stay_as_they_are(mounted: MountedWorkshop):
    name = os.fsencode(mounted.upper) + b"/share-\xff\xfe"
    Path(os.fsdecode(name)).write_bytes(b"kept")
    mounted.install("demo")
    absorb(mounted)
    assert os.listdir(os.fsencode(mounted.upper)) == [b"share-\xff\xfe"]


def test_site_packages_that_is_a_link_empties_no_environment(mounted: MountedWorkshop, secret: Path):
    site = mounted.upper / SITE
    site.parent.mkdir(parents=True)
    site.symlink_to(secret.parent)
    with pytest.raises(EnvironmentRefused, match="not a directory any more"):
        absorb_upper(mounted.workshop.environment)
    assert mounted.workshop.environment.require().find("other")


def test_a_file_that_changes_while_it_is_read(mounted: MountedWorkshop, monkeypatch: pytest.MonkeyPatch):
    mounted.install("demo")
    path = mounted.upper / INIT
    store_chunks = _Absorption._store_chunks

    def write_meanwhile(self: _Absorption, *arguments: object) -> None:
        store_chunks(self, *arguments)  # type: ignore[arg-type]
        path.write_bytes(b"VALUE = 2\n")

    monkeypatch.setattr(_Absorption, "_store_chunks", write_meanwhile)
    done = absorb_upper_of(mounted)
    assert "changed while it was read" in reasons(done)
    assert installed(done) == {"other": "1.0"}


def test_directories_without_end_are_refused(mounted: MountedWorkshop):
    deep = mounted.upper / "/".join(["d"] * (written.MAX_DEPTH + 1))
    deep.mkdir(parents=True)
    with pytest.raises(EnvironmentRefused, match="directories in each other"):
        absorb_upper(mounted.workshop.environment)


def test_files_without_end_are_refused(mounted: MountedWorkshop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(written, "MAX_ENTRIES", 10)
    mounted.install("demo", files={f"demo/{number}.py": b"" for number in range(10)})
    with pytest.raises(EnvironmentRefused, match="more than 10 files"):
        absorb_upper(mounted.workshop.environment)


def test_a_sparse_file_that_stays_is_copied_without_its_holes(mounted: MountedWorkshop):
    path = mounted.write("big", b"start")
    os.truncate(path, 1 << 36)
    os.link(path, mounted.upper / "big too")
    mounted.install("demo")
    absorb_upper(mounted.workshop.environment)
    found = (mounted.upper / "big").stat()
    assert (found.st_size, found.st_nlink) == (1 << 36, 2)
    assert found.st_blocks * 512 <= 1 << 20


def test_what_stays_keeps_mode_owner_times_and_attributes(mounted: MountedWorkshop):
    mounted.install("demo")
    path = mounted.write("share/mine", b"mine", 0o640)
    os.setxattr(path, "user.note", b"kept")
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    os.utime(path.parent, ns=(3_000_000_003, 4_000_000_004))
    path.parent.chmod(0o750)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    before = [facts(one) for one in (path, path.parent)]
    absorb(mounted)
    after = mounted.upper / "share/mine"
    assert [facts(one) for one in (after, after.parent)] == before
    assert os.getxattr(after, "user.note") == b"kept"


def facts(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns
