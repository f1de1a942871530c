"""sync, lock: environments from lock files, and lock files from environments."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from casfs.cli.bytecode import wanted_of
from casfs.cli.changes import change_and_show, describe_known
from casfs.cli.context import choose_interpreter, open_context, open_to_read
from casfs.cli.names import Reach, Wish, make_reach, obtaining, read_wish
from casfs.cli.output import note, say, warn
from casfs.cli.synced import choice_of, remember_sync
from casfs.errors import CasfsError, LockRefused
from casfs.fetch.access import hide_logins
from casfs.fetch.obtain import origin_of
from casfs.fetch.resolve import Question, compare, compile_requirements, verify
from casfs.store.environments import Environment
from casfs.store.following import resolve_path
from casfs.store.generations import Generation
from casfs.store.uppers import current_upper
from casfs.venv.changes import Arrival
from casfs.venv.interpreters.interpreter import Interpreter
from casfs.venv.locks.hashes import Asked
from casfs.venv.locks.known import know_lock
from casfs.venv.locks.locks import Choice, Locked, Reading, read_whole_lock
from casfs.venv.locks.markers import decide_as_poetry, decide_as_uv
from casfs.venv.locks.others import refuse_locks_of_other_names, refuse_other_files, refuse_other_name
from casfs.venv.locks.requirements import is_url
from casfs.venv.locks.writing import format_pylock
from casfs.venv.origins import Form
from casfs.venv.reading import read_direct_url


def run_sync(arguments: argparse.Namespace) -> None:
    """casfs sync"""
    path = arguments.lock
    is_stream = path == "-" or is_url(path) or path.startswith("/dev/")  # the last as of `casfs sync <(uv export)`
    if not is_stream and not os.path.isfile(path):
        odd = "is a directory; name the lock file in it" if os.path.isdir(path) else "is not a plain file"
        raise LockRefused(path, odd if os.path.lexists(path) else "no such file")
    refuse_other_files(path)
    if is_url(path) and path.endswith((".toml", ".lock")):
        raise LockRefused(hide_logins(path), "is a lock behind a URL, and only requirements files are read from there; fetch it first")
    environment = open_context(arguments, create=True)
    interpreter = choose_interpreter(environment, arguments.python)
    reach = make_reach(arguments)
    before = environment.current()
    with environment.store.batch() as scratch:
        if path.endswith(".toml") and not arguments.show_left_out:
            reading = Reading(know_lock(environment.store, path, interpreter, choice_of(arguments)), [])
        else:
            reading = _read(path, reach, interpreter, choice_of(arguments), scratch.directory)
        locked = reading.locked
        _refuse_without_hashes(path, reach, locked)
        for line in reading.left_out if arguments.show_left_out else ():
            note(f"left out: {line}")
        wanted = [one for one in locked if not _is_built_already(before, one)]
        bytecode = wanted_of(interpreter, is_compiled=not arguments.no_compile)
        with obtaining(environment.store, interpreter, reach, wanted, scratch.directory, bytecode=bytecode) as arrivals:
            projects = frozenset(one.project for one in locked)
            arrivals = [_as_before(before, *pair) for pair in zip(arrivals, wanted, strict=True)]
            command = f"sync {os.path.basename(path)}"
            change = change_and_show(arguments, environment, interpreter, arrivals, command=command, only=projects)
    wheels = [one.digest for one in locked if one.form is Form.WHEEL and one.digest and one.checks is None]
    if change and len(wheels) == len(locked) and not any(one.about.tolerated for one in change.ingested):
        remember_sync(arguments, environment, change.after, wheels, describe_known(environment.store, change))
    _note_what_is_missing(environment)


def _refuse_without_hashes(path: str, reach: Reach, locked: Sequence[Locked]) -> None:
    """Raises LockRefused if a variable or a configuration file says that everything must have a hash."""
    bare = [one.project for one in locked if one.is_file and not one.is_vouched_for and one.checks is None]
    if reach.are_hashes_required and bare:
        raise LockRefused(hide_logins(path), *(f"{project}: no hash is given for it" for project in bare))


def _note_what_is_missing(environment: Environment) -> None:
    """A lock knows nothing of what tools wrote into the mounts."""
    with contextlib.suppress(CasfsError, OSError):  # `casfs diff` says what is wrong with what was written
        if (upper := current_upper(environment)) is None or upper.is_empty:
            return
        from casfs.cli.uppers import note_what_is_missing

        note_what_is_missing(environment)


def _read(path: str, reach: Reach, interpreter: Interpreter, choice: Choice, directory: str) -> Reading:
    """What a lock of any kind names."""
    name = os.path.basename(path)
    python = interpreter.executable
    if name == "uv.lock":
        return read_whole_lock(reach.uv.export(python, path, choice, directory), interpreter, decide=decide_as_uv, made_of=path)
    if name == "poetry.lock":
        from casfs.fetch.poetry import export_poetry_lock

        made = export_poetry_lock(path, choice, directory, reach.uv.environ)
        return read_whole_lock(made, interpreter, decide=decide_as_poetry, made_of=path)
    if name.endswith(".toml"):
        return read_whole_lock(path, interpreter, choice)
    if os.path.isfile(path):  # what comes through a pipe is there once
        refuse_locks_of_other_names(path)
    if choice != Choice():
        raise LockRefused(hide_logins(path), "is a requirements file, which has neither extras nor groups")
    reach, requirements = read_wish(reach, Wish((), [path]))
    asked = Asked(requirements.lines, dict(interpreter.markers), requirements.are_hashes_required)
    if not asked.has_hashes:
        warn(f"{hide_logins(path)}: it has no hashes, so casfs trusts what the index offers now")
    question = Question(requirements, asked)
    verify(reach.uv, interpreter, question, directory, has_dependencies=False)
    made = compile_requirements(reach.uv, interpreter, requirements, directory, "--no-deps")
    reading = read_whole_lock(made, interpreter, prefers=asked.prefers, made_of=hide_logins(path))
    return replace(reading, locked=compare(reach.uv, interpreter, question, reading.locked, directory, "--no-deps"))


def _is_built_already(before: Generation | None, locked: Locked) -> bool:
    """Whether the environment has what was built from this source distribution, or from this commit."""
    present = before.find(locked.project) if before else None
    return locked.form in {Form.SDIST, Form.REPOSITORY} and present is not None and present.origin == origin_of(locked)


def _as_before(before: Generation | None, arrival: Arrival, locked: Locked) -> Arrival:
    """What is in a lock was asked for, unless the lock says otherwise, or it is there already because something else needs it."""
    present = before.find(locked.project) if before else None
    return replace(arrival, is_requested=present.requested if present else locked.is_requested)


def run_lock(arguments: argparse.Namespace) -> None:
    """casfs lock"""
    target = None if arguments.output in {None, "-"} else _find_target(arguments.output)
    environment = open_to_read(arguments)
    text = format_pylock(environment.require(), lambda one: read_direct_url(environment.store, one))
    if target is None:
        say(text.rstrip("\n"))
    else:
        _write(target, text, arguments.umask)
    _note_what_is_missing(environment)


def _find_target(path: str) -> Path:
    """Where a lock is to be written. Raises PathRefused, and LockRefused for a file by whose name nobody knows it."""
    target = Path(resolve_path(path))
    if (target.is_file() or not target.exists()) and not path.startswith("/dev/"):  # a pipe or a device may have any name
        refuse_other_name(path)
    return target


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an OSError name the file that the user did."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _write(path: Path, text: str, umask: int) -> None:
    """The file whole, or as it was; a device or a pipe is written to, as whoever names one means it."""
    if path.exists() and not path.is_file():
        with _naming(path), path.open("w", encoding="utf-8") as file:
            file.write(text)
        return
    with (
        _naming(path),
        tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", encoding="utf-8", delete=False) as file,
    ):
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~umask)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
