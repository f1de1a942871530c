"""add, remove, rollback: what they print, what they refuse, and that a refusal changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.mounted.harness import PYTHON_DIRECTORY, Casfs


def listed(casfs: Casfs, *words: str) -> dict[str, str]:
    """Version by name."""
    return {one["name"]: one["version"] for one in json.loads(casfs.run("list", "--json", *words).stdout)}


def test_add_tells_each_change_in_one_line(casfs: Casfs) -> None:
    one, two = casfs.wheel("one"), casfs.wheel("two")
    assert casfs.add(one, two).stdout == "+ one 1.0\n+ two 1.0\n"
    assert casfs.add(one).stdout == "= one 1.0\n"
    assert casfs.add(casfs.wheel("one", "2.0"), casfs.wheel("three")).stdout == "~ one 1.0 -> 2.0\n+ three 1.0\n"
    assert casfs.add(one).stdout == "~ one 2.0 -> 1.0\n"
    assert casfs.run("remove", "two", "one").stdout == "- one 1.0\n- two 1.0\n"
    assert casfs.run("rollback").stdout == "+ one 1.0\n+ two 1.0\n"


def test_add_of_something_known_and_something_new_tells_both(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one"))
    assert casfs.add(casfs.wheel("one"), casfs.wheel("two")).stdout == "+ two 1.0\n= one 1.0\n"


def test_add_of_what_is_there_makes_no_generation(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one"))
    before = casfs.generation()
    casfs.add(casfs.wheel("one"))
    assert casfs.generation() == before


def test_add_counts_files_and_bytes_that_are_new_to_the_pool(casfs: Casfs) -> None:
    files = {"demo/a": b"a" * 1000, "demo/b": b"b" * 1000, "demo/also a": b"a" * 1000}
    done = casfs.add(casfs.wheel("demo", files=files))
    assert done.stderr.startswith("5 files, 3.1 kB; new to the pool: 4 files, 2.1 kB\n")  # with METADATA and WHEEL
    assert casfs.add(casfs.wheel("demo", files=files)).stderr.endswith("new to the pool: nothing\n")
    done = casfs.run("--env", "other", "add", casfs.wheel("demo", "2.0", files))
    assert "new to the pool: 1 file, " in done.stderr  # METADATA of another version


def test_same_wheel_twice_in_one_command_is_one(casfs: Casfs) -> None:
    wheel = casfs.wheel("one")
    copy = wheel.parent / "copy" / wheel.name
    copy.parent.mkdir()
    shutil.copy(wheel, copy)
    assert casfs.add(wheel, wheel, copy).stdout == "+ one 1.0\n"


def test_two_wheels_of_one_project_are_refused(casfs: Casfs) -> None:
    one, two = casfs.wheel("demo", "1.0"), casfs.wheel("demo", "2.0")
    done = casfs.run("add", one, two, code=1)
    assert done.stderr == f"casfs: {two}: is another wheel of the same project as {one}\n"
    assert listed(casfs) == {}


def missing(casfs: Casfs) -> tuple[Path, str]:
    return casfs.directory / "none-1.0-py3-none-any.whl", "no such file or directory"


def directory(casfs: Casfs) -> tuple[Path, str]:
    path = casfs.directory / "dir-1.0-py3-none-any.whl"
    path.mkdir()
    return path, "is a directory"


def fifo(casfs: Casfs) -> tuple[Path, str]:
    path = casfs.directory / "fifo-1.0-py3-none-any.whl"
    os.mkfifo(path)
    return path, "is not a regular file"


def device(casfs: Casfs) -> tuple[Path, str]:
    path = casfs.directory / "zero-1.0-py3-none-any.whl"
    path.symlink_to("/dev/zero")
    return path, "is not a regular file"


def empty(casfs: Casfs) -> tuple[Path, str]:
    path = casfs.directory / "empty-1.0-py3-none-any.whl"
    path.write_bytes(b"")
    return path, ""


def truncated(casfs: Casfs) -> tuple[Path, str]:
    path = casfs.wheel("cut")
    path.write_bytes(path.read_bytes()[:-30])
    return path, ""


def no_wheel(casfs: Casfs) -> tuple[Path, str]:
    path = casfs.directory / "text.txt"
    path.write_text("hello")
    return path, "is not named as a wheel is"


def strange_path(casfs: Casfs) -> tuple[Path, str]:
    path = casfs.directory / "\udcff" / "demo-1.0-py3-none-any.whl"
    path.parent.mkdir()
    shutil.copy(casfs.wheel("demo"), path)
    return path, "has a path that is not valid UTF-8"


def other_tags(casfs: Casfs) -> tuple[Path, str]:
    return casfs.wheel(
        "demo", tag="cp27-cp27mu-win_amd64"
    ), f"is for cp27-cp27mu on win_amd64; this environment is CPython {PYTHON_DIRECTORY[6:]}"


def other_python(casfs: Casfs) -> tuple[Path, str]:
    return casfs.wheel("demo", metadata="Requires-Python: >=4.2"), "requires Python >=4.2; this environment has 3."


@pytest.mark.parametrize(
    "make",
    [missing, directory, fifo, device, empty, truncated, no_wheel, strange_path, other_tags, other_python],
    ids=lambda one: one.__name__,
)
def test_wheel_that_can_not_be_added_is_named_with_the_reason_and_nothing_changes(
    casfs: Casfs, make: Callable[[Casfs], tuple[Path, str]]
) -> None:
    path, reason = make(casfs)
    before = casfs.generation()
    done = casfs.run("add", casfs.wheel("good"), path, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("casfs: ")
    assert path.name in done.stderr
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert casfs.generation() == before
    assert [*(casfs.store / "wheels").iterdir()] == []


def test_refusal_by_tags_says_what_fits(casfs: Casfs) -> None:
    path, _ = other_tags(casfs)
    text = casfs.run("add", path, code=1).stderr
    assert f"cp3{sys.version_info.minor}-" in text
    assert "py3-none-any" in text


def test_conflict_is_told_and_the_later_one_wins(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one", files={"shared.py": b"VALUE = 1\n", "same.py": b""}))
    done = casfs.add(casfs.wheel("two", files={"shared.py": b"VALUE = 2\n", "same.py": b""}))
    path = "lib/{python}/site-packages/shared.py"
    assert f"{path} is claimed by one 1.0 and by two 1.0 with different contents; the later one, two, wins" in done.stderr.replace(
        PYTHON_DIRECTORY, "{python}"
    )
    assert "same.py" not in done.stderr
    assert listed(casfs) == {"one": "1.0", "two": "1.0"}


def test_message_of_a_conflict_shows_the_path_that_a_user_sees(casfs: Casfs) -> None:
    done = casfs.add(*(casfs.wheel(name, files={"shared.py": name.encode()}) for name in ("one", "two")))
    assert f"lib/{PYTHON_DIRECTORY}/site-packages/shared.py" in done.stderr
    assert "{python}" not in done.stderr


def test_strict_refuses_a_conflict_and_changes_nothing(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one", files={"shared.py": b"1"}))
    before = casfs.generation()
    done = casfs.run("add", "--strict", casfs.wheel("two", files={"shared.py": b"2"}), code=1)
    assert "shared.py is claimed by one 1.0 and by two 1.0" in done.stderr
    assert casfs.generation() == before
    assert listed(casfs) == {"one": "1.0"}


def test_file_against_directory_is_always_refused(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one", files={"thing/__init__.py": b""}))
    before = casfs.generation()
    done = casfs.run("add", casfs.wheel("two", files={"thing": b""}), code=1)
    assert "as a file and as a directory" in done.stderr
    assert casfs.generation() == before


def test_record_mismatch_is_refused_unless_allowed_and_is_remembered(casfs: Casfs) -> None:
    from tests.make_wheels import INFO, pack, with_record

    content = pack(with_record(lambda rows: [("demo/__init__.py", "sha256=" + "A" * 43, "10"), *rows[1:]])).content
    wheel = casfs.wheel("demo")
    wheel.write_bytes(content)
    done = casfs.run("add", wheel, code=1)
    assert "demo/__init__.py" in done.stderr
    assert "RECORD" in done.stderr
    assert done.stderr.count("; --allow-record-mismatch takes the wheel anyway\n") == 1
    done = casfs.add("--allow-record-mismatch", wheel)
    assert done.stdout == "+ demo 1.0\n"
    assert "warning" in done.stderr
    facts = json.loads(casfs.run("show", "demo", "--json").stdout)
    assert len(facts["record_mismatches"]) == 1
    assert f"RECORD: {facts['record_mismatches'][0]}" in casfs.run("show", "demo").stdout
    assert INFO == "demo-1.0.dist-info"
    casfs.run("add", "--env", "other", wheel, code=1)  # known or not, it has to be allowed again


def test_remove_of_an_unknown_name_removes_nothing(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one"), casfs.wheel("two"))
    before = casfs.generation()
    done = casfs.run("remove", "one", "three", code=1)
    assert done.stderr == "casfs: default: three is not in the environment\n"
    assert casfs.generation() == before
    done = casfs.run("remove", "not a name!", code=1)
    assert done.stderr == "casfs: 'not a name!': is not the name of a project\n"


def test_remove_tells_who_needs_what_is_gone(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one", metadata="Requires-Dist: two"), casfs.wheel("two"))
    done = casfs.run("remove", "two")
    assert done.stdout == "- two 1.0\n"
    assert done.stderr == "casfs: warning: one 1.0 requires two, but that is not in the environment any more\n"


def test_a_mistyped_name_is_told_with_the_one_that_is_probably_meant(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("Some.Thing"))
    for command in ("remove", "show"):
        said = casfs.run(command, "some-thin", code=1).stderr
        assert said == "casfs: default: some-thin is not in the environment; did you mean 'some-thing'?\n"


def test_remove_takes_any_spelling_of_a_name(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("some_thing"))
    assert casfs.run("remove", "Some.Thing", "some-thing").stdout == "- some_thing 1.0\n"


def test_rollback_goes_back_and_forth_and_never_rewrites(casfs: Casfs) -> None:
    empty = casfs.generation()
    casfs.add(casfs.wheel("one"))
    casfs.add(casfs.wheel("one", "2.0"))
    done = casfs.run("rollback")
    assert done.stdout == "~ one 2.0 -> 1.0\n"
    told = f"generation {empty + 3}: rollback to {empty + 1}; `casfs rollback` undoes that, `casfs rollback {empty}` goes further back\n"
    assert done.stderr == told
    casfs.run("rollback", str(empty))
    assert listed(casfs) == {}
    found = json.loads(casfs.run("generations", "--json").stdout)
    assert [one["generation"] for one in found] == [*range(empty, empty + 5)]
    assert [one["is_current"] for one in found] == [False] * 4 + [True]


def test_rollback_says_that_it_goes_back_and_forth_and_how_to_go_on(casfs: Casfs) -> None:
    empty = casfs.generation()
    casfs.add(casfs.wheel("one"))
    casfs.add(casfs.wheel("one", "2.0"))
    back, forth = casfs.run("rollback"), casfs.run("rollback")
    assert (back.stdout, forth.stdout) == ("~ one 2.0 -> 1.0\n", "~ one 1.0 -> 2.0\n")
    assert f"rollback to {empty + 2}; `casfs rollback` undoes that, `casfs rollback {empty + 1}` goes further back" in forth.stderr
    again = casfs.run("rollback")  # to a generation that was a rollback itself
    assert again.stderr.endswith(f"rollback to {empty + 3}; `casfs rollback` undoes that, `casfs rollback {empty}` goes further back\n")
    assert casfs.run("rollback", str(empty)).stderr.endswith(f"rollback to {empty}; `casfs rollback` undoes that\n")


@pytest.mark.parametrize("number", ["0", "99", "-1"])
def test_rollback_to_an_unknown_generation_is_an_error(casfs: Casfs, number: str) -> None:
    before = casfs.generation()
    done = casfs.run("rollback", "--", number, code=1)
    assert done.stderr == f"casfs: default: there is no generation {number}; `casfs generations` lists them\n"
    assert casfs.generation() == before


def test_rollback_of_the_first_generation_is_an_error(casfs: Casfs) -> None:
    assert "there is no generation before" in casfs.run("rollback", code=1).stderr


# --- interpreters


def test_interpreter_is_chosen_by_path_or_version_and_kept(casfs: Casfs) -> None:
    version = PYTHON_DIRECTORY[6:]
    for name, python in (("path", sys.executable), ("version", version), ("venv", sys.prefix)):
        casfs.run("add", "--env", name, "--python", python, casfs.wheel("demo"))
        assert (casfs.store / "environments" / name / "current").read_text().count(f'directory = "{PYTHON_DIRECTORY}"') == 1
        casfs.run("add", "--env", name, casfs.wheel("other"))


def test_interpreter_unsaid_is_the_python3_of_the_path(casfs: Casfs, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(os.path.realpath(sys.executable))
    casfs.run("add", "--env", "new", casfs.wheel("demo"), environ={"PATH": f"{tmp_path}/bin:{os.defpath}"})
    text = (casfs.store / "environments/new/current").read_text()
    assert f'executable = "{os.path.realpath(sys.executable)}"' in text


@pytest.mark.parametrize("python", ["/nowhere/python", "3.2", "no-such-python", "/etc/passwd", "/etc"])
def test_interpreter_that_does_not_exist_is_an_error_in_one_line(casfs: Casfs, python: str) -> None:
    environ = {"HOME": str(casfs.directory), "PATH": os.defpath}  # few interpreters to look at
    done = casfs.run("add", "--env", "new", "--python", python, casfs.wheel("demo"), code=1, environ=environ)
    assert done.stderr.startswith("casfs: ")
    assert python in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (casfs.store / "environments/new").exists()


def test_environment_keeps_its_interpreter(casfs: Casfs, tmp_path: Path) -> None:
    casfs.add("--python", PYTHON_DIRECTORY[6:], casfs.wheel("one"))
    other = tmp_path / "other/bin"
    other.mkdir(parents=True)
    shutil.copy(os.path.realpath(sys.executable), other / "python3")
    before = casfs.generation()
    environ = {"PYTHONHOME": sys.base_prefix}
    done = casfs.run("add", "--python", str(other / "python3"), casfs.wheel("two"), code=1, environ=environ)
    assert done.stderr.count("\n") == 1
    assert casfs.generation() == before


# --- while it is mounted


def test_add_tells_when_a_mount_could_not_be_told(casfs: Casfs) -> None:
    """The change is made all the same; the warning says which mount may be behind."""
    mountpoint = casfs.mount()
    [lease] = casfs.leases()
    socket = casfs.store / "run" / f"{lease['id']}.sock"
    socket.rename(socket.with_suffix(".away"))
    try:
        done = casfs.add(casfs.wheel("demo"))
    finally:
        socket.with_suffix(".away").rename(socket)  # or nobody could tell it to end
    assert done.stdout == "+ demo 1.0\n"
    assert f"casfs: warning: {mountpoint}: its daemon (process {lease['pid']}) does not answer" in done.stderr
    assert "it may still show the generation before" in done.stderr
    casfs.run("remove", "demo")


def test_many_adds_at_once_all_arrive(casfs: Casfs) -> None:
    wheels = [casfs.wheel(f"demo{number}") for number in range(6)]
    running = [
        subprocess.Popen(casfs.command("add", wheel), env=casfs.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for wheel in wheels
    ]
    ended: list[tuple[Any, ...]] = [(process.communicate()[0], process.returncode) for process in running]
    assert sorted(ended) == [(f"+ demo{number} 1.0\n", 0) for number in range(6)]
    assert len(listed(casfs)) == 6


def test_version_that_breaks_what_is_there_is_told_in_a_line(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one", metadata="Requires-Dist: two<2"), casfs.wheel("two"))
    done = casfs.add(casfs.wheel("two", "2.0"))
    assert done.stdout == "~ two 1.0 -> 2.0\n"
    assert done.stderr.splitlines()[-1] == "casfs: warning: one 1.0 requires two<2, but two 2.0 is in the environment"
