"""What the tests of this folder share."""

from __future__ import annotations

import sys

import pytest

from casfs.venv.interpreter import Interpreter, ask_interpreter


@pytest.fixture(scope="session")
def own_interpreter() -> Interpreter:
    """The interpreter that runs the tests; outside its virtual environment, if it has one."""
    return ask_interpreter(sys.executable)
