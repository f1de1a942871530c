"""What a command must not depend on: open standard streams, the umask, a home directory."""

from __future__ import annotations

import os
import stat
from argparse import Namespace
from pathlib import Path

import pytest

from casfs.cli.context import store_directory
from casfs.errors import StoreRefused
from tests.mounted.harness import Casfs

CLOSED = ("<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-")


def shell(text: str) -> list[str]:
    """What to put before a command so that a shell runs `text` and then becomes the command."""
    return ["sh", "-c", text, "sh"]


@pytest.mark.parametrize("closed", CLOSED)
def test_commands_work_with_closed_streams(casfs: Casfs, tmp_path: Path, closed: str) -> None:
    prefix = shell(f'exec "$@" {closed}')
    casfs.run("list", prefix=prefix)
    casfs.run("mount", tmp_path / "mnt", prefix=prefix)
    assert (tmp_path / "mnt/bin/python").exists()
    assert [mount["answers"] for mount in casfs.status()] == [True]


@pytest.mark.parametrize("umask", ["0", "0077", "0777"])
def test_nobody_but_the_owner_may_write_to_a_store_whatever_the_umask(casfs: Casfs, tmp_path: Path, umask: str) -> None:
    store = tmp_path / "made before"
    store.mkdir(mode=0o755)
    casfs.run("--store", store, "add", casfs.wheel("demo"), prefix=shell(f'umask {umask}; exec "$@"'))
    for path in (path for path in store.rglob("*") if not path.is_symlink()):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert not mode & 0o022, path
        assert mode & (0o700 if path.is_dir() else 0o400), path
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.iterdir() if path.is_dir()} == {0o700}


@pytest.mark.parametrize("store", [None, "~", "~nobody-has-this-name/store"])
def test_a_store_in_a_home_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch, store: str | None) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "CASFS_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_242_424_242)
    monkeypatch.setattr(os, "geteuid", lambda: 4_242_424_242)
    with pytest.raises(StoreRefused, match="--store"):
        store_directory(Namespace(store=store))
