"""add, for whatever is no wheel file: names, URLs, projects and requirements files, which uv resolves."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from casfs.cli.changes import change_and_show
from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.index_options import typed_options
from casfs.cli.output import note, note_on_terminal, progress_of_downloads, say, warn
from casfs.errors import BuildFailed, FetchFailed, StoreDamaged, WheelRefused
from casfs.fetch.access import Access, build_access, hide_logins
from casfs.fetch.configured import read_pip_settings, read_uv_settings, translate
from casfs.fetch.obtain import Means, obtain
from casfs.fetch.resolve import Question, find_held, is_held, resolve
from casfs.fetch.uv import Uv, find_uv
from casfs.store.environments import Environment
from casfs.store.generations import Distribution, Generation
from casfs.store.kept import keeping_downloads
from casfs.store.manifests import is_whole, read_manifest
from casfs.store.shared import relying
from casfs.store.store import Store
from casfs.store.unfinished import changing
from casfs.venv.changes import Arrival, create_environment
from casfs.venv.interpreters.interpreter import Interpreter
from casfs.venv.locks.locks import Locked
from casfs.venv.locks.requirements import read_asked, refuse_other_hashes


@dataclass(frozen=True, slots=True)
class Reach:
    """Who finds and builds what is wanted, and how its files are reached."""

    uv: Uv
    access: Access


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for: requirements, paths and URLs; files of requirements; and projects to be used where they are."""

    what: Sequence[str]
    requirements: Sequence[str] = ()
    editable: Sequence[str] = ()


def make_reach(arguments: argparse.Namespace) -> Reach:
    """As the options, the environment variables and the configuration files of pip and uv say."""
    typed = typed_options(arguments)
    found = read_uv_settings(os.environ, Path.cwd())
    pip = read_pip_settings(os.environ)
    configured = translate(typed, os.environ, pip, found)
    options = (*typed, *configured.options)
    access = build_access(options, configured.environ, found, pip.get("proxy"), arguments.max_wheel_size)
    return Reach(Uv(find_uv(os.environ), options, configured.environ), access)


def add_names(arguments: argparse.Namespace) -> None:
    """Add what requirements, URLs, paths and files of requirements ask for, and what that needs."""
    wish = Wish(arguments.what, arguments.requirements or (), arguments.editable or ())
    environment = open_context(arguments, create=True)
    interpreter = choose_interpreter(environment, arguments.python)
    with finding(environment.store, interpreter, environment.current(), make_reach(arguments), wish) as (arrivals, there):
        _add(arguments, environment, interpreter, arrivals)
    for one in there:
        say(f"= {one.project} {one.version}")


@contextlib.contextmanager
def finding(
    store: Store, interpreter: Interpreter, before: Generation | None, reach: Reach, wish: Wish
) -> Iterator[tuple[Sequence[Arrival], Sequence[Distribution]]]:
    """What has to come to what is there before, and what was asked for and is there. Files are there within the block."""
    refuse_odd_words([*wish.what, *wish.editable])
    asked = read_asked(wish.what, wish.requirements)
    present = before.distributions if before else ()
    lines = [*wish.what, *(f"-e {one}" for one in wish.editable)]
    question = Question(lines, wish.requirements, present, find_held(store, present, asked, reach.uv.options))
    with store.batch() as scratch:
        locked = _resolve(reach, interpreter, question, wish.editable, scratch.directory)
        wanted = [one for one in locked if not is_held(question, one)]
        refuse_other_hashes(asked, wanted)
        missing = [one for one in wanted if not _is_there(store, before, one, one.project in asked.projects)]
        coming = {one.project for one in missing}
        resolved = {one.project for one in locked if one.project in asked.projects}
        with obtaining(store, interpreter, reach, missing, scratch.directory) as arrivals:
            marked = [
                replace(one, is_requested=locked.is_direct or locked.project in asked.projects)
                for one, locked in zip(arrivals, missing, strict=True)
            ]
            yield marked, [one for one in present if one.project in resolved - coming]


def refuse_odd_words(words: Sequence[str]) -> None:
    """Raises FetchFailed for what would be more than one line of requirements, or none."""
    if odd := [word for word in words if not word.isprintable() or not word.strip()]:
        raise FetchFailed(hide_logins(repr(odd[0])), "is no requirement, path or URL")


def _resolve(reach: Reach, interpreter: Interpreter, question: Question, editable: Sequence[str], directory: str) -> Sequence[Locked]:
    try:
        return resolve(reach.uv, interpreter, question, directory)
    except FetchFailed as error:
        if not editable:
            raise
        raise FetchFailed(hide_logins(", ".join(editable)), f"{error.subject} {'; '.join(error.reasons)}") from None


def _add(arguments: argparse.Namespace, environment: Environment, interpreter: Interpreter, arrivals: Sequence[Arrival]) -> None:
    if arrivals:
        change_and_show(arguments, environment, interpreter, arrivals)
    else:
        with changing(environment.store):
            create_environment(environment, interpreter)


def _is_there(store: Store, before: Generation | None, locked: Locked, is_requested: bool) -> bool:
    """Whether the environment has this already, and whole. What was found in an index is the same if its version is.

    What a tool installed in this version gives way to the index's wheel if somebody asks for it: that one can be locked.
    """
    present = before.find(locked.project) if before else None
    if present is None or locked.is_direct or present.version != locked.version or (is_requested and not present.wheel_size):
        return False
    return (present.requested or not is_requested or present.wheel != locked.digest) and _is_whole(store, present)


def _is_whole(store: Store, present: Distribution) -> bool:
    """Whether the pools have all of a distribution still."""
    try:
        return is_whole(store, read_manifest(store, present.files.manifest))
    except StoreDamaged:
        return False


@contextlib.contextmanager
def obtaining(
    store: Store, interpreter: Interpreter, reach: Reach, wanted: Sequence[Locked], directory: str
) -> Iterator[Sequence[Arrival]]:
    """Wheels for what is wanted. A refusal of one of them within the block names where it came from, not where it lies meanwhile."""
    for one in wanted:
        if not one.is_vouched_for and one.is_remote and one.filename:
            warn(f"{hide_logins(one.place)}: no SHA-256 is known, so nobody can tell whether it is what it should be")
    with relying(store), keeping_downloads(store, directory):  # what the pool knows stays known
        arrivals = _obtain(store, interpreter, reach, wanted, directory)
        files = [one for one in arrivals if isinstance(one.wheel, str)]
        origins = {name: one.origin for one in files for name in (str(one.wheel), os.path.basename(str(one.wheel)))}
        try:
            yield arrivals
        except WheelRefused as error:
            raise type(error)(origins.get(error.subject, error.subject), *error.reasons) from None


def _obtain(store: Store, interpreter: Interpreter, reach: Reach, wanted: Sequence[Locked], directory: str) -> Sequence[Arrival]:
    try:
        return obtain_shown(store, interpreter, reach, wanted, directory)
    except BuildFailed as error:
        tell_said(error)
        raise


def obtain_shown(store: Store, interpreter: Interpreter, reach: Reach, wanted: Sequence[Locked], directory: str) -> list[Arrival]:
    """Wheels for what is wanted; a terminal shows how far that is."""
    with progress_of_downloads() as report:
        return obtain(store, wanted, Means(reach.uv, interpreter.executable, reach.access, directory, report, note_on_terminal))


def tell_said(error: BuildFailed) -> None:
    """What a build that failed had to say."""
    for line in error.said:
        note(hide_logins(line))
