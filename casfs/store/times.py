"""The times of files: when what a path holds entered the store, in whole seconds.

A manifest is dated when it is published, by the store's clock (see `clock`). That is its time, and the time of each of its rows, but for
those whose bytes and kind did not change since the newest manifest of the same project that has the path: they keep the time they have. A
manifest that is the same as one that the store has, or had, but for its times, is that one. So nothing that is built, installed or absorbed
again becomes another thing by its time alone, and an upgrade changes the times of just the files that it changes.

What each time is asked for, and which one answers:

    the same in all mounts of a store, its shared pools     files: times are in the manifest, and whoever takes a manifest takes them;
    and whatever copies it                                  directories: made of the times and digests of the manifests that they show
    differs when the bytes of a path do                     files: among the manifests of a project, and among those that one command
                                                            publishes; directories: their nanoseconds are made of those digests
    does not run back for what entered later                files: the clock never gives a time that is not the newest. What had entered
                                                            before is older, also if an environment has it only now: after a rollback, or
                                                            where another one had it first
    leaves bytecode valid (whole seconds, 32 bits, PEP 552) files: whole seconds before 2100, and never another time for a manifest
    and an edit makes it invalid                            sources: some seconds before now, so that no edit has the same one
    1980-01-02 or later in every time zone (zip)            all: nothing is dated before 2015, or by content before 1980-01-03

What the version before published has no times in it, and then they are made from the content, between 1980 and 2014: those files keep their
times, and so their bytecode, and all that enters is later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from casfs.digest import Digest, digest_bytes
from casfs.errors import StoreDamaged
from casfs.store.clock import held_clock
from casfs.store.manifests import FIRST_TIME, Manifest, format_manifest, read_manifest, stage_manifest, undated
from casfs.store.numbers import Marker, find_number, iter_markers, publish_numbered, read_number
from casfs.store.publish import Batch
from casfs.store.store import Store

MAX_OLDER = 64  # bounds the work for a project of which a store has seen hundreds of versions: 1 ms each, or 10 for 4,000 files

_BACK_S = 4  # one for the rounding up of now, and one for each manifest that a command may publish before

NextTimes = Callable[[int], int]
"""The first of so many times, one second after the other, that nothing has yet."""


def publish_dated(store: Store, batch: Batch, manifests: Sequence[Manifest]) -> list[tuple[Digest, Manifest, int]]:
    """Digest, content with times, and number of each manifest. The batch is committed, and all of it is published. Raises OSError.

    What is new is dated and numbered by one process at a time, so that another one that comes with the same finds it.
    """
    known = [one for manifest in manifests if (one := _find_known(store, manifest)) is not None]
    if len(known) == len(manifests):
        return _publish(store, batch, _stage(store, batch, known))
    with held_clock(store) as clock:
        return _publish(store, batch, stage_dated(store, batch, manifests, clock.next_times))


def _publish(store: Store, batch: Batch, staged: Sequence[tuple[Digest, Manifest]]) -> list[tuple[Digest, Manifest, int]]:
    return [(*one, number) for one, number in zip(staged, publish_numbered(store, batch, staged), strict=True)]


def _stage(store: Store, batch: Batch, manifests: Iterable[Manifest]) -> list[tuple[Digest, Manifest]]:
    return [(stage_manifest(store, batch, manifest), manifest) for manifest in manifests]


def stage_dated(store: Store, batch: Batch, manifests: Sequence[Manifest], next_times: NextTimes) -> list[tuple[Digest, Manifest]]:
    """Digest and content of each manifest, with times; what the store lacks of them is staged."""
    dated = [_find_known(store, manifest) for manifest in manifests]
    new = [manifest for manifest, known in zip(manifests, dated, strict=True) if known is None]
    turns = _take_turns(new)
    first = next_times(1 + max(turns)) if new else 0
    made = iter([_date(store, manifest, first + turn) for manifest, turn in zip(new, turns, strict=True)])
    return _stage(store, batch, (known or next(made) for known in dated))


def _take_turns(manifests: Iterable[Manifest]) -> list[int]:
    """Which of the next seconds each manifest gets: the first, unless one that has it holds something else at one of its paths."""
    taken: list[dict[str, Digest]] = []
    turns = []
    for manifest in manifests:
        rows = {file.path: file.digest for file in manifest.iter_files()}
        turn = next((turn for turn, others in enumerate(taken) if _agree(rows, others)), len(taken))
        if turn == len(taken):
            taken.append({})
        taken[turn] |= rows
        turns.append(turn)
    return turns


def _agree(rows: dict[str, Digest], others: dict[str, Digest]) -> bool:
    return all(rows[path] == others[path] for path in rows.keys() & others.keys())


def _find_known(store: Store, manifest: Manifest) -> Manifest | None:
    """A manifest that the store has, or had, and that is the same but for its times; None if there is none whose times are known."""
    key = digest_bytes(format_manifest(undated(manifest)))
    if find_number(store, key) is not None:
        return undated(manifest)
    for marker in iter_markers(store, manifest.description.project):
        if marker.key == key and (found := _recall(store, marker, manifest)) is not None:
            return found
    return None


def _recall(store: Store, marker: Marker, manifest: Manifest) -> Manifest | None:
    """The manifest with the times that it had when it got that number: as the store has it, or as they come out again if it is lost."""
    with contextlib.suppress(StoreDamaged):
        if (digest := read_number(store, marker.number)) is not None:
            with contextlib.suppress(StoreDamaged):
                found = read_manifest(store, digest)
                return found if undated(found) == manifest else None
            again = _date(store, manifest, marker.time)
            if digest_bytes(format_manifest(again)) == digest:
                return again
    return None


def _date(store: Store, manifest: Manifest, time: int) -> Manifest:
    """The manifest as of a time."""
    paths = _paths(manifest)
    newest: dict[str, _Facts] = dict.fromkeys(paths, (-1, "", ""))  # of what each path was before
    for older in _iter_older(store, manifest.description.project, time):
        for path, facts in zip(_paths(older), _iter_facts(older), strict=True):
            if path in newest and facts[0] > newest[path][0]:
                newest[path] = facts
    times = []
    for path, facts in zip(paths, _iter_facts(manifest), strict=True):
        before = newest[path]
        times.append(before[0] if before[1:] == facts[1:] else _time_of(path, time, before[0]))
    return replace(manifest, time=time, times=times)


def _time_of(path: str, time: int, before: int) -> int:
    """The time of what a path of a manifest holds newly; `before` is that of what it held.

    Bytecode tells its source by whole seconds and the size. So a source is dated a little back: whoever edits it right after it came does
    that in a later second.
    """
    return max(time - _BACK_S, before + 1, FIRST_TIME) if path.endswith(".py") else time


_Facts = tuple[int, str, str]
"""Time, digest and kind of a row."""


def _paths(manifest: Manifest) -> list[str]:
    prefixes = (f"{path}/" if path else "" for path in manifest.directories)
    return [prefix + manifest.names[row] for directory, prefix in enumerate(prefixes) for row in manifest.files_in(directory)]


def _iter_facts(manifest: Manifest) -> Iterator[_Facts]:
    return zip(manifest.times, map(manifest.digest, range(len(manifest.names))), manifest.kinds, strict=True)


def _iter_older(store: Store, project: str, time: int) -> Iterator[Manifest]:
    """The newest manifests of a project that are older than a time, the newest first."""
    markers = sorted((one for one in iter_markers(store, project) if one.time < time), reverse=True)
    for marker in markers[:MAX_OLDER]:
        with contextlib.suppress(StoreDamaged):  # it is gone, or fsck's business
            if (digest := read_number(store, marker.number)) is not None:
                yield read_manifest(store, digest)
