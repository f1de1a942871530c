"""The path by which an environment calls its interpreter keeps the links that are there for this, and no others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from casfs.interpreters.interpreter import Interpreter, ask_interpreter
from casfs.interpreters.stable import can_be_base, stable_path
from tests.interpreters.pythons import write_program, write_python


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """An interpreter with the names that one has."""
    real = write_program(tmp_path / "cpython-3.11.7-linux/bin/python3.11", "#!/bin/sh\n")
    for name in ("python3", "python"):
        (real.parent / name).symlink_to("python3.11")
    return real


def stable(path: Path, real: Path, *, is_base: bool = False) -> str:
    return stable_path(str(path), os.path.realpath(real), is_base=lambda _link: is_base)


@pytest.mark.parametrize("name", ["python", "python3", "python3.11"])
def test_a_link_to_the_installation_stays_and_a_name_beside_the_executable_does_not(tmp_path: Path, real: Path, name: str):
    (tmp_path / "current").symlink_to("cpython-3.11-linux")
    (tmp_path / "cpython-3.11-linux").symlink_to(real.parent.parent)
    assert stable(tmp_path / "current/bin" / name, real) == f"{tmp_path}/current/bin/python3.11"


def test_of_a_link_to_such_a_link_the_latter_stays(tmp_path: Path, real: Path):
    (tmp_path / "cpython-3.11-linux").symlink_to(real.parent.parent)
    (tmp_path / "local/bin").mkdir(parents=True)
    (tmp_path / "local/bin/python3.11").symlink_to("../../cpython-3.11-linux/bin/python3.11")
    assert stable(tmp_path / "local/bin/python3.11", real) == f"{tmp_path}/cpython-3.11-linux/bin/python3.11"


@pytest.mark.parametrize(("name", "stays"), [("python3.11", True), ("python3", False)])
def test_a_link_to_the_executable_stays_if_it_names_the_release_and_environments_work_with_it(
    tmp_path: Path, real: Path, name: str, stays: bool
):
    link = tmp_path / "profile/bin" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    assert stable(link, real, is_base=True) == str(link if stays else real)
    assert stable(link, real, is_base=False) == str(real)


def test_a_link_of_a_virtual_environment_goes_with_it(tmp_path: Path, real: Path):
    (tmp_path / "current").symlink_to(real.parent.parent)
    link = tmp_path / ".venv/bin/python3.11"
    link.parent.mkdir(parents=True)
    (tmp_path / ".venv/pyvenv.cfg").write_text("")
    link.symlink_to(tmp_path / "current/bin/python3")
    assert stable(link, real, is_base=True) == f"{tmp_path}/current/bin/python3.11"


def test_a_link_to_bin_alone_is_followed_since_no_library_is_beside_it(tmp_path: Path, real: Path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/bin").symlink_to(real.parent)
    assert stable(tmp_path / "tools/bin/python3", real) == str(real)


def test_a_link_that_leads_up_from_behind_a_link_is_followed_as_the_kernel_does(tmp_path: Path, real: Path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/python").symlink_to("../../current/bin/python3")
    (tmp_path / "current").symlink_to(real.parent.parent)
    (tmp_path / "short").symlink_to("deep/er")
    assert stable(tmp_path / "short/python", real) == f"{tmp_path}/current/bin/python3.11"


def test_a_link_can_be_a_base_if_an_environment_starts_with_it(tmp_path: Path):
    link = tmp_path / "bin/python3.11"
    link.parent.mkdir()
    link.symlink_to(write_program(tmp_path / "good", "#!/bin/sh\n"))
    assert can_be_base(str(link))
    write_program(tmp_path / "good", "#!/bin/sh\necho 'Could not find platform dependent libraries' >&2\n")
    assert not can_be_base(str(link))


def test_an_interpreter_is_called_by_the_link_that_was_named(tmp_path: Path):
    (tmp_path / "current").symlink_to(write_python(tmp_path / "3.11.7/bin/python3.11").parent.parent)
    asked = ask_interpreter(str(tmp_path / "current/bin/python3.11"))
    assert asked.executable == f"{tmp_path}/current/bin/python3.11"
    assert ask_interpreter(asked.executable) == asked


def test_a_virtual_environment_of_such_an_interpreter_leads_to_the_link(tmp_path: Path, own_interpreter: Interpreter):
    import venv

    (tmp_path / "current").symlink_to(os.path.dirname(os.path.dirname(own_interpreter.executable)))
    base = tmp_path / "current/bin" / os.path.basename(own_interpreter.executable)
    venv.create(tmp_path / "venv", symlinks=True)
    (tmp_path / "venv/bin/python").unlink()
    (tmp_path / "venv/bin/python").symlink_to(base)
    (tmp_path / "venv/pyvenv.cfg").write_text(f"home = {base.parent}\nversion = {sys.version.split()[0]}\n")
    assert ask_interpreter(str(tmp_path / "venv/bin/python")).executable == str(base)
