"""The comparison itself finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.environments import Environment, Pair
from tests.real.trees import find_differences, find_untrue, read_record

OUR_START = "#!/bin/sh -\n\f# finds bin/python\n"
INFORMATION = "lib/python3.11/site-packages/demo-1.0.dist-info"
ROWS = "../../../bin/demo,sha256={},9\ndemo-1.0.dist-info/INSTALLER,sha256={},4\ndemo.py,sha256=abc,3\n"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Trees that differ only as they are meant to."""
    native, mounted = (Environment(tmp_path / kind, "python3.11") for kind in ("native", "mounted"))
    for one, first, installer in ((native, f"#!{native.root}/bin/python3\n", "pip\n"), (mounted, OUR_START, "casfs\n")):
        write(one, "bin/demo", f"{first}import demo\n", mode=0o755)
        write(one, "bin/program", "\x7fELF", mode=0o755)
        write(one, "lib/python3.11/site-packages/demo.py", "a=1")
        write(one, f"{INFORMATION}/INSTALLER", installer)
        write(one, f"{INFORMATION}/RECORD", ROWS.format(installer.strip(), installer.strip()))
    return Pair(native, mounted, {})


def write(environment: Environment, path: str, text: str, mode: int = 0o644) -> None:
    file = environment.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def test_what_is_meant_is_no_difference(pair: Pair):
    assert find_differences(pair) == []


CHANGES: dict[str, Callable[[Path], object]] = {
    "bin/demo": lambda path: path.write_text(f"{OUR_START}import other\n"),
    "bin/program": lambda path: path.write_text("\x7fElf"),
    "lib/python3.11/site-packages/demo.py": lambda path: path.write_text("a=2"),
    "lib/python3.11/site-packages/more.py": lambda path: path.write_text(""),
    f"{INFORMATION}/INSTALLER": lambda path: path.write_text("pip \n"),
    f"{INFORMATION}/RECORD": lambda path: path.write_text(ROWS.format("x", "x").replace("abc", "abd")),
    "include": lambda path: path.mkdir(),
    "lib64": lambda path: path.symlink_to("lib"),
}


@pytest.mark.parametrize("path", CHANGES)
def test_another_content_is_found(pair: Pair, path: str):
    CHANGES[path](pair.mounted.root / path)
    assert [line.partition(":")[0] for line in find_differences(pair)] == [path]


@pytest.mark.parametrize("path", ["bin/demo", "bin/program", "lib/python3.11/site-packages/demo.py", f"{INFORMATION}/RECORD"])
def test_another_mode_and_absence_are_found(pair: Pair, path: str):
    file = pair.mounted.root / path
    file.chmod(file.stat().st_mode ^ 0o111)
    assert [line.partition(":")[0] for line in find_differences(pair)] == [path]
    file.unlink()
    assert [line.partition(":")[0] for line in find_differences(pair)] == [path]


def test_a_script_that_does_not_find_its_interpreter_is_found(pair: Pair):
    (pair.mounted.root / "bin/demo").write_text("#!/usr/bin/python3\nimport demo\n")
    assert [line.partition(":")[0] for line in find_differences(pair)] == ["bin/demo"]


def test_rows_that_are_not_true_are_found(pair: Pair):
    untrue = find_untrue(pair.mounted, read_record(pair.mounted.root / INFORMATION / "RECORD"))
    assert [line.partition(" ")[0] for line in untrue] == ["../../../bin/demo", "demo-1.0.dist-info/INSTALLER", "demo.py"]
