"""Editable projects of the build backends that people use, which come from the package index that pip and uv use here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_changes import listed
from tests.cli.test_locks import UV
from tests.mounted.harness import Casfs, run_python

pytestmark = pytest.mark.network

MODULE = "src/{name}/__init__.py"
SETUPTOOLS = 'requires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
BACKENDS = {
    "src": (SETUPTOOLS, MODULE),
    "flat": (SETUPTOOLS, "{name}/__init__.py"),
    "mapped": (SETUPTOOLS + '[tool.setuptools]\npackages = ["{name}"]\npackage-dir = {{ "{name}" = "lib" }}\n', "lib/__init__.py"),
    "hatchling": ('requires = ["hatchling"]\nbuild-backend = "hatchling.build"\n', MODULE),
    "flit": ('requires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n', "{name}.py"),
    "poetry": ('requires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n', MODULE),
    "pdm": ('requires = ["pdm-backend"]\nbuild-backend = "pdm.backend"\n', MODULE),
    "uv": ('requires = ["uv_build"]\nbuild-backend = "uv_build"\n', MODULE),
}


def make_project(directory: Path, backend: str) -> Path:
    """A project with one module and a script that prints its value; the path of the module."""
    system, place = (text.format(name=f"demo{backend}") for text in BACKENDS[backend])
    module = directory / place
    module.parent.mkdir(parents=True)
    module.write_text('"""Words."""\nVALUE = 1\ndef main():\n    print(VALUE)\n')
    (directory / "pyproject.toml").write_text(
        f'[project]\nname = "demo{backend}"\nversion = "1.0"\ndescription = "words"\n'
        f'[project.scripts]\nrun-{backend} = "demo{backend}:main"\n[build-system]\n{system}'
    )
    return module


def test_projects_of_every_backend_are_edited_listed_locked_and_removed(casfs: Casfs) -> None:
    modules = {backend: make_project(casfs.directory / backend, backend) for backend in BACKENDS}
    casfs.run("add", *(word for backend in BACKENDS for word in ("-e", f"./{backend}")), cwd=casfs.directory, timeout=300)
    mountpoint = casfs.mount()
    for backend, module in modules.items():
        assert run_python(mountpoint, f"import demo{backend} as one; print(one.VALUE, one.__file__)") == f"1 {module}"
        module.write_text(module.read_text().replace("VALUE = 1", "VALUE = 'edited'"))
        assert subprocess.run(mountpoint / f"bin/run-{backend}", check=True, capture_output=True, text=True).stdout == "edited\n"
    command = [UV, "pip", "list", "--format", "json", "--python", str(mountpoint)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert {one["name"]: one["editable_project_location"] for one in found} == {
        f"demo{backend}": str(casfs.directory / backend) for backend in BACKENDS
    }
    casfs.run("lock", "--output", casfs.directory / "pylock.toml")
    done = casfs.run("sync", casfs.directory / "pylock.toml", timeout=300)
    assert done.stdout == ""  # built again, to the same bytes
    casfs.run("remove", *listed(casfs))
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


def test_project_that_only_has_a_setup_py_is_built_by_setuptools(casfs: Casfs) -> None:
    project = casfs.directory / "old"
    project.mkdir()
    (project / "setup.py").write_text('from setuptools import setup\nsetup(name="old", version="1.0", py_modules=["old"])\n')
    (project / "old.py").write_text("VALUE = 1\n")
    assert casfs.run("add", "-e", project, timeout=300).stdout == "+ old 1.0\n"
    assert run_python(casfs.mount(), "import old; print(old.__file__)") == f"{project}/old.py"
