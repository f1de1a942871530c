from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.tags import sys_tags

from casfs.errors import InterpreterRefused, InvalidValue
from casfs.interpreters.interpreter import Interpreter, ask_interpreter, fits, parse_interpreter, requires_python_problem, tags_problem
from casfs.interpreters.probe import probe_python
from tests.interpreters.pythons import write_program, write_python


@pytest.fixture
def python_311(tmp_path: Path) -> Interpreter:
    return ask_interpreter(str(write_python(tmp_path / "fake" / "python")))


def test_the_answers_are_those_of_the_interpreter_itself(own_interpreter: Interpreter):
    assert own_interpreter.version == platform.python_version()
    assert own_interpreter.cache_tag == sys.implementation.cache_tag
    assert own_interpreter.python_directory == os.path.basename(sysconfig.get_path("stdlib"))
    assert own_interpreter.bits == (64 if sys.maxsize > 2**32 else 32)
    assert dict(own_interpreter.markers) == default_environment()


def test_tags_and_their_order_are_those_that_packaging_finds_inside_the_interpreter(own_interpreter: Interpreter):
    assert list(own_interpreter.tags) == [str(tag) for tag in sys_tags()]


def test_the_python_of_a_virtual_environment_answers_for_its_base(tmp_path: Path, own_interpreter: Interpreter):
    venv.create(tmp_path / "venv", symlinks=True)
    assert ask_interpreter(str(tmp_path / "venv/bin/python")) == own_interpreter
    assert not os.path.islink(own_interpreter.executable)
    assert not (Path(own_interpreter.executable).parent.parent / "pyvenv.cfg").exists()


def test_a_copied_python_answers_for_the_base_that_its_pyvenv_cfg_names(tmp_path: Path):
    base = write_python(tmp_path / "base/bin/python3.11")
    copy = write_python(tmp_path / "venv/bin/python")
    (tmp_path / "venv/pyvenv.cfg").write_text(f"Home = {base.parent}\nversion = 3.11.7\n")
    assert ask_interpreter(str(copy)).executable == str(base)


@pytest.mark.parametrize("home", ["", "relative", "/nonexistent", "{venv}/bin"])
def test_a_copied_python_without_a_base_is_refused(tmp_path: Path, home: str):
    copy = write_python(tmp_path / "bin/python")
    (tmp_path / "pyvenv.cfg").write_text(f"home = {home.format(venv=tmp_path)}\n")
    with pytest.raises(InterpreterRefused, match="base interpreter"):
        ask_interpreter(str(copy))


def test_symlinks_and_wrapper_scripts_lead_to_the_executable(tmp_path: Path):
    real = write_python(tmp_path / "opt/bin/python3.11")
    (tmp_path / "python3").symlink_to("opt/bin/python3.11")
    shim = write_program(tmp_path / "shims/python", f"#!/bin/sh\nexec '{tmp_path}/python3' \"$@\"\n")
    assert ask_interpreter(str(tmp_path / "python3")).executable == str(real)
    assert ask_interpreter(str(shim)).executable == str(real)


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = write_python(tmp_path / "bin/python")
    monkeypatch.chdir(tmp_path)
    assert ask_interpreter("bin/python").executable == str(real)


def test_the_directory_of_a_free_threaded_python_is_its_own(tmp_path: Path):
    interpreter = ask_interpreter(str(write_python(tmp_path / "python", "3.13.0", free_threaded=True)))
    assert (interpreter.python_directory, interpreter.release, interpreter.is_free_threaded) == ("python3.13t", "3.13", True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo hello", "does not answer as a Python interpreter does"),
        ("echo '[]'", "does not answer as a Python interpreter does"),
        ("""echo '{"version": "3.11", "release": [3, 11], "implementation": "cpython"}'""", "does not answer as a Python interpreter does"),
        ("echo first >&2; echo Unknown option: -I >&2; exit 2", "failed with status 2: Unknown option: -I"),
        ("exit 127", "failed with status 127"),
        ('echo "no file $5" >&2; exit 2', "does not answer as a Python interpreter does: failed with status 2"),
        ("kill -KILL $$", "was ended by signal 9"),
    ],
)
def test_a_program_that_is_no_python_is_refused_with_what_it_did(tmp_path: Path, text: str, reason: str):
    program = write_program(tmp_path / "python", f"#!/bin/sh\n{text}\n")
    with pytest.raises(InterpreterRefused) as refused:
        ask_interpreter(str(program))
    assert (refused.value.subject, refused.value.reasons) == (str(program), (reason,))


def test_a_long_complaint_is_cut(tmp_path: Path):
    program = write_program(tmp_path / "python", '#!/bin/sh\nprintf "%01000d" 7 >&2\nexit 1\n')
    with pytest.raises(InterpreterRefused) as refused:
        ask_interpreter(str(program))
    assert len(str(refused.value)) < 300 + len(str(program))


@pytest.mark.parametrize(
    ("version", "changes", "reason"),
    [
        ("3.7.16", {}, "is CPython 3.7.16; the oldest that can be used is 3.8"),
        ("3.10.16", {"implementation": "pypy"}, "is pypy, not CPython"),
    ],
)
def test_an_interpreter_that_casfs_cannot_serve_is_refused(tmp_path: Path, version: str, changes: dict[str, str], reason: str):
    with pytest.raises(InterpreterRefused) as refused:
        ask_interpreter(str(write_python(tmp_path / "python", version, **changes)))
    assert refused.value.reasons == (reason,)


def test_what_is_missing_or_not_executable_is_refused(tmp_path: Path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InterpreterRefused, match="can't be run: No such file"):
        ask_interpreter(str(tmp_path / "missing"))
    with pytest.raises(InterpreterRefused, match="can't be run: Permission denied"):
        ask_interpreter(str(tmp_path / "text"))


