"""Promises that the repository makes about itself: packaging, make targets, programs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import casfs

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PROGRAMS = sorted([ROOT / ".ci/run", *(path for path in (ROOT / "scripts").iterdir() if path.is_file())])


def imported_distributions() -> set[str]:
    names = set()
    for path in (ROOT / "casfs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module or "")
    top_level = {name.partition(".")[0] for name in names}
    return {name.replace("_", "-") for name in top_level - {"casfs", "_typeshed", *sys.stdlib_module_names}}


def test_what_casfs_imports_is_declared():
    declared = {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert imported_distributions() <= declared


def test_every_dependency_has_a_lower_bound():
    requirements = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert [requirement for requirement in requirements if ">=" not in requirement] == []


def test_the_version_has_one_source_and_a_changelog_entry():
    assert "version" in PROJECT["dynamic"]
    assert f"\n## {casfs.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_make_help_lists_every_target_with_a_description():
    targets = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    described = dict(re.findall(r"^make (\S+)\s+(\S.*)$", shown, re.MULTILINE))
    assert {"setup", "demo", "test", "test-long", "lint", "clean"} <= targets
    assert described.keys() == targets


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_a_program_can_be_run_and_its_text_is_valid(program: Path):
    text = program.read_text(encoding="utf-8")
    assert os.access(program, os.X_OK)
    if "python" in text.partition("\n")[0]:
        assert ast.get_docstring(ast.parse(text))
    else:
        assert subprocess.run(["bash", "-n", program], capture_output=True, text=True, check=False).stderr == ""
