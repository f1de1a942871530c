"""add, for whatever is no wheel file: names, URLs, projects and requirements files, which uv resolves."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from casfs.changes.changes import WheelToAdd, create_environment
from casfs.cli.changes import change_and_show, tell_present
from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.options import typed_options
from casfs.cli.output import note_on_terminal, progress_of_downloads, waiting, warn
from casfs.errors import FetchFailed, StoreDamaged, WheelRefused
from casfs.interpreters.interpreter import Interpreter
from casfs.lockfiles.hashes import Asked
from casfs.lockfiles.lines import Kind
from casfs.lockfiles.lockfile import Locked
from casfs.lockfiles.requirements import Reader, Requirements
from casfs.resolve.access import Access, build_access, hide_logins
from casfs.resolve.configured import read_pip_settings, read_uv_settings, says_hashes_are_required, take_constraints, translate
from casfs.resolve.obtain import FetchContext, obtain
from casfs.resolve.requirements import read_requirements
from casfs.resolve.resolve import ResolveRequest, compare, find_held, is_held, resolve
from casfs.resolve.uv import Uv, find_uv
from casfs.store.environments import Environment
from casfs.store.generations import Distribution, Generation
from casfs.store.installations import Wanted
from casfs.store.kept import keeping_downloads
from casfs.store.manifests import read_manifest
from casfs.store.pending_changes import changing
from casfs.store.quarantine import read_losses
from casfs.store.shared import shared_store_lock
from casfs.store.store import Store
from casfs.venv.origins import parse_archive

_READ_HERE = ("UV_CONSTRAINT", "UV_OVERRIDE", "UV_REQUIRE_HASHES", "UV_NO_VERIFY_HASHES", "UV_VERIFY_HASHES")
"""Variables of uv that are no business of the uv that we run: it would read the files, and forget their hashes."""


@dataclass(frozen=True, slots=True)
class ResolverSetup:
    """Who finds and builds what is wanted, and how its files are reached."""

    uv: Uv
    access: Access
    constraints: Sequence[str] = ()  # files
    overrides: Sequence[str] = ()  # files
    are_hashes_required: bool = False


@dataclass(frozen=True, slots=True)
class AddRequest:
    """What somebody asks for: requirements, paths and URLs; files of requirements; and projects to be used where they are."""

    what: Sequence[str]
    requirements: Sequence[str] = ()
    editable: Sequence[str] = ()


def make_reach(arguments: argparse.Namespace) -> ResolverSetup:
    """As the options, the environment variables and the configuration files of pip and uv say."""
    typed = typed_options(arguments)
    found = read_uv_settings(os.environ, Path.cwd())
    pip = read_pip_settings(os.environ)
    configured = translate(typed, os.environ, pip, found)
    words, constraints = take_constraints((*typed, *configured.options))
    environ = {name: value for name, value in configured.environ.items() if name not in _READ_HERE}
    return ResolverSetup(
        Uv(find_uv(os.environ), words, environ, warn),
        build_access(words, environ, found, pip.get("proxy"), arguments.max_wheel_size),
        [*constraints, *os.environ.get("UV_CONSTRAINT", "").split()],
        os.environ.get("UV_OVERRIDE", "").split(),
        says_hashes_are_required(os.environ, pip, found),
    )


def read_wish(setup: ResolverSetup, wish: AddRequest) -> tuple[ResolverSetup, Requirements]:
    """All that was asked for, of which uv reads nothing itself, and the reach with what the files say of it.

    Raises LockRefused for what is not understood, OSError, FetchFailed.
    """
    content = {}

    def read(place: str) -> bytes:
        if place not in content:
            content[place] = sys.stdin.buffer.read() if place == "-" else read_requirements(place, setup.access)
        return content[place]

    reader = Reader(read, os.environ, hide_logins)
    for word in wish.what:
        reader.add_word(word, hide_logins(word))
    for word in wish.editable:
        reader.add_word(word, hide_logins(word), is_editable=True)
    for kind, files in ((Kind.ASKED, wish.requirements), (Kind.CONSTRAINT, setup.constraints), (Kind.OVERRIDE, setup.overrides)):
        for file in files:
            reader.add_file(file, kind)
    reader.found.are_hashes_required |= setup.are_hashes_required
    return _extend(setup, reader.found), reader.found


def _extend(setup: ResolverSetup, found: Requirements) -> ResolverSetup:
    """With the options of files that uv knows only on its command line, and the logins of indexes."""
    words = [word for host in found.trusted_hosts for word in ("--allow-insecure-host", host)]
    if found.is_pre_allowed and "--prerelease" not in setup.uv.options:
        words += ["--prerelease", "allow"]
    indexes = build_access([word for line in found.options for word in line.split(" ")], {}, ())
    insecure = setup.access.insecure | {*found.trusted_hosts}
    access = replace(setup.access, logins={**indexes.logins, **setup.access.logins}, insecure=insecure)
    return replace(setup, uv=replace(setup.uv, options=(*setup.uv.options, *words)), access=access)


def add_names(arguments: argparse.Namespace) -> None:
    """Add what requirements, URLs, paths and files of requirements ask for, and what that needs."""
    wish = AddRequest(arguments.what, arguments.requirements or (), arguments.editable or ())
    environment = open_context(arguments, create=True)
    interpreter = choose_interpreter(environment, arguments.python)
    with finding(environment.store, interpreter, environment.current(), make_reach(arguments), wish) as (wheels_to_add, there):
        _add(arguments, environment, interpreter, wheels_to_add, there)


@contextlib.contextmanager
def finding(
    store: Store, interpreter: Interpreter, before: Generation | None, setup: ResolverSetup, wish: AddRequest
) -> Iterator[tuple[Sequence[WheelToAdd], Sequence[Distribution]]]:
    """What has to come to what is there before, and what was asked for and is there. Files are there within the block."""
    refuse_odd_words([*wish.what, *wish.editable])
    setup, requirements = read_wish(setup, wish)
    asked = Asked(requirements.lines, dict(interpreter.markers), requirements.are_hashes_required)
    present = before.distributions if before else ()
    request = ResolveRequest(requirements, asked, present, find_held(store, present, asked, setup.uv.options))
    with store.batch() as scratch:
        locked = _resolve(setup, interpreter, request, wish.editable, scratch.directory)
        wanted = [one for one in locked if not is_held(request, one)]
        wanted = compare(setup.uv, interpreter, request, wanted, scratch.directory)
        missing = [one for one in wanted if not _is_there(store, before, one, one.project in asked.projects)]
        coming = {one.project for one in missing}
        resolved = {one.project for one in locked if one.project in asked.projects}
        with obtaining(store, interpreter, setup, missing, scratch.directory) as wheels_to_add:
            marked = [
                replace(wheel_to_add, is_requested=locked.is_direct or locked.project in asked.projects)
                for wheel_to_add, locked in zip(wheels_to_add, missing, strict=True)
            ]
            yield marked, [distribution for distribution in present if distribution.project in resolved - coming]


def refuse_odd_words(words: Sequence[str]) -> None:
    """Raises FetchFailed for what would be more than one line of requirements, or none."""
    if odd := [word for word in words if not word.isprintable() or not word.strip()]:
        raise FetchFailed(hide_logins(repr(odd[0])), "is not a requirement, a path or a URL")


def _resolve(
    setup: ResolverSetup, interpreter: Interpreter, request: ResolveRequest, editable: Sequence[str], directory: str
) -> Sequence[Locked]:
    try:
        with waiting("resolving"):
            return resolve(setup.uv, interpreter, request, directory)
    except FetchFailed as error:
        if not editable:
            raise
        raise FetchFailed(hide_logins(", ".join(editable)), f"{error.subject} {'; '.join(error.reasons)}", said=error.said) from None


def _add(
    arguments: argparse.Namespace,
    environment: Environment,
    interpreter: Interpreter,
    wheels_to_add: Sequence[WheelToAdd],
    there: Sequence[Distribution],
) -> None:
    if wheels_to_add:
        change_and_show(arguments, environment, interpreter, wheels_to_add, command=_as_typed(arguments), there=there)
    else:
        with changing(environment.store):
            create_environment(environment, interpreter)
        tell_present(arguments, environment, there)


def _as_typed(arguments: argparse.Namespace) -> str:
    """The command without its options, as `casfs generations` shows it."""
    words = [*arguments.what]
    for option, values in (("-r", arguments.requirements), ("-e", arguments.editable)):
        words += [word for value in values or () for word in (option, value)]
    return shlex.join(["add", *map(hide_logins, words)])


def _is_there(store: Store, before: Generation | None, locked: Locked, is_requested: bool) -> bool:
    """Whether the environment has this already, and whole. What was found in an index is the same if its version is.

    What a tool installed in this version gives way to the index's wheel if somebody asks for it: that one can be locked.
    """
    present = before.find(locked.project) if before else None
    if present is None or locked.is_direct or present.version != locked.version or (is_requested and not present.wheel_size):
        return False
    if locked.checks is not None and (locked.checks or locked.digest not in {present.wheel, parse_archive(present.origin).digest}):
        return False  # of the file that it came from nobody knows whether it has the hash that was asked for
    return (present.requested or not is_requested or present.wheel != locked.digest) and _is_whole(store, present)


def _is_whole(store: Store, present: Distribution) -> bool:
    """Whether the pools have all of a distribution still: its wheel was not withdrawn, and no blob of it is lost."""
    if present.wheel_size and not any(os.path.lexists(f"{root}/wheels/{present.wheel}") for root in (store.root, *store.shared)):
        return False
    if not (lost := read_losses(store).lost):
        return True
    try:
        manifests = [read_manifest(store, layer.manifest) for layer in (present.files, present.installation)]
    except StoreDamaged:
        return False
    return not any(file.digest in lost for manifest in manifests for file in manifest.iter_files())


@contextlib.contextmanager
def obtaining(
    store: Store,
    interpreter: Interpreter,
    setup: ResolverSetup,
    wanted: Sequence[Locked],
    directory: str,
    *,
    bytecode: Wanted | None = None,
) -> Iterator[Sequence[WheelToAdd]]:
    """Wheels for what is wanted. A refusal of one of them within the block names where it came from, not where it lies meanwhile."""
    for one in wanted:
        if not one.is_vouched_for and one.is_remote and one.filename:
            warn(f"{hide_logins(one.place)}: no SHA-256 is known, so its content can't be checked")
    with shared_store_lock(store), keeping_downloads(store, directory):  # what the pool knows stays known
        wheels_to_add = obtain_shown(store, interpreter, setup, wanted, directory, bytecode=bytecode)
        files = [wheel_to_add for wheel_to_add in wheels_to_add if isinstance(wheel_to_add.wheel, str)]
        origins = {name: file.origin for file in files for name in (str(file.wheel), os.path.basename(str(file.wheel)))}
        try:
            yield wheels_to_add
        except WheelRefused as error:
            raise type(error)(origins.get(error.subject, error.subject), *error.reasons) from None


def obtain_shown(
    store: Store,
    interpreter: Interpreter,
    setup: ResolverSetup,
    wanted: Sequence[Locked],
    directory: str,
    *,
    bytecode: Wanted | None = None,
) -> list[WheelToAdd]:
    """Wheels for what is wanted; a terminal shows how far that is."""
    with progress_of_downloads() as report:
        return obtain(
            store, wanted, FetchContext(setup.uv, interpreter.executable, setup.access, directory, report, note_on_terminal, bytecode)
        )
