"""Every file that commands and daemons leave in a store stands in a table: the store's own, or that of its run directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from casfs.store import leases, store
from tests.mounted.harness import Casfs, site_packages

SHARD = "[0-9a-f]{2}/[0-9a-f]+"

STORE = {
    "format",
    "identity",
    "config.toml",
    "clock",
    f"blobs/{SHARD}",
    f"manifests/{SHARD}",
    "wheels/[0-9a-f]{64}",
    r"stamps/[0-9a-f]+(\.(blobs|inodes|installed|locked))?",
    "stamps/scrub.(json|lock)",
    r"interpreters/[0-9a-f]+\.json",
    f"numbers/{SHARD}",
    "numbers/by-project/.+",
    r"environments/[^/]+/(generations/\d+\.(toml|index)|current|lock|synced|upper/.+)",
    "bytecode/.+",
    "locks/.+",
    "downloads/.+",
    "tmp/.+",
    "quarantine/.+",
}


def rows_of(text: str) -> list[str]:
    """The names in the first column of a docstring's table."""
    return [line[4:].split("  ")[0] for line in text.splitlines() if line.startswith("    ") and line[4:5].strip()]


@pytest.fixture
def used(casfs: Casfs) -> tuple[list[str], list[str]]:
    """Files of the store, and of its run directory, while something is mounted and after much was done."""
    one, two = (casfs.wheel("demo", version, {"demo/__init__.py": version.encode()}) for version in ("1.0", "2.0"))
    casfs.add(one)
    mountpoint = casfs.mount(data_path="")
    casfs.mount("--data-path", "fuse")
    casfs.add(two)
    (site_packages(mountpoint) / "mine.py").write_text("")
    lock = casfs.directory / "pylock.toml"
    casfs.run("lock", "-o", lock)
    casfs.run("--env", "other", "sync", lock)
    casfs.run("rollback")
    casfs.run("run", "--", "true")
    names = [
        os.path.relpath(os.path.join(parent, name), casfs.store)
        for parent, directories, files in os.walk(casfs.store)
        for name in [*files, *(one for one in directories if Path(parent, one).is_symlink() or not os.listdir(os.path.join(parent, one)))]
    ]
    return [name for name in names if not name.startswith("run/")], sorted(os.listdir(casfs.store / "run"))


def test_files_of_the_store_are_those_of_its_table(used: tuple[list[str], list[str]]):
    files, _ = used
    known = re.compile("|".join(f"(?:{pattern})" for pattern in STORE))
    assert [name for name in files if not known.fullmatch(name) and name not in store.DIRECTORIES] == []
    named = {row.split("/")[0].rstrip(",") for row in rows_of(store.__doc__ or "")}
    assert {pattern.partition("/")[0].split(r"\.")[0] for pattern in STORE} | {"run"} == named


def test_files_of_the_run_directory_are_those_of_its_table(used: tuple[list[str], list[str]]):
    _, files = used
    rows = [name for row in rows_of(leases.__doc__ or "") for name in row.split(", ")]
    patterns = [re.sub(r"<\w+>", "[^.]+", re.escape(row).replace(r"\<", "<").replace(r"\>", ">")) for row in rows]
    known = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    assert [name for name in files if not known.fullmatch(name)] == []
    assert len(rows) == 14
    assert {".json", ".sock", ".slots", ".mount"} <= {os.path.splitext(name)[1] for name in files}
