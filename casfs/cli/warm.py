"""pool warm: fill the pool ahead of users. What each requirement needs, on each interpreter, is fetched, taken in and compiled."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event, Lock
from typing import TypeVar

from casfs.changes.changes import WheelToAdd
from casfs.cli.bytecode import new_maker, note_bytecode, way_to_make
from casfs.cli.changes import describe_new
from casfs.cli.context import find_python, store_directory
from casfs.cli.names import AddRequest, ResolverSetup, make_reach, obtain_shown, read_wish, refuse_odd_words
from casfs.cli.output import format_count, note, progress_of_wheels, say, say_why, warn
from casfs.errors import CasfsError
from casfs.interpreters.interpreter import Interpreter
from casfs.interpreters.known import know_interpreter
from casfs.lockfiles.hashes import Asked
from casfs.lockfiles.lines import Kind, Line
from casfs.lockfiles.lockfile import Locked, read_lock
from casfs.lockfiles.requirements import Requirements
from casfs.resolve.access import hide_logins
from casfs.resolve.resolve import ResolveRequest, compare, compile_requirements, verify
from casfs.store.ingest import Ingested, Request, ingest_wheels
from casfs.store.kept import keeping_downloads
from casfs.store.shared import shared_store_lock, use_shared_pools
from casfs.store.store import Store, open_store

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_TOGETHER = 16
"""So many files are downloaded before they are taken in, and then deleted: that bounds what lies on the disk twice."""


def warm(arguments: argparse.Namespace) -> int:
    """Fill the pool as the command says; answers its exit code."""
    if not arguments.what and not arguments.requirements:
        arguments.usage_error("name something to warm the pool with")
    refuse_odd_words(arguments.what)
    setup, requirements = read_wish(make_reach(arguments), AddRequest(arguments.what, arguments.requirements or ()))
    store = open_store(store_directory(arguments), create=True)
    use_shared_pools(store)
    interpreters = [know_interpreter(store, find_python(store, one)) for one in arguments.python or [None]]
    failed = 0
    for interpreter in {one.executable: one for one in interpreters}.values():
        with shared_store_lock(store):
            with store.batch() as scratch:
                asked = Asked(requirements.lines, dict(interpreter.markers), requirements.are_hashes_required)
                warmth = _Warmth(store, setup, interpreter, requirements, asked, arguments.jobs, scratch.directory)
                ingested = list(warmth.take_in(warmth.resolve(_lines_to_warm(requirements))))
            _prepare(store, interpreter, ingested, is_compiled=not arguments.no_compile)
        note(f"Python {interpreter.version}: {format_count(len(ingested), 'wheel')}; {describe_new(ingested)}")
        failed += warmth.failed
    return 1 if failed else 0


def _lines_to_warm(requirements: Requirements) -> list[Line]:
    """Each requirement once. What is editable is used where it is, and has no place in a pool."""
    found = {line.text: line for line in requirements.lines if line.kind is Kind.ASKED}
    for line in found.values():
        if line.is_editable:
            warn(hide_logins(f"{line.where}: {line.text} is passed over: an editable project is used where it is"))
    for path in requirements.projects:
        warn(f"{path}: is passed over: only requirements are read from files")
    return [line for line in found.values() if not line.is_editable]


@dataclass(slots=True)
class _Warmth:
    """What is brought into the pool for one interpreter. What fails is told and counted, and the rest goes on."""

    store: Store
    setup: ResolverSetup
    interpreter: Interpreter
    requirements: Requirements
    asked: Asked
    jobs: int
    directory: str
    failed: int = 0
    stop: Event = field(default_factory=Event)
    _telling: Lock = field(default_factory=Lock)

    def resolve(self, lines: Sequence[Line]) -> list[Locked]:
        """What each requirement needs, resolved by itself: two that could not be together in one environment can be in one pool."""
        found: dict[object, Locked] = {}
        for locked in self._side_by_side(self._resolve, lines):
            found |= {(one.project, one.version, one.digest or one.place): one for one in locked}
        return list(found.values())

    def _resolve(self, line: Line) -> list[Locked]:
        others = [one for one in self.requirements.lines if one.kind is not Kind.ASKED]
        alone = replace(self.requirements, lines=[line, *others], projects=[])
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            compile_line = partial(compile_requirements, interpreter=self.interpreter, requirements=alone, directory=directory)
            request = ResolveRequest(alone, self.asked)
            try:
                verify(self.setup.uv, self.interpreter, request, directory, line=line)
                lock = compile_line(self.setup.uv)
                locked = read_lock(lock, self.interpreter, prefers=self.asked.prefers)
                return compare(self.setup.uv, self.interpreter, request, locked, directory, line=line)
            except CasfsError as error:
                with self._telling:
                    self._fail(line.text, error)
                return []

    def take_in(self, wanted: Sequence[Locked]) -> Iterator[Ingested]:
        """The wheels for what is wanted, as the store has them then."""
        for start in range(0, len(wanted), _TOGETHER):
            with tempfile.TemporaryDirectory(dir=self.directory) as directory, keeping_downloads(self.store, directory):
                wheels_to_add = list(self._obtain(wanted[start : start + _TOGETHER], directory))
                for one in filter(None, self._side_by_side(self._ingest, wheels_to_add)):
                    say(f"{'=' if one.was_known else '+'} {one.about.name} {one.about.version}")
                    yield one

    def _obtain(self, wanted: Sequence[Locked], directory: str) -> Iterator[WheelToAdd]:
        """The files for what is wanted: all at once or, if one can't be had, one by one."""
        try:
            with keeping_downloads(self.store, directory):
                wheels_to_add = obtain_shown(self.store, self.interpreter, self.setup, wanted, directory)
            yield from wheels_to_add
        except CasfsError as error:
            if len(wanted) == 1:
                self._fail(wanted[0].place, error)
                return
            for number, one in enumerate(wanted):
                os.mkdir(alone := f"{directory}/alone-{number}", 0o700)
                yield from self._obtain([one], alone)

    def _ingest(self, wheel_to_add: WheelToAdd) -> Ingested | None:
        try:
            request = Request(lambda path, about: None, max_wheel_size=self.setup.access.limits.body, stop=self.stop)
            return ingest_wheels(self.store, [wheel_to_add.wheel], request)[0]
        except CasfsError as error:
            with self._telling:
                self._fail(wheel_to_add.origin, error)
            return None

    def _side_by_side(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """What a function makes of each item, in their order. It is called no more once a call has raised, or on Ctrl-C."""
        with ThreadPoolExecutor(self.jobs) as pool:
            calls = [pool.submit(function, item) for item in items]
            try:
                for call in calls:
                    yield call.result()
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _fail(self, what: str, error: CasfsError) -> None:
        self.failed += 1
        say_why(error)
        warn(hide_logins(f"{what}: {'; '.join(error.reasons)}"))


def _prepare(store: Store, interpreter: Interpreter, ingested: Sequence[Ingested], *, is_compiled: bool) -> None:
    """Make the bytecode of what was fetched."""
    stored = [(one.manifest, one.content, one.number) for one in ingested]
    with progress_of_wheels() as progress:
        maker = new_maker(store, interpreter, progress)
        way_to_make(maker, is_compiled=is_compiled)(stored)
    note_bytecode(maker.made)
