"""fsck."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence

from casfs.cli.context import store_directory
from casfs.cli.options import add_json
from casfs.cli.output import format_count, format_size, note, progress_of_wheels, say, say_json, warn
from casfs.cli.parser import Commands
from casfs.errors import CasfsError
from casfs.mounts.mounting import refresh_late_mounts
from casfs.store.availability import WAY_OUT, find_absent, iter_environments
from casfs.store.fsck.check import check_store
from casfs.store.fsck.damage import Damage, Report, Totals
from casfs.store.fsck.repair import Repaired, repair
from casfs.store.shared import shared_store_lock, use_shared_pools
from casfs.store.store import Store, open_store
from casfs.venv.bytecode.check import check_bytecode

_FOUND_DAMAGE = 3

_NOT_PROVEN = """\
NOT PROVEN by --fast: that no blob was replaced on purpose. Blobs were compared with their XXH3-128, for which anyone can make
another content; only `casfs fsck` without --fast compares their SHA-256."""


def add_command(commands: Commands) -> None:
    """casfs fsck"""
    fsck = commands.add("fsck", run_fsck, "casfs fsck --fast")
    fsck.add_argument("--fast", action="store_true", help="compare files with XXH3-128 instead of SHA-256: finds bit rot, not forgery")
    fsck.add_argument("--repair", action="store_true", help="set damaged files aside, so that adding their wheels again restores them")
    add_json(fsck)


def run_fsck(arguments: argparse.Namespace) -> int:
    """casfs fsck"""
    store = open_store(store_directory(arguments))
    use_shared_pools(store)
    with _holding_still(store):
        report = _check(store, is_fast=arguments.fast)
        for damage in () if arguments.json else report.damages:
            say(_describe(damage))
        _note_report(store, report, is_fast=arguments.fast, is_repaired=arguments.repair)
        repaired = _repair(store, report) if report.damages and arguments.repair else ()
    if arguments.json:
        say_json(_json(report, repaired, is_fast=arguments.fast))
    elif not report.damages:
        say("no bit rot found" if arguments.fast else "no damage")
    elif arguments.repair:
        _say_repaired(repaired)
    return _FOUND_DAMAGE if report.damages else 0


def _check(store: Store, *, is_fast: bool) -> Report:
    with progress_of_wheels() as progress:
        shown = functools.partial(progress, "blobs")
        return check_store(store, is_fast=is_fast, progress=shown, check_bytecode=check_bytecode)


def _note_report(store: Store, report: Report, *, is_fast: bool, is_repaired: bool) -> None:
    """What was looked at, and what the damages mean."""
    _note_totals(report.totals)
    if is_fast:
        for line in _NOT_PROVEN.split("\n"):
            note(line)
    if report.damages:
        hint = "" if is_repaired else "; `casfs fsck --repair` sets it aside, so that adding the same wheels again restores it"
        note(f"damage was found in {format_count(len(report.damages), 'place')}{hint}")
        _note_absent(store)


@contextlib.contextmanager
def _holding_still(store: Store) -> Iterator[None]:
    """Nothing is collected meanwhile; the rest goes on."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it is among what the check finds
            stack.enter_context(shared_store_lock(store))
        yield


def _note_absent(store: Store) -> None:
    """Say which environments can't be mounted, since distributions of theirs are in no pool any more, and what helps."""
    for environment in iter_environments(store):
        with contextlib.suppress(CasfsError, OSError):  # it is among the damages
            if absent := find_absent(store, environment.require()):
                note(f"environment {environment.name!r}: {absent} in no pool of the store any more; {WAY_OUT}")


def _describe(damage: Damage) -> str:
    hit = f" (hits {', '.join(damage.environments)})" if damage.environments else ""
    return f"{damage.path}: {damage.reason}{hit}"


def _note_totals(totals: Totals) -> None:
    checked = (
        f"{format_count(totals.blobs, 'blob')} of {format_size(totals.bytes)}",
        format_count(totals.manifests, "manifest"),
        format_count(totals.wheels, "wheel"),
        f"{format_count(totals.generations, 'generation')} of {format_count(totals.environments, 'environment')}",
    )
    compiled = (format_count(totals.sources, "compiled source"),) if totals.sources else ()
    note(f"checked {', '.join([*checked, *compiled])}")
    orphans = totals.orphan_blobs + totals.orphan_manifests
    if orphans:
        note(f"{format_count(orphans, 'file')} that nothing refers to: no damage, and `casfs collect` removes them")
    for root, count in totals.shared:
        relied = f"relies on the shared pool {root} for {format_count(count, 'blob')}"
        note(f"{relied}, of which only the size was compared: `casfs --store {root} fsck` reads them" if count else relied)
    if totals.leftovers:
        note(f"{format_count(totals.leftovers, 'leftover')} in tmp/: the next `casfs add` sweeps what dead processes left")


def _repair(store: Store, report: Report) -> Sequence[Repaired]:
    done = repair(store, report)
    if os.geteuid() == 0:
        refresh_late_mounts(store, warn)
    return done


def _say_repaired(done: Sequence[Repaired]) -> None:
    for one in done:
        say(f"repaired: {one.path}: {one.action}")
    if not done:
        say("nothing could be repaired")
    note("adding the same wheels again restores what was set aside or is missing; then `casfs fsck` says whether all is well")


def _json(report: Report, repaired: Sequence[Repaired], *, is_fast: bool) -> dict[str, object]:
    totals = report.totals
    return {
        "is_fast": is_fast,
        "damages": [
            {"kind": damage.kind.value.replace(" ", "_"), "path": damage.path, "reason": damage.reason, "environments": damage.environments}
            for damage in report.damages
        ],
        "repairs": [dataclasses.asdict(one) for one in repaired],
        "blob_count": totals.blobs,
        "bytes": totals.bytes,
        "manifest_count": totals.manifests,
        "wheel_count": totals.wheels,
        "generation_count": totals.generations,
        "environment_count": totals.environments,
        "source_count": totals.sources,
        "orphan_blob_count": totals.orphan_blobs,
        "orphan_manifest_count": totals.orphan_manifests,
        "leftover_count": totals.leftovers,
        "shared_pools": [{"path": root, "blob_count": count} for root, count in totals.shared],
    }
