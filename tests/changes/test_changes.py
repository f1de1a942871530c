from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from casfs.changes.changes import (
    AddOptions,
    add_wheels,
    create_environment,
    has_stand_in,
    parse_project,
    remove_distributions,
    roll_back,
    set_interpreter,
)
from casfs.errors import EnvironmentRefused, InvalidValue, WheelRefused
from casfs.paths import SITE_PACKAGES
from casfs.store.environments import Environment
from casfs.store.generations import Generation
from casfs.store.ingest import ALL_WHEELS, INSTALLING
from casfs.store.manifests import Description, read_manifest
from casfs.store.store import open_store
from tests.make_generations import INTERPRETER, Workshop, accept_any, open_workshop
from tests.make_wheels import MadeWheel, make_wheel

DEMO, DEMO_2, OTHER = make_wheel(), make_wheel(None, "demo", "2.0"), make_wheel(None, "other")


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    with open_workshop(tmp_path) as one:
        yield one


def installed(generation: Generation | None) -> list[tuple[str, str]]:
    return [(one.project, one.version) for one in generation.distributions] if generation else []


def sharing(name: str, content: bytes, path: str = "share/x") -> MadeWheel:
    """A wheel that claims a path outside its own package."""
    return make_wheel({f"{name}/__init__.py": b"", f"{name}-1.0.data/data/{path}": content}, name)


def test_the_first_wheel_makes_the_first_generation(workshop: Workshop):
    change = workshop.add(DEMO)
    assert change.before is None
    assert change.after == workshop.environment.require()
    assert (change.after.number, change.after.command, installed(change.after)) == (1, "add demo 1.0", [("demo", "1.0")])
    assert change.after.interpreter.executable == INTERPRETER.executable
    [one] = change.after.distributions
    assert (one.wheel, one.origin, one.requested) == (change.ingested[0].wheel, str(workshop.wheels / DEMO.filename), True)


def test_another_interpreter_of_the_release_takes_over_all_that_is_there(workshop: Workshop):
    before = workshop.add(DEMO, OTHER).after
    newer = dataclasses.replace(INTERPRETER, executable="/opt/new/bin/python3.11", version="3.11.8")
    after = set_interpreter(workshop.environment, newer).after
    assert after == workshop.environment.require()
    assert (after.distributions, after.command) == (before.distributions, "set-python /opt/new/bin/python3.11")
    assert (after.interpreter.executable, after.interpreter.version) == ("/opt/new/bin/python3.11", "3.11.8")
    shown = [read_manifest(workshop.store, one.skeleton.manifest).description.version for one in (before, after)]
    assert shown == ["3.11.7", "3.11.8"]
    assert set_interpreter(workshop.environment, newer).after == after


def test_an_environment_may_do_without_what_stands_in_for_pip_until_it_is_said_otherwise(workshop: Workshop):
    workshop.add(DEMO)
    assert has_stand_in(workshop.environment.require())
    assert not has_stand_in(set_interpreter(workshop.environment, INTERPRETER, with_pip=False).after)
    newer = dataclasses.replace(INTERPRETER, executable="/opt/new/bin/python3.11")
    assert not has_stand_in(set_interpreter(workshop.environment, newer).after)
    assert has_stand_in(set_interpreter(workshop.environment, newer, with_pip=True).after)


def test_another_release_takes_over_an_empty_environment_only(workshop: Workshop):
    other = dataclasses.replace(INTERPRETER, executable="/usr/bin/python3.12", python_directory="python3.12", cache_tag="cpython-312")
    create_environment(workshop.environment, INTERPRETER)
    assert set_interpreter(workshop.environment, other).after.interpreter.directory == "python3.12"
    set_interpreter(workshop.environment, INTERPRETER)
    before = workshop.add(DEMO).after
    with pytest.raises(EnvironmentRefused, match=r"holds what was installed for python3\.11, and /usr/bin/python3\.12 is python3\.12"):
        set_interpreter(workshop.environment, other)
    assert workshop.environment.require() == before


def test_an_interpreter_that_a_wheel_is_not_for_is_refused(workshop: Workshop):
    workshop.add(DEMO)
    with pytest.raises(EnvironmentRefused, match=r"demo 1\.0 is for py3 on any"):
        set_interpreter(workshop.environment, dataclasses.replace(INTERPRETER, tags=("cp311-cp311-musllinux_1_2_x86_64",)))


def test_the_last_one_added_comes_last(workshop: Workshop):
    workshop.add(OTHER)
    assert installed(workshop.add(DEMO).after) == [("other", "1.0"), ("demo", "1.0")]


def test_wheels_of_one_command_are_installed_in_its_order_in_one_generation(workshop: Workshop):
    change = workshop.add(OTHER, DEMO)
    assert installed(change.after) == [("other", "1.0"), ("demo", "1.0")]
    assert change.after.command == "add other 1.0, demo 1.0"
    assert workshop.environment.numbers() == [1]


