"""sync and lock: the environment is what the lock says; a lock that can't be had in full changes nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.package_index import PackageIndex
from tests.cli.test_changes import listed
from tests.cli.test_names import casfs, index, installed, leftovers
from tests.mounted.harness import Casfs

__all__ = ["casfs", "index"]

UV = str(Path(sys.prefix, "bin/uv"))


def write_lock(casfs: Casfs, *packages: str, head: str = "", name: str = "pylock.toml") -> Path:
    path = casfs.directory / name
    path.write_text("\n".join(['lock-version = "1.0"', 'created-by = "a test"', head, *(f"[[packages]]\n{one}" for one in packages)]))
    return path


def entry(index: PackageIndex, name: str, version: str = "1.0", *more: str, digest: str | None = None) -> str:
    """A package of a lock, as uv writes it."""
    filename = f"{name}-{version}-py3-none-any.whl"
    digest = index.digests[filename] if digest is None else digest
    hashes = f'hashes = {{ sha256 = "{digest}" }}' if digest else "hashes = {}"
    wheel = f'wheels = [{{ url = "{index.file_url(filename)}", {hashes} }}]'
    return "\n".join([f'name = "{name}"', f'version = "{version}"', *more, wheel])


# --- pylock.toml


def test_environment_becomes_exactly_the_lock(casfs: Casfs, index: PackageIndex) -> None:
    for name in ("one", "two"):
        index.offer(name)
    casfs.add(casfs.wheel("three"), casfs.wheel("two", "0.5"))
    lock = write_lock(casfs, entry(index, "one"), entry(index, "two"))
    before = casfs.generation()
    assert casfs.run("sync", lock).stdout == "+ one 1.0\n- three 1.0\n~ two 0.5 -> 1.0\n"
    assert listed(casfs) == {"one": "1.0", "two": "1.0"}
    assert casfs.generation() == before + 1
    assert leftovers(casfs) == []


def test_second_sync_asks_for_nothing_and_changes_nothing(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    lock = write_lock(casfs, entry(index, "one"))
    casfs.run("sync", lock)
    before = casfs.generation()
    index.asked.clear()
    assert casfs.run("sync", "--offline", lock).stdout == ""
    assert index.asked == []
    assert casfs.generation() == before


def test_empty_lock_empties_the_environment(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one"))
    assert casfs.run("sync", write_lock(casfs, head="packages = []")).stdout == "- one 1.0\n"


_PYLOCK_WAYS = {  # what is typed, and what is there then
    "--no-group usual --no-dev": "five",
    "--no-default-groups --group test": "four five",
    "--all-groups": "three four five",
    "--all-groups --all-extras --no-group test": "two three five",
    "--all-extras --no-extra more": "three five",
}


def test_markers_extras_and_groups_decide(casfs: Casfs, index: PackageIndex) -> None:
    for name in ("one", "two", "three", "four", "five"):
        index.offer(name)
    lock = write_lock(
        casfs,
        entry(index, "one", "1.0", "marker = \"python_version < '3'\""),
        entry(index, "two", "1.0", "marker = \"'more' in extras\""),
        entry(index, "three", "1.0", "marker = \"'usual' in dependency_groups\""),
        entry(index, "four", "1.0", "marker = \"'test' in dependency_groups\""),
        entry(index, "five"),
        head='extras = ["more"]\ndependency-groups = ["usual", "test"]\ndefault-groups = ["usual"]',
    )
    assert "left out" not in casfs.run("sync", lock).stderr
    assert listed(casfs).keys() == {"three", "five"}
    assert (
        "left out: one 1.0: python_version < '3'\nleft out: two 1.0: 'more' in extras\n"
        in casfs.run("sync", lock, "--show-left-out").stderr
    )
    casfs.run("sync", lock, "--extra", "more", "--group", "test")
    assert listed(casfs).keys() == {"two", "three", "four", "five"}
    for words, expected in _PYLOCK_WAYS.items():
        casfs.run("sync", lock, *words.split())
        assert {*listed(casfs)} == {*expected.split()}, words
    assert "group 'test': can't be taken alone" in casfs.run("sync", lock, "--only-group", "test", code=1).stderr
    assert "extra 'none': is not in it" in casfs.run("sync", lock, "--extra", "none", code=1).stderr


def test_what_is_only_needed_stays_so(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    casfs.add("one")
    before = casfs.generation()
    casfs.run("sync", write_lock(casfs, entry(index, "one"), entry(index, "two")))
    assert casfs.generation() == before
    assert installed(casfs, "two") == {"INSTALLER"}


def test_lock_without_hashes_is_taken_with_a_warning(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    done = casfs.run("sync", write_lock(casfs, entry(index, "one", digest="")))
    assert done.stdout == "+ one 1.0\n"
    assert "no SHA-256 is known" in done.stderr


def test_file_that_is_not_the_one_of_the_lock_is_refused(casfs: Casfs, index: PackageIndex) -> None:
    """Whether it is fetched or lies on the disk."""
    index.offer("one")
    casfs.add(casfs.wheel("two"))
    before = casfs.generation()
    wrong = hashlib.sha256(b"other").hexdigest()
    local = (
        f'name = "local"\nversion = "1.0"\narchive = {{ path = "wheels/{casfs.wheel("local").name}", hashes = {{ sha256 = "{wrong}" }} }}'
    )
    for lock in (entry(index, "one", digest=wrong), local):
        done = casfs.run("sync", write_lock(casfs, lock), code=1)
        assert f"and should have {wrong}" in done.stderr
        assert done.stderr.count("\n") == 1
    assert casfs.generation() == before
    assert len(os.listdir(casfs.store / "wheels")) == 1
    assert leftovers(casfs) == []


def test_relative_paths_are_relative_to_the_lock(casfs: Casfs) -> None:
    wheel = casfs.wheel("local")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = write_lock(casfs, f'name = "local"\narchive = {{ path = "wheels/{wheel.name}", hashes = {{ sha256 = "{digest}" }} }}')
    assert casfs.run("sync", lock, cwd="/").stdout == "+ local 1.0\n"


_HEAD = 'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "one"\n'

BAD = {
    "no TOML": ("[[packages", "is not a lock file"),
    "no lock": ("x = 1", "lock-version"),
    "future": ('lock-version = "9.0"\ncreated-by = "x"\npackages = []', "9.0"),
    "other scheme": (
        _HEAD + 'archive = { url = "ftp://127.0.0.1/one-1.0-py3-none-any.whl", hashes = { sha256 = "" } }',
        "only https, http, file can",
    ),
    "name with a slash": (
        _HEAD + 'archive = { url = "http://127.0.0.1/..%2F..%2Fone-1.0-py3-none-any.whl", hashes = { sha256 = "" } }',
        "",
    ),
    "no digest": (
        _HEAD + 'archive = { url = "http://127.0.0.1/one-1.0-py3-none-any.whl", hashes = { sha256 = "abc" } }',
        "is not a SHA-256",
    ),
    "other Python": (
        'lock-version = "1.0"\ncreated-by = "x"\nrequires-python = ">=4"\npackages = []',
        "requires Python >=4; this environment has ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_lock_that_can_not_be_used_is_named_with_the_reason(casfs: Casfs, name: str) -> None:
    text, words = BAD[name]
    path = casfs.directory / "pylock.toml"
    path.write_text(text)
    before = casfs.generation()
    done = casfs.run("sync", path, code=1, environ={"UV_HTTP_RETRIES": "0"})
    assert done.stderr.startswith("casfs: ")
    assert words in done.stderr
    assert done.stderr.count("\n") <= 2
    assert "Traceback" not in done.stderr
    assert casfs.generation() == before


def test_lock_that_is_not_there_is_told(casfs: Casfs) -> None:
    assert casfs.run("sync", casfs.directory / "none.toml", code=1).stderr.endswith("none.toml: no such file\n")
    assert casfs.run("sync", ".", code=1).stderr == "casfs: .: is a directory; name the lock file in it\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pyproject.toml", "`casfs add -e {}` adds the project"),
        ("setup.py", "`casfs add -e {}` adds the project"),
        ("Pipfile", "`pipenv requirements > requirements.txt`"),
        ("Pipfile.lock", "`pipenv requirements > requirements.txt`"),
        ("environment.yml", "conda"),
        ("l.toml", "is named pylock.toml or pylock.NAME.toml"),
        ("my.pylock.toml", "is named pylock.toml or pylock.NAME.toml"),
        ("one-1.0-py3-none-any.whl", "`casfs add` adds it"),
    ],
)
def test_what_is_no_lock_is_told_with_what_to_do_instead(casfs: Casfs, name: str, words: str) -> None:
    (casfs.directory / name).write_text("{}")
    said = casfs.run("sync", casfs.directory / name, code=1).stderr
    assert said.startswith(f"casfs: {casfs.directory}/{name}: ")
    assert words.format(casfs.directory) in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("content", ["version = 1\n[[package]]\n", 'lock-version = "1.0"\n'], ids=["uv", "pylock"])
def test_lock_of_another_name_is_not_taken_for_requirements(casfs: Casfs, content: str) -> None:
    path = casfs.directory / "old.lock"
    path.write_text(content)
    said = casfs.run("sync", path, code=1).stderr
    assert said.startswith(f"casfs: {path}: holds no requirements, and a lock is known by its name: uv.lock, ")
    assert said.count("\n") == 1


# --- requirements files


def test_requirements_file_is_taken_without_what_it_does_not_name(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    casfs.add(casfs.wheel("three"))
    path = casfs.directory / "requirements.txt"
    path.write_text("one==1.0\n")
    done = casfs.run("sync", path)
    assert done.stdout == "+ one 1.0\n- three 1.0\n"
    assert "it has no hashes" in done.stderr


@pytest.mark.parametrize("command", [("sync",), ("add", "-r")], ids=["sync", "add"])
def test_hashes_of_a_requirements_file_are_compared(casfs: Casfs, index: PackageIndex, command: tuple[str, ...]) -> None:
    index.offer("one")
    path = casfs.directory / "requirements.txt"
    path.write_text(f"one==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    before = casfs.generation()
    assert "is not one of those" in casfs.run(*command, path, code=1).stderr
    assert casfs.generation() == before
    assert index.fetched() == []
    path.write_text(f"one==1.0 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{index.digests['one-1.0-py3-none-any.whl']}\n")
    done = casfs.run(*command, path)
    assert done.stdout == "+ one 1.0\n"
    assert "warning" not in done.stderr


# --- locks of other tools


_UV_WAYS = {  # what is typed, and what is there then
    "": "one two four",
    "--extra more --no-dev": "one two three",
    "--all-extras --no-extra more --no-group dev --group lint": "one two five",
    "--all-groups --all-extras": "one two three four five",
    "--only-group lint": "five",
    "--only-dev": "four",
    "--no-default-groups --group dev": "one two four",
    "--no-default-groups": "one two",
}


def test_uv_lock_is_read_by_uv(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    for name in ("three", "four", "five"):
        index.offer(name)
    project = casfs.directory / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "project"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["one; platform_version >= \'#\'"]\n'
        '[project.optional-dependencies]\nmore = ["three"]\n'
        '[dependency-groups]\ndev = ["four"]\nlint = ["five"]\n'
    )
    subprocess.run([UV, "lock", "--project", project], env=casfs.environ, check=True, capture_output=True)
    for words, expected in _UV_WAYS.items():
        casfs.run("sync", project / "uv.lock", *words.split())
        assert {*listed(casfs)} == {*expected.split()}, words
    casfs.run("sync", project / "uv.lock", environ={"UV_NO_DEV": "1"})
    assert {*listed(casfs)} == {"one", "two"}
    assert "nope" in casfs.run("sync", project / "uv.lock", "--no-group", "nope", code=1).stderr


_POETRY_PROJECT = """
[project.optional-dependencies]
more = []
[dependency-groups]
lint = []
[tool.poetry.group.dev.dependencies]
[tool.poetry.group.docs]
optional = true
"""

_POETRY_WAYS = {  # what is typed, and what Poetry is asked for
    "": "--with=dev --with=lint",
    "--group docs --no-dev": "--with=lint --with=docs",
    "--no-default-groups": "",
    "--all-groups --no-group lint": "--with=dev --with=docs",
    "--only-group docs --extra more": "--extras=more --only=docs",
    "--all-extras --only-dev": "--extras=more --only=dev",
    "--all-extras --no-extra more": "--with=dev --with=lint",
}


def test_poetry_lock_is_read_by_poetry_if_it_is_there(casfs: Casfs, index: PackageIndex) -> None:
    """A stand-in that writes what Poetry's plugin would; what is tested is how it is asked, and what becomes of the answer."""
    index.offer("one")
    lock = casfs.directory / "poetry.lock"
    lock.write_text("# nobody but Poetry reads it\n")
    (casfs.directory / "pyproject.toml").write_text(_POETRY_PROJECT)
    done = casfs.run("sync", lock, code=1, environ={"PATH": os.defpath})
    assert done.stderr == f"casfs: {lock}: only Poetry can read it, with its plugin `export`, and there is no `poetry` on the PATH\n"
    answer = write_lock(casfs, entry(index, "one"), name="answer.toml")
    program, asked = casfs.directory / "bin/poetry", casfs.directory / "asked"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncp {answer} "$7"\nshift 7\necho "$*" >{asked}\n')
    program.chmod(0o755)
    path = {"PATH": f"{program.parent}:{os.defpath}"}
    assert casfs.run("sync", lock, environ=path).stdout == "+ one 1.0\n"
    for words, options in _POETRY_WAYS.items():
        casfs.run("sync", lock, *words.split(), environ=path)
        assert asked.read_text().strip() == options, words
    (casfs.directory / "pyproject.toml").unlink()
    said = casfs.run("sync", lock, environ=path, code=1).stderr
    assert said == f"casfs: {lock}: its project can't be read: {casfs.directory}/pyproject.toml: no such file or directory\n"


