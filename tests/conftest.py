"""What all tests share: how hypothesis behaves, that bytecode is kept, which interpreters there are, and which tests go together, first or
in turns side by side.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from casfs.interpreters.interpreter import Interpreter, ask_interpreter
from tests.make_generations import Workshop, open_workshop
from tests.namespaces import own_namespace
from tests.python_versions import OWN, VERSIONS, has_python

# No deadline: a machine that is busy with other work is no bug of ours.
settings.register_profile("casfs", deadline=None, print_blob=True)
settings.load_profile("casfs")

# Who is started in the background ignores these, and so would every command under test.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# Some thousand processes import casfs: none of them compiles it anew, whatever our caller prefers for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Where mkfs.* are; Debian gives its users a path without them.
os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

if os.environ.get("PYTEST_XDIST_WORKER") and os.geteuid() == 0:
    # A new mount namespace copies every mount and keeps it alive, also a disk whose power is cut. So no worker sees the mounts of another.
    own_namespace()

_LONGEST = (
    "test_adopt_export",
    "test_writing_tools",
    "test_daemon_life",
    "test_failing_calls",
    "test_killed_add",
    "test_data_path",
    "test_writing_ways",
    "test_comeback",
    "test_run",
    "test_bytecode",
    "test_names",
    "test_hostile_tenant",
    "test_mount",
    "test_writes_machine",
    "test_real_editables",
    "test_applications",
    "test_mount_under_load",
    "test_conformance",
    "test_soak",
    "test_full_disk",
    "test_power_cut",
)
"""The files that take longest. Were one of them begun last, all other processes would wait for it."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without those whose interpreter is not here. The longest first; all others, and the tests of each file, in their own order."""
    left_out = []
    for item in items:
        needed = [version for mark in item.iter_markers("needs_python") for version in mark.args]
        item.user_properties += [("python", version) for version in needed]
        if not all(map(has_python, needed)):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which interpreters were covered."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    if not reports:
        return
    covered = {OWN, *(str(value) for report in reports for name, value in report.user_properties if name == "python")}
    missing = [version for version in VERSIONS if not has_python(version)]
    left_out = f"; not on this machine, so their tests were left out: {', '.join(missing)}" if missing else ""
    in_order = sorted(covered, key=lambda version: [int(number) for number in version.split(".")])
    terminalreporter.write_line(f"Python covered: {', '.join(in_order)}{left_out}")


_SHARE_ENVIRONMENTS = {
    "tests/real/test_adopt_export.py",
    "tests/real/test_read_only.py",
    "tests/real/test_scripts.py",
    "tests/real/test_tools.py",
    "tests/real/test_trees.py",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files that share what takes longer to make than most of their tests run in one process."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "tests/real" if file in _SHARE_ENVIRONMENTS else file

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def own_interpreter() -> Interpreter:
    """The interpreter that runs the tests; outside its virtual environment, if it has one."""
    return ask_interpreter(sys.executable)


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """A store in memory with one environment that has nothing in it yet."""
    place = tempfile.mkdtemp(prefix="casfs-test-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        with open_workshop(Path(place)) as one:
            yield one
    finally:
        shutil.rmtree(place)
