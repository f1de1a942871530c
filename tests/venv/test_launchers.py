from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import tokenize
from collections.abc import Callable
from pathlib import Path

import pytest

from casfs.errors import InvalidValue
from casfs.interpreters.interpreter import Interpreter
from casfs.store.manifests import Kind, NewFile
from casfs.venv.launchers import build_launcher, parse_script, rewrite_script
from tests.interpreters.pythons import make_environment

SHELLS = ["sh", "bash"]

MODULE = """\
import json, os, sys
class commands:
    @staticmethod
    def show():
        json.dump({"argv": sys.argv, "prefix": sys.prefix, "executable": sys.executable, "variables": dict(os.environ)}, sys.stdout)
        return 7
"""

ODD_NAMES = ["venv", "sp ace", "qu'o\"te", "ünïcode", "-x", "$(exit 1)`exit 1`", "back\\slash"]


def preamble_and_body(script: bytes) -> tuple[list[bytes], bytes]:
    first, second, body = script.split(b"\n", 2)
    return [first, second], body


@pytest.fixture
def tools() -> list[NewFile]:
    return [
        NewFile("lib/{python}/site-packages/tool.py", MODULE.encode()),
        NewFile("bin/tool", build_launcher("tool", "tool", "commands.show"), Kind.EXECUTABLE),
    ]


@pytest.fixture
def environment(tmp_path: Path, own_interpreter: Interpreter, tools: list[NewFile]) -> Path:
    return make_environment(tmp_path / "venv", own_interpreter, *tools)


