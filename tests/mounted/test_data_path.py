"""The kernel's data path: an environment is an overlay whose files the kernel reads. Tools may write into it, and it changes at once."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casfs.digest import digest_bytes
from casfs.mounts.scrubber import Scrubber
from casfs.store.quarantine import lost_paths
from casfs.store.scrub import Scrub
from casfs.store.store import open_store
from tests.mounted.harness import PYTHON_DIRECTORY, REPOSITORY, Casfs, Interpreter, kill_daemon, run_python, site_packages

METADATA = ("image", "fuse")


@pytest.fixture
def metadata(request: pytest.FixtureRequest) -> str:
    """What says what there is: an image, as everywhere with root, unless a test asks for both."""
    return str(getattr(request, "param", "image"))


with_both = pytest.mark.parametrize("metadata", METADATA, indirect=True)


class Scene:
    """A store whose environments are mounted as a user mounts them."""

    def __init__(self, casfs: Casfs, metadata: str) -> None:
        self.casfs = casfs
        self._metadata = metadata
        casfs.add(casfs.wheel("demo", "1.0", {"demo/__init__.py": b"VALUE = 1\n", "demo/data.bin": b"first"}))
        self.second = casfs.wheel("demo", "2.0", {"demo/__init__.py": b"VALUE = 2\n", "demo/data.bin": b"second", "demo/new.py": b""})

    def mount(self, *words: str | Path, name: str = "") -> Path:
        if self._metadata == "fuse":
            self.casfs.force_way("fuse")
        mountpoint = self.casfs.mount(*words, name=name, data_path="")
        assert self.facts(mountpoint)["metadata"] == self._metadata
        assert self.facts(mountpoint)["data_path"] == "kernel"
        return mountpoint

    def facts(self, mountpoint: Path) -> dict[str, Any]:
        [found] = [one for one in self.casfs.status() if one["mountpoint"] == str(mountpoint)]
        return dict(found)


@pytest.fixture
def scene(casfs: Casfs, metadata: str) -> Scene:
    return Scene(casfs, metadata)


def value_of(mountpoint: Path) -> str:
    return run_python(mountpoint, "import demo; print(demo.VALUE)")


@with_both
def test_python_imports_what_was_added(scene: Scene) -> None:
    mountpoint = scene.mount()
    assert value_of(mountpoint) == "1"
    assert (site_packages(mountpoint) / "demo/data.bin").read_bytes() == b"first"


@with_both
def test_the_daemon_is_not_asked_for_bytes(scene: Scene) -> None:
    mountpoint = scene.mount()
    for _ in range(3):
        assert (site_packages(mountpoint) / "demo/data.bin").read_bytes() == b"first"
    requests = scene.casfs.requests(mountpoint)
    assert not {"read", "open"} & requests.keys()


@with_both
def test_what_one_environment_has_read_is_in_memory_for_all(scene: Scene) -> None:
    content = os.urandom(1 << 20)
    scene.casfs.add(scene.casfs.wheel("large", files={"large/data.bin": content}))
    blob = scene.casfs.blob(digest_bytes(content))
    mountpoint = scene.mount()
    with blob.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert cached_bytes(file.fileno()) == 0
        assert (site_packages(mountpoint) / "large/data.bin").read_bytes() == content
        assert cached_bytes(file.fileno()) == len(content)


def cached_bytes(fd: int) -> int:
    """How much of a file is in the page cache (cachestat(2), Linux 6.5)."""
    whole, found = struct.pack("QQ", 0, 0), ctypes.create_string_buffer(40)
    assert ctypes.CDLL(None).syscall(451, fd, whole, found, 0) == 0
    return int(struct.unpack("5Q", found.raw)[0]) * mmap.PAGESIZE


@with_both
def test_files_look_as_they_do_on_the_plain_file_system(scene: Scene) -> None:
    shown, plain = scene.mount(), scene.casfs.mount(data_path="fuse")
    assert dict(iter_looks(shown)) == dict(iter_looks(plain))


def iter_looks(top: Path) -> Iterator[tuple[str, object]]:
    """(path, what can be seen of it) of all that is below a directory."""
    for parent, directories, files in os.walk(top):
        for name in [*directories, *files]:
            path = Path(parent, name)
            found = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            size = 0 if path.is_dir() else found.st_size
            yield str(path.relative_to(top)), (oct(found.st_mode), found.st_uid, found.st_gid, size, found.st_mtime_ns, content)


@with_both
def test_what_tools_write_stays_in_the_environment(scene: Scene) -> None:
    mountpoint = scene.mount()
    site = site_packages(mountpoint)
    (site / "demo/__init__.py").write_text("VALUE = 'edited'\n")
    (site / "mine.py").write_text("VALUE = 'mine'\n")
    (site / "demo/data.bin").unlink()
    blob = scene.casfs.blob(digest_bytes(b"VALUE = 1\n"))
    assert blob.read_bytes() == b"VALUE = 1\n"
    scene.casfs.umount(mountpoint)
    again = scene.mount(name="again")
    assert run_python(again, "import demo, mine; print(demo.VALUE, mine.VALUE)") == "edited mine"
    assert not (site_packages(again) / "demo/data.bin").exists()
    scene.casfs.add("--env", "other", next((scene.casfs.directory / "wheels").glob("demo-1.0*")))
    assert value_of(scene.mount("--env", "other", name="other")) == "1"


def test_read_only_means_read_only(scene: Scene) -> None:
    mountpoint = scene.mount("--read-only")
    with pytest.raises(OSError, match="Read-only") as caught:
        (site_packages(mountpoint) / "x").write_text("")
    assert caught.value.errno == errno.EROFS
    assert not scene.facts(mountpoint)["writable"]
    assert value_of(mountpoint) == "1"
    assert (site_packages(scene.mount(name="writable")) / "x").write_text("x")


def test_two_paths_show_the_same_files_at_once(scene: Scene) -> None:
    one, other = scene.mount(name="one"), scene.mount(name="other")
    (site_packages(one) / "mine.py").write_text("VALUE = 1\n")
    assert (site_packages(other) / "mine.py").read_text() == "VALUE = 1\n"
    scene.casfs.umount(one)
    assert value_of(other) == "1"


@with_both
def test_a_change_is_seen_at_once_and_by_all_places(scene: Scene) -> None:
    one, other = scene.mount(name="one"), scene.mount("--read-only", name="other")
    scene.casfs.add(scene.second)
    assert [value_of(one), value_of(other)] == ["2", "2"]
    assert [scene.facts(path)["generation"] for path in (one, other)] == [scene.casfs.generation()] * 2
    with pytest.raises(OSError, match="Read-only"):
        (site_packages(other) / "x").write_text("")
    scene.casfs.run("rollback")
    assert [value_of(one), value_of(other)] == ["1", "1"]


def test_a_running_process_finds_what_is_new_although_it_has_listed_the_directory(scene: Scene) -> None:
    mountpoint = scene.mount()
    (site_packages(mountpoint) / "written.py").write_text("")
    with Interpreter(mountpoint) as python:
        assert python.fails("import later") == "ModuleNotFoundError"
        scene.casfs.add(scene.casfs.wheel("later"))
        python.ask("import later")


@with_both
def test_a_running_process_keeps_what_it_has_open(scene: Scene) -> None:
    mountpoint = scene.mount()
    with Interpreter(mountpoint, cwd=site_packages(mountpoint) / "demo") as python:
        python.ask("import demo, mmap")
        python.ask("file = open('data.bin', 'rb'); mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)")
        scene.casfs.add(scene.second)
        assert python.ask("[file.read().decode(), mapped[:].decode(), open('data.bin').read(), demo.VALUE]") == ["first"] * 3 + [1]
        assert python.ask(f"open({str(site_packages(mountpoint) / 'demo/data.bin')!r}).read()") == "second"
    assert value_of(mountpoint) == "2"


@with_both
def test_nobody_ever_finds_the_path_empty_or_half_changed(scene: Scene) -> None:
    mountpoint = scene.mount()
    scene.casfs.add(scene.second)
    problems: list[str] = []
    is_over = threading.Event()

    def look() -> None:
        directory = site_packages(mountpoint) / "demo"
        while not is_over.is_set():
            try:
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    source = read_at(fd, "__init__.py"), read_at(fd, "data.bin")
                    if source not in ((b"VALUE = 1\n", b"first"), (b"VALUE = 2\n", b"second")):
                        problems.append(str(source))
                finally:
                    os.close(fd)
            except OSError as error:
                problems.append(repr(error))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        process = scene.casfs.start_rollbacks(20)
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert problems == []


def read_at(directory_fd: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY, dir_fd=directory_fd)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_mounts_are_neither_setuid_nor_devices(scene: Scene) -> None:
    mountpoint = scene.mount()
    [line] = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == str(mountpoint)]
    assert {"nosuid", "nodev"} <= {*line.split()[5].split(",")}


@with_both
def test_nothing_is_left_of_mounts_that_ended(scene: Scene) -> None:
    mountpoint = scene.mount()
    for _ in range(3):
        scene.casfs.run("add", scene.second)
        scene.casfs.run("rollback")
    (site_packages(mountpoint) / "kept.py").write_text("")
    scene.casfs.umount(mountpoint)
    assert str(scene.casfs.store) not in Path("/proc/self/mountinfo").read_text()
    assert [name for name in os.listdir(scene.casfs.store / "run") if name != "dead.log"] == []
    upper = scene.casfs.store / "environments/default/upper/1"
    assert os.listdir(upper / "work") == []
    assert (upper / "files/lib" / PYTHON_DIRECTORY / "site-packages/kept.py").exists()


def scrub(casfs: Casfs) -> None:
    """What the daemon's scrub does when something was mounted."""
    Scrubber(open_store(str(casfs.store))).look_at_mounts(1 << 40)