def test_another_version_takes_the_place_of_the_one_before_and_comes_last(workshop: Workshop):
    workshop.add(DEMO, OTHER)
    change = workshop.add(DEMO_2)
    assert installed(change.before) == [("demo", "1.0"), ("other", "1.0")]
    assert installed(change.after) == [("other", "1.0"), ("demo", "2.0")]
    assert workshop.environment.numbers() == [1, 2]


def test_an_older_version_can_be_added_over_a_newer_one(workshop: Workshop):
    workshop.add(DEMO_2)
    assert installed(workshop.add(DEMO).after) == [("demo", "1.0")]


def test_a_project_is_one_however_its_name_is_spelt(workshop: Workshop):
    workshop.add(make_wheel(None, "De.Mo"))
    assert installed(workshop.add(make_wheel(None, "de_mo", "2.0")).after) == [("de-mo", "2.0")]


def test_the_same_wheel_again_makes_no_new_generation(workshop: Workshop):
    first = workshop.add(DEMO, OTHER)
    for again in ([DEMO], [OTHER], [OTHER, DEMO], [DEMO, DEMO]):
        change = workshop.add(*again)
        assert change.before == change.after == first.after
        assert all(one.was_known and not one.new_files for one in change.ingested)
    assert workshop.environment.numbers() == [1]


def test_the_same_wheel_from_another_place_is_another_installation(workshop: Workshop):
    """direct_url.json says where it came from."""
    workshop.add(DEMO)
    workshop.wheels /= "elsewhere"
    workshop.wheels.mkdir()
    change = workshop.add(DEMO)
    assert change.after.number == 2
    assert change.before is not None
    [before], [after] = change.before.distributions, change.after.distributions
    assert before.files == after.files
    assert before.installation != after.installation


def test_two_different_wheels_of_one_project_in_one_command_are_refused(workshop: Workshop):
    with pytest.raises(WheelRefused, match="another wheel of the same project") as caught:
        workshop.add(DEMO, OTHER, DEMO_2)
    assert caught.value.subject == str(workshop.wheels / DEMO_2.filename)
    assert DEMO.filename in str(caught.value)
    assert workshop.environment.current() is None


def test_twins_of_the_same_bytes_are_one(workshop: Workshop):
    change = workshop.add(DEMO, DEMO)
    assert installed(change.after) == [("demo", "1.0")]


def test_one_bad_wheel_and_nothing_changes(workshop: Workshop):
    before = workshop.add(OTHER).after
    with pytest.raises(WheelRefused):
        workshop.add(DEMO, MadeWheel("bad-1.0-py3-none-any.whl", b"no zip"))
    assert workshop.environment.require() == before
    assert workshop.environment.numbers() == [1]


@pytest.mark.parametrize("name", ["a\nb", 'a"b', "a\\b", "日本語", "\x1b[31m", "a#b?c%d"])
def test_a_wheel_may_come_from_a_place_with_an_odd_name(workshop: Workshop, name: str):
    workshop.wheels /= name
    workshop.wheels.mkdir()
    generation = workshop.add(DEMO).after
    os.unlink(workshop.environment.index_path(1))  # so that the lock file itself is read
    assert workshop.environment.require() == generation


def test_a_wheel_that_does_not_fit_is_refused_whether_or_not_it_is_known(workshop: Workshop):
    def refuse(path: str, about: Description) -> None:
        raise WheelRefused(path, f"{about.name} does not fit")

    path = str(DEMO.write_to(workshop.wheels))
    for _ in range(2):
        with pytest.raises(WheelRefused, match="demo does not fit"):
            add_wheels(workshop.environment, INTERPRETER, [path], refuse, AddOptions())
        add_wheels(Environment(workshop.store, "elsewhere"), INTERPRETER, [path], accept_any, AddOptions())
    assert workshop.environment.current() is None


def test_a_conflict_is_told_and_the_later_one_wins(workshop: Workshop):
    workshop.add(sharing("one", b"1"))
    change = workshop.add(sharing("two", b"2"))
    [conflict] = change.conflicts
    assert (conflict.path, conflict.loser.project, conflict.winner.project) == ("share/x", "one", "two")
    assert change.after.number == 2


def test_a_conflict_of_others_is_not_told_again(workshop: Workshop):
    workshop.add(sharing("one", b"1"), sharing("two", b"2"))
    assert workshop.add(DEMO).conflicts == ()


def test_the_same_bytes_are_no_conflict(workshop: Workshop):
    workshop.add(sharing("one", b"same"))
    assert workshop.add(sharing("two", b"same"), strict=True).conflicts == ()


