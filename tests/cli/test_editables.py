"""add -e: the project's own files count; it is resolved, listed and removed as anything else; a build that fails changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.package_index import PackageIndex
from tests.cli.projects import editable_wheel, make_editable, offer
from tests.cli.test_changes import listed
from tests.cli.test_locks import UV
from tests.cli.test_names import casfs, facts, index, leftovers
from tests.make_wheels import make_wheel
from tests.mounted.harness import Casfs, run_python

__all__ = ["casfs", "index"]


@pytest.fixture
def project(casfs: Casfs) -> Path:
    """One that is called mine and needs nothing."""
    return make_editable(casfs.directory / "my project")


def listed_by_uv(casfs: Casfs, mountpoint: Path) -> list[dict[str, str]]:
    command = [UV, "pip", "list", "--format", "json", "--python", str(mountpoint)]
    done = subprocess.run(command, env=casfs.environ, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


# --- what an editable project is


def test_what_is_edited_is_seen_by_the_next_import(casfs: Casfs, project: Path) -> None:
    assert casfs.add("-e", project).stdout == "+ mine 1.0\n"
    mountpoint = casfs.mount()
    assert run_python(mountpoint, "import mine; print(mine.VALUE, mine.__file__)") == f"1 {project}/src/mine.py"
    (project / "src/mine.py").write_text("VALUE = 'another'\n")
    assert run_python(mountpoint, "import mine; print(mine.VALUE)") == "another"


def test_tools_list_it_as_editable_until_it_is_removed(casfs: Casfs, project: Path) -> None:
    casfs.add("-e", project)
    mountpoint = casfs.mount()
    assert listed_by_uv(casfs, mountpoint) == [{"name": "mine", "version": "1.0", "editable_project_location": str(project)}]
    source = "import importlib.metadata as m; print(m.distribution('mine').read_text('direct_url.json'))"
    said = json.loads(run_python(mountpoint, source))
    assert said == {"dir_info": {"editable": True}, "url": f"file://{project}".replace(" ", "%20")}
    assert facts(casfs, "mine")["origin"] == str(project)
    assert casfs.run("remove", "mine").stdout == "- mine 1.0\n"
    assert listed_by_uv(casfs, mountpoint) == []


def test_what_it_needs_comes_with_it(casfs: Casfs, index: PackageIndex) -> None:
    for name in ("one", "two"):
        index.offer(name)
    project = make_editable(casfs.directory / "p", needs="one", more="two")
    assert casfs.add("-e", project).stdout == "+ mine 1.0\n+ one 1.0\n"
    assert casfs.add("-e", f"{project}[more]").stdout == "+ two 1.0\n= mine 1.0\n"


def test_several_are_resolved_together_with_those_of_requirements_files(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    index.offer("second", "9.0")
    first = make_editable(casfs.directory / "a", "first", needs="second")
    second = make_editable(casfs.directory / "b", "second")
    make_editable(casfs.directory / "c", "third")
    (casfs.directory / "requirements.txt").write_text("-e ./c\none\n")
    done = casfs.run("add", "-e", first, "--editable", second, "-r", "requirements.txt", cwd=casfs.directory)
    assert done.stdout == "+ first 1.0\n+ one 1.0\n+ second 1.0\n+ third 1.0\n"
    assert facts(casfs, "third")["origin"] == f"{casfs.directory}/c"


def test_adding_again_builds_again(casfs: Casfs, project: Path) -> None:
    casfs.add("-e", project)
    before = casfs.generation()
    assert casfs.add("-e", project).stdout == "= mine 1.0\n"
    assert casfs.generation() == before
    moved = make_wheel({"__editable__.mine.pth": f"{project}/lib\n".encode()}, "mine")
    offer(project, "editable", moved)
    assert casfs.add("-e", project).stdout == f"~ mine 1.0 (from {project})\n"
    (project / "pyproject.toml").write_text((project / "pyproject.toml").read_text().replace('"1.0"', '"2.0"'))
    offer(project, "editable", editable_wheel(project, "mine", "2.0"))
    assert casfs.add("-e", project).stdout == "~ mine 1.0 -> 2.0\n"


@pytest.mark.parametrize("said", [None, "1000000000"])
def test_build_sees_the_time_that_the_user_says_and_no_other(casfs: Casfs, project: Path, said: str | None) -> None:
    """setuptools-scm makes the version of a project with changes of the day that SOURCE_DATE_EPOCH names, or of today."""
    with (project / "backend.py").open("a") as file:
        file.write(f"assert os.environ.get('SOURCE_DATE_EPOCH') == {said!r}\n")
    environ = {"SOURCE_DATE_EPOCH": said} if said else {}
    assert casfs.run("add", "-e", project, environ=environ).stdout == "+ mine 1.0\n"


def test_project_that_is_there_is_not_asked_of_an_index(casfs: Casfs, index: PackageIndex, project: Path) -> None:
    """Whoever offers something of its name elsewhere gets nothing in, unless another version is really needed."""
    index.offer("mine", "9.0")
    index.offer("one", needs="mine")
    index.offer("two", needs="mine>5")
    casfs.add("-e", project)
    assert casfs.add("one").stdout == "+ one 1.0\n"
    assert casfs.add("mine").stdout == "= mine 1.0\n"
    assert casfs.add("two").stdout == "~ mine 1.0 -> 9.0\n+ two 1.0\n"


def test_upgrade_by_name_leaves_the_project(casfs: Casfs, index: PackageIndex, project: Path) -> None:
    index.offer("mine", "9.0")
    casfs.add("-e", project)
    assert casfs.add("-U", "mine").stdout == "~ mine 1.0 -> 9.0\n"


def test_project_without_a_word_of_its_build_system_is_setuptools_business(casfs: Casfs, index: PackageIndex) -> None:
    """Which is fetched as any build requirement is; an index that has none is named with the project."""
    project = casfs.directory / "old"
    project.mkdir()
    (project / "setup.py").write_text("from setuptools import setup\nsetup()\n")
    (project / "pyproject.toml").write_text('[project]\nname = "old"\nversion = "1"\n')
    done = casfs.run("add", "-e", project, code=1)
    assert "setuptools" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"casfs: {project}: its build requirements can't be found: uv failed for the ")


# --- what goes wrong

RAISES = "def build_editable(directory, settings=None, metadata=None):\n    raise ValueError('oh no')\n"
FAULTS = {
    "raises": (RAISES, "its build backend backend ended with 1 in build_editable: ValueError: oh no"),
    "prints a screen": (f"for number in range(1000): print('words', number)\n{RAISES}", "ValueError: oh no"),
    "prints what is no text": (f"import os\nos.write(1, bytes(range(256)) * 9)\n{RAISES}", "ValueError: oh no"),
    "is killed": ("import os\ndef build_editable(*_): os.kill(os.getpid(), 9)\n", "was killed by signal 9 in build_editable"),
    "ends without a word": ("import os\ndef build_editable(*_): os._exit(0)\n", "gave no answer to build_editable"),
    "can't be loaded": ("import nothing_of_this_name\n", "can't be loaded: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    "knows no editables": ("def build_wheel(*_): return 'x'\n", "makes no editable wheels (PEP 660)"),
    "names nothing": ("def build_editable(*_): return 'mine-1.0-py3-none-any.whl'\n", "but there is no such file"),
    "names a place outside": ("def build_editable(*_): return '../said'\n", "said that '../said' is the wheel"),
    "returns no name": ("def build_editable(*_): return 7\n", "said that 7 is the wheel"),
    "asks for nonsense": ("def get_requires_for_build_editable(*_): return ['!!']\n", "its build requirements can't be found"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_build_that_fails_is_named_in_the_last_line_and_nothing_is_added(
    casfs: Casfs, index: PackageIndex, project: Path, name: str
) -> None:
    source, words = FAULTS[name]
    (project / "backend.py").write_text(source)
    index.offer("one")
    before = casfs.generation()
    done = casfs.run("add", "one", "-e", project, code=1, errors="replace")
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(f"casfs: {project}: ")
    assert words in lines[-1]
    assert len(lines) < 40
    assert casfs.generation() == before
    assert leftovers(casfs) == []
    assert os.listdir(casfs.store / "wheels") == []


def test_wheel_that_leads_outside_is_refused_by_the_project_s_name(casfs: Casfs, project: Path) -> None:
    offer(project, "editable", make_wheel({"../../outside.py": b""}, "mine"))
    done = casfs.run("add", "-e", project, code=1)
    assert f"casfs: {project}: " in done.stderr
    assert "outside.py" in done.stderr
    assert listed(casfs) == {}
    assert leftovers(casfs) == []


def test_metadata_that_can_not_be_had_is_named_with_the_project(casfs: Casfs, project: Path) -> None:
    """A project that leaves its version to its backend is asked by the resolver already."""
    (project / "pyproject.toml").write_text((project / "pyproject.toml").read_text().replace('version = "1.0"', 'dynamic = ["version"]'))
    (project / "backend.py").write_text(RAISES)
    done = casfs.run("add", "-e", project, code=1)
    assert done.stderr.splitlines()[-1] == f"casfs: {project}: uv failed for the reason above; nothing has changed"
    assert "oh no" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has neither pyproject.toml nor setup.py"),
        ("[build-system", "is not TOML"),
        ("build-system = 1", "is not as PEP 518 and 517 ask"),
        ("[build-system]\nrequires = [1]", "is not as PEP 518 and 517 ask"),
        ("[build-system]\nrequires = []\nbuild-backend = 'x'\nbackend-path = ['../..']", "paths must be inside source tree"),
    ],
)
def test_project_of_a_lock_that_is_none_is_named(casfs: Casfs, content: str | None, words: str) -> None:
    """A lock leads to the directory without a resolver that looks into it."""
    project = casfs.directory / "p"
    project.mkdir()
    if content is not None:
        (project / "pyproject.toml").write_text(content)
    (casfs.directory / "pylock.toml").write_text(
        'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "p"\ndirectory = { path = "p", editable = true }\n'
    )
    done = casfs.run("sync", casfs.directory / "pylock.toml", code=1)
    assert done.stderr.startswith(f"casfs: {project}")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_a_build_has_to_say_is_not_told_if_it_succeeds(casfs: Casfs, project: Path) -> None:
    backend = project / "backend.py"
    backend.write_text("import warnings\nprint('words')\nwarnings.warn('beware')\n" + backend.read_text())
    done = casfs.add("-e", project)
    assert "words" not in done.stdout + done.stderr
    assert "beware" not in done.stderr


def test_interrupted_build_leaves_nothing(casfs: Casfs, project: Path) -> None:
    fifo = casfs.directory / "fifo"
    os.mkfifo(fifo)
    (project / "backend.py").write_text(
        f"import os, signal\ndef build_editable(*_):\n    open({str(fifo)!r}, 'w').write(str(os.getpid()))\n    signal.pause()\n"
    )
    before = casfs.generation()
    command = casfs.command("add", "-e", project)
    process = subprocess.Popen(command, env=casfs.environ, stderr=subprocess.PIPE, text=True, start_new_session=True)
    backend = int(fifo.read_text())
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=240)[1].endswith("casfs: interrupted\n")
    assert process.returncode == 130
    assert not Path(f"/proc/{backend}").exists()
    assert casfs.generation() == before
    assert leftovers(casfs) == []
