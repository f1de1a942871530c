"""A damaged blob is an error for whoever reads it, and a line in the log: never wrong bytes, zeros, a hang, or the end of the mount."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from casfs.digest import digest_bytes
from casfs.store.environments import Environment
from casfs.store.manifests import manifest_path
from casfs.store.store import open_store
from tests.mounted.harness import Casfs, make_template, site_packages, wait_for_end

CONTENT = random.Random(11).randbytes(400_000)


def truncate(path: Path) -> None:
    rewrite(path, CONTENT[:-1])


def empty(path: Path) -> None:
    rewrite(path, b"")


def lengthen(path: Path) -> None:
    rewrite(path, CONTENT + b"more")


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def link_to_good_bytes(path: Path) -> None:
    """Even then: nobody but the pool decides what a blob is."""
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def rewrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


@dataclass
class Scene:
    casfs: Casfs
    mountpoint: Path
    directory: Path
    blob: Path
    wheel: Path

    def restore(self) -> None:
        if self.blob.is_dir() and not self.blob.is_symlink():
            self.blob.rmdir()
        else:
            self.blob.unlink(missing_ok=True)
        self.blob.with_name("moved").unlink(missing_ok=True)
        self.blob.write_bytes(CONTENT)
        self.blob.chmod(0o444)


@pytest.fixture(scope="module")
def module_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("damage")
    with Casfs(directory, make_template(directory / "template")) as casfs:
        names = [f"demo/{number}.bin" for number in range(12)]
        wheel = casfs.wheel("demo", files={**dict.fromkeys(names, CONTENT), "demo/good.txt": b"good"})
        casfs.add(wheel)
        mountpoint = casfs.mount()
        yield Scene(casfs, mountpoint, site_packages(mountpoint) / "demo", casfs.blob(digest_bytes(CONTENT)), wheel)


@pytest.fixture
def scene(module_scene: Scene) -> Iterator[Scene]:
    """A mount that has read nothing of the blob, which is whole again afterwards."""
    module_scene.casfs.umount(module_scene.mountpoint)
    module_scene.casfs.run("mount", "--data-path", "fuse", module_scene.mountpoint)
    yield module_scene
    module_scene.restore()


def read(path: Path) -> bytes | str:
    """What a new process reads; the name of the error if it can't."""
    source = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    done = subprocess.run([sys.executable, "-c", source, str(path)], capture_output=True, timeout=240, check=False)
    return done.stdout if done.returncode == 0 else done.stderr.decode().rstrip().rpartition("\n")[2].partition("] ")[0]


@pytest.mark.parametrize(
    "damage", [truncate, empty, lengthen, remove, link, link_to_good_bytes, make_fifo, make_directory], ids=lambda one: one.__name__
)
def test_damaged_blob_is_an_error_that_the_log_names(scene: Scene, damage: Callable[[Path], None]) -> None:
    damage(scene.blob)
    assert read(scene.directory / "1.bin") == f"OSError: [Errno {errno.EIO}"
    assert str(scene.blob) in scene.casfs.log()
    assert "Traceback" not in scene.casfs.log()
    assert read(scene.directory / "good.txt") == b"good"
    assert (scene.directory / "1.bin").stat().st_size == len(CONTENT)
    assert scene.casfs.run("fsck", "--fast", code=3).returncode == 3
    scene.restore()
    assert read(scene.directory / "1.bin") == CONTENT
    assert read(scene.directory / "2.bin") == CONTENT
    [status] = scene.casfs.status()
    assert status["answers"] is True


def test_blob_that_shrinks_while_it_is_open_is_an_error(scene: Scene) -> None:
    with (scene.directory / "3.bin").open("rb", buffering=0) as file:
        assert file.read(4096) == CONTENT[:4096]  # and what the kernel reads ahead
        scene.blob.chmod(0o644)
        os.truncate(scene.blob, 300_000)
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(file.fileno(), 4096, len(CONTENT) - 4096)
    assert scene.blob.name in scene.casfs.log()
    assert read(scene.directory / "good.txt") == b"good"


