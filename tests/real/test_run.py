"""`casfs run` with every interpreter that casfs itself may run on, and the pip that each brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mounted.harness import Casfs
from tests.python_versions import VERSIONS, find_python, needs_python


@pytest.mark.parametrize("version", [pytest.param(one, marks=needs_python(one)) for one in VERSIONS])
def test_run_imports_and_installs_with_each_interpreter(tmp_path: Path, version: str) -> None:
    with Casfs(tmp_path) as casfs:
        one = casfs.wheel("one", files={"one.py": b"VALUE = 1\n"})
        two = casfs.wheel("two", files={"two.py": b"VALUE = 2\n"})
        install = f"python -m ensurepip >/dev/null 2>&1 && python -m pip -q install --no-index --root-user-action ignore {two}"
        source = "import sys, one, two; print(*sys.version_info[:2], one.VALUE, two.VALUE, sep='.')"
        done = casfs.run("run", "--python", find_python(version), one, "--", "sh", "-c", f'{install} && python -c "{source}"')
        assert done.stdout == f"{version}.1.2\n"
