"""Repair: what a check found damaged is set aside, so that adding the same wheels again restores it. Nothing is ever deleted.

A blob is compared once more before it is moved: another process may have restored it since the check.

A number is never free again, even if nobody knows any more whose it was: inode numbers made of it may be in some kernel's cache. Its slot
is burnt, that is, given to no manifest at all; and so is a gap that hides the numbers behind it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from casfs.digest import Digest
from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.check_blobs import BLOB_MODE, hash_file
from casfs.store.check_manifests import read_wheel_record
from casfs.store.check_numbers import BURNT
from casfs.store.damage import Damage, DamageKind, Report
from casfs.store.numbers import iter_slots, number_path, read_number
from casfs.store.plain import OPEN_FLAGS
from casfs.store.publish import sync_file_system
from casfs.store.store import DIRECTORIES, Store

_MAX_PROBES = 1000  # a number so far from its first slot is no number of that manifest, whatever a generation says


@dataclass(frozen=True, slots=True)
class Repaired:
    """One thing that repair did."""

    path: str
    action: str


def repair(store: Store, report: Report) -> tuple[Repaired, ...]:
    """What could be done about the damages of a report, made durable.

    Damaged environments are left alone: which generation they should have is for their owner to say.
    """
    done = [Repaired(path, "the wheel is forgotten") for path in _forget_wheels(store, report)]
    for damage in report.damages:
        act = _ACTIONS.get(damage.kind)
        if act and (action := act(store, report, damage)):
            done.append(Repaired(damage.path, action))
    done += _restore_numbers(store, report)
    fd = os.open(store.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file_system(fd)
    finally:
        os.close(fd)
    return tuple(done)


def _forget_wheels(store: Store, report: Report) -> Iterator[str]:
    """Set aside the records of wheels whose manifests lost anything: a wheel that is known is not unpacked again."""
    for name in sorted(os.listdir(store.path("wheels"))):
        path = store.path("wheels", name)
        with contextlib.suppress(InvalidValue, StoreDamaged, OSError):  # a record that can't be read is a damage of its own
            if read_wheel_record(path) in report.lost:
                set_aside(store, path)
                yield path


def set_aside(store: Store, path: str) -> str:
    """Move something to quarantine/, under its own path there. The path that it has now, below the store."""
    inside = f"quarantine/{os.path.relpath(path, store.root)}"
    names = itertools.chain([inside], (f"{inside}.{count}" for count in itertools.count(2)))
    target = next(name for name in names if not os.path.lexists(store.path(name)))
    os.makedirs(os.path.dirname(store.path(target)), mode=0o700, exist_ok=True)
    os.rename(path, store.path(target))
    return target


def _move(store: Store, report: Report, damage: Damage) -> str | None:
    if not os.path.lexists(damage.path):
        return None
    return f"moved to {set_aside(store, damage.path)}"


def _move_blob(store: Store, report: Report, damage: Damage) -> str | None:
    try:
        is_good = hash_file(damage.path).digest == damage.path[-65:-63] + damage.path[-62:]
    except PermissionError:
        return None  # says nothing about the bytes
    except OSError:
        is_good = False
    return None if is_good else _move(store, report, damage)


def _protect(store: Store, report: Report, damage: Damage) -> str | None:
    fd = os.open(damage.path, OPEN_FLAGS)
    try:
        os.fchmod(fd, BLOB_MODE)
    finally:
        os.close(fd)
    return f"has the mode {BLOB_MODE:04o} again"


def _make_directory(store: Store, report: Report, damage: Damage) -> str | None:
    if damage.path not in map(store.path, DIRECTORIES) or os.path.lexists(damage.path):
        return None
    os.mkdir(damage.path)
    return "made anew"


def _mend_number(store: Store, report: Report, damage: Damage) -> str | None:
    """Replace a record: whose number it is is known from itself or from a generation; what its rows inherited is not."""
    number = int(damage.path[-7:-5] + damage.path[-4:], 16)
    try:
        record = read_number(store, number)
        owner = record.manifest if record else BURNT
    except StoreDamaged:
        owner = report.owners.get(number, BURNT)
    moved = _move(store, report, damage)
    _write_number(store, number, owner)
    burnt = _close_gaps(store, number, owner) if owner != BURNT else 0
    return f"{moved}; " * bool(moved) + _tell(owner) + f", {burnt} gaps before it closed" * bool(burnt)


def _tell(owner: Digest) -> str:
    return "nobody's for ever" if owner == BURNT else f"the number of {owner} again"


def _write_number(store: Store, number: int, owner: Digest) -> None:
    content = json.dumps({"manifest": owner, "inherited": []}, separators=(",", ":")).encode()
    with store.batch() as batch, contextlib.suppress(FileExistsError):  # somebody just took it
        batch.add(number_path(store, number), content, exclusive=True)
        batch.commit()


def _close_gaps(store: Store, number: int, owner: Digest) -> int:
    """Burn the free slots that a search for `owner` meets before its number; how many."""
    before = list(itertools.takewhile(lambda slot: slot != number, itertools.islice(iter_slots(owner), _MAX_PROBES)))
    if len(before) == _MAX_PROBES:
        return 0
    free = [slot for slot in before if not os.path.lexists(number_path(store, slot))]
    for slot in free:
        _write_number(store, slot, BURNT)
    return len(free)


def _restore_numbers(store: Store, report: Report) -> Iterator[Repaired]:
    """Give back the numbers that generations mention and that are gone."""
    for number, owner in report.owners.items():
        path = number_path(store, number)
        if not os.path.lexists(path):
            _write_number(store, number, owner)
            _close_gaps(store, number, owner)
            yield Repaired(path, _tell(owner))


_ACTIONS: dict[DamageKind, Callable[[Store, Report, Damage], str | None]] = {
    DamageKind.LAYOUT: _make_directory,
    DamageKind.STRANGER: _move,
    DamageKind.BLOB: _move_blob,
    DamageKind.MODE: _protect,
    DamageKind.MANIFEST: _move,
    DamageKind.WHEEL: _move,
    DamageKind.NUMBER: _mend_number,
    DamageKind.MARKER: _move,
    DamageKind.INDEX: _move,
}
