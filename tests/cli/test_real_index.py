"""Names and locks against the package index that pip and uv use here."""

from __future__ import annotations

import pytest

from tests.cli.test_changes import listed
from tests.mounted.harness import Casfs

pytestmark = pytest.mark.network


def test_name_with_an_extra_is_added_locked_and_synced(casfs: Casfs) -> None:
    casfs.run("add", "requests[socks]", timeout=300)
    assert {"requests", "PySocks", "urllib3", "idna", "certifi"} <= listed(casfs).keys()
    lock = casfs.directory / "pylock.toml"
    casfs.run("lock", "--output", lock)
    done = casfs.run("--env", "other", "sync", lock, timeout=300)
    assert "new to the pool: nothing" in done.stderr
    assert casfs.run("--env", "other", "list", "--json").stdout == casfs.run("list", "--json").stdout


def test_source_distribution_is_built_in_isolation(casfs: Casfs) -> None:
    """Its build backend comes from the index too."""
    casfs.run("add", "--no-binary", "idna", "idna", timeout=300)
    assert str(casfs.run("show", "idna").stdout).count(".tar.gz") == 1
