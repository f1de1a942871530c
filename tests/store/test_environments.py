"""Environments: a generation never changes, the next one follows it whole, and nobody's change is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from casfs.errors import EnvironmentRefused, InvalidValue, StoreDamaged
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from tests.make_wheels import make_wheel
from tests.store.making import ingest, install, publish_generation
from tests.store.racing import run_both

ADD_GENERATIONS = """
import sys
from pathlib import Path
from casfs.store.environments import Environment
from casfs.store.store import open_store
from tests.store.making import publish_generation
environment = Environment(open_store(Path(sys.argv[1])), "work")
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    publish_generation(environment)
"""


@pytest.fixture
def environment(store):
    return Environment(store, "work")


def test_an_environment_that_does_not_exist(environment):
    assert environment.current() is None
    assert environment.current_number() is None
    assert environment.numbers() == []
    with pytest.raises(EnvironmentRefused, match="no environment"):
        environment.require()


class Meanwhile(Environment):
    """An environment in which something happens between the look at what is current, and its reading."""

    def __init__(self, environment: Environment, happen: Callable[[], object]) -> None:
        super().__init__(environment.store, environment.name)
        self._happen = happen

    def read(self, number: int) -> Generation:
        happen, self._happen = self._happen, lambda: None
        happen()
        return super().read(number)


def test_who_reads_a_generation_while_the_next_is_published_and_it_is_collected_gets_the_next(environment):
    first = publish_generation(environment)

    def happen():
        publish_generation(environment)
        os.unlink(environment.path(first.number))
        os.unlink(environment.index_path(first.number))

    assert Meanwhile(environment, happen).require().number == 2


def test_who_reads_an_environment_while_it_is_removed_is_told_that_there_is_none(environment):
    publish_generation(environment)
    with pytest.raises(EnvironmentRefused, match="there is no environment"):
        Meanwhile(environment, lambda: shutil.rmtree(environment.directory)).require()


def test_all_generations_are_read_but_those_that_go_meanwhile(environment):
    for _ in range(3):
        publish_generation(environment)

    def happen():
        os.unlink(environment.path(2))
        os.unlink(environment.index_path(2))

    assert [one.number for one in Meanwhile(environment, happen).read_all()] == [1, 3]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "a\n", "é", "a" * 101])
def test_names_that_no_environment_may_have(store, name):
    with pytest.raises(InvalidValue):
        Environment(store, name)


def test_what_is_published_is_current(environment, place):
    [one] = ingest(environment.store, place, make_wheel())
    first = publish_generation(environment)
    second = publish_generation(environment, install(environment.store, one))
    assert (first.number, second.number) == (1, 2)
    assert environment.numbers() == [1, 2]
    assert environment.current() == environment.require() == second
    assert environment.read(1) == first
    assert os.listdir(environment.store.path("environments")) == ["work"]


def test_numbers_are_sorted_as_numbers(environment):
    for _ in range(11):
        publish_generation(environment)
    assert environment.numbers() == list(range(1, 12))
    assert environment.current_number() == 11


def test_a_number_is_never_used_twice(environment):
    publish_generation(environment)
    generation = publish_generation(environment)
    with pytest.raises(FileExistsError), environment.locked():
        environment.publish(generation)
    assert environment.next_number() == 3


@pytest.mark.parametrize("content", [None, b"", b"casfs index 0\n{}"])
def test_without_its_index_a_generation_is_the_same(environment, place, content):
    [one] = ingest(environment.store, place, make_wheel())
    generation = publish_generation(environment, install(environment.store, one))
    index = Path(environment.index_path(1))
    index.unlink()
    if content is not None:
        index.write_bytes(content)
    assert environment.current() == generation


def test_an_index_is_read_without_the_manifests(damaged_store, place):
    environment = Environment(damaged_store, "work")
    [one] = ingest(damaged_store, place, make_wheel())
    generation = publish_generation(environment, install(damaged_store, one))
    os.rename(damaged_store.path("manifests"), damaged_store.path("elsewhere"))
    assert environment.current() == generation


def test_a_changed_lock_file_makes_the_index_wrong(damaged_store, place):
    environment = Environment(damaged_store, "work")
    publish_generation(environment)
    lock = Path(environment.path(1))
    text = lock.read_text()
    lock.unlink()
    lock.write_text(text.replace('command = "add"', 'command = "edited"'))
    assert environment.require().command == "edited"


def test_a_generation_that_is_missing_is_damage(environment):
    publish_generation(environment)
    with pytest.raises(StoreDamaged, match="generation 7 of environment 'work' is missing"):
        environment.read(7)


def test_a_lock_file_that_makes_no_sense_is_damage(damaged_store):
    environment = Environment(damaged_store, "work")
    publish_generation(environment)
    os.unlink(environment.path(1))
    Path(environment.path(1)).write_text("x = 1\n")
    with pytest.raises(StoreDamaged, match="is not a generation"):
        environment.current()


def test_a_lost_manifest_is_damage(damaged_store):
    environment = Environment(damaged_store, "work")
    publish_generation(environment)
    os.unlink(environment.index_path(1))
    os.rename(damaged_store.path("manifests"), damaged_store.path("elsewhere"))
    with pytest.raises(StoreDamaged, match="the manifest is missing"):
        environment.current()


@pytest.mark.parametrize("target", ["generations", "generations/x.toml", "/", "generations/-1.toml"])
def test_a_current_that_points_to_no_generation_is_damage(damaged_store, target):
    environment = Environment(damaged_store, "work")
    publish_generation(environment)
    os.unlink(f"{environment.directory}/current")
    os.symlink(target, f"{environment.directory}/current")
    with pytest.raises(StoreDamaged, match="not a generation"):
        environment.current()


def test_a_current_that_is_no_link_is_damage(damaged_store):
    environment = Environment(damaged_store, "work")
    publish_generation(environment)
    os.unlink(f"{environment.directory}/current")
    Path(f"{environment.directory}/current").write_text("generations/1.toml")
    with pytest.raises(StoreDamaged, match="not a symbolic link"):
        environment.current()


def test_a_generation_without_current_is_not_there_yet(environment):
    """What is left when somebody stops `casfs add` between its two steps."""
    publish_generation(environment)
    os.unlink(f"{environment.directory}/current")
    assert environment.current() is None
    assert publish_generation(environment).number == 2


def test_two_processes_that_publish_at_once_both_get_in(environment):
    run_both(ADD_GENERATIONS, environment.store.root)
    assert environment.numbers() == list(range(1, 21))
    assert environment.current_number() == 20


def test_a_lock_that_is_held_keeps_others_out(environment):
    import fcntl

    with environment.locked():
        fd = os.open(f"{environment.directory}/lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


def test_a_lock_of_an_environment_that_was_removed_meanwhile_is_taken_anew(environment, monkeypatch):
    import fcntl

    gone = f"{environment.directory}-gone"
    flock = fcntl.flock

    def remove_first(fd, operation):
        if not os.path.exists(gone):
            os.rename(environment.directory, gone)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with environment.locked():
        fd = os.open(f"{environment.directory}/lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
    assert os.listdir(environment.directory) == os.listdir(gone) == ["lock"]
