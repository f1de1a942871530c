"""Projects whose build backend is in them, so that nothing is needed from any index."""

from __future__ import annotations

from pathlib import Path

from tests.make_wheels import MadeWheel, make_wheel

_SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'

_BACKEND = """
import os, shutil

def _take(kind, directory):
    [name] = os.listdir(kind)
    shutil.copy(f"{kind}/{name}", directory)
    return name

def build_wheel(directory, settings=None, metadata=None):
    return _take("plain", directory)

def build_editable(directory, settings=None, metadata=None):
    return _take("editable", directory)
"""


def make_project(directory: Path, wheel: MadeWheel, *, editable: MadeWheel | None = None, table: str = "") -> Path:
    """A project whose backend gives these wheels; `table` are lines that pyproject.toml says of it, beside its build system."""
    directory.mkdir(exist_ok=True)
    (directory / "pyproject.toml").write_text(_SYSTEM + table)
    (directory / "backend.py").write_text(_BACKEND)
    offer(directory, "plain", wheel)
    if editable:
        offer(directory, "editable", editable)
    return directory


def offer(project: Path, kind: str, wheel: MadeWheel) -> None:
    """Let the backend give this wheel from now on: as `plain` or `editable`."""
    place = project / kind
    place.mkdir(exist_ok=True)
    for path in place.iterdir():
        path.unlink()
    wheel.write_to(place)


def make_editable(directory: Path, name: str = "mine", version: str = "1.0", *, needs: str = "", more: str = "") -> Path:
    """A project with one module in src/, that needs what `needs` says, and for its extra `more` what that says."""
    (directory / "src").mkdir(parents=True)
    (directory / "src" / f"{name}.py").write_text("VALUE = 1\n")
    table = f'[project]\nname = "{name}"\nversion = "{version}"\ndependencies = {needs.split()!r}\n'
    table += f"[project.optional-dependencies]\nmore = {more.split()!r}\n"
    return make_project(directory, make_wheel(None, name, version), editable=editable_wheel(directory, name, version), table=table)


def editable_wheel(project: Path, name: str, version: str) -> MadeWheel:
    """As build backends make them for a project with its modules in src/."""
    return make_wheel({f"__editable__.{name}.pth": f"{project}/src\n".encode()}, name, version)
