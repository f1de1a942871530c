"""diff, absorb, reset: what they print, what they ask, and that nothing is lost unasked."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import Any

import pytest

from casfs.store.environments import Environment
from casfs.store.store import open_store
from tests.make_generations import Workshop
from tests.mounted.harness import TIME_LIMIT_S, Casfs
from tests.upper.uppers import MountedWorkshop


@pytest.fixture
def mounted(casfs: Casfs) -> MountedWorkshop:
    """An environment with demo 1.0 and other 1.0, in whose mount tools may write."""
    casfs.add(casfs.wheel("demo", files={"demo/__init__.py": b"VALUE = 1\n", "demo/more.py": b""}), casfs.wheel("other"))
    store = open_store(casfs.store)
    return MountedWorkshop(Workshop(store, Environment(store, "default"), casfs.directory))


@pytest.fixture
def used(mounted: MountedWorkshop) -> MountedWorkshop:
    """As after some hours of work."""
    mounted.install("fresh", "3.0")
    mounted.uninstall("other")
    mounted.write(f"{mounted.site}/demo/__init__.py", b"VALUE = 2\n")
    mounted.write(f"{mounted.site}/mine.py", b"mine")
    mounted.write(f"{mounted.site}/demo/__pycache__/more.cpython-311.pyc", b"12345")
    return mounted


def read_diff(casfs: Casfs) -> Any:
    return json.loads(casfs.run("diff", "--json").stdout)


@pytest.mark.parametrize("command", ["diff", "absorb", "reset"])
def test_nothing_was_ever_written(casfs: Casfs, mounted: MountedWorkshop, command: str) -> None:
    done = casfs.run(command)
    assert (done.stdout, done.stderr) == ("", "nothing was written into a mount of default\n")
    assert read_diff(casfs) == {"distributions": [], "files": [], "bytecode": {"file_count": 0, "bytes": 0}, "problems": [], "bytes": 0}


@pytest.mark.parametrize("command", ["diff", "absorb", "reset"])
def test_an_environment_that_does_not_exist(casfs: Casfs, command: str) -> None:
    done = casfs.run("--env", "nowhere", command, code=1)
    assert done.stderr == "casfs: nowhere: there is no environment of this name; `casfs add --env nowhere` makes one\n"
    assert not (casfs.store / "environments" / "nowhere").exists()


def test_diff_names_distributions_first_and_then_files(casfs: Casfs, used: MountedWorkshop) -> None:
    done = casfs.run("diff")
    assert done.stdout.splitlines() == [
        f"+ fresh 3.0 (pip, 5 files, {used_size(used)} B)",
        "- other 1.0",
        f"  edited  {used.site}/demo/__init__.py (demo)",
        f"  added   {used.site}/mine.py",
    ]
    assert "1 bytecode file among them" in done.stderr


def used_size(mounted: MountedWorkshop) -> int:
    return sum(path.stat().st_size for path in (mounted.upper / mounted.site).glob("fresh*/*"))


def test_lock_and_sync_say_what_of_the_mounts_is_not_in_it(casfs: Casfs, mounted: MountedWorkshop) -> None:
    lock = casfs.directory / "pylock.toml"
    assert casfs.run("lock", "--output", lock).stderr == ""
    mounted.install("fresh", "3.0")
    mounted.write(f"{mounted.site}/mine.py", b"mine")
    said = "not part of it, because it was changed in a mount: 1 distribution and 1 file; `casfs diff` names them, `casfs absorb`"
    for words in (("lock", "--output", lock), ("sync", lock)):
        assert said in casfs.run(*words).stderr.splitlines()[-1]


def test_lock_names_the_command_that_takes_what_tools_installed_from_an_index(casfs: Casfs, mounted: MountedWorkshop) -> None:
    for name in ("fresh", "more"):
        mounted.install(name, "3.0")
    casfs.run("absorb")
    assert "; `casfs add fresh==3.0 more==3.0` takes it from an index\n" in casfs.run("lock", code=1).stderr
    said = casfs.run("--store", casfs.store, "lock", code=1).stderr
    assert f"; `casfs --store {casfs.store} add fresh==3.0 more==3.0` takes it from an index\n" in said


def test_list_says_that_tools_see_other_distributions_in_the_mounts(casfs: Casfs, used: MountedWorkshop) -> None:
    done = casfs.run("list")
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["demo", "other"]
    hint = "1 distribution installed, 1 removed by other tools in its mounts; `casfs diff` shows them, `casfs absorb` takes them in\n"
    assert done.stderr == hint
    told = casfs.run("list", "--json")
    assert [one["name"] for one in json.loads(told.stdout)] == ["demo", "other"]
    assert told.stderr == ""
    casfs.run("absorb")
    assert casfs.run("list").stderr == ""  # bytecode and edited files are no distributions


def test_list_counts_an_upgrade_by_a_tool_once(casfs: Casfs, mounted: MountedWorkshop) -> None:
    assert casfs.run("list").stderr == ""
    mounted.uninstall("other")
    assert casfs.run("list").stderr.startswith("1 distribution removed by other tools in its mounts; ")
    (mounted.upper / mounted.site / "other").unlink()  # pip takes the whiteout away with the directory that it makes
    mounted.install("other", "2.0")
    assert casfs.run("list").stderr.startswith("1 distribution installed by other tools in its mounts; ")


def test_diff_tells_a_program_the_same(casfs: Casfs, used: MountedWorkshop) -> None:
    found = read_diff(casfs)
    assert [(one["name"], one["before"], one["after"], one["installer"]) for one in found["distributions"]] == [
        ("demo", "1.0", "1.0", None),
        ("fresh", None, "3.0", "pip"),
        ("other", "1.0", None, "a tool"),
    ]
    assert found["distributions"][0]["edited"] == [{"path": f"{used.site}/demo/__init__.py", "action": "edited", "bytes": 10}]
    assert found["files"] == [{"path": f"{used.site}/mine.py", "action": "added", "bytes": 4}]
    assert found["bytecode"] == {"file_count": 1, "bytes": 5}


def test_diff_shows_names_that_are_not_utf_8(casfs: Casfs, mounted: MountedWorkshop) -> None:
    mounted.write("share-\udcff", b"")
    assert "  added   share-\\udcff\n" in casfs.run("diff").stdout
    assert read_diff(casfs)["files"] == [{"path": "share-\udcff", "action": "added", "bytes": 0}]


def test_absorb_tells_each_change_and_what_is_left(casfs: Casfs, used: MountedWorkshop) -> None:
    done = casfs.run("absorb")
    assert done.stdout == "+ fresh 3.0\n- other 1.0\n"
    assert " B before, 19 B now\n" in done.stderr
    assert done.stderr.endswith("2 files in it stay: edited, or part of no installed distribution; `casfs diff` names them\n")
    assert [one["name"] for one in json.loads(casfs.run("list", "--json").stdout)] == ["demo", "fresh"]
    assert [one["name"] for one in read_diff(casfs)["distributions"]] == ["demo"]
    assert "name: fresh\nversion: 3.0\n" in (shown := casfs.run("show", "fresh").stdout)
    assert "\nfrom: pip\n" in shown


def test_absorb_names_what_it_refuses_and_goes_on(casfs: Casfs, used: MountedWorkshop) -> None:
    used.install("broken")
    used.write(f"{used.site}/broken/__init__.py", b"VALUE = 3\n")
    done = casfs.run("absorb")
    assert "+ fresh 3.0\n" in done.stdout
    assert (
        "casfs: warning: broken 1.0: 'broken/__init__.py': its sha256 is not the one in RECORD; it stays in the upper layer\n"
        in done.stderr
    )


def test_what_was_absorbed_can_be_rolled_back(casfs: Casfs, used: MountedWorkshop) -> None:
    casfs.run("absorb")
    assert casfs.run("rollback").stdout == "- fresh 3.0\n+ other 1.0\n"


def test_add_is_refused_where_a_tool_was_at_work(casfs: Casfs, used: MountedWorkshop) -> None:
    done = casfs.run("add", casfs.wheel("other", "2.0"), code=1)
    assert done.stderr == (
        "casfs: default: other was uninstalled in the mounted environment; `casfs absorb` keeps that, `casfs reset other` throws it away\n"
    )


def test_reset_without_a_terminal_needs_yes(casfs: Casfs, used: MountedWorkshop) -> None:
    done = casfs.run("reset", code=1, stdin=subprocess.DEVNULL)
    assert done.stderr == "casfs: default: there is no terminal to ask on; `casfs reset --yes` does not ask\n"
    assert read_diff(casfs)["files"]
    assert casfs.run("reset", "--yes").stderr == "default shows generation 2 alone again\n"
    assert read_diff(casfs)["bytes"] == 0


@pytest.mark.parametrize(("answer", "code", "is_left"), [("y\n", 0, False), ("yes\n", 0, False), ("n\n", 1, True), ("\n", 1, True)])
def test_reset_asks_on_a_terminal(casfs: Casfs, used: MountedWorkshop, answer: str, code: int, is_left: bool) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        done = casfs.run("reset", code=code, stdin=theirs, timeout=TIME_LIMIT_S)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "+ fresh 3.0" in done.stdout
    assert "Throw away " in done.stderr
    assert bool(read_diff(casfs)["files"]) == is_left


def test_reset_names_only_the_first_of_very_many_files(casfs: Casfs, mounted: MountedWorkshop) -> None:
    for number in range(30):
        mounted.write(f"mine/{number:02}", b"")
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"n\n")
        done = casfs.run("reset", code=1, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout.endswith("  added   mine/19\n  and 10 more files\n")


def test_reset_of_a_project_leaves_what_was_done_to_others(casfs: Casfs, used: MountedWorkshop) -> None:
    used.write("share/mine", b"mine")
    done = casfs.run("reset", "--yes", "Other")
    assert done.stderr == f"default shows other as generation {casfs.generation()} has it again\n"
    assert "other" not in casfs.run("diff").stdout
    assert "share/mine" in casfs.run("diff").stdout
    assert casfs.run("reset", "--yes", "other", code=1).stderr == "casfs: default: nothing of other was changed in a mount of it\n"