def test_a_python_that_hangs_is_ended_with_its_children_and_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "never")
    program = write_program(tmp_path / "python", f"#!/bin/sh\ncat '{tmp_path}/never'\nexit 0\n")
    with pytest.raises(InterpreterRefused, match=re.escape("did not answer within 0.1 seconds")):
        probe_python(str(program), timeout_s=0.1)
    # Nobody is left who waits for a writer: opening without waiting finds no reader.
    with pytest.raises(OSError, match="No such device or address"):
        os.open(tmp_path / "never", os.O_WRONLY | os.O_NONBLOCK)


def test_a_path_that_could_break_pyvenv_cfg_is_refused(tmp_path: Path):
    with pytest.raises(InterpreterRefused, match="control character"):
        ask_interpreter(str(write_python(tmp_path / "new\nline/python")))


def test_json_and_back_gives_the_same(own_interpreter: Interpreter):
    assert parse_interpreter(json.loads(json.dumps(own_interpreter.to_json()))) == own_interpreter


@pytest.mark.parametrize("change", [{"tags": None}, {"markers": ["a"]}, {"bits": "many"}])
def test_a_cached_interpreter_of_another_form_is_refused(own_interpreter: Interpreter, change: dict[str, object]):
    with pytest.raises(InvalidValue):
        parse_interpreter({**own_interpreter.to_json(), **change})
    with pytest.raises(InvalidValue):
        parse_interpreter({name: value for name, value in own_interpreter.to_json().items() if name not in change})


@pytest.mark.parametrize(
    "tag",
    [
        "cp311-cp311-linux_x86_64",
        "cp311-cp311-manylinux_2_36_x86_64",
        "cp311-cp311-manylinux2014_x86_64",
        "cp37-abi3-manylinux1_x86_64",
        "cp311-none-any",
        "py3-none-manylinux_2_5_x86_64",
        "py3-none-any",
    ],
)
def test_a_wheel_fits_if_one_of_its_tags_does(python_311: Interpreter, tag: str):
    assert fits(python_311, ["cp312-cp312-win_amd64", tag])
    assert tags_problem(python_311, ["cp312-cp312-win_amd64", tag]) is None


@pytest.mark.parametrize(
    "tag",
    [
        "cp311-cp311-manylinux_2_37_x86_64",
        "cp311-cp311-manylinux_2_17_aarch64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp312-abi3-manylinux_2_17_x86_64",
        "cp311-cp311d-linux_x86_64",
        "cp313-cp313t-linux_x86_64",
        "py2-none-any",
    ],
)
def test_a_wheel_does_not_fit_if_none_of_its_tags_does(python_311: Interpreter, tag: str):
    assert not fits(python_311, [tag])


def test_a_refusal_says_what_the_wheel_is_for_and_what_would_fit(python_311: Interpreter):
    assert tags_problem(python_311, ["cp312-cp312-manylinux_2_27_x86_64", "cp312-cp312-manylinux_2_28_x86_64"]) == (
        "is for cp312 on manylinux_2_27_x86_64, manylinux_2_28_x86_64; this environment is CPython 3.11 on x86_64 "
        "(accepts cp311-cp311-…, cp3x-abi3-… up to cp311, py3-none-any; up to manylinux_2_36_x86_64)"
    )


def test_a_refusal_stays_short_for_a_wheel_with_many_tags(python_311: Interpreter):
    problem = tags_problem(python_311, [f"cp3{minor}-abi3-win_arm64" for minor in range(12, 20)])
    assert problem
    assert problem.startswith("is for cp312-abi3, cp313-abi3, cp314-abi3 and 5 more on win_arm64; ")


def test_a_free_threaded_interpreter_is_called_so(tmp_path: Path):
    interpreter = ask_interpreter(str(write_python(tmp_path / "python", "3.13.0", free_threaded=True)))
    problem = tags_problem(interpreter, ["cp313-cp313-linux_x86_64"])
    assert problem
    assert "CPython 3.13 free-threaded on x86_64 (accepts cp313-cp313t-…, " in problem


@pytest.mark.parametrize(
    ("version", "requires_python", "is_met"),
    [
        ("3.11.7", ">=3.8", True),
        ("3.11.7", ">=3.8,!=3.11.*", False),
        ("3.11.7", ">=3.12", False),
        ("3.11.7", None, True),
        ("3.11.7", "", True),
        ("3.11.7", "three or newer", True),
        ("3.11.7", ">=3." + "9" * 5000, True),  # no number that Python reads, so no specifier
        ("3.11.7", ">=2.7, !=3.0.*, != 3.1.*,<4", True),
        ("3.11.7", ">=3.11.0,<4.0,!=3.9.7", True),
        ("3.11.7", ">=3.11.8", False),
        ("3.11.7", ">=3.8,<3.11", False),
        ("3.11.7", "<3.11.7", False),
        ("3.11.7", "!=3.11.7", False),
        ("3.11.7", "!=3", True),
        ("3.11.7", "<3.12,", True),
        ("3.14.0rc1", ">=3.14", True),
        ("3.14.0rc1", "<3.14", False),
        ("3.14.0rc1+", ">=3.8", True),
    ],
)
def test_requires_python_is_read_as_pip_reads_it(python_311: Interpreter, version: str, requires_python: str | None, is_met: bool):
    interpreter = dataclasses.replace(python_311, version=version)
    assert (requires_python_problem(interpreter, requires_python) is None) == is_met


def test_a_python_that_is_too_old_for_a_wheel_is_named(python_311: Interpreter):
    assert requires_python_problem(python_311, ">=3.12") == "requires Python >=3.12; this environment has 3.11.7"
