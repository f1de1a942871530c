"""Which launchers an installation has."""

from __future__ import annotations

import pytest

from casfs.venv.installation import choose_launchers

PIP = ("pip", "pip._internal.cli.main", "main")


def names(*declared: str, python: str = "python3.12") -> set[str]:
    return {name for name, *_ in choose_launchers([(name, "tool", "main") for name in declared], python)}


def test_a_wheel_gets_the_launchers_that_it_declares():
    declared = [("coverage", "coverage.cmdline", "main"), ("coverage-3.11", "coverage.cmdline", "main"), ("pip3", "other", "main")]
    assert choose_launchers(declared, "python3.12") == declared


def test_pip_gets_commands_of_this_python_as_with_pip_itself():
    assert names("pip", "pip3") == {"pip", "pip3", "pip3.12"}
    assert sorted(choose_launchers([PIP], "python3.12")) == [PIP, ("pip3", *PIP[1:]), ("pip3.12", *PIP[1:])]


def test_pip_gets_no_command_of_another_python():
    assert names("pip", "pip3", "pip3.8", "pip2", "pipx", "pip3.8-help") == {"pip", "pip3", "pip3.12", "pipx", "pip3.8-help"}


def test_easy_install_gets_a_command_of_this_python():
    assert names("easy_install", "easy_install-3.8") == {"easy_install", "easy_install-3.12"}


@pytest.mark.parametrize(("python", "name"), [("python3.8", "pip3.8"), ("python3.14", "pip3.14"), ("python3.13t", "pip3.13")])
def test_commands_are_named_after_release_and_not_threading(python: str, name: str):
    assert names("pip", python=python) == {"pip", "pip3", name}