def test_strict_refuses_a_conflict_and_changes_nothing(workshop: Workshop):
    before = workshop.add(sharing("one", b"1")).after
    with pytest.raises(EnvironmentRefused, match=r"share/x is claimed by one 1\.0 and by two 1\.0 with different contents"):
        workshop.add(sharing("two", b"2"), strict=True)
    assert workshop.environment.require() == before


def test_what_can_not_be_shown_is_refused_even_if_nobody_is_strict(workshop: Workshop):
    before = workshop.add(sharing("one", b"1", "share/x")).after
    with pytest.raises(EnvironmentRefused, match=r"share/x is claimed .* as a file and as a directory"):
        workshop.add(sharing("two", b"1", "share/x/below"))
    assert workshop.environment.require() == before


def test_a_new_version_does_not_dispute_with_the_one_it_replaces(workshop: Workshop):
    workshop.add(DEMO)
    assert workshop.add(make_wheel({"demo/__init__.py": b"VALUE = 2\n"}, "demo", "2.0"), strict=True).conflicts == ()


def test_removing_leaves_the_others_in_their_order(workshop: Workshop):
    workshop.add(DEMO, OTHER, make_wheel(None, "third"))
    change = remove_distributions(workshop.environment, ["other"])
    assert installed(change.after) == [("demo", "1.0"), ("third", "1.0")]
    assert (change.after.number, change.after.command) == (2, "remove other 1.0")
    assert change.after == workshop.environment.require()


def test_removing_one_twice_in_a_command_is_removing_it(workshop: Workshop):
    workshop.add(DEMO, OTHER)
    change = remove_distributions(workshop.environment, ["demo", "demo"])
    assert installed(change.after) == [("other", "1.0")]
    assert change.after.command == "remove demo 1.0"


def test_removing_an_unknown_one_removes_nothing_and_names_all_that_are_unknown(workshop: Workshop):
    before = workshop.add(DEMO, OTHER).after
    with pytest.raises(EnvironmentRefused) as caught:
        remove_distributions(workshop.environment, ["demo", "nobody", "nothing"])
    assert list(caught.value.reasons) == ["nobody is not in the environment", "nothing is not in the environment"]
    assert workshop.environment.require() == before
    assert workshop.environment.numbers() == [1]


def test_removing_the_last_one_leaves_an_empty_environment(workshop: Workshop):
    workshop.add(DEMO)
    assert installed(remove_distributions(workshop.environment, ["demo"]).after) == []
    assert workshop.environment.require().skeleton.number


def history(workshop: Workshop) -> Environment:
    """Generations 1: demo 1.0; 2: demo 1.0, other; 3: other, demo 2.0."""
    for wheel in (DEMO, OTHER, DEMO_2):
        workshop.add(wheel)
    return workshop.environment


def test_rollback_shows_the_generation_before_as_a_new_one(workshop: Workshop):
    environment = history(workshop)
    change = roll_back(environment, None)
    assert change.before is not None
    assert (change.before.number, change.after.number, change.after.command) == (3, 4, "rollback to 2")
    assert change.after.distributions == environment.read(2).distributions
    assert environment.require() == change.after


def test_rollback_to_any_generation(workshop: Workshop):
    environment = history(workshop)
    assert roll_back(environment, 1).after.distributions == environment.read(1).distributions
    assert roll_back(environment, 3).after.distributions == environment.read(3).distributions
    assert environment.numbers() == [1, 2, 3, 4, 5]


def test_rollback_of_a_rollback_undoes_it(workshop: Workshop):
    environment = history(workshop)
    before = environment.require().distributions
    roll_back(environment, None)
    change = roll_back(environment, None)
    assert change.after.command == "rollback to 3"
    assert change.after.distributions == before


@pytest.mark.parametrize("number", [0, 4, 99, -1])
def test_rollback_to_an_unknown_generation_changes_nothing(workshop: Workshop, number: int):
    environment = history(workshop)
    with pytest.raises(EnvironmentRefused, match=f"there is no generation {number}"):
        roll_back(environment, number)
    assert environment.require().number == 3


def test_there_is_nothing_before_the_first_generation(workshop: Workshop):
    workshop.add(DEMO)
    with pytest.raises(EnvironmentRefused, match="there is no generation before 1"):
        roll_back(workshop.environment, None)


def test_what_was_rolled_back_can_be_added_to(workshop: Workshop):
    roll_back(history(workshop), 1)
    assert installed(workshop.add(OTHER).after) == [("demo", "1.0"), ("other", "1.0")]


def test_an_environment_that_does_not_exist_can_only_be_added_to(workshop: Workshop):
    with pytest.raises(EnvironmentRefused, match="there is no environment of this name"):
        remove_distributions(workshop.environment, ["demo"])
    with pytest.raises(EnvironmentRefused, match="there is no environment of this name"):
        roll_back(workshop.environment, None)
    assert workshop.environment.current() is None


