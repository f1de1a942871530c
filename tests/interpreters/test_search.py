from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from casfs.errors import InterpreterRefused
from casfs.interpreters.interpreter import Interpreter
from casfs.interpreters.search import find_interpreter
from tests.interpreters.pythons import write_program, write_python
from tests.make_generations import INTERPRETER

BROKEN = "#!/bin/sh\necho 'the version is not active' >&2\nexit 127\n"


class Host:
    """Directories that stand for the search path, the home and the root of a machine."""

    def __init__(self, directory: Path) -> None:
        self.first, self.second = directory / "first", directory / "second"
        self.home, self.root = directory / "home", directory / "root"
        self.known: dict[str, Interpreter] = {}
        self.environ = {"PATH": os.pathsep.join([str(self.first), str(self.second), "", "relative"]), "HOME": str(self.home)}

    def know(self, path: Path, version: str = "3.11.7") -> None:
        """Let the program at a path be known, though it can't be started."""
        write_program(path, BROKEN)
        self.known[str(path)] = dataclasses.replace(INTERPRETER, executable=str(path), version=version)

    def find(self, request: str | None) -> Path:
        return Path(find_interpreter(request, self.environ, str(self.root), recall=self.known.get))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_unsaid_it_is_the_first_python3_of_the_search_path(host: Host):
    expected = write_python(host.first / "python3")
    write_python(host.second / "python3")
    assert host.find(None) == expected


def test_unsaid_one_that_does_not_start_is_passed_over(host: Host):
    write_program(host.first / "python3", BROKEN)
    expected = write_python(host.second / "python3")
    assert host.find(None) == expected


def test_unsaid_without_any_the_refusal_says_why_each_was_passed_over(host: Host):
    broken = write_program(host.first / "python3", BROKEN)
    with pytest.raises(InterpreterRefused) as refused:
        host.find(None)
    assert refused.value.reasons == (f"{broken}: failed with status 127: the version is not active",)


def test_unsaid_nothing_outside_the_search_path_is_taken(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_python(host.root / "usr/bin/python3")
    write_python(tmp_path / "relative/python3")
    write_python(tmp_path / "python3")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InterpreterRefused, match="name one by its path or version"):
        host.find(None)


def test_a_path_is_taken_as_it_is(host: Host, tmp_path: Path):
    expected = write_python(tmp_path / "anywhere/python")
    assert host.find(str(expected)) == expected


def test_a_directory_stands_for_the_python_in_it(host: Host, tmp_path: Path):
    expected = write_python(tmp_path / "installation/bin/python3")
    assert host.find(str(tmp_path / "installation")) == expected


def test_a_path_that_leads_nowhere_is_refused(host: Host, tmp_path: Path):
    with pytest.raises(InterpreterRefused, match="No such file"):
        host.find(str(tmp_path / "missing"))


def test_a_name_is_looked_up_on_the_search_path(host: Host):
    expected = write_python(host.second / "my-python")
    assert host.find("my-python") == expected


@pytest.mark.parametrize("request_text", ["3.12", "3.12.1", "python3.12", "python3.12.1", "cpython-3.12"])
def test_a_version_is_found_by_its_name(host: Host, request_text: str):
    write_python(host.first / "python3", "3.11.7")
    expected = write_python(host.second / "python3.12", "3.12.1")
    assert host.find(request_text) == expected


def test_a_version_is_found_behind_a_general_name(host: Host):
    expected = write_python(host.first / "python3", "3.12.1")
    assert host.find("3.12") == expected


def test_a_name_that_promises_a_version_is_checked(host: Host):
    write_python(host.first / "python3.12", "3.11.7")
    expected = write_python(host.second / "python3.12", "3.12.1")
    assert host.find("3.12") == expected


def test_a_version_whose_shim_fails_is_found_elsewhere(host: Host):
    write_program(host.first / "python3.12", BROKEN)
    expected = write_python(host.home / ".pyenv/versions/3.12.1/bin/python3", "3.12.1")
    assert host.find("3.12") == expected


@pytest.mark.parametrize(
    "place",
    [
        "home/.local/share/uv/python/cpython-3.12.1-linux-x86_64-gnu/bin/python3.12",
        "home/.pyenv/versions/3.12.1/bin/python",
        "root/usr/local/bin/python3.12",
        "root/usr/bin/python3.12",
        "root/opt/python3.12/bin/python3",
        "root/opt/python/cp312-cp312/bin/python",
    ],
)
def test_a_version_off_the_search_path_is_found_in_well_known_places(host: Host, tmp_path: Path, place: str):
    expected = write_python(tmp_path / place, "3.12.1")
    assert host.find("3.12") == expected


@pytest.mark.parametrize(
    ("variable", "directory", "place"),
    [
        ("PYENV_ROOT", "elsewhere", "elsewhere/versions/3.12.1/bin/python3.12"),
        ("UV_PYTHON_INSTALL_DIR", "elsewhere", "elsewhere/cpython-3.12.1-linux-x86_64-gnu/bin/python3.12"),
        ("XDG_DATA_HOME", "data", "data/uv/python/cpython-3.12.1-linux-x86_64-gnu/bin/python3.12"),
    ],
)
def test_where_interpreters_are_kept_is_a_matter_of_variables(host: Host, tmp_path: Path, variable: str, directory: str, place: str):
    expected = write_python(tmp_path / place, "3.12.1")
    with pytest.raises(InterpreterRefused):
        host.find("3.12")
    host.environ[variable] = str(tmp_path / directory)
    assert host.find("3.12") == expected