# --- casfs lock


def test_lock_is_what_sync_needs_to_make_the_same(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    casfs.add("one", casfs.wheel("local"), index.file_url("two-1.0-py3-none-any.whl"))
    path = casfs.directory / "pylock.toml"
    assert casfs.run("lock", "--output", path).stdout == ""
    assert casfs.run("lock").stdout == path.read_text()
    casfs.run("--env", "other", "sync", path)
    assert casfs.run("--env", "other", "list", "--json").stdout == casfs.run("list", "--json").stdout
    assert casfs.run("--env", "other", "lock").stdout == path.read_text()


def test_lock_says_what_is_only_there_because_others_need_it(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    casfs.add("one")
    path = casfs.directory / "pylock.toml"
    casfs.run("lock", "--output", path)
    casfs.run("remove", "one", "two")
    casfs.run("sync", path)
    assert installed(casfs, "one") == {"REQUESTED", "INSTALLER"}
    assert installed(casfs, "two") == {"INSTALLER"}


def test_uv_installs_what_was_locked(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    casfs.add("one", casfs.wheel("local"))
    path = casfs.directory / "pylock.toml"
    casfs.run("lock", "--output", path)
    plain = casfs.directory / "plain"
    subprocess.run([UV, "venv", "--python", sys.executable, plain], env=casfs.environ, check=True, capture_output=True)
    for words in (["pip", "install", "-r"], ["pip", "sync"]):
        subprocess.run([UV, *words, path, "--python", plain], env=casfs.environ, check=True, capture_output=True, text=True)
    done = subprocess.run([UV, "pip", "freeze", "--python", plain], env=casfs.environ, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"local @ file://{casfs.directory}/wheels/local-1.0-py3-none-any.whl", "one==1.0", "two==1.0"]


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("imp.pylock.toml", "pylock.imp.toml"),
        ("pylock.a.b.toml", "pylock.a-b.toml"),
        ("requirements.txt", "pylock.requirements-txt.toml"),
        ("toml", "pylock.toml"),
    ],
)
def test_lock_gets_no_name_by_which_nobody_knows_it(casfs: Casfs, name: str, better: str) -> None:
    casfs.add(casfs.wheel("one"))
    path = casfs.directory / name
    said = casfs.run("lock", "--output", path, code=1).stderr
    assert f"`casfs lock --output {casfs.directory}/{better}`" in said
    assert said.count("\n") == 1
    assert not path.exists()
    casfs.run("lock", "--output", casfs.directory / better)


def test_lock_is_written_into_a_pipe_of_any_name(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one"))
    pipe = casfs.directory / "pipe"
    os.mkfifo(pipe)
    with open(pipe, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        casfs.run("lock", "--output", pipe)
        assert file.read().decode() == casfs.run("lock").stdout
    assert pipe.is_fifo()
    assert casfs.run("lock", "--output", "/dev/stdout").stdout == casfs.run("lock").stdout


def test_lock_that_can_not_be_written_leaves_the_old_one(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("one"))
    directory = casfs.directory / "locks"
    directory.mkdir()
    path = directory / "pylock.toml"
    path.write_text("old")
    done = casfs.run("lock", "--output", path, code=1, prefix=("prlimit", "--fsize=10"))
    assert "file too large" in done.stderr
    assert path.read_text() == "old"
    assert os.listdir(directory) == ["pylock.toml"]
