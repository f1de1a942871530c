from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.errors import EnvironmentRefused, InterpreterRefused
from casfs.interpreters.interpreter import Interpreter
from casfs.interpreters.known import know_base, know_interpreter, recall_base
from casfs.store.fsck.check import check_store
from casfs.store.generations import BaseInterpreter
from casfs.store.store import Store, open_store
from tests.make_generations import INTERPRETER


class FakeInterpreters:
    """Interpreters that say what they are, and count how often they are asked."""

    def __init__(self, version: str = INTERPRETER.version) -> None:
        self.version = version
        self.asked: list[str] = []

    def ask(self, executable: str) -> Interpreter:
        self.asked.append(executable)
        release = ".".join(self.version.split(".")[:2])
        directory, cache_tag = f"python{release}", f"cpython-{release.replace('.', '')}"
        return dataclasses.replace(
            INTERPRETER, executable=executable, version=self.version, python_directory=directory, cache_tag=cache_tag
        )


@pytest.fixture
def interpreters(monkeypatch: pytest.MonkeyPatch) -> FakeInterpreters:
    fake = FakeInterpreters()
    monkeypatch.setattr("casfs.interpreters.known.ask_interpreter", fake.ask)
    return fake


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "store", create=True)
    yield store
    assert check_store(store).damages == ()


@pytest.fixture
def python(tmp_path: Path) -> str:
    path = tmp_path / "python3"
    path.write_bytes(b"an interpreter")
    return str(path)


def answers(store: Store) -> list[Path]:
    return list(Path(store.path("interpreters")).iterdir())


def test_an_interpreter_is_asked_once(store: Store, python: str, interpreters: FakeInterpreters):
    first = know_interpreter(store, python)
    assert first == know_interpreter(store, python) == know_interpreter(open_store(Path(store.root)), python)
    assert interpreters.asked == [python]
    assert len(answers(store)) == 1


def test_an_interpreter_that_changed_is_asked_again(store: Store, python: str, interpreters: FakeInterpreters):
    know_interpreter(store, python)
    interpreters.version = "3.11.8"
    Path(python).write_bytes(b"another interpreter")
    assert know_interpreter(store, python).version == "3.11.8"


def test_an_interpreter_that_was_replaced_by_one_of_the_same_size_and_time_is_asked_again(
    store: Store, python: str, interpreters: FakeInterpreters
):
    os.utime(python, ns=(0, 0))
    know_interpreter(store, python)
    Path(f"{python}.new").write_bytes(b"AN INTERPRETER")
    os.utime(f"{python}.new", ns=(0, 0))
    os.rename(f"{python}.new", python)
    know_interpreter(store, python)
    assert len(interpreters.asked) == 2


def test_a_link_that_leads_elsewhere_now_is_asked_again(store: Store, python: str, tmp_path: Path, interpreters: FakeInterpreters):
    link = tmp_path / "link"
    link.symlink_to(python)
    know_interpreter(store, str(link))
    (tmp_path / "other").write_bytes(b"an interpreter")
    link.unlink()
    link.symlink_to("other")
    know_interpreter(store, str(link))
    assert len(interpreters.asked) == 2


def test_two_interpreters_are_two_answers(store: Store, python: str, interpreters: FakeInterpreters):
    os.link(python, f"{python}.11")
    assert [know_interpreter(store, path).executable for path in (python, f"{python}.11") * 2] == [python, f"{python}.11"] * 2
    assert interpreters.asked == [python, f"{python}.11"]


def test_a_known_interpreter_is_recalled_by_any_link_to_it(store: Store, python: str, tmp_path: Path, interpreters: FakeInterpreters):
    link = tmp_path / "link"
    link.symlink_to(python)
    assert recall_base(store, str(link)) is None
    expected = know_interpreter(store, python)
    assert recall_base(store, str(link)) == recall_base(store, python) == expected
    assert interpreters.asked == [python]


def test_an_interpreter_that_changed_is_not_recalled(store: Store, python: str, interpreters: FakeInterpreters):
    know_interpreter(store, python)
    Path(python).write_bytes(b"another interpreter")
    assert recall_base(store, python) is None
    Path(python).unlink()
    assert recall_base(store, python) is None


