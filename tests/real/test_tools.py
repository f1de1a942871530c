"""Every tool says of a mounted environment what it says of the one that pip made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.python_versions import needs_python
from tests.real.environments import Environment, Maker, Pair, Said, without_numbers

pytestmark = [pytest.mark.network, needs_python("3.11")]

ASKS = Path(__file__).parent / "asks"

NAMES = ("Flask", "requests", "charset-normalizer", "MarkupSafe", "pip")

PIP = {
    "list": ("list", "--format", "json"),
    "list --verbose": ("list", "--verbose", "--format", "json"),
    "list --not-required": ("list", "--not-required"),
    "check": ("check",),
    "show --files": ("show", "--files", *NAMES),
    "freeze": ("freeze", "--all"),
}

UV = {
    "list": ("list", "--format", "json"),
    "check": ("check",),
    "show --files": ("show", "--files", *NAMES),
    "freeze": ("freeze",),
    "tree": ("tree",),
}

PYTHON = {
    "-m site": ("-m", "site"),
    "-m pydoc requests": ("-m", "pydoc", "requests"),
    "-m pydoc flask.json": ("-m", "pydoc", "flask.json"),
    "-m pydoc -k": ("-m", "pydoc", "-k", "flask"),
    "-m pip list": ("-m", "pip", "list"),
    "-m flask": ("-m", "flask", "--version"),
    "importlib.metadata": (ASKS / "metadata.py",),
    "isolated importlib.metadata": ("-I", ASKS / "metadata.py"),
    "places": (ASKS / "places.py",),
    "isolated places": ("-I", ASKS / "places.py"),
}


def assert_agree(pair: Pair, ask: Callable[[Environment], Said]) -> Said:
    native, mounted = pair.both(ask)
    assert_equal(native, mounted)
    assert mounted.code == 0, mounted
    assert mounted.output
    return mounted


def assert_equal(native: Said, mounted: Said) -> None:
    """Line by line, so that a failure shows where they part."""
    assert mounted.output.splitlines() == native.output.splitlines()
    assert mounted.errors.splitlines() == native.errors.splitlines()
    assert mounted == native


@pytest.mark.parametrize("question", PIP)
def test_pip_agrees(flask: Pair, maker: Maker, question: str):
    native, mounted = flask.both(lambda one: one.run(*maker.tools.pip("--python", one.root, *PIP[question])))
    assert mounted.output.replace('"installer": "casfs"', '"installer": "pip"') == native.output
    assert (mounted.code, mounted.errors) == (native.code, native.errors)
    assert mounted.code == 0, mounted


def test_pip_inspect_agrees_but_for_the_installer(flask: Pair, maker: Maker):
    native, mounted = (_inspect(one, maker) for one in (flask.native, flask.mounted))
    assert {one.pop("installer") for one in native["installed"]} == {"pip"}
    assert {one.pop("installer") for one in mounted["installed"]} == {"casfs"}
    assert mounted == native
    assert len(mounted["installed"]) == len(flask.wheels)


def _inspect(environment: Environment, maker: Maker) -> dict[str, Any]:
    said = environment.run(*maker.tools.pip("--python", environment.root, "inspect"))
    assert said.code == 0, said
    found = json.loads(said.output)
    found["installed"].sort(key=lambda one: one["metadata"]["name"])
    return dict(found)


@pytest.mark.parametrize("question", UV)
def test_uv_agrees(flask: Pair, maker: Maker, tmp_path: Path, question: str):
    def ask(one: Environment) -> Said:
        said = one.run(*maker.tools.uv("pip", *UV[question], "--offline", "--python", one.root), UV_CACHE_DIR=str(tmp_path))
        return Said(said.code, said.output, without_numbers(said.errors))

    native, mounted = flask.both(ask)
    assert_equal(native, mounted)
    assert mounted.code == 0, mounted
    assert mounted.output or "All installed packages are compatible" in mounted.errors


@pytest.mark.parametrize("question", PYTHON)
def test_python_agrees(flask: Pair, question: str):
    assert_agree(flask, lambda one: one.run(one.root / "bin/python", *PYTHON[question]))


@pytest.mark.parametrize("name", ["python", "python3", "python3.11"])
def test_every_name_of_the_interpreter_agrees(flask: Pair, name: str):
    said = assert_agree(flask, lambda one: one.run(one.root / "bin" / name, ASKS / "places.py"))
    assert json.loads(said.output)["sys"]["prefix"] == "ENVIRONMENT"


def test_other_interpreters_agree(portable: Pair):
    for ask in ("places.py", "metadata.py"):
        said = assert_agree(portable, lambda one, ask=ask: one.run(one.root / "bin/python", ASKS / ask))  # type: ignore[misc]
        assert portable.mounted.directory in said.output
