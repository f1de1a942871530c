"""A daemon that lost its store ends; one that takes over ends no process but the worker that it was told of."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.mounted.daemons import wait_until
from tests.mounted.harness import REPOSITORY, Casfs, site_packages, wait_for_end

ADOPT = """
import os, sys
from pathlib import Path
from casfs.daemon.daemon import Daemon
from casfs.store.leases import new_lease, take_lease
from casfs.store.store import open_store
store = open_store(Path(sys.argv[1]))
held = take_lease(store, new_lease("work", "/mnt", ""))
daemon = Daemon(store, held, None, -1, -1, start_scrubber=None)
read, write = os.pipe()
child = os.fork()
if not child:
    os.close(write)
    os.read(read, 1)  # until the parent ends
    os._exit(0)
print(daemon._is_worker(child), daemon._is_worker(int(sys.argv[2])), daemon._is_worker(2**22))
held.end()
"""


def test_worker_is_known_by_the_lease_that_it_holds(casfs: Casfs) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        command = [sys.executable, "-c", ADOPT, str(casfs.store), str(stranger.pid)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
        stranger.kill()
    assert done.stdout == "True False False\n"


def test_host_whose_store_was_deleted_ends_when_its_last_place_is_unmounted(casfs: Casfs, mounted: Path) -> None:
    [host] = casfs.status()
    private = Path(casfs.leases()[0]["mountpoint"])
    shutil.rmtree(casfs.store)
    wait_until(lambda: not os.path.ismount(private))
    assert os.path.ismount(mounted)
    subprocess.run(["umount", mounted], check=True)
    for pid in (host["supervisor"], host["worker"]):
        wait_for_end(pid)
    assert not private.exists()


def test_host_whose_store_is_there_does_not_end_by_itself(casfs: Casfs, mounted: Path) -> None:
    [host] = casfs.status()
    threading.Event().wait(6)  # longer than it takes it to look for its store
    assert casfs.status()[0]["worker"] == host["worker"]


IMPOSSIBLE: list[dict[str, object]] = [
    {"environment": "../../etc"},
    {"environment": "a\0"},
    {"environment": "\ud800"},
    {"environment": "default", "uid": 10**20},
    {"environment": "default", "generation": -1},
    {"environment": "default", "uid": 0.5},
]


def test_impossible_messages_are_refused_and_leave_nothing_behind(casfs: Casfs, mounted: Path) -> None:
    [lease] = casfs.leases()
    for number, fields in enumerate(IMPOSSIBLE):
        with socket.socket(socket.AF_UNIX) as connection, contextlib.chdir(casfs.store / "run"):
            connection.connect(f"{lease['id']}.sock")
            command = ("show", "switch", "forget")[number % 3]
            connection.sendall(json.dumps({"command": command, "version": 1, **fields}).encode() + b"\n")
            reply = json.loads(connection.makefile().readline())
        assert reply["problem"], fields
    [shown] = casfs.status()
    assert shown["supervisor"] == lease["pid"]
    casfs.add(casfs.wheel("other"))
    assert (site_packages(mounted) / "other").is_dir()
    casfs.run("umount", "--all")
    assert casfs.leases() == []