def test_an_empty_environment_is_made_once(workshop: Workshop):
    first = create_environment(workshop.environment, INTERPRETER)
    assert (first.number, installed(first)) == (1, [])
    assert create_environment(workshop.environment, INTERPRETER) == first
    assert workshop.environment.numbers() == [1]


def test_environments_of_a_store_share_everything_and_know_nothing_of_each_other(workshop: Workshop):
    workshop.add(DEMO)
    other = Environment(workshop.store, "other")
    change = add_wheels(other, INTERPRETER, [str(workshop.wheels / DEMO.filename)], accept_any, AddOptions())
    assert change.ingested[0].was_known
    assert change.after.number == 1
    assert change.after.distributions == workshop.environment.require().distributions
    remove_distributions(other, ["demo"])
    assert installed(workshop.environment.require()) == [("demo", "1.0")]


def test_the_skeleton_and_the_installed_files_are_in_the_store(workshop: Workshop):
    generation = workshop.add(make_wheel(entry_points="[console_scripts]\ndemo = demo:main\n")).after
    skeleton = read_manifest(workshop.store, generation.skeleton.manifest)
    assert {"pyvenv.cfg", "bin/python", "bin/activate", "lib64"} <= {file.path for file in skeleton.iter_files()}
    made = {file.path: file for file in read_manifest(workshop.store, generation.distributions[0].installation.manifest).iter_files()}
    place = f"{SITE_PACKAGES}/demo-1.0.dist-info"
    assert made.keys() == {"bin/demo", *(f"{place}/{name}" for name in ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json"))}
    url = made[f"{place}/direct_url.json"]
    assert json.loads(workshop.store.pool.read_blob(url.digest, url.size))["url"].endswith(f"/wheels/{DEMO.filename}")


def test_changes_wait_for_the_one_that_is_being_made(workshop: Workshop):
    """The others read what the first has made: no generation is lost."""
    create_environment(workshop.environment, INTERPRETER)
    wheels = [make_wheel(None, f"p{i}") for i in range(4)]
    threads = [threading.Thread(target=workshop.add, args=(wheel,)) for wheel in wheels]
    with workshop.environment.locked():
        for thread in threads:
            thread.start()
        assert workshop.environment.numbers() == [1]
    for thread in threads:
        thread.join()
    assert sorted(installed(workshop.environment.require())) == [(f"p{i}", "1.0") for i in range(4)]
    assert workshop.environment.numbers() == [1, 2, 3, 4, 5]


def test_a_change_that_failed_has_given_up_the_lock(workshop: Workshop):
    workshop.add(DEMO)
    with pytest.raises(EnvironmentRefused):
        remove_distributions(workshop.environment, ["nobody"])
    with open(f"{workshop.environment.directory}/lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_while_a_change_is_made_nobody_else_has_the_lock(workshop: Workshop):
    create_environment(workshop.environment, INTERPRETER)
    with workshop.environment.locked(), open(f"{workshop.environment.directory}/lock", "rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_progress_ends_with_all_bytes_of_each_new_wheel(workshop: Workshop):
    told: list[tuple[str, int, int]] = []
    options = AddOptions(progress=lambda name, done, total: told.append((name, done, total)))
    paths = [str(wheel.write_to(workshop.wheels)) for wheel in (DEMO, OTHER)]
    add_wheels(workshop.environment, INTERPRETER, paths, accept_any, options)
    last = {name: (done, total) for name, done, total in told}
    assert last.keys() == {"demo 1.0", "other 1.0", ALL_WHEELS, INSTALLING}
    assert all(done == total > 0 for done, total in last.values())
    told.clear()
    add_wheels(workshop.environment, INTERPRETER, paths, accept_any, options)
    assert told == [(name, done, 2) for name in (ALL_WHEELS, INSTALLING) for done in (1, 2)]


@pytest.mark.parametrize(("text", "project"), [("demo", "demo"), ("De_Mo.x", "de-mo-x"), ("A", "a")])
def test_a_project_may_be_named_in_any_spelling(text: str, project: str):
    assert parse_project(text) == project


@pytest.mark.parametrize("text", ["", "-demo", "demo ", "de mo", "demo==1.0", "../demo", "é"])
def test_what_is_no_name_of_a_project_is_refused(text: str):
    with pytest.raises(InvalidValue) as caught:
        parse_project(text)
    assert caught.value.subject == repr(text)


def test_an_environment_that_was_changed_can_be_opened_again(workshop: Workshop):
    generation = workshop.add(DEMO).after
    store = open_store(Path(workshop.store.root))
    assert Environment(store, workshop.environment.name).require() == generation