def read_error(path: Path) -> int:
    """The number of the error that reading a file ends with; 0: none."""
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno or 0
    return 0


@with_both
@pytest.mark.parametrize("is_open", [False, True], ids=["before the mount", "while a process had it open"])
def test_a_blob_that_was_written_to_is_an_error_until_it_is_restored(scene: Scene, is_open: bool) -> None:
    """Also in the mount that is there already: neither the error nor the way back takes another one."""
    blob = scene.casfs.blob(digest_bytes(b"first"))
    mountpoint = scene.mount() if is_open else Path()
    if is_open:
        assert (site_packages(mountpoint) / "demo/data.bin").read_bytes() == b"first"
    blob.chmod(0o644)
    blob.write_bytes(b"wrong")
    site = site_packages(mountpoint if is_open else scene.mount())
    scrub(scene.casfs)
    assert read_error(site / "demo/data.bin") == errno.EIO
    assert (site / "demo/__init__.py").read_bytes() == b"VALUE = 1\n"
    assert f"damaged: {blob}" in scene.casfs.run("status").stdout
    assert "casfs_scrub_damaged_blobs 1\n" in scene.casfs.run("metrics").stdout
    [wheel] = scene.casfs.directory.glob("wheels/demo-1.0-*.whl")
    scene.casfs.add(wheel)
    assert (site / "demo/data.bin").read_bytes() == b"first"
    assert "damaged" not in scene.casfs.run("status").stdout


