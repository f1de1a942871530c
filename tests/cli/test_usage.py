"""Help, version, wrong usage, where commands look, and how they end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casfs import __version__
from tests.mounted.harness import Casfs

CHANGES = ("add", "adopt", "export", "remove", "rollback")
COMMANDS = (*CHANGES, "list", "show", "generations", "status", "metrics", "fsck", "mount", "umount", "run", "env")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example_that_names_it(casfs: Casfs, command: str) -> None:
    text = casfs.run(command, "--help").stdout
    assert f"example:\n  casfs {command}" in text
    assert "--env NAME" in text
    assert "--store DIR" in text


def test_help_lists_every_command(casfs: Casfs) -> None:
    text = casfs.run("--help").stdout
    assert "example:\n  casfs add" in text
    for command in COMMANDS:
        assert f"\n    {command}" in text


def test_version(casfs: Casfs) -> None:
    assert casfs.run("--version").stdout == f"casfs {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ("add",),
        ("remove",),
        ("show",),
        ("adopt",),
        ("export",),
        ("mount",),
        ("umount",),
        ("umount", "--all", "x"),
        ("list", "--unknown"),
        ("rollback", "first"),
        ("show", "a", "b"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_says_how_it_is_used(casfs: Casfs, words: tuple[str, ...]) -> None:
    done = casfs.run(*words, code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("usage: casfs")


def test_options_of_place_may_stand_before_and_after_the_command(casfs: Casfs, tmp_path: Path) -> None:
    wheel = casfs.wheel("demo")
    casfs.run("--env", "one", "add", wheel)
    for words in (("--env", "one", "list"), ("list", "--env", "one"), ("--env", "other", "list", "--env", "one"), ("--env=one", "list")):
        assert "demo" in casfs.run(*words).stdout
    store = tmp_path / "elsewhere"
    casfs.run("add", wheel, "--store", store)
    assert casfs.run("--store", store, "list").stdout == casfs.run("list", "--store", store).stdout != ""


def test_variables_name_store_and_environment_and_options_win(casfs: Casfs, tmp_path: Path) -> None:
    casfs.run("add", casfs.wheel("demo"), environ={"CASFS_ENV": "mine"})
    casfs.run("add", casfs.wheel("other"), "--env", "theirs", environ={"CASFS_ENV": "mine"})
    assert "demo" in casfs.run("list", "--env", "mine").stdout
    assert "other" in casfs.run("list", environ={"CASFS_ENV": "theirs"}).stdout
    assert casfs.run("list", environ={"CASFS_ENV": ""}).stdout == casfs.run("list").stdout == ""
    done = casfs.run("list", "--store", tmp_path / "none", environ={"CASFS_STORE": str(casfs.store)}, code=1)
    assert str(tmp_path / "none") in done.stderr


def test_home_in_a_store_path_is_the_users(casfs: Casfs, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "CASFS_STORE": "~/store"}
    assert casfs.run("list", environ=environ).stdout == casfs.run("list").stdout


@pytest.mark.parametrize("option", ["--requirements", "--editable", "--shared-pool"])
def test_home_in_an_option_that_a_shell_left_alone_is_the_users(casfs: Casfs, tmp_path: Path, option: str) -> None:
    done = casfs.run("add", f"{option}=~/nothing", casfs.wheel("demo"), environ={"HOME": str(tmp_path)}, code=1)
    assert f"{tmp_path}/nothing" in done.stderr


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "-x", "a b", "ä", "x" * 101, "a\nb"])
def test_invalid_environment_name_is_refused(casfs: Casfs, name: str) -> None:
    done = casfs.run(f"--env={name}", "add", casfs.wheel("demo"), code=1)
    assert "is not an environment name" in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(casfs.store / "environments") == ["default"]


@pytest.mark.parametrize("words", [("list",), ("show", "demo"), ("remove", "demo"), ("rollback",), ("generations",)], ids=" ".join)
def test_unknown_environment_is_an_error(casfs: Casfs, words: tuple[str, ...]) -> None:
    done = casfs.run(*words, "--env", "nowhere", code=1)
    assert done.stderr == "casfs: nowhere: there is no environment of this name; `casfs add --env nowhere` makes one\n"
    assert not (casfs.store / "environments/nowhere").exists()


@pytest.mark.parametrize("words", [("list",), ("status",), ("fsck",), ("remove", "x"), ("rollback",)], ids=" ".join)
def test_missing_store_is_an_error_and_is_not_made(casfs: Casfs, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = casfs.run(*words, "--store", tmp_path / "none", code=1)
    assert done.stderr == f"casfs: {tmp_path}/none: is not a casfs store; `casfs --store {tmp_path}/none add` makes one\n"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("words", [("list",), ("add", "WHEEL"), ("fsck",), ("mount", "m")], ids=" ".join)
def test_store_of_an_unknown_format_is_refused_by_every_command(casfs: Casfs, words: tuple[str, ...]) -> None:
    known = (casfs.store / "format").read_text()
    (casfs.store / "format").write_text("casfs store 99\n")
    done = casfs.run(*(casfs.wheel("demo") if word == "WHEEL" else word for word in words), code=1)
    assert done.stderr == f"casfs: {casfs.store}: has the format 'casfs store 99'; this casfs knows only 'casfs store 2'\n"
    (casfs.store / "format").write_text(known)


def test_directory_that_holds_other_things_does_not_become_a_store(casfs: Casfs, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter.txt").write_text("mine")
    done = casfs.run("add", casfs.wheel("demo"), "--store", tmp_path / "home", code=1)
    assert done.stderr == f"casfs: {tmp_path}/home: is not a casfs store and not empty (it holds 'letter.txt')\n"
    assert os.listdir(tmp_path / "home") == ["letter.txt"]


def test_store_that_is_a_file_is_refused(casfs: Casfs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words in (("list",), ("add", casfs.wheel("demo"))):
        done = casfs.run(*words, "--store", tmp_path / "file", code=1)
        assert done.stderr == f"casfs: {tmp_path}/file: is not a directory\n"


def test_new_store_is_private(casfs: Casfs, tmp_path: Path) -> None:
    casfs.run("add", casfs.wheel("demo"), "--store", tmp_path / "new/store", prefix=["sh", "-c", 'umask 0; exec "$@"', "sh"])
    assert (tmp_path / "new/store").stat().st_mode & 0o777 == 0o700


def test_reader_that_leaves_early_sees_no_traceback(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={f"demo/{number}": b"" for number in range(2_000)}))
    for words in ("show demo --files", "show demo --files --json", "generations", "--help"):
        script = f"{sys.executable} -m casfs {words} | head -1"
        done = subprocess.run(["bash", "-c", script], env=casfs.environ, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert done.stdout.count("\n") == 1


def test_output_to_a_full_disk_is_an_error(casfs: Casfs) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = casfs.run("list", "--json", capture_output=False, stdout=full, stderr=subprocess.PIPE, code=1)
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_in_any_locale(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo/Gr\u00fc\u00dfe \u65e5\u672c.txt": b""}))
    for locale in ("C", "POSIX", "C.UTF-8"):
        done = casfs.run(
            "show", "demo", "--files", environ={"LC_ALL": locale, "PYTHONIOENCODING": "", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        )
        assert ".txt" in done.stdout


def test_interrupt_leaves_the_store_as_it_was(casfs: Casfs) -> None:
    """Ctrl-C at the moment when everything is staged and the wheel is about to be published."""
    wheel = casfs.wheel("demo", files={f"demo/{number}": str(number).encode() for number in range(100)})
    before = casfs.generation(), listing(casfs)
    source = (
        "import os, signal, sys\n"
        "from casfs.store.publish import Batch\n"
        "commit = Batch.commit\n"
        "def interrupted(self):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    commit(self)\n"
        "Batch.commit = interrupted\n"
        "from casfs.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", source, "add", str(wheel)], env=casfs.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "casfs: interrupted\n"
    assert (casfs.generation(), listing(casfs)) == before
    casfs.add(wheel)


def listing(casfs: Casfs) -> list[str]:
    return sorted(
        str(path.relative_to(casfs.store)) for path in casfs.store.rglob("*") if path.is_file() and "interpreters" not in path.parts
    )


def test_no_help_names_what_casfs_tells_itself(casfs: Casfs) -> None:
    said = casfs.run("daemon", "--help").stdout
    assert "upgrade" in said
    assert "adopt" not in said
    told = casfs.run("daemon", "bad", code=2).stderr
    assert "upgrade" in told
    assert "adopt" not in told


def test_fsck_says_in_plain_lines_what_fast_does_not_prove(casfs: Casfs) -> None:
    said = casfs.run("fsck", "--fast").stderr.splitlines()
    assert [line for line in said if line.startswith("NOT PROVEN by --fast")]
    assert not [line for line in said if "\\u000a" in line]


def test_the_signs_of_changes_are_explained(casfs: Casfs) -> None:
    for command in ("add", "sync"):
        assert "signs: + added, - removed, ~ another version or another origin, = already there" in casfs.run(command, "--help").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rollback", "first"), "argument N: 'first' is not a whole number"),
        (("collect", "--keep", "x"), "argument --keep: 'x' is not a whole number"),
        (("collect", "--keep", "0"), "argument --keep: must be 1 or more"),
        (("mount", "--into", "me", "x"), "argument --into: 'me' is not a whole number"),
    ],
    ids=str,
)
def test_what_is_not_a_number_is_named(casfs: Casfs, words: tuple[str, ...], said: str) -> None:
    assert said in casfs.run(*words, code=2).stderr


def test_a_list_of_nothing_says_what_to_do(casfs: Casfs) -> None:
    wheel = casfs.wheel("demo")
    casfs.run("add", "--env", "e", wheel)
    casfs.run("remove", "--env", "e", "demo")
    done = casfs.run("list", "--env", "e")
    assert (done.stdout, done.stderr) == ("", "environment 'e' is empty; `casfs add --env e NAME` adds a project to it\n")
    assert "`casfs pool add DIR`" in casfs.run("pool", "list").stderr
    assert casfs.run("daemon", "logs").stderr == "no daemon of the store has logged anything\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root chooses an owner")
def test_a_mount_that_fails_leaves_no_directory_that_it_made(casfs: Casfs, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    casfs.run("mount", "--owner", "nobody-of-this-name", tmp_path / "there/new/.venv", code=1)
    assert list((tmp_path / "there").iterdir()) == []
    casfs.run("mount", "--owner", "nobody-of-this-name", tmp_path / "there", code=1)
    assert (tmp_path / "there").is_dir()


def test_casfs_alone_says_how_to_begin(casfs: Casfs) -> None:
    done = casfs.run()
    assert len(done.stdout.splitlines()) == 5
    assert done.stderr == ""


def test_help_is_a_command_too(casfs: Casfs) -> None:
    assert casfs.run("help").stdout == casfs.run("--help").stdout
    assert casfs.run("help", "add").stdout == casfs.run("add", "--help").stdout
    assert casfs.run("help", "env", "remove").stdout == casfs.run("env", "remove", "--help").stdout


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("instal",), "casfs add"),
        (("lisst",), "casfs list"),
        (("uninstall", "x"), "casfs remove"),
        (("env", "rm", "x"), "casfs env remove"),
    ],
    ids=str,
)
def test_a_mistyped_command_is_told_with_what_is_meant(casfs: Casfs, words: tuple[str, ...], meant: str) -> None:
    done = casfs.run(*words, code=2)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert f"did you mean `{meant}`?" in done.stderr
    assert "did you mean" not in casfs.run("xyzzy", code=2).stderr


@pytest.mark.parametrize("words", [("list",), ("remove", "demo"), ("run", "--", "true"), ("export", "x")], ids=" ".join)
def test_a_mistyped_environment_is_told_with_what_is_meant(casfs: Casfs, words: tuple[str, ...]) -> None:
    casfs.run("add", "--env", "project", casfs.wheel("demo"))
    assert "did you mean 'project'?" in casfs.run(words[0], "--env", "projekt", *words[1:], code=1).stderr


def test_quiet_leaves_results_warnings_and_errors(casfs: Casfs) -> None:
    wheel = casfs.wheel("demo")
    for words in (("-q", "add", wheel), ("add", "-q", wheel)):
        assert casfs.run(*words).stderr == ""
    assert casfs.run("-q", "list").stdout == casfs.run("list").stdout != ""
    assert casfs.run("-q", "show", "none", code=1).stderr.startswith("casfs: default: ")


def test_verbose_says_where_it_works_and_where_an_error_arose(casfs: Casfs) -> None:
    said = casfs.run("show", "none", "-v", code=1).stderr
    assert said.startswith(f"store {casfs.store}, environment 'default'\nTraceback")
    assert said.splitlines()[-1].startswith("casfs: default: none ")
