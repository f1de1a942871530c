"""Programs that try file systems find nothing wrong with a mount that they don't find wrong with a plain overlayfs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from casfs.overlay import kernel
from tests.mounted.beside import PlainOverlay
from tests.mounted.harness import Casfs, site_packages

OFTEN = (
    "access", "chmod", "dir", "fallocate", "filename", "fpunch", "getdent", "iomix", "link", "mmap", "open", "rename", "seek", "symlink",
    "sync-file", "utime", "xattr",
)  # fmt: skip
SMALL = ("--iomix-bytes", "8m", "--fallocate-bytes", "8m", "--mmap-bytes", "8m", "--hdd-bytes", "16m")

MISSING = 3
"""stress-ng's exit code where the kernel lacks what a stressor is for, as binderfs."""

FIO = ("fio", "--name=job", "--size=2m", "--bs=4k", "--rw=randrw", "--verify=sha256", "--verify_fatal=1", "--direct=0", "--fsync=64")


@dataclass(frozen=True)
class Beside:
    """A directory in a mount, and one in a plain overlayfs on the same disk."""

    ours: Path
    plain: Path


@pytest.fixture(params=["image", "fuse"])
def beside(casfs: Casfs, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Beside]:
    content = os.urandom(2 << 20)
    casfs.add(casfs.wheel("demo", files={"demo/data.bin": content}))
    lower = site_packages(tmp_path / "lower") / "demo"
    lower.mkdir(parents=True)
    (lower / "data.bin").write_bytes(content)
    if request.param == "fuse":
        casfs.force_way("fuse")
    mountpoint = casfs.mount(data_path="")
    assert [one["metadata"] for one in casfs.status()] == [request.param]
    plain = PlainOverlay(tmp_path)
    plain.show(tmp_path / "lower")
    try:
        yield Beside(site_packages(mountpoint) / "demo", site_packages(plain.path) / "demo")
    finally:
        kernel.unmount(str(plain.path), is_lazy=True)
    casfs.run("diff")
    casfs.run("absorb")


def find_failures(directory: Path, *options: str) -> set[str]:
    """The stressors of stress-ng that find something wrong when they work in a new directory."""
    place = directory / "stress"
    place.mkdir()
    command = ["stress-ng", "--temp-path", str(place), "--oomable", *SMALL, *options]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=1200)
    said = done.stdout + done.stderr
    failed = set(re.findall(r"stress-ng: fail: +\[\d+\] (?:stress-ng-)?([\w-]+)", said))
    assert failed or done.returncode in (0, MISSING), said
    assert "successful run completed" in said, said  # "unsuccessful", if a stressor failed
    shutil.rmtree(place)
    return failed


def test_stress_ng_finds_nothing_that_it_does_not_find_in_overlayfs(beside: Beside):
    options = ["--timeout", "2", *(word for name in OFTEN for word in (f"--{name}", "1"))]
    assert find_failures(beside.ours, *options) <= find_failures(beside.plain, *options)


@pytest.mark.long
def test_all_of_stress_ng_finds_nothing_that_it_does_not_find_in_overlayfs(beside: Beside):
    options = ["--class", "filesystem", "--sequential", "1", "--timeout", "2"]
    assert find_failures(beside.ours, *options) <= find_failures(beside.plain, *options)


def test_fio_reads_what_it_has_written(beside: Beside):
    files = [beside.ours / "new", beside.ours / "data.bin"]  # the second one is copied up
    for engine in ("psync", "mmap", "libaio"):
        options = [f"--ioengine={engine}", "--filename=" + ":".join(map(str, files)), "--filesize=2m"]
        done = subprocess.run([*FIO, *options], cwd="/", capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "err= 0" in done.stdout
