"""Real environments, adopted and exported: what pip and uv made becomes ours, and ours becomes what pip would have made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from casfs.store.environments import Environment as StoredEnvironment
from casfs.store.generations import Generation
from casfs.store.store import open_store
from tests.mounted.harness import Casfs
from tests.python_versions import find_python, needs_python
from tests.real.downloads import provide_wheels
from tests.real.environments import Environment, Maker, Pair
from tests.real.trees import find_differences
from tests.real.wheels import FLASK, PORTABLE

pytestmark = [pytest.mark.network, needs_python("3.11")]

_TIME_LIMIT_S = 240


def listed_by_casfs(casfs: Casfs, name: str) -> dict[str, str]:
    """What is there, without argparse, of which pip does not speak: to pip it is the standard library's."""
    found = json.loads(casfs.run("--env", name, "list", "--json").stdout)
    return {one["name"]: one["version"] for one in found if one["name"] != "argparse"}


def listed_by_pip(maker: Maker, one: Environment) -> dict[str, str]:
    said = one.run(*maker.tools.pip("--python", one.root, "list", "--format", "json"))
    assert said.code == 0, said
    return {found["name"]: found["version"] for found in json.loads(said.output)}


def export(maker: Maker, pair: Pair, name: str) -> Environment:
    """The environment of that name, as regular files."""
    exported = Environment(maker.directory / name / "exported" / ".venv", pair.native.directory)
    if not exported.root.exists():
        maker.casfs.run("--env", name, "export", exported.root, timeout=_TIME_LIMIT_S)
    return exported


@pytest.mark.parametrize("name", ["quirks", "numpy"])
def test_what_pip_made_is_adopted_path_by_path(maker: Maker, request: pytest.FixtureRequest, name: str):
    pair: Pair = request.getfixturevalue(name)
    adopted = f"adopted-{name}"
    done = maker.casfs.run("--env", adopted, "adopt", "--no-compile", pair.native.root, timeout=_TIME_LIMIT_S)
    assert "warning" not in done.stderr
    assert listed_by_casfs(maker.casfs, adopted) == listed_by_pip(maker, pair.native)
    mounted = Environment(maker.directory / adopted / ".venv", pair.native.directory)
    maker.casfs.run("--env", adopted, "mount", "--read-only", mounted.root)
    differences = find_differences(Pair(pair.native, mounted, pair.wheels))
    assert not differences, "\n".join(differences)
    said = mounted.run(mounted.root / "bin/python", "-c", "import numpy; print(numpy.arange(4).sum(), numpy.__file__)")
    assert said.output.startswith("6 ENVIRONMENT/lib/")


@pytest.mark.parametrize("name", ["quirks", "flask"])
def test_export_is_what_pip_makes_of_the_same_wheels(maker: Maker, request: pytest.FixtureRequest, name: str):
    pair: Pair = request.getfixturevalue(name)
    exported = export(maker, pair, name)
    differences = find_differences(Pair(pair.native, exported, pair.wheels))
    assert not differences, "\n".join(differences)
    assert listed_by_pip(maker, exported) == listed_by_pip(maker, pair.native)


def facts(generation: Generation) -> set[tuple[object, ...]]:
    found = generation.distributions
    return {(one.name, one.version, one.wheel, one.requested, one.files.manifest, one.installation.manifest) for one in found}


@pytest.mark.parametrize("name", ["quirks", "flask"])
def test_there_and_back_every_layer_is_the_same(maker: Maker, request: pytest.FixtureRequest, name: str):
    pair: Pair = request.getfixturevalue(name)
    maker.casfs.run("--env", f"again-{name}", "adopt", "--no-compile", export(maker, pair, name).root, timeout=_TIME_LIMIT_S)
    store = open_store(maker.casfs.store)
    before, after = (StoredEnvironment(store, one).require() for one in (name, f"again-{name}"))
    assert facts(after) == facts(before)
    assert before.skeleton == after.skeleton


@pytest.fixture
def make_apart(maker: Maker, tmp_path: Path) -> Callable[[], Casfs]:
    """A store of its own, in which no wheel is known; it is not mounted."""
    return lambda: Casfs(tmp_path)


