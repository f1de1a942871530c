"""The interpreters that tests work with: what this machine has; as a program, it obtains those that are missing, where it can.

A test that needs one says so by `needs_python("3.12")`, a mark. It is not collected where there is none, and the last lines of a run say
which were covered.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

from casfs.errors import InterpreterRefused
from casfs.interpreters.interpreter import probe_base
from casfs.interpreters.search import find_interpreter

OWN = "{}.{}".format(*sys.version_info)
"""The version that runs the tests."""

VERSIONS = ("3.11", "3.12", "3.13")
"""Those that some tests need."""

needs_python = pytest.mark.needs_python

_TIME_LIMIT_S = 600  # two of 30 MB each; what can't be reached at all is known at once


def find_python(version: str) -> str:
    """The one that runs the tests if it is of this version, else what `casfs --python` would take. Raises InterpreterRefused."""
    return probe_base(sys.executable).executable if version == OWN else find_interpreter(version, os.environ)


@functools.cache
def has_python(version: str) -> bool:
    """Whether this machine has an interpreter of this version."""
    try:
        return bool(find_python(version))
    except InterpreterRefused:
        return False


def main() -> None:
    """Let uv install what is missing. That it can't is no error."""
    missing = [version for version in VERSIONS if not has_python(version)]
    if not missing:
        return
    sys.stderr.write(f"tests: obtaining Python {', '.join(missing)}\n")
    # One that is reached but does not answer is given up, too; the tests do without.
    environ = {**os.environ, "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "30", "UV_HTTP_RETRIES": "0"}
    command = [os.path.join(os.path.dirname(sys.executable), "uv"), "python", "install", "--quiet", "--no-bin", *missing]
    try:
        is_done = subprocess.run(command, env=environ, stderr=subprocess.DEVNULL, timeout=_TIME_LIMIT_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        is_done = False
    if not is_done:
        sys.stderr.write("tests: not all could be obtained; tests that need one that is missing are left out\n")


if __name__ == "__main__":
    main()