def test_what_fsck_repairs_and_add_restores_is_right_in_a_mount_that_was_there(scene: Scene) -> None:
    site = site_packages(scene.mount())
    blob = scene.casfs.blob(digest_bytes(b"first"))
    assert (site / "demo/data.bin").read_bytes() == b"first"
    blob.chmod(0o644)
    blob.write_bytes(b"wrong")
    assert (site / "demo/data.bin").read_bytes() == b"wrong"  # nothing has noticed it yet
    scene.casfs.run("fsck", "--repair", code=3)
    assert read_error(site / "demo/data.bin") == errno.EIO
    [wheel] = scene.casfs.directory.glob("wheels/demo-1.0-*.whl")
    scene.casfs.add(wheel)
    assert (site / "demo/data.bin").read_bytes() == b"first"


def test_the_scrub_reads_the_whole_pool_and_leaves_good_blobs_alone(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", "1.0", {"demo/data.bin": b"first", "demo/more.bin": b"second"}))
    damaged = casfs.blob(digest_bytes(b"second"))
    damaged.chmod(0o644)
    damaged.write_bytes(b"third!")
    store = open_store(str(casfs.store))
    scrub = Scrub(store)
    assert sum(scrub.read_pool()) == scrub.state.bytes
    assert lost_paths(store) == [str(damaged)]
    assert not damaged.exists()
    assert casfs.blob(digest_bytes(b"first")).read_bytes() == b"first"
    casfs.add(*(casfs.directory / "wheels").glob("*.whl"))
    assert damaged.read_bytes() == b"second"


def test_status_says_which_data_path_and_why(scene: Scene) -> None:
    scene.mount()
    plain = scene.casfs.mount(data_path="fuse")
    assert scene.facts(plain)["data_path"] == "fuse"
    text = scene.casfs.run("status").stdout
    assert "kernel" in text
    assert f"{plain}: the daemon reads the files: it was asked for" in text


@with_both
def test_death_of_the_daemon_is_healed(scene: Scene) -> None:
    mountpoint = scene.mount()
    (site_packages(mountpoint) / "mine.py").write_text("VALUE = 'mine'\n")
    kill_daemon(scene.facts(mountpoint))
    scene.casfs.add(scene.second)
    assert value_of(mountpoint) == "2"
    assert run_python(mountpoint, "import mine; print(mine.VALUE)") == "mine"
    assert [one["mountpoint"] for one in scene.casfs.status()] == [str(mountpoint)]


@with_both
def test_another_owner_is_refused_while_the_environment_is_mounted(scene: Scene) -> None:
    mountpoint = scene.mount()
    refused = scene.casfs.run("mount", "--owner", "1001", scene.casfs.directory / "theirs", code=1)
    assert f"{mountpoint} shows the environment as the files of user 0; one can own it at a time" in refused.stderr


@with_both
def test_files_belong_to_the_owner_who_may_write_them(scene: Scene) -> None:
    mountpoint = scene.mount("--owner", "1001")
    file = site_packages(mountpoint) / "demo/__init__.py"
    assert (file.stat().st_uid, file.stat().st_gid) == (1001, 1001)
    source = "open('__init__.py', 'a').write('MORE = 1\\n'); open('new.py', 'w')"
    inside = f"import os; os.chdir({str(file.parent)!r}); os.setgroups([]); os.setgid(1001); os.setuid(1001); exec({source!r})"
    command = [sys.executable, "-c", inside]  # whoever may not enter the directories above can be below them
    subprocess.run(command, check=True, timeout=240)
    assert (file.parent / "new.py").stat().st_uid == 1001
    assert "MORE" in file.read_text()


def test_the_forced_data_path_is_the_one_or_an_error(scene: Scene) -> None:
    assert scene.facts(scene.casfs.mount(data_path="kernel"))["data_path"] == "kernel"
    refused = scene.casfs.run("mount", "--data-path", "disk", scene.casfs.directory / "x", code=2)
    assert "disk" in refused.stderr


def test_json_status_of_a_mount_is_complete(scene: Scene) -> None:
    mountpoint = scene.mount()
    found = json.loads(scene.casfs.run("status", "--json").stdout)["mounts"][0]
    assert (found["mountpoint"], found["writable"], found["environment"]) == (str(mountpoint), True, "default")


def install_by_hand(mountpoint: Path) -> None:
    """What a tool does that installs `tiny` 1.0."""
    site = site_packages(mountpoint)
    (site / "tiny").mkdir()
    (site / "tiny-1.0.dist-info").mkdir()
    files = {"tiny/__init__.py": b"VALUE = 'tiny'\n", "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"}
    files["tiny-1.0.dist-info/INSTALLER"] = b"tool"
    files["tiny-1.0.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tool\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    rows = []
    for name, content in files.items():
        (site / name).write_bytes(content)
        encoded = urlsafe_b64encode(bytes.fromhex(digest_bytes(content))).rstrip(b"=").decode()
        rows.append(f"{name},sha256={encoded},{len(content)}\n")
    (site / "tiny-1.0.dist-info/RECORD").write_text("".join(rows) + "tiny-1.0.dist-info/RECORD,,\n")


@with_both
def test_owner_who_can_do_nothing_with_the_mount_is_told_in_one_line(scene: Scene) -> None:
    closed = scene.casfs.directory / "closed"
    closed.mkdir(mode=0o700)
    said = scene.casfs.run("mount", "--owner", "1001", closed / "venv").stderr
    [line] = [line for line in said.splitlines() if line.startswith("casfs: warning: ")]
    assert line.startswith(f"casfs: warning: user 1001 can't reach {closed / 'venv'} (/")
    assert scene.casfs.run("mount", "--owner", "0", scene.casfs.directory / "roots", code=1).stderr.count("warning") == 0


def test_absorb_empties_the_upper_layer_of_a_mounted_environment_and_nobody_sees_a_difference(scene: Scene) -> None:
    mountpoint = scene.mount()
    install_by_hand(mountpoint)
    (site_packages(mountpoint) / "mine.py").write_text("VALUE = 'mine'\n")
    before = dict(iter_contents(mountpoint))
    with Interpreter(mountpoint, cwd=site_packages(mountpoint) / "tiny") as python:
        assert "+ tiny 1.0" in scene.casfs.run("absorb").stdout
        assert python.fails("open('late', 'w')") == "OSError"  # an old working directory is read-only: what it wrote would be lost
        python.ask("import tiny, mine")
    assert dict(iter_contents(mountpoint)) == before
    assert run_python(mountpoint, "import tiny, mine; print(tiny.VALUE, mine.VALUE)") == "tiny mine"
    (site_packages(mountpoint) / "later.py").write_text("VALUE = 'later'\n")
    assert "tiny" not in scene.casfs.run("diff").stdout
    assert "tiny" in scene.casfs.run("list").stdout


def iter_contents(top: Path) -> Iterator[tuple[str, object]]:
    """(path, content) of all files; bytecode depends on times and is left out, and of RECORD the order."""
    for parent, directories, files in os.walk(top):
        directories[:] = [name for name in directories if name != "__pycache__"]
        for path in (Path(parent, name) for name in files):
            content = os.readlink(path) if path.is_symlink() else path.read_bytes()
            yield str(path.relative_to(top)), sorted(content.splitlines()) if path.name == "RECORD" else content


@with_both
def test_what_a_process_writes_from_an_older_generation_is_never_lost(scene: Scene) -> None:
    """Its working directory keeps it there. Until what tools wrote is absorbed, it may write; then it is told that it can't."""
    mountpoint = scene.mount()
    (site_packages(mountpoint) / "mine").mkdir()
    with Interpreter(mountpoint, cwd=site_packages(mountpoint) / "mine") as python:
        scene.casfs.add(scene.second)
        python.ask("open('first', 'w').write('x')")
        assert (site_packages(mountpoint) / "mine/first").exists()
        install_by_hand(mountpoint)
        with (site_packages(mountpoint) / "mine/first").open("a") as held:
            held.write("still open")
            assert "open for writing" in scene.casfs.run("absorb", code=1).stderr
        python.ask("open('second', 'w').write('x')")  # it was not left read-only
        scene.casfs.run("absorb")
        assert python.fails("open('third', 'w')") == "OSError"
    assert {path.name for path in (site_packages(mountpoint) / "mine").iterdir()} == {"first", "second"}


def test_many_changes_beneath_a_process_end_with_it_read_only_rather_than_lost(scene: Scene) -> None:
    mountpoint = scene.mount()
    scene.casfs.add(scene.second)
    (site_packages(mountpoint) / "mine").mkdir()
    with Interpreter(mountpoint, cwd=site_packages(mountpoint) / "mine") as python:
        process = scene.casfs.start_rollbacks(12)
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        assert python.fails("open('late', 'w')") == "OSError"
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    assert sum(str(scene.casfs.store) in line for line in lines) < 12  # the older ones have gone


def test_absorb_waits_for_nobody_who_writes(scene: Scene) -> None:
    mountpoint = scene.mount()
    install_by_hand(mountpoint)
    with (site_packages(mountpoint) / "log").open("w") as file:
        refused = scene.casfs.run("absorb", code=1)
        assert "somebody has a file there open for writing" in refused.stderr
        file.write("still here")
    assert (site_packages(mountpoint) / "log").read_text() == "still here"
    assert "+ tiny 1.0" in scene.casfs.run("absorb").stdout


def test_reset_throws_away_what_tools_wrote(scene: Scene) -> None:
    mountpoint = scene.mount()
    install_by_hand(mountpoint)
    (site_packages(mountpoint) / "demo/data.bin").unlink()
    assert "--yes" in scene.casfs.run("reset", code=1).stderr
    scene.casfs.run("reset", "--yes")
    assert (site_packages(mountpoint) / "demo/data.bin").read_bytes() == b"first"
    assert not (site_packages(mountpoint) / "tiny").exists()
    (site_packages(mountpoint) / "mine.py").write_text("")


def test_the_next_command_finishes_a_change_that_was_killed_before_mounts_could_show_it(scene: Scene) -> None:
    mountpoint = scene.mount()
    source = "import os, casfs.cli.changes as changes; changes.refresh_after_change = lambda *given: os._exit(9)"
    command = [sys.executable, "-c", f"{source}; from casfs.cli.main import main; main()", "add", str(scene.second)]
    assert subprocess.run(command, env=scene.casfs.environ, check=False, cwd=REPOSITORY).returncode == 9
    assert value_of(mountpoint) == "1"
    scene.casfs.run("list")
    assert value_of(mountpoint) == "2"


def test_before_linux_6_16_an_overlay_of_the_daemons_file_system_has_another_one_inside(casfs: Casfs) -> None:
    """There an overlay with userxattr can't point into the pools; this one fails as it does there."""
    scene = Scene(casfs, "fuse")
    casfs.force_way("fuse")
    old = "import casfs.mounts.overlay_layers as layers\n"
    old += "def refuse(layers): raise OSError(22, 'invalid argument')\nlayers.make_overlay = refuse\n"
    mountpoint = casfs.directory / "old"
    command = [sys.executable, "-c", f"{old}\nfrom casfs.cli.main import main; main()", "mount", "--data-path", "kernel", str(mountpoint)]
    subprocess.run(command, env=casfs.environ, check=True, cwd=REPOSITORY)
    assert (scene.facts(mountpoint)["metadata"], scene.facts(mountpoint)["writable"]) == ("fuse", True)
    assert value_of(mountpoint) == "1"
    assert not {"read", "open"} & casfs.requests(mountpoint).keys()
    os.chmod(site_packages(mountpoint) / "demo/data.bin", 0o600)
    [written] = (casfs.store / "environments/default/upper/1/files").rglob("data.bin")
    assert written.read_bytes() == b"first"  # a file whose mode was changed is a whole file, and no reference to a lower one
    casfs.run("reset", "--yes")
    casfs.add(scene.second)
    assert value_of(mountpoint) == "2"


def test_a_mount_that_fails_leaves_no_daemon(scene: Scene) -> None:
    refuse = "import casfs.mounts.mounting as placing\ndef refuse(*_): raise placing.MountRefused('here', 'for a test')\n"
    refuse += "placing.require_overlay = refuse\nfrom casfs.cli.main import main; main()"
    command = [sys.executable, "-c", refuse, "mount", "--data-path", "kernel", str(scene.casfs.directory / "x")]
    done = subprocess.run(command, env=scene.casfs.environ, check=False, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, "for a test" in done.stderr) == (1, True)
    assert scene.casfs.leases() == []


def test_show_tells_whose_a_file_is_and_whether_somebody_has_written_it(scene: Scene) -> None:
    mountpoint = scene.mount()
    site = site_packages(mountpoint)
    facts = json.loads(scene.casfs.run("show", "--json", site / "demo/data.bin").stdout)
    assert (facts["distribution"], facts["version"], facts["sha256"], facts["is_written"]) == ("demo", "1.0", digest_bytes(b"first"), False)
    assert Path(facts["blob"]).read_bytes() == b"first"
    (site / "demo/data.bin").write_bytes(b"edited")
    (site / "mine").write_bytes(b"mine")
    assert "is written: yes" in scene.casfs.run("show", "./data.bin", cwd=site / "demo").stdout
    assert "is written: yes" in scene.casfs.run("show", site / "mine").stdout
    plain = site_packages(scene.casfs.mount(data_path="fuse")) / "demo/data.bin"
    assert plain.read_bytes() == b"first"  # this way nobody sees what was written
    assert "is written: no" in scene.casfs.run("show", plain).stdout
    for path in (site / "absent", site / "demo", scene.casfs.directory / "elsewhere"):
        assert str(path) in scene.casfs.run("show", path, code=1).stderr
    (site / "demo/data.bin").unlink()
    assert "demo/data.bin was removed" in scene.casfs.run("show", site / "demo/data.bin", code=1).stderr


def test_show_of_an_edited_file_tells_what_the_mount_shows_and_what_the_original_is(scene: Scene) -> None:
    path = site_packages(scene.mount()) / "demo/data.bin"
    before = json.loads(scene.casfs.run("show", "--json", path).stdout)
    path.write_bytes(b"edited")
    facts = json.loads(scene.casfs.run("show", "--json", path).stdout)
    assert (facts["is_written"], facts["bytes"], facts["sha256"]) == (True, 6, digest_bytes(b"edited"))
    assert {name: facts[f"original_{name}"] for name in ("bytes", "sha256", "kind", "blob")} == {
        name: before[name] for name in ("bytes", "sha256", "kind", "blob")
    }
    done = scene.casfs.run("show", path)
    assert f"\nsha256: {digest_bytes(b'edited')}\n" in done.stdout
    assert f"\noriginal sha256: {digest_bytes(b'first')}\n" in done.stdout
    assert done.stderr == "the mount shows the copy in the upper layer, which was written there, in place of the original\n"
    path.unlink()
    path.symlink_to("__init__.py")
    facts = json.loads(scene.casfs.run("show", "--json", path).stdout)
    assert (facts["kind"], facts["target"], facts["original_sha256"]) == ("symlink", "__init__.py", digest_bytes(b"first"))


def test_a_mount_that_is_there_is_not_taken_for_another_kind(scene: Scene) -> None:
    mountpoint = scene.mount()
    assert "already shows" in scene.casfs.run("mount", mountpoint).stderr
    for words in (["--read-only"], ["--data-path", "fuse"], ["--owner", "1001"]):
        assert f"first `casfs umount {mountpoint}`" in scene.casfs.run("mount", *words, mountpoint, code=1).stderr
    (site_packages(mountpoint) / "x").write_text("")


def test_what_a_tool_uninstalled_is_not_said_to_be_there(scene: Scene) -> None:
    mountpoint = scene.mount()
    shutil.rmtree(site_packages(mountpoint) / "demo")
    shutil.rmtree(site_packages(mountpoint) / "demo-1.0.dist-info")
    [wheel] = (scene.casfs.directory / "wheels").glob("demo-1.0*")
    assert "demo was uninstalled in the mounted environment" in scene.casfs.run("add", wheel, code=1).stderr
