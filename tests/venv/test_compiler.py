"""The compiler's processes: the bytecode that Python itself makes, from whatever a wheel may hold, and nothing else happens."""

from __future__ import annotations

import contextlib
import marshal
import os
import py_compile
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from casfs.errors import InterpreterRefused
from casfs.interpreters.interpreter import Interpreter
from casfs.store.bytecode import Target
from casfs.venv.bytecode import compiler
from casfs.venv.bytecode.bytecode import target_of
from casfs.venv.bytecode.compiler import Compiler
from tests.interpreters.pythons import write_program

NAME = "<casfs abc>"
GOOD = b"def f(x):\n    '''Text.'''\n    assert x\n    return x + 1\n"


@pytest.fixture
def target(own_interpreter: Interpreter) -> Target:
    return target_of(own_interpreter)


def children() -> set[int]:
    """Processes that this one has started and not waited for."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread has ended meanwhile; its children are another one's now
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


def compile_all(interpreter: Interpreter, target: Target, *sources: bytes, processes: int = 1) -> list[bytes | None]:
    with Compiler(interpreter.executable, target, processes) as one:
        return [code for _, code in one.run(sources, lambda source: (source, NAME))]


def test_bytecode_is_what_the_interpreter_itself_makes(own_interpreter: Interpreter, target: Target, tmp_path: Path):
    sources = [Path(path).read_bytes() for path in (py_compile.__file__, os.__file__, pytest.__file__)]
    for source, code in zip(sources, compile_all(own_interpreter, target, *sources, processes=2), strict=True):
        (tmp_path / "source.py").write_bytes(source)
        py_compile.compile(str(tmp_path / "source.py"), cfile=str(tmp_path / "code"), dfile=NAME, doraise=True)
        assert code is not None
        assert marshal.loads(code) == marshal.loads((tmp_path / "code").read_bytes()[16:])  # what is shared in memory is marked in bytes


def test_the_code_has_the_name_that_it_was_given(own_interpreter: Interpreter, target: Target):
    [code] = compile_all(own_interpreter, target, GOOD)
    assert code is not None
    loaded = marshal.loads(code)
    assert isinstance(loaded, CodeType)
    assert loaded.co_filename == NAME


@pytest.mark.parametrize(("level", "kept"), [(0, (True, True)), (1, (False, True)), (2, (False, False))])
def test_levels_leave_out_assertions_and_then_docstrings(own_interpreter: Interpreter, level: int, kept: tuple[bool, bool]):
    [code] = compile_all(own_interpreter, target_of(own_interpreter, level), GOOD)
    assert code is not None
    assert (has_assertion(code), b"Text." in code) == kept


def has_assertion(code: bytes) -> bool:
    """Whether the function that it defines can fail its assertion."""
    space: dict[str, object] = {}
    exec(marshal.loads(code), space)
    function = space["f"]
    assert callable(function)
    try:
        function(0)
    except AssertionError:
        return True
    return False


HOSTILE = {
    "a syntax error": b"def f(:\n",
    "a null byte": b"x = 1\0\n",
    "an unknown encoding": b"# -*- coding: no-such-encoding -*-\n",
    "bytes that are not UTF-8": b"x = '\xff'\n",
    "deep nesting of brackets": b"(" * 100_000 + b")" * 100_000,
    "deep nesting of unary operators": b"-" * 500_000 + b"1",
    "deep attribute access": b"a" + b".a" * 500_000,
    "Python 2": b"print 'hello'\n",
    "a template": b"import {{name}}\n",
}

HARMLESS = {
    "nothing": b"",
    "a byte order mark": b"\xef\xbb\xbfx = 1\n",
    "another encoding": b"# -*- coding: latin-1 -*-\nx = '\xe9'\n",
    "an invalid escape": b"x = '\\d'\n",
    "a huge constant expression": b"x = 2 ** 10 ** 9\ny = 'a' * 10 ** 12\n",
    "a huge number": b"x = " + b"9" * 4000,
    "Windows line ends": b"x = 1\r\ny = 2\r\n",
    "a long line": b"x = [" + b"0," * 500_000 + b"]",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_source_that_does_not_compile_harms_no_other(own_interpreter: Interpreter, target: Target, kind: str):
    first, second, third = compile_all(own_interpreter, target, GOOD, HOSTILE[kind], GOOD)
    assert (first is not None, second, third) == (True, None, first)


def test_odd_sources_that_python_takes_are_taken(own_interpreter: Interpreter, target: Target):
    codes = compile_all(own_interpreter, target, *HARMLESS.values(), processes=2)
    assert {kind for kind, code in zip(HARMLESS, codes, strict=True) if code is None} == set()


def test_nothing_of_a_source_is_run(own_interpreter: Interpreter, target: Target, tmp_path: Path):
    [code] = compile_all(own_interpreter, target, f"open({str(tmp_path / 'trace')!r}, 'w')\n".encode())
    assert code is not None
    assert not (tmp_path / "trace").exists()


def with_step(step: str, cpu_limit_s: float = 30) -> tuple[str, ...]:
    """The compiler's command, that takes a step of ours before it compiles."""
    program = compiler._PROGRAM.replace("CPU_LIMIT_S", str(cpu_limit_s))
    assert program.count("code = compile(") == 1
    return (*compiler._COMMAND[:-1], program.replace("code = compile(", f"{step}\n        code = compile("))


