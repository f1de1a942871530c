"""Commands start fast because of what they don't do: load what they don't need, start another program, build every parser.

What is counted here is the cause, not the time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from casfs.cli.commands.list import run_list
from casfs.cli.parser import build_parser
from tests.mounted.harness import Casfs

HEAVY = {"asyncio", "attr", "concurrent", "email", "http", "multiprocessing", "pyfuse3", "requests", "rich", "ssl", "trio"}
"""What no such command needs: each takes milliseconds to load, trio with pyfuse3 a hundred."""

LESS = HEAVY | {"logging", "packaging", "pathlib", "secrets", "socket", "subprocess", "tempfile", "tomllib"}
"""The same for commands that read no lock."""

LEAST = LESS | {"datetime", "hashlib", "threading", "urllib"}
"""The same for commands that only look."""

_PROGRAM = """
import json, sys
started = []
sys.addaudithook(lambda event, words: started.append(event) if event in {"subprocess.Popen", "os.posix_spawn", "os.exec"} else None)
from casfs.cli.main import main
try:
    main(sys.argv[2:])
except SystemExit as end:
    with open(sys.argv[1], "w") as file:
        json.dump({"modules": list(sys.modules), "started": started}, file)
    sys.exit(end.code)
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a command has loaded and started."""

    modules: set[str]
    started: list[str]

    def loaded(self, unwanted: set[str]) -> set[str]:
        return {name for name in self.modules if name.partition(".")[0] in unwanted}


def watch(casfs: Casfs, *words: str | Path) -> Seen:
    """Run a command and look at what it has loaded and started by itself, its daemon apart."""
    report = casfs.directory / "report.json"
    command = [sys.executable, "-c", _PROGRAM, str(report), *map(str, words)]
    subprocess.run(command, env=casfs.environ, capture_output=True, check=True)
    said = json.loads(report.read_text())
    return Seen(set(said["modules"]), said["started"])


@pytest.fixture
def wheel(casfs: Casfs) -> Path:
    """A wheel that the store knows."""
    files = {"demo/__init__.py": b"VALUE = 1\n"}
    wheel = casfs.wheel("demo", files=files, metadata="Requires-Python: >=3.8, !=3.9.*, <4\nRequires-Dist: other>=1\n")
    casfs.add(wheel)
    return wheel


def test_a_list_loads_little(casfs: Casfs, wheel: Path):
    seen = watch(casfs, "list")
    assert (seen.loaded(LEAST), seen.started) == (set(), [])


def test_a_known_wheel_is_added_to_a_new_environment_without_a_look_at_its_interpreter(casfs: Casfs, wheel: Path):
    python = os.path.realpath(json.loads(casfs.run("env", "list", "--json").stdout)[0]["executable"])
    seen = watch(casfs, "--env", "new", "add", "--python", python, wheel)
    assert (seen.loaded(LESS - {"tempfile"}), seen.started) == (set(), [])  # a file so new is read again
    assert casfs.generation("new") == 1


def test_a_known_lock_that_changes_nothing_is_read_and_no_more(casfs: Casfs, wheel: Path):
    casfs.run("lock", "-o", casfs.directory / "pylock.toml")
    for unwanted in (HEAVY, LESS):  # what was synced once is not even parsed
        seen = watch(casfs, "sync", casfs.directory / "pylock.toml")
        assert (seen.loaded(unwanted), seen.started) == (set(), [])


def test_a_mount_leaves_the_event_loop_to_its_daemon(casfs: Casfs, wheel: Path):
    seen = watch(casfs, "mount", casfs.directory / "first")
    assert (seen.loaded(LESS), seen.started) == (set(), [])
    assert (casfs.directory / "first/pyvenv.cfg").is_file()


def test_a_mount_on_a_host_that_runs_loads_little(casfs: Casfs, wheel: Path):
    casfs.mount(data_path="")
    seen = watch(casfs, "mount", casfs.directory / "second")
    assert (seen.loaded(LESS), seen.started) == (set(), [])


def test_a_list_beside_a_host_that_runs_loads_nothing_that_mounts(casfs: Casfs, wheel: Path):
    casfs.mount(data_path="")
    seen = watch(casfs, "list")
    assert (seen.loaded(LEAST - {"threading"}), seen.modules & {"casfs.mounts.mounting", "casfs.mounts.hosts"}) == (set(), set())


@pytest.mark.parametrize("words", [["list"], ["--store", "x", "list"], ["--env=x", "list"], ["--env", "add", "list", "--json"]])
def test_a_parser_knows_the_command_that_was_typed(words: list[str]):
    parser = build_parser(words)
    assert parser.parse_args(words).run is run_list
    assert "umount" not in parser.format_help()


@pytest.mark.parametrize("words", [[], ["--help"], ["--version", "list"], ["lisst"], ["--sto", "x", "list"], ["--"], ["--store"]])
def test_a_parser_of_anything_else_knows_every_command(words: list[str]):
    assert build_parser(words).format_help() == build_parser().format_help()
    assert "umount" in build_parser().format_help()


def test_every_command_of_the_help_is_found_by_its_name():
    listed = [line.split()[0] for line in build_parser().format_help().splitlines() if line.startswith("    ") and line[4] != " "]
    assert {"add", "daemon", "umount"} <= set(listed)
    for name in listed:
        assert name in build_parser([name]).format_help()