@needs_python("3.12")
def test_what_uv_linked_from_its_cache_is_adopted_without_any_wheel(maker: Maker, make_apart: Callable[[], Casfs], tmp_path: Path):
    """Of a signature uv writes no row into RECORD; pip does."""
    interpreter = find_python("3.12")
    wheels = provide_wheels(maker.tools, interpreter, PORTABLE)
    native = Environment(tmp_path / "uv" / ".venv", "python3.12")
    native.root.parent.mkdir()
    make = maker.tools.uv("venv", "--offline", "--quiet", "--python", interpreter, native.root)
    words = ("pip", "install", "--offline", "--quiet", "--no-deps", "--python")
    for command in (make, maker.tools.uv(*words, native.root, *wheels.values())):
        said = native.run(*command, UV_CACHE_DIR=str(tmp_path / "cache"), UV_LINK_MODE="hardlink")
        assert said.code == 0, said
    assert (native.site_packages / "psutil/__init__.py").stat().st_nlink > 1
    with make_apart() as casfs:
        done = casfs.run("adopt", native.root, timeout=_TIME_LIMIT_S)
        left = [line for line in done.stderr.splitlines() if "warning" in line]
        assert [one for one in left if "wheel-0.24.0.dist-info/RECORD.jws': is a regular file, of no distribution" not in one] == []
        assert listed_by_casfs(casfs, "default") == listed_by_pip(maker, native)
        exported = Environment(tmp_path / "exported", "python3.12")
        casfs.run("export", exported.root, timeout=_TIME_LIMIT_S)
        casfs.run("--env", "again", "adopt", exported.root, timeout=_TIME_LIMIT_S)
        before, after = (StoredEnvironment(open_store(casfs.store), one).require() for one in ("default", "again"))
        assert before.layers == after.layers  # bytecode is among them
    assert (exported.site_packages / "psutil/__pycache__/__init__.cpython-312.pyc").is_file()
    assert listed_by_pip(maker, exported) == listed_by_pip(maker, native)
    assert exported.run(exported.root / "bin/jsonpointer", "--help").code == 0
    assert exported.run(exported.root / "bin/python", "-c", "import greenlet, psutil; psutil.Process()").code == 0


def test_an_export_is_for_every_tool_an_environment_of_its_own(maker: Maker, make_apart: Callable[[], Casfs], tmp_path: Path):
    interpreter = find_python("3.11")
    wheels = provide_wheels(maker.tools, interpreter, [*FLASK, "six==1.17.0", "tabulate==0.10.0"])
    exported = Environment(tmp_path / "exported" / ".venv", "python3.11")
    with make_apart() as casfs:
        casfs.run("add", "--python", interpreter, *(wheels[one] for one in FLASK), timeout=_TIME_LIMIT_S)
        casfs.run("export", exported.root, timeout=_TIME_LIMIT_S)
        listed = listed_by_casfs(casfs, "default")
        shutil.rmtree(casfs.store)
    tools, python = maker.tools, str(exported.root / "bin/python")
    assert listed_by_pip(maker, exported) == listed
    steps = [
        [str(exported.root / "bin/flask"), "--version"],
        [str(exported.root / "bin/pip"), "check"],
        [str(exported.root / "bin/pip"), "install", "--quiet", "--no-index", str(wheels["six==1.17.0"])],
        tools.uv("pip", "install", "--offline", "--python", python, wheels["tabulate==0.10.0"]),
        tools.uv("pip", "uninstall", "--python", python, "itsdangerous"),
        [str(exported.root / "bin/pip"), "uninstall", "--quiet", "--yes", "requests"],
        [python, "-c", "import six, tabulate, urllib3"],
    ]
    for step in steps:
        said = exported.run(*step)
        assert said.code == 0, (step, said)
    after = listed_by_pip(maker, exported)
    assert after == {
        **{name: version for name, version in listed.items() if name not in {"itsdangerous", "requests"}},
        "six": "1.17.0",
        "tabulate": "0.10.0",
    }
