"""Installers are told that a mounted environment is read-only, in their own words, and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.python_versions import needs_python
from tests.real.downloads import Tools
from tests.real.environments import Environment, Maker, Pair
from tests.real.trees import read_tree

pytestmark = [pytest.mark.network, needs_python("3.11")]

Command = Callable[[Tools, Environment, Path], list[str]]

INSTALLERS: dict[str, Command] = {
    "pip": lambda tools, one, wheel: tools.pip("--python", one.root, "install", "--no-index", "--no-deps", wheel),
    "its own pip": lambda tools, one, wheel: [str(one.root / "bin/pip"), "install", "--no-index", "--no-deps", str(wheel)],
    "uv": lambda tools, one, wheel: tools.uv("pip", "install", "--offline", "--no-deps", "--python", one.root, wheel),
    "uv uninstall": lambda tools, one, wheel: tools.uv("pip", "uninstall", "--python", one.root, "click"),
}


@pytest.mark.parametrize("installer", INSTALLERS)
def test_installer_fails_cleanly_and_changes_nothing(flask: Pair, maker: Maker, quirks: Pair, tmp_path: Path, installer: str):
    before = read_tree(flask.mounted.root)
    command = INSTALLERS[installer](maker.tools, flask.mounted, quirks.wheels["six==1.17.0"])
    said = flask.mounted.run(*command, UV_CACHE_DIR=str(tmp_path))
    assert said.code != 0
    assert "Read-only file system" in said.errors
    assert "Traceback" not in said.errors
    assert read_tree(flask.mounted.root) == before
