"""A copy of a store in use: it must leave alone what the original has mounted."""

from __future__ import annotations

import shutil

from tests.mounted.harness import Casfs, run_python, site_packages


def test_a_copy_of_a_store_takes_nothing_from_the_original(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    mountpoint = casfs.mount(data_path="")
    copy = casfs.directory / "copy"
    shutil.copytree(casfs.store, copy, symlinks=True, ignore=lambda _, names: [name for name in names if name.endswith(".sock")])
    assert "came back" not in casfs.run("--store", copy, "list").stderr
    assert casfs.run("--store", copy, "status").stdout.endswith("nothing is mounted\n")
    (site_packages(mountpoint) / "mine.py").write_text("VALUE = 1\n")
    assert not list((copy / "environments/default/upper").rglob("mine.py"))
    shutil.rmtree(copy)
    assert run_python(mountpoint, "import demo, mine; print(mine.VALUE)") == "1"
    assert [one["mountpoint"] for one in casfs.status()] == [str(mountpoint)]
