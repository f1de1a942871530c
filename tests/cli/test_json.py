"""JSON: every command that lists or changes something writes it, all by one convention, and nothing else on standard output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mounted.harness import Casfs

BY_NAME = {"requests", "latency_us", "generations"}
"""What a daemon counts by kind of request, and by environment."""


def read(casfs: Casfs, *words: str | Path, code: int = 0) -> Any:
    said = json.loads(casfs.run(*words, "--json", code=code).stdout)
    for key, value in iter_values(said):
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", key)
        assert value != ""
        if key.endswith(("_count", "_bytes")) or key == "bytes":
            assert type(value) is int
        if key.startswith("is_"):
            assert type(value) is bool
    return said


def iter_values(value: object) -> Iterator[tuple[str, object]]:
    """All keys and their values, but for what a daemon counts by names."""
    for one in value if isinstance(value, list) else ():
        yield from iter_values(one)
    for key, one in value.items() if isinstance(value, dict) else ():
        yield key, one
        if key not in BY_NAME or isinstance(one, list):
            yield from iter_values(one)


def test_changes(casfs: Casfs) -> None:
    wheel = casfs.wheel("demo")
    added = read(casfs, "add", wheel)
    change = {"name": "demo", "before": None, "after": "1.0", "origin": str(wheel)}
    assert (added["environment"], added["generation"], added["changes"], added["unchanged"]) == ("default", 2, [change], [])
    assert added["file_count"] == added["new_file_count"] > 0
    assert added["bytes"] == added["new_bytes"] > 0
    assert added["bytecode"].keys() == {"file_count", "bytes", "compiled_count", "failed_sources", "problem"}

    again = read(casfs, "add", wheel)
    assert again.keys() == added.keys()
    assert (again["changes"], again["unchanged"], again["new_file_count"]) == ([], [{"name": "demo", "version": "1.0"}], 0)

    newer = casfs.wheel("demo", "2.0")
    assert read(casfs, "add", newer)["changes"] == [{"name": "demo", "before": "1.0", "after": "2.0", "origin": str(newer)}]
    lock = casfs.directory / "pylock.toml"
    casfs.run("lock", "-o", lock)
    gone = [{"name": "demo", "before": "2.0", "after": None, "origin": None}]
    assert read(casfs, "remove", "demo") == {"environment": "default", "generation": 4, "changes": gone}
    synced = read(casfs, "sync", lock)
    assert synced.keys() == added.keys()
    assert synced["changes"] == [{"name": "demo", "before": None, "after": "2.0", "origin": str(newer)}]
    assert read(casfs, "rollback") == {"environment": "default", "generation": 6, "changes": gone}
    assert read(casfs, "absorb") == {"environment": "default", "generation": 6, "changes": []}


def test_what_is_there_already_is_told_without_a_change(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    said = read(casfs, "add", "--offline", "demo")
    assert (said["generation"], said["changes"], said["unchanged"]) == (2, [], [{"name": "demo", "version": "1.0"}])


def test_an_adopted_environment(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    casfs.run("export", casfs.directory / "plain")
    changes = read(casfs, "adopt", "--env", "other", casfs.directory / "plain")["changes"]
    assert changes == [{"name": "demo", "before": None, "after": "1.0", "origin": "casfs"}]


@pytest.mark.parametrize("words", ["list", "generations", "env list", "diff", "show demo", "show demo --files", "status", "daemon status"])
def test_listings_keep_the_convention(casfs: Casfs, words: str) -> None:
    casfs.add(casfs.wheel("demo"))
    mountpoint = casfs.mount()
    assert (mountpoint / "pyvenv.cfg").read_bytes()
    assert read(casfs, *words.split())


def test_files_of_a_mount_keep_the_convention(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo-1.0.data/data/demo.txt": b"x"}))
    assert read(casfs, "show", casfs.mount() / "demo.txt")["distribution"] == "demo"


def test_shared_pools(casfs: Casfs) -> None:
    assert read(casfs, "pool", "list") == []
    casfs.run("--store", casfs.directory / "shared", "add", casfs.wheel("demo"))
    casfs.run("pool", "add", casfs.directory / "shared")
    assert read(casfs, "pool", "list") == [{"path": str(casfs.directory / "shared")}]


def test_a_collection(casfs: Casfs) -> None:
    casfs.run("--env", "gone", "add", casfs.wheel("demo"))
    casfs.run("env", "remove", "gone")
    planned = read(casfs, "collect", "--unused-wheels", "--dry-run")
    assert planned["is_dry_run"]
    assert planned["wheel_count"] == 1
    assert planned["bytes"] > 0
    assert read(casfs, "collect", "--unused-wheels") == planned | {"is_dry_run": False}
    assert read(casfs, "collect")["bytes"] == 0


def test_a_check(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo.py": b"VALUE = 1"}))
    good = read(casfs, "fsck")
    assert (good["damages"], good["repairs"], good["is_fast"]) == ([], [], False)
    assert (good["environment_count"], good["wheel_count"], good["shared_pools"]) == (1, 1, [])
    [blob] = [path for path in (casfs.store / "blobs").rglob("*") if path.is_file() and path.read_bytes() == b"VALUE = 1"]
    blob.chmod(0o644)
    blob.write_bytes(b"VALUE = 2")
    bad = read(casfs, "fsck", code=3)
    assert bad.keys() == good.keys()
    assert [(one["kind"], one["path"], one["environments"]) for one in bad["damages"]] == [("blob", str(blob), ["default"])]
    assert str(blob) in {one["path"] for one in read(casfs, "fsck", "--repair", code=3)["repairs"]}
    casfs.add(*casfs.directory.rglob("demo-1.0*.whl"))
