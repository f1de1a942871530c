from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from casfs.interpreters.interpreter import Interpreter
from casfs.paths import path_problem
from casfs.store.manifests import Kind, NewFile
from casfs.venv.skeleton import build_skeleton, format_pyvenv_cfg
from casfs.venv.tree import STAND_INS
from tests.interpreters.pythons import make_environment, write_program

SHELLS = ["sh", "bash"]  # bash says which file it is reading; sh is often a shell that doesn't

ODD_NAMES = ["venv", ".venv", "sp ace", "qu'o\"te", "ünïcode", "-x", "a%b!c"]


def files_by_path(interpreter: Interpreter) -> dict[str, NewFile]:
    return {file.path: file for file in build_skeleton(interpreter)[0]}


def ask_python(executable: Path, expression: str) -> Any:
    program = f"import json, os, site, sys, sysconfig; json.dump({expression}, sys.stdout)"
    return json.loads(subprocess.run([executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout)


def test_python_takes_it_for_a_virtual_environment(tmp_path: Path, own_interpreter: Interpreter):
    environment = make_environment(tmp_path / "venv", own_interpreter)
    for name in ("python", "python3", f"python{own_interpreter.release}"):
        prefix, base, packages = ask_python(environment / "bin" / name, "[sys.prefix, sys.base_prefix, sysconfig.get_path('purelib')]")
        assert Path(prefix) == environment
        assert Path(base) in Path(own_interpreter.executable).parents
        assert Path(packages) == environment / "lib" / own_interpreter.python_directory / "site-packages"


def test_packages_of_the_base_are_not_seen(tmp_path: Path, own_interpreter: Interpreter):
    environment = make_environment(tmp_path / "venv", own_interpreter)
    packages = ask_python(environment / "bin/python", "[path for path in sys.path if path.endswith('-packages')]")
    assert packages == [str(environment / "lib" / own_interpreter.python_directory / "site-packages")]


def test_the_same_bytes_serve_at_two_places_at_once(tmp_path: Path, own_interpreter: Interpreter):
    first = make_environment(tmp_path / "first", own_interpreter)
    second = make_environment(tmp_path / "second", own_interpreter)
    assert ask_python(first / "bin/python", "sys.prefix") == str(first)
    assert ask_python(second / "bin/python", "sys.prefix") == str(second)


def test_pyvenv_cfg_says_what_tools_look_for(own_interpreter: Interpreter):
    interpreter = dataclasses.replace(own_interpreter, executable="/opt/python 3/bin/python3.11", version="3.11.7")
    assert format_pyvenv_cfg(interpreter).decode().splitlines() == [
        "home = /opt/python 3/bin",
        "implementation = CPython",
        "include-system-site-packages = false",
        "version = 3.11.7",
        "executable = /opt/python 3/bin/python3.11",
    ]


def test_every_name_of_python_leads_to_the_base(own_interpreter: Interpreter):
    files = files_by_path(dataclasses.replace(own_interpreter, python_directory="python3.13t"))
    links = {path: file.content for path, file in files.items() if path.startswith("bin/python")}
    assert links.pop("bin/python") == own_interpreter.executable.encode()
    assert links == dict.fromkeys(("bin/python3", f"bin/python{own_interpreter.release}", "bin/python3.13t"), b"python")
    assert all(files[path].kind is Kind.SYMLINK for path in links)


@pytest.mark.parametrize(("bits", "has_lib64"), [(64, True), (32, False)])
def test_lib64_is_lib_for_64_bit_interpreters(own_interpreter: Interpreter, bits: int, has_lib64: bool):
    assert ("lib64" in files_by_path(dataclasses.replace(own_interpreter, bits=bits))) == has_lib64


def test_paths_are_good_sorted_and_unique(own_interpreter: Interpreter):
    files, directories = build_skeleton(own_interpreter)
    paths = [file.path for file in files]
    assert paths == sorted(set(paths))
    assert [path_problem(path) for path in [*paths, *directories]] == [None] * (len(paths) + len(directories))


def test_git_ignores_it_and_backups_may_skip_it(tmp_path: Path, own_interpreter: Interpreter):
    files = files_by_path(own_interpreter)
    assert b"*" in files[".gitignore"].content.splitlines()
    assert files["CACHEDIR.TAG"].content.startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


def run_shell(shell: str, text: str, *arguments: object, cwd: Path | None = None, **variables: str) -> list[str]:
    """Lines that a script of this shell prints; it ends at the first error or unset variable."""
    command = [shell, "-euc", text, shell, *map(str, arguments)]
    environment = {"PATH": os.defpath, **variables}
    return subprocess.run(command, env=environment, cwd=cwd, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()


@pytest.fixture
def environment(tmp_path: Path, own_interpreter: Interpreter) -> Path:
    return make_environment(tmp_path / "venv", own_interpreter)


@pytest.mark.parametrize("shell", SHELLS)
class TestActivate:
    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_it_finds_the_environment_wherever_it_is(self, tmp_path: Path, own_interpreter: Interpreter, shell: str, name: str):
        environment = make_environment(tmp_path / name / name, own_interpreter)
        lines = run_shell(
            shell, '. "$1"; echo "$VIRTUAL_ENV"; command -v python; python -c "import sys; print(sys.prefix)"', environment / "bin/activate"
        )
        assert lines == [str(environment), str(environment / "bin/python"), str(environment)]

    @pytest.mark.parametrize(
        ("start", "path"),
        [("venv", "bin/activate"), ("venv", "./bin//activate"), ("venv/bin", "./activate"), (".", "venv/lib/../bin/activate")],
    )
    def test_a_relative_path_will_do(self, tmp_path: Path, environment: Path, shell: str, start: str, path: str):
        assert run_shell(shell, '. "$1"; echo "$VIRTUAL_ENV"', path, cwd=tmp_path / start) == [str(environment)]

    def test_so_will_a_symlink_to_the_environment_or_to_the_script(self, tmp_path: Path, environment: Path, shell: str):
        (tmp_path / "link").symlink_to("venv")
        (tmp_path / "use-it").symlink_to("link/bin/activate")
        (shown,) = run_shell(shell, '. "$1"; echo "$VIRTUAL_ENV"', tmp_path / "link/bin/activate")
        assert os.path.samefile(shown, environment)
        assert run_shell(shell, '. "$1"; echo "$VIRTUAL_ENV"', tmp_path / "use-it") == [str(environment)]

    def test_it_works_in_a_subshell_and_in_a_function(self, environment: Path, shell: str):
        text = '(. "$1"; echo "$VIRTUAL_ENV"); echo "${VIRTUAL_ENV-unset}"; use() { . "$1"; }; use "$1"; echo "$VIRTUAL_ENV"'
        assert run_shell(shell, text, environment / "bin/activate") == [str(environment), "unset", str(environment)]

    def test_it_sets_what_tools_look_for(self, environment: Path, shell: str):
        program = "\"import os; print(*map(os.environ.get, ('VIRTUAL_ENV', 'VIRTUAL_ENV_PROMPT', 'PATH')))\""
        lines = run_shell(shell, f'. "$1"; python -c {program}', environment / "bin/activate", PATH="/usr/bin:/bin")
        assert lines == [f"{environment} venv {environment}/bin:/usr/bin:/bin"]

    def test_deactivate_restores_everything(self, environment: Path, shell: str):
        text = 'PS1="$ "; set > "$2"; . "$1"; deactivate; set > "$3"; command -v deactivate || echo gone'
        before, after = environment / "before", environment / "after"
        assert run_shell(shell, text, environment / "bin/activate", before, after, PYTHONHOME="/usr") == ["gone"]
        # What shells count for themselves is no concern of ours.
        own = ("_=", "BASH", "FUNCNAME", "LINENO", "PIPESTATUS", "PPID", "OPTIND")
        shown = [[line for line in file.read_text().splitlines() if not line.startswith(own)] for file in (before, after)]
        assert shown[0] == shown[1]
        assert any(line.startswith("PYTHONHOME=") for line in shown[0])

    def test_pythonhome_is_unset_while_active(self, environment: Path, shell: str):
        text = '. "$1"; echo "${PYTHONHOME-unset}"; deactivate; echo "$PYTHONHOME"'
        assert run_shell(shell, text, environment / "bin/activate", PYTHONHOME="/usr") == ["unset", "/usr"]

    def test_the_prompt_shows_the_directory_of_the_mount(self, environment: Path, shell: str):
        text = 'PS1="$ "; . "$1"; echo "<$PS1>"; deactivate; echo "<$PS1>"'
        assert run_shell(shell, text, environment / "bin/activate") == ["<(venv) $ >", "<$ >"]

    def test_the_prompt_stays_if_one_asks_for_that(self, environment: Path, shell: str):
        text = 'PS1="$ "; . "$1"; echo "<$PS1> $VIRTUAL_ENV_PROMPT"; deactivate; echo "<$PS1>"'
        assert run_shell(shell, text, environment / "bin/activate", VIRTUAL_ENV_DISABLE_PROMPT="1") == ["<$ > venv", "<$ >"]

    def test_a_name_that_a_prompt_would_run_is_shown_without_its_teeth(self, tmp_path: Path, own_interpreter: Interpreter, shell: str):
        environment = make_environment(tmp_path / "$(touch owned)`touch owned`\\!%", own_interpreter)
        text = 'PS1="$ "; . "$1"; echo "$PS1"; echo "$VIRTUAL_ENV"'
        assert run_shell(shell, text, environment / "bin/activate") == ["((touch owned)touch owned) $ ", str(environment)]

    def test_another_environment_may_take_over(self, tmp_path: Path, environment: Path, own_interpreter: Interpreter, shell: str):
        other = make_environment(tmp_path / "other", own_interpreter)
        text = 'PS1="$ "; . "$1"; . "$2"; echo "$VIRTUAL_ENV"; echo "$PS1"; echo "$PATH"; deactivate; echo "$PATH"; echo "$PS1"'
        lines = run_shell(shell, text, environment / "bin/activate", other / "bin/activate", PATH="/usr/bin:/bin")
        assert lines == [str(other), "(other) $ ", f"{other}/bin:/usr/bin:/bin", "/usr/bin:/bin", "$ "]

    def test_a_copy_outside_an_environment_refuses_and_changes_nothing(self, tmp_path: Path, environment: Path, shell: str):
        copy = tmp_path / "activate"
        copy.write_bytes((environment / "bin/activate").read_bytes())
        text = 'set +e; . "$1" 2> /dev/null; echo "refused $?"; echo "${VIRTUAL_ENV-unset} $PATH"; command -v deactivate || echo gone'
        assert run_shell(shell, text, copy, PATH="/usr/bin:/bin", cwd=environment) == ["refused 1", "unset /usr/bin:/bin", "gone"]


class TestPip:
    """What stands in for pip, over a base interpreter that says what it is called with."""

    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        return write_program(tmp_path / "base/python3", '#!/bin/sh\n[ "$2" = -c ] && exit "${HAS_NO_PIP:-0}"\necho "base $*"\n')

    @pytest.fixture
    def environment(self, tmp_path: Path, own_interpreter: Interpreter, base: Path) -> Path:
        return make_environment(tmp_path / "sp ace", dataclasses.replace(own_interpreter, executable=str(base)))

    def run(self, *command: object, path: Path | str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": f"{path}:{os.defpath}", **variables}
        return subprocess.run([*map(str, command)], env=environ, capture_output=True, text=True, check=False)

    @pytest.mark.parametrize("name", ["pip", "pip3"])
    def test_the_pip_of_the_base_installs_into_the_environment(self, tmp_path: Path, environment: Path, name: str):
        (tmp_path / "link").symlink_to(environment / "bin" / name)
        for called in (environment / "bin" / name, tmp_path / "link"):
            done = self.run(called, "install", "-U", "a b")
            assert done.stdout == f"base -m pip --python {environment}/bin/python install -U a b\n"

    def test_where_the_base_has_none_uv_does_it(self, tmp_path: Path, environment: Path):
        write_program(tmp_path / "tools/uv", '#!/bin/sh\necho "uv $*"\n')
        done = self.run(environment / "bin/pip", "install", "six", path=tmp_path / "tools", HAS_NO_PIP="1")
        assert done.stdout == f"uv pip install --python {environment}/bin/python six\n"

    def test_where_there_is_neither_it_says_so_and_nothing_else_is_called(self, environment: Path, base: Path):
        done = self.run(environment / "bin/pip", "install", "six", HAS_NO_PIP="1")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"pip: neither {base} has pip")

    def test_an_environment_may_do_without(self, own_interpreter: Interpreter):
        files, _ = build_skeleton(own_interpreter, with_pip=False)
        assert STAND_INS.isdisjoint(file.path for file in files)
