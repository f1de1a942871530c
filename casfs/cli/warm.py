"""pool warm: fill the pool ahead of users. What each requirement needs, on each interpreter, is fetched, taken in and compiled."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import TypeVar

from casfs.cli.bytecode import new_maker, note_bytecode, way_to_make
from casfs.cli.changes import describe_new
from casfs.cli.context import find_python, store_directory
from casfs.cli.names import Reach, make_reach, obtain_shown, refuse_odd_words, tell_said
from casfs.cli.output import format_count, note, progress_of_wheels, say, warn
from casfs.errors import BuildFailed, CasfsError, FetchFailed
from casfs.fetch.access import hide_logins
from casfs.store.ingest import Ingested, Request, ingest_wheels
from casfs.store.shared import relying, use_shared_pools
from casfs.store.store import Store, open_store
from casfs.venv.changes import Arrival
from casfs.venv.interpreters.interpreter import Interpreter
from casfs.venv.interpreters.known import know_interpreter
from casfs.venv.locks.locks import Locked, format_preferences, read_lock
from casfs.venv.locks.requirements import Asked, iter_requirements, read_asked, refuse_other_hashes

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_TOGETHER = 16
"""So many files are downloaded before they are taken in, and then deleted: that bounds what lies on the disk twice."""


def run_warm(arguments: argparse.Namespace) -> int:
    """casfs pool warm"""
    if not arguments.what and not arguments.requirements:
        arguments.usage_error("name something to warm the pool with")
    refuse_odd_words(arguments.what)
    lines = list(dict.fromkeys([*arguments.what, *iter_requirements(arguments.requirements or (), _warn_of_option)]))
    asked = read_asked(lines, ())
    store = open_store(store_directory(arguments), create=True)
    use_shared_pools(store)
    interpreters = [know_interpreter(store, find_python(store, one)) for one in arguments.python or [None]]
    reach, failed = make_reach(arguments), 0
    for interpreter in {one.executable: one for one in interpreters}.values():
        with relying(store):
            with store.batch() as scratch:
                warmth = _Warmth(store, reach, interpreter, asked, arguments.jobs, scratch.directory)
                ingested = list(warmth.take_in(warmth.resolve(lines)))
            _prepare(store, interpreter, ingested, is_compiled=not arguments.no_compile)
        note(f"Python {interpreter.version}: {format_count(len(ingested), 'wheel')}; {describe_new(ingested)}")
        failed += warmth.failed
    return 1 if failed else 0


def _warn_of_option(path: str, line: str) -> None:
    warn(hide_logins(f"{path}: {line} is passed over: options are given to the command, and only requirements are read from files"))


@dataclass(slots=True)
class _Warmth:
    """What is brought into the pool for one interpreter. What fails is told and counted, and the rest goes on."""

    store: Store
    reach: Reach
    interpreter: Interpreter
    asked: Asked
    jobs: int
    directory: str
    failed: int = 0
    _telling: Lock = field(default_factory=Lock)

    def resolve(self, lines: Sequence[str]) -> list[Locked]:
        """What each requirement needs, resolved by itself: two that could not be together in one environment can be in one pool."""
        found: dict[object, Locked] = {}
        for locked in _side_by_side(self.jobs, self._resolve, lines):
            found |= {(one.project, one.version, one.digest or one.place): one for one in locked}
        return list(found.values())

    def _resolve(self, line: str) -> list[Locked]:
        quiet = replace(self.reach.uv, is_quiet=True)
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            compile_line = partial(quiet.compile, self.interpreter.executable, [line], (), format_preferences(()))
            try:
                return self._without_other_hashes(line, read_lock(compile_line(directory), self.interpreter))
            except CasfsError as error:
                with self._telling:
                    if isinstance(error, FetchFailed):  # once more, so that uv says why
                        with contextlib.suppress(FetchFailed):
                            self.reach.uv.compile(self.interpreter.executable, [line], (), format_preferences(()), directory)
                    self._fail(line, error)
                return []

    def _without_other_hashes(self, line: str, locked: list[Locked]) -> list[Locked]:
        """All of it if each file has a hash that was asked for; else nothing."""
        try:
            refuse_other_hashes(self.asked, locked)
        except FetchFailed as error:
            with self._telling:
                self._fail(line, error)
            return []
        return locked

    def take_in(self, wanted: Sequence[Locked]) -> Iterator[Ingested]:
        """The wheels for what is wanted, as the store has them then."""
        for start in range(0, len(wanted), _TOGETHER):
            with tempfile.TemporaryDirectory(dir=self.directory) as directory:
                arrivals = list(self._obtain(wanted[start : start + _TOGETHER], directory))
                for one in filter(None, _side_by_side(self.jobs, self._ingest, arrivals)):
                    say(f"{'=' if one.was_known else '+'} {one.content.description.name} {one.content.description.version}")
                    yield one

    def _obtain(self, wanted: Sequence[Locked], directory: str) -> Iterator[Arrival]:
        """The files for what is wanted: all at once or, if one can't be had, one by one."""
        try:
            yield from obtain_shown(self.store, self.interpreter, self.reach, wanted, directory)
        except CasfsError as error:
            if len(wanted) == 1:
                self._fail(wanted[0].place, error)
                return
            for number, one in enumerate(wanted):
                os.mkdir(alone := f"{directory}/alone-{number}", 0o700)
                yield from self._obtain([one], alone)

    def _ingest(self, arrival: Arrival) -> Ingested | None:
        try:
            return ingest_wheels(self.store, [arrival.wheel], Request(lambda path, about: None))[0]
        except CasfsError as error:
            with self._telling:
                self._fail(arrival.origin, error)
            return None

    def _fail(self, what: str, error: CasfsError) -> None:
        self.failed += 1
        if isinstance(error, BuildFailed):
            tell_said(error)
        warn(hide_logins(f"{what}: {'; '.join(error.reasons)}"))


def _side_by_side(jobs: int, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """What a function makes of each item, in their order. It is called no more once a call has raised, or on Ctrl-C."""
    with ThreadPoolExecutor(jobs) as pool:
        calls = [pool.submit(function, item) for item in items]
        try:
            for call in calls:
                yield call.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare(store: Store, interpreter: Interpreter, ingested: Sequence[Ingested], *, is_compiled: bool) -> None:
    """Make the bytecode of what was fetched."""
    stored = [(one.manifest, one.content, one.number) for one in ingested]
    with progress_of_wheels() as progress:
        maker = new_maker(store, interpreter, progress)
        way_to_make(maker, is_compiled=is_compiled)(stored)
    note_bytecode(maker.made)