def test_a_source_that_takes_too_long_is_given_up(own_interpreter: Interpreter, target: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiler, "_COMMAND", with_step("while source == b'slow': pass", cpu_limit_s=0.2))
    assert [code is None for code in compile_all(own_interpreter, target, b"slow", GOOD)] == [True, False]


def test_a_source_that_takes_too_much_memory_is_given_up(own_interpreter: Interpreter, target: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiler, "_COMMAND", with_step("source == b'big' and bytes(1 << 32)"))
    assert [code is None for code in compile_all(own_interpreter, target, b"big", GOOD)] == [True, False]


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 11)", "os._exit(0)", "write(b'\\0\\0\\0\\1x')", "write(b'\\xff' * 4)"])
def test_a_process_that_dies_or_talks_nonsense_is_replaced(
    own_interpreter: Interpreter, target: Target, monkeypatch: pytest.MonkeyPatch, end: str
):
    monkeypatch.setattr(compiler, "_COMMAND", with_step(f"import os; source == b'bad' and ({end}, sys.stdout.buffer.flush())"))
    codes = compile_all(own_interpreter, target, GOOD, b"bad", GOOD, b"bad", GOOD)
    assert [code is None for code in codes] == [False, True, False, True, False]


def test_whoever_stops_in_the_middle_leaves_no_process(own_interpreter: Interpreter, target: Target):
    with Compiler(own_interpreter.executable, target, 2) as one:
        results = one.run([GOOD] * 1000, lambda source: (source, NAME))
        assert next(results)[1] is not None
        results.close()


def test_an_error_while_a_source_is_read_ends_everything(own_interpreter: Interpreter, target: Target):
    def read(source: bytes) -> tuple[bytes, str]:
        raise OSError("gone")

    with Compiler(own_interpreter.executable, target, 2) as one, pytest.raises(OSError, match="gone"):
        list(one.run([GOOD] * 10, read))


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho hello\nsleep 1000\n", "#!/no/such/program\n"])
def test_what_is_no_such_interpreter_is_refused(target: Target, tmp_path: Path, text: str):
    program = write_program(tmp_path / "python", text)
    with pytest.raises(InterpreterRefused) as caught:
        Compiler(str(program), target, 1)
    assert caught.value.subject == str(program)


def test_an_interpreter_with_another_magic_number_is_refused(own_interpreter: Interpreter, target: Target):
    with pytest.raises(InterpreterRefused, match="does not make bytecode for"):
        Compiler(own_interpreter.executable, Target(target.cache_tag, "00000000"), 1)
