"""status: what it tells of daemons and mounts, once and again."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from casfs import __version__
from tests.mounted.harness import Casfs, is_readable


@pytest.fixture
def mounted(casfs: Casfs) -> Path:
    mountpoint = casfs.mount()
    (mountpoint / "pyvenv.cfg").read_bytes()
    return mountpoint


def read_daemon(casfs: Casfs) -> dict[str, Any]:
    [daemon] = json.loads(casfs.run("status", "--json").stdout)["daemons"]
    assert isinstance(daemon, dict)
    return daemon


def test_status_tells_how_long_each_kind_of_request_took(casfs: Casfs, mounted: Path) -> None:
    daemon = read_daemon(casfs)
    assert {"lookup", "open", "read"} <= daemon["latency_us"].keys() <= daemon["requests"].keys()
    assert all(0 < p50 <= p99 < 60e6 for p50, p99 in daemon["latency_us"].values())
    text = casfs.run("status").stdout
    assert "Request" in text
    for kind in daemon["requests"]:
        assert f"\n{kind} " in text


def test_status_tells_version_memory_descriptors_and_restarts(casfs: Casfs, mounted: Path) -> None:
    daemon = read_daemon(casfs)
    assert daemon["casfs_version"] == __version__
    assert 1 << 20 < daemon["supervisor_resident_bytes"] < 1 << 30
    assert daemon["open_blob_count"] < daemon["descriptor_count"] < 100
    assert daemon["restart_count"] == 0
    text = casfs.run("status").stdout
    for word in (f"casfs {__version__}", f"process {daemon['supervisor']}", f"process {daemon['worker']}", "descriptors"):
        assert word in text


def test_a_watch_on_a_pipe_prints_again_and_again_until_it_is_interrupted(casfs: Casfs, mounted: Path) -> None:
    with subprocess.Popen(casfs.command("status", "--watch"), env=casfs.environ, stdout=subprocess.PIPE, text=True) as watch:
        try:
            assert watch.stdout
            heads = 0
            while heads < 2:
                line = watch.stdout.readline()
                assert "\033" not in line
                heads += line == f"store {casfs.store}\n"
        finally:
            watch.send_signal(signal.SIGINT)
    assert watch.returncode == 0


def test_a_watch_on_a_terminal_puts_each_status_in_the_place_of_the_one_before(casfs: Casfs, mounted: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(casfs.command("status", "--watch"), env=casfs.environ, stdout=theirs) as watch:
        try:
            seen = b""
            while seen.count(b"\033[H\033[2Jstore ") < 2:
                assert is_readable(ours, 60)
                seen += os.read(ours, 4096)
        finally:
            watch.send_signal(signal.SIGINT)
            os.close(theirs)
            watch.wait()
            os.close(ours)
    assert watch.returncode == 0
    assert seen.count(str(mounted).encode()) >= 1
