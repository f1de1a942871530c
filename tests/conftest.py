"""What all tests share: how hypothesis behaves, and which tests take turns when they run side by side."""

from __future__ import annotations

import fcntl
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: a machine that is busy with other work is no bug of ours.
settings.register_profile("casfs", deadline=None, print_blob=True)
settings.load_profile("casfs")

# Who is started in the background ignores these, and so would every command under test.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

_MAKE_NAMESPACES = {
    "test_comeback",
    "test_into",
    "test_run",
    "test_run_names",
    "test_run_plain_user",
    "test_run_terminal",
    "test_strangers",
}
_WAIT_FOR_DISKS = {"test_full_disk", "test_mounted_twins", "test_power_cut", "test_twins"}


@pytest.fixture(scope="module", autouse=True)
def turns(request: pytest.FixtureRequest) -> Iterator[None]:
    """A new mount namespace copies every mount and keeps it alive, also a disk whose power is cut: tests of the two kinds never overlap."""
    name = Path(str(request.path)).stem
    if name not in _MAKE_NAMESPACES | _WAIT_FOR_DISKS:
        yield
        return
    with (Path(tempfile.gettempdir()) / "casfs-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if name in _MAKE_NAMESPACES else fcntl.LOCK_EX)
        yield
