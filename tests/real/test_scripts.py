"""Console scripts run from a mount, however they are called, as they do in the environment that pip made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.python_versions import needs_python
from tests.real.environments import Environment, Pair, Said
from tests.real.test_tools import ASKS, assert_agree, assert_equal

pytestmark = [pytest.mark.network, needs_python("3.11")]


def _link(environment: Environment) -> Said:
    path = environment.root.parent / f"link-to-{environment.root.name}"
    path.symlink_to(environment.root / "bin/pip")
    try:
        return environment.run(path, "--version")
    finally:
        path.unlink()


def _relative(environment: Environment) -> Said:
    return environment.run("./pip", "--version", cwd=environment.root / "bin")


def _by_search_path(environment: Environment) -> Said:
    return environment.run("pip", "--version", PATH=f"{environment.root}/bin:/usr/bin:/bin")


def _by_activate(shell: str) -> Callable[[Environment], Said]:
    source = '. "$1/bin/activate" && pip --version && python -c "import sys; print(sys.prefix)" && deactivate && echo "${VIRTUAL_ENV-none}"'
    return lambda environment: environment.run(shell, "-c", source, shell, environment.root)


CALLS: dict[str, Callable[[Environment], Said]] = {
    "absolute path": lambda environment: environment.run(environment.root / "bin/pip", "--version"),
    "relative path": _relative,
    "symlink": _link,
    "search path": _by_search_path,
    "activate in bash": _by_activate("bash"),
    "activate in sh": _by_activate("sh"),
}


@pytest.mark.parametrize("call", CALLS)
def test_script_finds_its_environment(flask: Pair, call: str):
    said = assert_agree(flask, CALLS[call])
    assert "from ENVIRONMENT/lib/python3.11/site-packages/pip (python 3.11)" in said.output


COMMANDS = {
    "coverage": ("--version",),
    "coverage-3.11": ("help",),
    "cython": ("--help",),
    "cythonize": ("--help",),
    "f2py": ("-v",),
    "future-fstrings-show": ("--help",),
    "inv": ("--version",),
    "invoke": ("--help",),
    "jsondiff": ("--help",),
    "jsonpatch": ("--version",),
    "jsonpointer": ("--help",),
    "markdown_py": ("--help",),
    "numpy-config": ("--version",),
    "python-argcomplete-check-easy-install-script": ("no such file",),
    "register-python-argcomplete": ("tool",),
    "rst2html.py": ("--version",),
    "ruff": ("--version",),
    "wheel": ("version",),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_script_says_what_it_says_natively(quirks: Pair, name: str):
    native, mounted = quirks.both(lambda one: one.run(one.root / "bin" / name, *COMMANDS[name]))
    assert_equal(native, mounted)
    assert mounted.output or mounted.errors


MODULES = (
    *("Bio.Align", "PIL.Image", "certifi", "clang.cindex", "cmeel", "django", "docutils.core", "gmsh", "google.protobuf.message"),
    *("greenlet", "invoke", "markdown", "numpy.linalg", "ply.yacc", "psutil", "pygame", "setuptools", "zope.interface"),
)


def test_modules_are_imported_as_they_are_natively(quirks: Pair):
    said = assert_agree(quirks, lambda one: one.run(one.root / "bin/python", ASKS / "imports.py", *MODULES))
    assert {name: errors for name, (code, _, errors) in json.loads(said.output).items() if code} == {}


def test_numpys_own_tests_end_as_they_do_natively(numpy: Pair, tmp_path: Path):
    native, mounted = numpy.both(lambda one: _run_numpys_tests(one, tmp_path / one.root.parent.name))
    ends = [
        [line for line in said.output.splitlines() if re.search(r" (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", line)]
        for said in (native, mounted)
    ]
    assert ends[1] == ends[0]
    assert mounted.code == native.code == 0, mounted
    assert sum(" PASSED " in line for line in ends[1]) > 300


def _run_numpys_tests(environment: Environment, directory: Path) -> Said:
    """Without the slow ones, and without those that make as many threads as the machine has processors."""
    directory.mkdir()
    chosen = ("--pyargs", "numpy.linalg", "-m", "not slow", "-k", "not thread")
    return environment.run(environment.root / "bin/python", "-m", "pytest", *chosen, "-v", "-p", "no:cacheprovider", cwd=directory)