def test_adding_the_wheel_again_restores_a_lost_blob(scene: Scene) -> None:
    scene.blob.unlink()
    assert read(scene.directory / "4.bin") == f"OSError: [Errno {errno.EIO}"
    shutil.copy(scene.wheel, scene.wheel.with_suffix(".copy"))
    scene.casfs.run("fsck", "--repair", code=None)
    scene.casfs.add(scene.wheel)
    assert read(scene.directory / "4.bin") == CONTENT


def test_mapped_file_of_a_lost_blob_ends_its_reader_and_not_the_mount(scene: Scene) -> None:
    source = (
        "import mmap, os, sys; file = open(sys.argv[1], 'rb'); os.unlink(sys.argv[2])\n"
        "mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[100:200]"
    )
    command = [sys.executable, "-c", source, str(scene.directory / "5.bin"), str(scene.blob)]
    done = subprocess.run(command, timeout=240, capture_output=True, check=False)
    assert done.returncode == -signal.SIGBUS
    assert read(scene.directory / "good.txt") == b"good"


def test_lost_manifest_is_an_error_and_the_rest_goes_on(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"), casfs.wheel("other"))
    mountpoint = casfs.mount()
    site = site_packages(mountpoint)
    store = open_store(str(casfs.store))
    demo = Environment(store, "default").require().find("demo")
    assert demo is not None
    mine = Path(manifest_path(store, demo.files.manifest))
    content = mine.read_bytes()
    mine.unlink()
    assert read(site / "demo/__init__.py") == f"OSError: [Errno {errno.EIO}"
    assert str(mine) in casfs.log()
    assert read(site / "other/__init__.py") == b"VALUE = 1\n"
    assert {"demo", "other"} <= {*os.listdir(site)}
    mine.write_bytes(content)
    assert read(site / "demo/__init__.py") == b"VALUE = 1\n"


@pytest.mark.parametrize("reader", ["mount", "export"])
def test_blob_that_a_read_has_missed_is_restored_by_an_add(casfs: Casfs, reader: str) -> None:
    wheel = casfs.wheel("demo", files={"demo/data.bin": CONTENT})
    casfs.add(wheel)
    (blob := casfs.blob(digest_bytes(CONTENT))).unlink()
    if reader == "mount":
        assert read(site_packages(casfs.mount()) / "demo/data.bin") == f"OSError: [Errno {errno.EIO}"
    else:
        assert "the blob is missing" in casfs.run("export", casfs.directory / "exported", code=1).stderr
    casfs.add(wheel)
    assert blob.read_bytes() == CONTENT


def test_log_ends_with_its_mount(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo/data.bin": CONTENT}))
    casfs.blob(digest_bytes(CONTENT)).unlink()
    mountpoint = casfs.mount()
    assert read(site_packages(mountpoint) / "demo/data.bin") == f"OSError: [Errno {errno.EIO}"
    assert casfs.log()
    [pid] = casfs.daemons()
    casfs.umount(mountpoint)
    wait_for_end(pid)
    assert os.listdir(casfs.store / "run") == []
    casfs.add(casfs.wheel("other", files={"other.bin": CONTENT}))  # which brings the blob back


def test_blob_that_was_written_to_is_an_error_even_if_it_keeps_its_size(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo/data.bin": CONTENT, "demo/other.bin": b"other"}))
    blob = casfs.blob(digest_bytes(CONTENT))
    blob.chmod(0o644)
    blob.write_bytes(CONTENT[::-1])
    site = site_packages(casfs.mount())
    assert read(site / "demo/data.bin") == f"OSError: [Errno {errno.EIO}"
    assert read(site / "demo/other.bin") == b"other"
    assert "does not have the bytes" in casfs.log()
    blob.write_bytes(CONTENT)
    blob.chmod(0o444)
    assert read(site / "demo/data.bin") == CONTENT