def test_a_wrapper_is_not_recalled_though_its_answer_is_known(store: Store, python: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("casfs.interpreters.known.ask_interpreter", lambda path: dataclasses.replace(INTERPRETER, executable="/base"))
    assert know_interpreter(store, python).executable == "/base"
    assert recall_base(store, python) is None


@pytest.mark.parametrize("place", ["bin/pyvenv.cfg", "pyvenv.cfg"])
def test_the_python_of_a_virtual_environment_is_not_recalled(
    store: Store, python: str, tmp_path: Path, interpreters: FakeInterpreters, place: str
):
    """Its pyvenv.cfg may name another base than the one to which its link leads."""
    know_interpreter(store, python)
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv" / place).write_text("home = /elsewhere\n")
    (tmp_path / "venv/bin/python").symlink_to(python)
    assert recall_base(store, str(tmp_path / "venv/bin/python")) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'"x"', b"null", b'{"facts": 1}', b"\xff", b'{"facts": [], "interpreter": {}}'])
def test_a_damaged_answer_is_asked_for_again_and_mended(store: Store, python: str, interpreters: FakeInterpreters, damage: bytes):
    expected = know_interpreter(store, python)
    answers(store)[0].write_bytes(damage)
    assert know_interpreter(store, python) == know_interpreter(store, python) == expected
    assert len(interpreters.asked) == 2


@pytest.mark.parametrize("interpreter", [None, [], {}, {"executable": "/usr/bin/python3"}, {**INTERPRETER.to_json(), "bits": "many"}])
def test_an_answer_that_lacks_something_is_asked_for_again(store: Store, python: str, interpreters: FakeInterpreters, interpreter: object):
    expected = know_interpreter(store, python)
    [path] = answers(store)
    path.write_text(json.dumps({**json.loads(path.read_text()), "interpreter": interpreter}), encoding="utf-8")
    assert know_interpreter(store, python) == expected
    assert len(interpreters.asked) == 2


def test_an_answer_that_can_not_be_kept_is_given_all_the_same(store: Store, python: str, interpreters: FakeInterpreters):
    place = Path(store.path("interpreters"))
    place.rmdir()
    try:
        assert know_interpreter(store, python) == know_interpreter(store, python)
        assert len(interpreters.asked) == 2
    finally:
        place.mkdir()


def test_what_is_not_there_is_refused_by_its_path(store: Store, tmp_path: Path, interpreters: FakeInterpreters):
    with pytest.raises(InterpreterRefused, match="no such file or directory") as caught:
        know_interpreter(store, str(tmp_path / "absent"))
    assert caught.value.subject == str(tmp_path / "absent")
    assert interpreters.asked == []


def test_a_refusal_is_not_kept(store: Store, python: str, interpreters: FakeInterpreters, monkeypatch: pytest.MonkeyPatch):
    def refuse(executable: str) -> Interpreter:
        raise InterpreterRefused(executable, "is no CPython")

    with monkeypatch.context() as patch:
        patch.setattr("casfs.interpreters.known.ask_interpreter", refuse)
        with pytest.raises(InterpreterRefused):
            know_interpreter(store, python)
    assert know_interpreter(store, python).version == interpreters.version


def test_a_link_to_a_known_interpreter_is_recalled_once_it_was_asked_by_it(store: Store, tmp_path: Path, interpreters: FakeInterpreters):
    (tmp_path / "3.11.7/bin").mkdir(parents=True)
    (tmp_path / "3.11.7/bin/python3.11").write_bytes(b"an interpreter")
    (tmp_path / "3.11.7/bin/python3").symlink_to("python3.11")
    (tmp_path / "current").symlink_to("3.11.7")
    know_interpreter(store, str(tmp_path / "3.11.7/bin/python3.11"))
    assert recall_base(store, str(tmp_path / "current/bin/python3")) is None
    known = know_interpreter(store, str(tmp_path / "current/bin/python3.11"))
    assert recall_base(store, str(tmp_path / "current/bin/python3")) == known
    assert known.executable == f"{tmp_path}/current/bin/python3.11"


def base_of(python: str) -> BaseInterpreter:
    return BaseInterpreter(python, INTERPRETER.version, INTERPRETER.cache_tag, INTERPRETER.python_directory)


def test_a_newer_patch_release_serves_the_environments_of_the_one_before(store: Store, python: str, interpreters: FakeInterpreters):
    interpreters.version = "3.11.99"
    assert know_base(store, base_of(python)).version == "3.11.99"


@pytest.mark.parametrize("version", ["3.10.1", "3.12.0"])
def test_another_release_in_its_place_is_refused_and_both_are_named(
    store: Store, python: str, interpreters: FakeInterpreters, version: str
):
    interpreters.version = version
    with pytest.raises(EnvironmentRefused) as caught:
        know_base(store, base_of(python))
    assert str(caught.value) == f"{python}: was Python {INTERPRETER.version} when the environment was made and is {version} now"
