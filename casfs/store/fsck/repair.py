"""Repair: what a check found damaged is set aside, so that adding the same wheels again restores it. Nothing is ever deleted.

A blob is compared once more before it is moved: another process may have restored it since the check.

A number is never free again, even if nobody knows any more whose it was: inode numbers made of it may be in some kernel's cache. Its slot
is burnt, that is, given to no manifest at all; and so is a gap that hides the numbers behind it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from casfs.descriptors import closing_fd
from casfs.digest import Digest
from casfs.errors import StoreDamaged
from casfs.store.fsck.blobs import BLOB_MODE
from casfs.store.fsck.damage import Damage, DamageKind, Report
from casfs.store.fsck.numbers import RETIRED
from casfs.store.manifests import manifest_path
from casfs.store.numbers import find_number, format_number, iter_slots, number_path, read_number
from casfs.store.publish import naming, sync_file_system
from casfs.store.quarantine import note_missing_blob, set_aside, set_aside_blob, withdraw_wheels_of
from casfs.store.regular_file import OPEN_FLAGS
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
    done = []
    for damage in report.damages:  # first of all they name lost directories, which the others need
        act = _ACTIONS.get(damage.kind)
        if act and (action := act(store, report, damage)):
            done.append(Repaired(damage.path, action))
    done += [Repaired(path, "the wheel is forgotten") for path in withdraw_wheels_of(store, report.lost.__contains__)]
    done += [Repaired(path, f"moved to {set_aside(store, path)}") for path in _iter_useless(store, report)]
    done += _restore_numbers(store, report)
    with closing_fd(os.open(store.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd, naming(store.root):
        sync_file_system(fd)
    return tuple(done)


def _iter_useless(store: Store, report: Report) -> Iterator[str]:
    """Manifests that lost something and that no generation mentions. Adding their wheels makes them anew."""
    for digest in sorted(report.lost.difference(report.owners.values())):
        if os.path.lexists(path := manifest_path(store, digest)):
            yield path


def _move(store: Store, report: Report, damage: Damage) -> str | None:
    if not os.path.lexists(damage.path):
        return None
    return f"moved to {set_aside(store, damage.path)}"


def _move_blob(store: Store, report: Report, damage: Damage) -> str | None:
    moved = set_aside_blob(store, damage.path)
    return f"moved to {moved}" if moved else None


def _note_missing(store: Store, report: Report, damage: Damage) -> str | None:
    return "noted as missing" if note_missing_blob(store, damage.path) else None


def _protect(store: Store, report: Report, damage: Damage) -> str | None:
    with closing_fd(os.open(damage.path, OPEN_FLAGS)) as fd:
        os.fchmod(fd, BLOB_MODE)
    return f"has the mode {BLOB_MODE:04o} again"


def _make_directory(store: Store, report: Report, damage: Damage) -> str | None:
    if damage.path not in map(store.path, DIRECTORIES) or os.path.isdir(damage.path):
        return None  # a link to a directory may be somebody's intention
    moved = _move(store, report, damage)
    os.mkdir(damage.path)
    return f"{moved}, and made anew" if moved else "made anew"


def _mend_number(store: Store, report: Report, damage: Damage) -> str | None:
    """Replace a record: whose number it is is known from a generation or from itself."""
    number = int(damage.path[-7:-5] + damage.path[-4:], 16)
    return _give_number(store, number, _find_owner(store, report, number))


def _find_owner(store: Store, report: Report, number: int) -> Digest:
    if number in report.owners:
        return report.owners[number]
    try:
        manifest = read_number(store, number)
        if manifest and find_number(store, manifest) in (None, number):
            return manifest
    except StoreDamaged:
        pass
    return RETIRED


def _give_number(store: Store, number: int, owner: Digest) -> str:
    """Record that a number is `owner`'s, and let it be found."""
    before = _slots_before(number, owner)
    if before is None:
        owner, before = RETIRED, []
    path = number_path(store, number)
    moved = f"moved to {set_aside(store, path)}; " if os.path.lexists(path) else ""
    _write_number(store, number, owner)
    for slot in before:
        if not os.path.lexists(number_path(store, slot)):
            _write_number(store, slot, RETIRED)
    return moved + _tell(owner)


def _slots_before(number: int, owner: Digest) -> list[int] | None:
    """The slots that a search for `owner` looks at before it comes to that number; None if it can't be its number."""
    slots = list(itertools.takewhile(lambda slot: slot != number, itertools.islice(iter_slots(owner), _MAX_PROBES)))
    return slots if len(slots) < _MAX_PROBES else None


def _tell(owner: Digest) -> str:
    return "nobody's for ever" if owner == RETIRED else f"the number of {owner} again"


def _write_number(store: Store, number: int, owner: Digest) -> None:
    with store.batch() as batch, contextlib.suppress(FileExistsError):  # somebody just took it
        batch.add(number_path(store, number), format_number(owner), exclusive=True)
        batch.commit()


def _restore_numbers(store: Store, report: Report) -> Iterator[Repaired]:
    """Give back the numbers that generations mention, and that are gone or are said to be of a manifest that nobody has."""
    used = set(report.owners.values())
    for number, owner in report.owners.items():
        with contextlib.suppress(StoreDamaged):  # a damage of its own
            manifest = read_number(store, number)
            if manifest and (manifest in used or os.path.lexists(manifest_path(store, manifest))):
                continue
            if _slots_before(number, owner) is None:
                continue  # what the generation says can't be true
            yield Repaired(number_path(store, number), _give_number(store, number, owner))


_ACTIONS: dict[DamageKind, Callable[[Store, Report, Damage], str | None]] = {
    DamageKind.LAYOUT: _make_directory,
    DamageKind.STRANGER: _move,
    DamageKind.BLOB: _move_blob,
    DamageKind.MISSING_BLOB: _note_missing,
    DamageKind.MODE: _protect,
    DamageKind.MANIFEST: _move,
    DamageKind.WHEEL: _move,
    DamageKind.NUMBER: _mend_number,
    DamageKind.MARKER: _move,
    DamageKind.INDEX: _move,
    DamageKind.BYTECODE: _move,
}
