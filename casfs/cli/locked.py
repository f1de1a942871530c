"""An environment becomes what a lock file says."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace

from casfs.changes.changes import WheelToAdd
from casfs.cli.bytecode import wanted_of
from casfs.cli.changes import change_and_show, describe_known
from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.names import AddRequest, ResolverSetup, make_reach, obtaining, read_wish
from casfs.cli.output import note, warn
from casfs.cli.synced import choice_of, remember_sync
from casfs.cli.uppers import note_what_was_written
from casfs.errors import LockRefused
from casfs.interpreters.interpreter import Interpreter
from casfs.lockfiles.hashes import Asked
from casfs.lockfiles.known import know_lock
from casfs.lockfiles.lockfile import Choice, Locked, Reading, decide_as_poetry, decide_as_uv, read_whole_lock
from casfs.lockfiles.others import refuse_locks_of_other_names, refuse_other_files
from casfs.lockfiles.requirements import is_url
from casfs.resolve.access import hide_logins
from casfs.resolve.obtain import origin_of
from casfs.resolve.resolve import ResolveRequest, compare, compile_requirements, verify
from casfs.store.generations import Generation
from casfs.venv.origins import SourceKind


def sync(arguments: argparse.Namespace) -> None:
    """Make the environment what the lock says, and nothing else."""
    path = arguments.lock
    is_stream = path == "-" or is_url(path) or path.startswith("/dev/")  # the last as of `casfs sync <(uv export)`
    if not is_stream and not os.path.isfile(path):
        odd = "is a directory; name the lock file in it" if os.path.isdir(path) else "is not a regular file"
        raise LockRefused(path, odd if os.path.lexists(path) else "no such file")
    refuse_other_files(path)
    if is_url(path) and path.endswith((".toml", ".lock")):
        raise LockRefused(hide_logins(path), "is a lock behind a URL, and only requirements files are read from there; fetch it first")
    environment = open_context(arguments, create=True)
    interpreter = choose_interpreter(environment, arguments.python)
    setup = make_reach(arguments)
    before = environment.current()
    with environment.store.batch() as scratch:
        if path.endswith(".toml") and not arguments.show_left_out:
            reading = Reading(know_lock(environment.store, path, interpreter, choice_of(arguments)), [])
        else:
            reading = _read(path, setup, interpreter, choice_of(arguments), scratch.directory)
        locked = reading.locked
        _refuse_without_hashes(path, setup, locked)
        for line in reading.left_out if arguments.show_left_out else ():
            note(f"left out: {line}")
        wanted = [one for one in locked if not _is_built_already(before, one)]
        bytecode = wanted_of(interpreter, is_compiled=not arguments.no_compile)
        with obtaining(environment.store, interpreter, setup, wanted, scratch.directory, bytecode=bytecode) as wheels_to_add:
            projects = frozenset(one.project for one in locked)
            wheels_to_add = [_as_before(before, *pair) for pair in zip(wheels_to_add, wanted, strict=True)]
            command = f"sync {os.path.basename(path)}"
            change = change_and_show(arguments, environment, interpreter, wheels_to_add, command=command, only=projects)
    wheels = [one.digest for one in locked if one.form is SourceKind.WHEEL and one.digest and one.checks is None]
    if change and len(wheels) == len(locked) and not any(one.about.tolerated for one in change.ingested):
        remember_sync(arguments, environment, change.after, wheels, describe_known(environment.store, change))
    note_what_was_written(environment)


def _refuse_without_hashes(path: str, setup: ResolverSetup, locked: Sequence[Locked]) -> None:
    """Raises LockRefused if a variable or a configuration file says that everything must have a hash."""
    bare = [one.project for one in locked if one.is_file and not one.is_vouched_for and one.checks is None]
    if setup.are_hashes_required and bare:
        raise LockRefused(hide_logins(path), *(f"{project}: no hash is given for it" for project in bare))


def _read(path: str, setup: ResolverSetup, interpreter: Interpreter, choice: Choice, directory: str) -> Reading:
    """What a lock of any kind names."""
    name = os.path.basename(path)
    python = interpreter.executable
    if name == "uv.lock":
        return read_whole_lock(setup.uv.export(python, path, choice, directory), interpreter, decide=decide_as_uv, made_of=path)
    if name == "poetry.lock":
        from casfs.resolve.poetry import export_poetry_lock

        made = export_poetry_lock(path, choice, directory, setup.uv.environ)
        return read_whole_lock(made, interpreter, decide=decide_as_poetry, made_of=path)
    if name.endswith(".toml"):
        return read_whole_lock(path, interpreter, choice)
    if os.path.isfile(path):  # what comes through a pipe is there once
        refuse_locks_of_other_names(path)
    if choice != Choice():
        raise LockRefused(hide_logins(path), "is a requirements file, which has neither extras nor groups")
    setup, requirements = read_wish(setup, AddRequest((), [path]))
    asked = Asked(requirements.lines, dict(interpreter.markers), requirements.are_hashes_required)
    if not asked.has_hashes:
        warn(f"{hide_logins(path)}: it has no hashes, so casfs trusts what the index offers now")
    request = ResolveRequest(requirements, asked)
    verify(setup.uv, interpreter, request, directory, has_dependencies=False)
    made = compile_requirements(setup.uv, interpreter, requirements, directory, "--no-deps")
    reading = read_whole_lock(made, interpreter, prefers=asked.prefers, made_of=hide_logins(path))
    return replace(reading, locked=compare(setup.uv, interpreter, request, reading.locked, directory, "--no-deps"))


def _is_built_already(before: Generation | None, locked: Locked) -> bool:
    """Whether the environment has what was built from this source distribution, or from this commit."""
    present = before.find(locked.project) if before else None
    return locked.form in {SourceKind.SDIST, SourceKind.REPOSITORY} and present is not None and present.origin == origin_of(locked)


def _as_before(before: Generation | None, wheel_to_add: WheelToAdd, locked: Locked) -> WheelToAdd:
    """What is in a lock was asked for, unless the lock says otherwise, or it is there already because something else needs it."""
    present = before.find(locked.project) if before else None
    return replace(wheel_to_add, is_requested=present.requested if present else locked.is_requested)
