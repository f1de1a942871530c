from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scripts.bench import programs
from scripts.bench.synthetic import make_wheels
from scripts.bench.tools import clean_environment


def run_commands(tmp_path: Path, *commands: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", programs.__file__, "commands", str(tmp_path / "store")]
    env = clean_environment(tmp_path)
    return subprocess.run(command, input=json.dumps(commands), capture_output=True, text=True, check=False, env=env, cwd="/")


def test_commands_run_in_their_order_and_each_is_timed(tmp_path: Path):
    one, two = make_wheels(tmp_path, 2)
    done = run_commands(tmp_path, ["--env", "one", "add", one], ["--env", "one", "remove", "bench_00000"], ["--env", "two", "add", two])
    assert done.stderr == ""
    assert all(seconds > 0 for seconds in json.loads(done.stdout))
    assert len(json.loads(done.stdout)) == 3
    assert {path.name for path in (tmp_path / "store/environments").iterdir()} >= {"one", "two"}


def test_command_that_fails_ends_the_program(tmp_path: Path):
    done = run_commands(tmp_path, ["remove", "nothing"], ["list"])
    assert done.returncode == 1
    assert done.stdout == ""
    assert "is not a casfs store" in done.stderr
    assert "Traceback" not in done.stderr