def run(*command: object, cwd: Path | None = None, **variables: str) -> dict[str, object]:
    """What the tool printed; it ends with the status that its function returned."""
    variables = {"PATH": os.defpath, **variables}
    done = subprocess.run([*map(str, command)], env=variables, cwd=cwd, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 7
    shown = json.loads(done.stdout)
    assert isinstance(shown, dict)
    return shown


class TestBody:
    def test_after_two_lines_it_is_what_pip_writes(self):
        _, body = preamble_and_body(build_launcher("flask", "flask.cli", "main"))
        assert body.decode().splitlines() == [
            "import sys",
            "from flask.cli import main",
            "if __name__ == '__main__':",
            "    sys.argv[0] = sys.argv[0].removesuffix('.exe')",
            "    sys.exit(main())",
        ]

    def test_an_attribute_of_an_attribute_is_called(self):
        _, body = preamble_and_body(build_launcher("tool", "package.module", "group.command"))
        assert b"\nfrom package.module import group\n" in body
        assert b"sys.exit(group.command())\n" in body

    def test_for_python_3_8_it_is_what_the_last_pip_for_it_writes(self):
        _, body = preamble_and_body(build_launcher("flask", "flask.cli", "main", "python3.8"))
        assert body.decode().splitlines() == [
            "# -*- coding: utf-8 -*-",
            "import re",
            "import sys",
            "from flask.cli import main",
            "if __name__ == '__main__':",
            r"    sys.argv[0] = re.sub(r'(-script\.pyw|\.exe)?$', '', sys.argv[0])",
            "    sys.exit(main())",
        ]

    @pytest.mark.parametrize(("module", "attribute"), [("a b", "c"), ("a", ""), ("a;b", "c"), ("a", "b\nc"), ("a.", "b"), ("a", "b()")])
    def test_what_is_no_dotted_name_is_refused(self, module: str, attribute: str):
        with pytest.raises(InvalidValue):
            build_launcher("tool", module, attribute)

    def test_to_python_the_first_lines_are_comments(self):
        script = build_launcher("tool", "tool", "main")
        tree = ast.parse(script)
        assert ast.get_docstring(tree) is None
        tokens = list(tokenize.tokenize(io.BytesIO(script).readline))
        assert {token.type for token in tokens if token.start[0] in {1, 2}} == {tokenize.COMMENT, tokenize.NL}


class TestCalling:
    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_it_finds_the_python_beside_it_wherever_it_is(
        self, tmp_path: Path, own_interpreter: Interpreter, tools: list[NewFile], name: str
    ):
        environment = make_environment(tmp_path / name, own_interpreter, *tools)
        shown = run(environment / "bin/tool", "one", "two three", "")
        assert (shown["prefix"], shown["executable"]) == (str(environment), str(environment / "bin/python"))
        assert shown["argv"] == [str(environment / "bin/tool"), "one", "two three", ""]

    @pytest.mark.parametrize(
        ("start", "path"),
        [
            ("venv", "bin/tool"),
            ("venv", "./bin/tool"),
            ("venv/bin", "./tool"),
            ("venv/lib", "../bin/tool"),
            (".", "venv/bin/../bin//tool"),
        ],
    )
    def test_a_relative_path_finds_it_and_stays_argv_0(self, tmp_path: Path, environment: Path, start: str, path: str):
        shown = run(path, "x", cwd=tmp_path / start)
        assert (shown["prefix"], shown["executable"]) == (str(environment), str(environment / "bin/python"))
        assert shown["argv"] == [path, "x"]

    def test_it_is_found_on_the_search_path(self, environment: Path):
        shown = run("sh", "-c", "tool x", PATH=f"{environment}/bin:{os.defpath}")
        assert (shown["prefix"], shown["argv"]) == (str(environment), [f"{environment}/bin/tool", "x"])

    def test_a_path_that_begins_with_a_dash_is_no_option(self, tmp_path: Path, own_interpreter: Interpreter, tools: list[NewFile]):
        environment = make_environment(tmp_path / "-c", own_interpreter, *tools)
        shown = run("sh", "-c", "tool x", PATH=f"-c/bin:{os.defpath}", cwd=tmp_path)
        assert (shown["prefix"], shown["argv"]) == (str(environment), ["-c/bin/tool", "x"])

    def test_chains_of_symlinks_are_followed(self, tmp_path: Path, environment: Path):
        for directory in ("home", "share"):
            (tmp_path / directory).mkdir()
        (tmp_path / "share/tool").symlink_to("../venv/bin/tool")
        (tmp_path / "home/mine").symlink_to(tmp_path / "share/tool")
        shown = run(tmp_path / "home/mine", "x")
        assert (shown["prefix"], shown["argv"]) == (str(environment), [str(tmp_path / "home/mine"), "x"])
        assert run("./mine", cwd=tmp_path / "home")["prefix"] == str(environment)

    def test_a_symlink_to_the_environment_is_its_place(self, tmp_path: Path, environment: Path):
        (tmp_path / "current").symlink_to("venv")
        assert run(tmp_path / "current/bin/tool")["prefix"] == str(tmp_path / "current")

    @pytest.mark.parametrize("shell", SHELLS)
    @pytest.mark.parametrize(("start", "path"), [("venv", "bin/tool"), ("venv/bin", "tool")])
    def test_a_shell_may_be_told_to_run_it(self, tmp_path: Path, environment: Path, shell: str, start: str, path: str):
        shown = run(shell, path, "x", cwd=tmp_path / start)
        assert (shown["prefix"], shown["argv"]) == (str(environment), [path, "x"])

    def test_python_may_be_told_to_run_it(self, environment: Path):
        shown = run(environment / "bin/python", "-W", "error", environment / "bin/tool", "x")
        assert (shown["prefix"], shown["argv"]) == (str(environment), [str(environment / "bin/tool"), "x"])

    def test_python_sees_the_variables_that_it_was_called_with(self, environment: Path):
        given = {"PATH": os.defpath, "PWD": str(environment), "casfs": "1", "LC_ALL": "C.UTF-8"}
        shown = run(environment / "bin/tool", cwd=environment, **given)["variables"]
        assert isinstance(shown, dict)
        counted_by_bash = {"SHLVL", "_", "OLDPWD"}
        assert {name: value for name, value in shown.items() if name not in counted_by_bash} == given

    def test_a_missing_interpreter_is_named(self, environment: Path):
        (environment / "bin/python").unlink()
        done = subprocess.run([environment / "bin/tool"], stderr=subprocess.PIPE, check=False)
        assert done.returncode in {126, 127}
        assert str(environment / "bin/python") in done.stderr.decode()


class TestScripts:
    @pytest.fixture
    def run_script(self, tmp_path: Path, own_interpreter: Interpreter) -> Callable[[bytes], str]:
        def run_it(content: bytes) -> str:
            rewritten = rewrite_script(content)
            assert rewritten is not None
            environment = make_environment(tmp_path / "venv", own_interpreter, NewFile("bin/script", rewritten, Kind.EXECUTABLE))
            return subprocess.run([environment / "bin/script"], stdout=subprocess.PIPE, check=True).stdout.decode()

        return run_it

    @pytest.mark.parametrize("first", [b"#!python", b"#!pythonw", b"#!python3", b"#!python -u", b"#!python\r"])
    def test_the_first_line_is_replaced_and_the_rest_kept(self, first: bytes):
        rest = b"import sys\r\nprint('\xc3\xa9')"
        rewritten = rewrite_script(first + b"\n" + rest)
        assert rewritten
        preamble, body = preamble_and_body(rewritten)
        assert (preamble[0], body) == (b"#!/bin/sh -", rest)

    @pytest.mark.parametrize(
        "content", [b"", b"\x7fELF\x02\x01", b"#!/usr/bin/python\n", b"#!/bin/sh\n#!python\n", b"#! python\n", b"import sys\n"]
    )
    def test_what_does_not_ask_for_python_is_left_alone(self, content: bytes):
        assert rewrite_script(content) is None

    def test_a_docstring_and_future_imports_keep_their_meaning(self, run_script: Callable[[bytes], str]):
        content = b'#!python\n"""What it does."""\nfrom __future__ import annotations\ndef f(a: undefined): pass\nprint(__doc__)\n'
        assert run_script(content) == "What it does.\n"

    @pytest.mark.parametrize("line", [b"# -*- coding: latin-1 -*-", b"# vim: set fileencoding=latin-1 :", b" # coding=latin-1\r"])
    def test_a_declared_encoding_is_honoured(self, run_script: Callable[[bytes], str], line: bytes):
        assert run_script(b"#!python\n" + line + b"\nprint(ascii('\xe9'))\n") == "'\\xe9'\n"

    @pytest.mark.parametrize("line", [b"import sys # coding: latin-1", b"", b"# a comment on decoding"])
    def test_what_declares_no_encoding_leaves_utf_8(self, run_script: Callable[[bytes], str], line: bytes):
        assert run_script(b"#!python\n" + line + b"\nprint(ascii('\xc3\xa9'))\n") == "'\\xe9'\n"

    def test_a_script_of_one_line_is_rewritten(self, run_script: Callable[[bytes], str]):
        assert run_script(b"#!python") == ""


LONG = "/" + "l" * 140
BESIDE = '"$(dirname -- "$(realpath -- "$0")")"/'


def octal(path: str) -> str:
    return '"$(printf %b ' + " ".join(f"'\\'{byte:04o}" for byte in path.encode()) + ')"'


def by_shell(word: str, *more: str) -> str:
    """The first lines where the kernel can't read the interpreter's path."""
    return "\n".join(["#!/bin/sh", *more, f"'''exec' {word} \"$0\" \"$@\"", "' '''"])


class TestForeign:
    """What each installer writes, as it was seen in environments at awkward paths."""

    @pytest.mark.parametrize(
        ("head", "prefix", "options"),
        [
            ("#!/srv/v/bin/python", "/srv/v", ""),
            ("#!/srv/v/bin/python3.13t", "/srv/v", ""),
            ("#! /srv/v/bin/python3\r", "/srv/v", ""),
            ("#!/srv/v/bin/python3 -E -s", "/srv/v", " -E -s"),
            ("#!/a b/it's/v/bin/python", "/a b/it's/v", ""),  # a wheel's script, by pip
            (f"#!{LONG}/bin/python", LONG, ""),
            ('#!"/a b/v/bin/python" -E', "/a b/v", " -E"),  # setuptools
            (by_shell(f"{LONG}/bin/python"), LONG, ""),  # distlib
            (by_shell('"/a b/it\'s/bin/python"'), "/a b/it's", ""),
            (by_shell("/a b/v/bin/python -E -s"), "/a b/v", " -E -s"),
            (by_shell("'/a b/v/bin/python'"), "/a b/v", ""),  # uv, installer
            (by_shell("'/a b/it'\"'\"'s/bin/python'"), "/a b/it's", ""),
            (by_shell(octal("/a b/ü/bin/python"), "# coding: latin-1"), "/a b/ü", ""),
            (by_shell(f"{BESIDE}'python'"), None, ""),  # uv, in a relocatable environment
            (by_shell(BESIDE + octal("python"), "# coding: latin-1"), None, ""),
        ],
    )
    def test_every_form_of_the_first_lines_is_understood(self, head: str, prefix: str | None, options: str):
        found = parse_script(f"{head}\nimport sys\n".encode())
        assert found is not None
        assert (found.prefix, found.options, found.rest) == (prefix, options, b"import sys\n")

    @pytest.mark.parametrize(
        "content",
        [
            b"#!/usr/bin/env python3\nimport sys\n",
            b"#!python\nimport sys\n",
            b"#!/bin/sh\nexec /srv/v/bin/python x\n",
            b"#!/srv/v/bin/python-config\n",
            b"#!/srv/v/bin/python; rm -r x\n",
            b"\x7fELF",
            b"",
        ],
    )
    def test_what_names_no_python_by_its_path_is_not_one(self, content: bytes):
        assert parse_script(content) is None

    def test_made_relocatable_it_is_what_the_wheels_own_script_becomes(self):
        rest = b"# -*- coding: latin-1 -*-\nimport sys\n"
        for head in (by_shell(octal("/a b/bin/python"), "# coding: latin-1"), "#!/srv/v/bin/python"):
            found = parse_script(head.encode() + b"\n" + rest)
            assert found is not None
            assert found.make_relocatable() == rewrite_script(b"#!python\n" + rest)

    def test_options_of_the_interpreter_stay(self, tmp_path: Path, own_interpreter: Interpreter):
        found = parse_script(b"#!/srv/v/bin/python -E -s\nimport sys\nprint(sys.flags.ignore_environment, sys.flags.no_user_site)\n")
        assert found is not None
        script = NewFile("bin/script", found.make_relocatable(), Kind.EXECUTABLE)
        environment = make_environment(tmp_path / "venv", own_interpreter, script)
        assert subprocess.run([environment / "bin/script"], capture_output=True, check=True, text=True).stdout == "1 1\n"
