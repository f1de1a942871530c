"""What the tests of this folder share."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.interpreters.interpreter import Interpreter, ask_interpreter
from tests.make_generations import Workshop, open_workshop


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
