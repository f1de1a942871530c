"""Check: believes nothing that the store says of itself, and never stops at the first damage.

What is derived (stamps, what interpreters answered, an index that readers would not believe) is never damage, nor is what a dead process
leaves behind: things in tmp/, dead leases, blobs and manifests that nothing refers to.

What lies in a shared pool counts as there if it has the right size: whoever keeps that pool checks it.

Manifests are read first, for the others are compared with them; whatever appears in the store meanwhile is looked at where it is met.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from casfs.errors import StoreDamaged
from casfs.store.fsck.blobs import PoolCheck, Progress
from casfs.store.fsck.damage import DamageKind, Findings, Report, Totals
from casfs.store.fsck.environments import EnvironmentsCheck
from casfs.store.fsck.manifests import ManifestTable, check_wheels
from casfs.store.fsck.numbers import NumbersCheck
from casfs.store.migration import FORMAT, OLD_FORMAT, RUN
from casfs.store.regular_file import describe_kind, read_plain_file
from casfs.store.store import DIRECTORIES, Store

CheckBytecode = Callable[[Store, Findings, ManifestTable], int]


def check_store(
    store: Store,
    *,
    is_fast: bool = False,
    progress: Progress = lambda done, total: None,
    check_bytecode: CheckBytecode = lambda store, findings, table: 0,
) -> Report:
    """All that is damaged in a store.

    All data is read. `is_fast` compares blobs that a manifest mentions with its XXH3-128, which finds bit rot at a tenth of the work, but
    not what somebody forged. What bytecode must be like only `casfs.venv` knows, so its check is given to this one.
    """
    findings = Findings()
    for path, reason in _iter_layout_problems(store):
        findings.add(DamageKind.LAYOUT, path, reason)
    table = ManifestTable(store, findings)
    table.read_all()
    wheels = check_wheels(store, findings, table)
    numbers = NumbersCheck(store, findings, table)
    numbers.run()
    environments = EnvironmentsCheck(store, findings, table, numbers)
    environments.run()
    sources = check_bytecode(store, findings, table)
    pool = PoolCheck(store, findings, table, is_fast=is_fast)
    pool.run(progress)
    totals = Totals(
        blobs=pool.blobs,
        bytes=pool.bytes,
        manifests=len(table),
        wheels=wheels,
        numbers=numbers.count,
        sources=sources,
        environments=environments.environments,
        generations=environments.generations,
        orphan_blobs=pool.orphans,
        orphan_manifests=table.orphans,
        shared=tuple((root, pool.shared.get(f"{root}/blobs", 0)) for root in store.shared),
        leftovers=len(findings.entries(store.path("tmp"))),
    )
    return findings.report(totals)


def _iter_layout_problems(store: Store) -> Iterator[tuple[str, str]]:
    path = store.path("format")
    try:
        expected = FORMAT if store.run == RUN else OLD_FORMAT
        if (content := read_plain_file(path)) != expected.encode():
            yield path, f"says {content[:40]!r} instead of {expected!r}"
    except FileNotFoundError:
        yield path, "is missing"
    except StoreDamaged as error:
        yield path, "; ".join(error.reasons)
    for path in [store.path(name) for name in DIRECTORIES if name != RUN] + [store.run_path()]:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            yield path, "is missing"
        else:
            if not stat.S_ISDIR(mode):
                yield path, f"is {describe_kind(mode)} instead of a directory"
