"""What commands do about bytecode where it can't be made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from casfs.cli.changes import add_fitting
from casfs.venv.changes import AddOptions
from tests.make_generations import INTERPRETER, open_workshop
from tests.make_wheels import make_wheel


def test_an_interpreter_that_can_not_be_started_costs_the_bytecode_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interpreter = dataclasses.replace(INTERPRETER, executable=str(tmp_path / "gone"))
    with open_workshop(tmp_path) as workshop:
        path = str(make_wheel().write_to(workshop.wheels))
        change, made = add_fitting(workshop.environment, interpreter, [path], AddOptions(), is_compiled=True)
        assert [one.project for one in change.after.distributions] == ["demo"]
        assert made.files == 0
    assert f"nothing is compiled: {interpreter.executable}: can't be run: no such file or directory" in capsys.readouterr().err