def test_what_a_shim_of_pyenv_stands_for_is_found_without_its_variable(host: Host, tmp_path: Path):
    write_program(tmp_path / "pyenv/shims/python3", BROKEN)
    expected = write_python(tmp_path / "pyenv/versions/3.12.1/bin/python3.12", "3.12.1")
    host.environ["PATH"] = f"{tmp_path}/pyenv/shims"
    assert host.find("3.12") == host.find("3.12.1") == expected


def test_a_shim_of_pyenv_chooses_among_patch_releases(host: Host, tmp_path: Path):
    chosen, newest = (write_python(tmp_path / f"pyenv/versions/3.12.{patch}/bin/python3.12", f"3.12.{patch}") for patch in (1, 5))
    write_program(tmp_path / "pyenv/shims/python3.12", f'#!/bin/sh\nexec {chosen} "$@"\n')
    host.environ["PATH"] = f"{tmp_path}/pyenv/shims"
    assert host.find("3.12") == chosen
    assert host.find("3.12.5") == newest


def test_of_several_the_newest_is_taken(host: Host):
    for patch in (2, 10, 9):
        write_python(host.home / f".pyenv/versions/3.12.{patch}/bin/python3.12", f"3.12.{patch}")
    assert host.find("3.12").parent.parent.name == "3.12.10"


def test_a_version_is_compared_in_whole_parts(host: Host):
    write_python(host.first / "python3", "3.12.10")
    with pytest.raises(InterpreterRefused):
        host.find("3.12.1")
    with pytest.raises(InterpreterRefused):
        host.find("3.1")


def test_a_pre_release_is_taken_for_its_minor_version_and_by_its_full_name(host: Host):
    expected = write_python(host.first / "python3.14", "3.14.0rc1")
    assert host.find("3.14") == host.find("3.14.0rc1") == expected
    with pytest.raises(InterpreterRefused):
        host.find("3.14.0")


def test_a_free_threaded_version_is_told_apart(host: Host):
    write_python(host.first / "python3.13", "3.13.0")
    expected = write_python(host.first / "python3.13t", "3.13.0", free_threaded=True)
    assert host.find("3.13t") == expected
    assert host.find("3.13") == host.first / "python3.13"


def test_a_version_that_is_missing_is_refused_with_what_was_found_newest_first(host: Host):
    old = write_python(host.first / "python3.9", "3.9.18")
    new = write_python(host.home / ".pyenv/versions/3.12.1/bin/python3.12", "3.12.1")
    write_python(host.first / "python3.7", "3.7.16")
    (host.first / "python").symlink_to("python3.9")
    with pytest.raises(InterpreterRefused) as refused:
        host.find("3.14")
    assert str(refused.value) == f"Python 3.14: is not installed; found 3.12 ({new}), 3.9 ({old})"


def test_none_is_started_whose_name_or_place_says_that_it_is_another(host: Host, tmp_path: Path):
    """Starting each that a machine has takes seconds."""
    started = tmp_path / "started"
    program = f"#!/bin/sh\necho >>{started}\nexit 1\n"
    for name in ("first/python3.11", "home/.pyenv/versions/3.13.0/bin/python3.13", "pyenv/shims/python3", "pyenv/shims/python3.12"):
        write_program(tmp_path / name, program)
    (host.first / "python3").symlink_to("python3.11")
    (tmp_path / "pyenv/versions").mkdir()
    host.environ["PATH"] += f":{tmp_path}/pyenv/shims"
    for version in ("3.14", "3.12.1"):
        with pytest.raises(InterpreterRefused, match=r"found 3\.13 \(.*, 3\.11 \("):
            host.find(version)
    assert not started.exists()


def test_a_version_on_a_machine_without_python_is_refused(host: Host):
    with pytest.raises(InterpreterRefused, match="is not installed; found no other"):
        host.find("3.12")


@pytest.mark.parametrize("request_", [None, "python3", "3.11", "python3.11.7"])
def test_a_known_interpreter_is_not_started(host: Host, request_: str | None):
    host.know(host.first / "python3")
    write_python(host.second / "python3")
    assert host.find(request_) == host.first / "python3"


def test_a_known_interpreter_at_a_path_is_not_started(host: Host):
    host.know(host.first / "bin/python")
    assert host.find(str(host.first / "bin/python")) == host.find(str(host.first)) == host.first / "bin/python"


@pytest.mark.parametrize(("request_", "version"), [("3.12", "3.11.7"), ("3.11t", "3.11.7"), ("3.14.0", "3.14.0rc1")])
def test_a_known_interpreter_of_another_version_is_passed_over(host: Host, request_: str, version: str):
    host.know(host.first / "python3", version)
    expected = write_python(host.second / "python3", request_.rstrip("t"), free_threaded=request_.endswith("t"))
    assert host.find(request_) == expected
