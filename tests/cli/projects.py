"""Projects whose build backend is in them, so that nothing is needed from any index."""

from __future__ import annotations

import io
import subprocess
import tarfile
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


def pack_project(project: Path, name: str, version: str = "1.0") -> bytes:
    """A source distribution of a project."""
    (project / "PKG-INFO").write_text(f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(project, f"{name}-{version}")
    return packed.getvalue()


def commit_project(project: Path) -> str:
    """Make a git repository of a project; its one commit."""
    git = ["git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "x"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
