"""Obtain: what a lock names, as wheels that can be added: those the store knows, those on the disk, those fetched and those built."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casfs.changes.changes import WheelToAdd
from casfs.errors import BuildFailed, FetchFailed, WheelRefused
from casfs.lockfiles.lockfile import Locked
from casfs.resolve.access import Access, split_login
from casfs.resolve.download import Download
from casfs.resolve.uv import Uv
from casfs.store.ingest import KnownWheel
from casfs.store.installations import Wanted
from casfs.store.kept import take_kept
from casfs.store.known_wheels import Found, find_known
from casfs.store.store import Store
from casfs.venv.origins import SourceKind, format_archive, parse_archive

if TYPE_CHECKING:
    from casfs.resolve.download import ReportAll


@dataclass(frozen=True, slots=True)
class FetchContext:
    """What it takes to obtain wheels: who builds and for which Python, who is let in, and where files lie meanwhile."""

    uv: Uv
    python: str
    access: Access
    directory: str
    report: ReportAll
    tell: Callable[[str], None]  # called with what takes long, as it begins
    wanted: Wanted | None = None  # which bytecode, of what the store remembers; None: it need not remember anything


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the file of a locked project is, or will be when it has been downloaded."""

    locked: Locked
    path: str  # "": the store knows the wheel
    download: Download | None
    found: Found | None = None  # what the store knows


def obtain(store: Store, wanted: Sequence[Locked], context: FetchContext) -> list[WheelToAdd]:
    """The wheels for what is wanted, in its order. Whatever is not in the store is on the disk then, below the directory of `means`.

    Each is of the project that its lock names. Raises FetchFailed and OSError.
    """
    plans = [_plan(store, one, context, number) for number, one in enumerate(wanted)]
    if downloads := [plan.download for plan in plans if plan.download]:
        if context.access.is_offline:
            raise FetchFailed(
                split_login(downloads[0].url)[0], "is not in the store, and was not fetched because you asked to stay offline"
            )
        from casfs.resolve.download import fetch_all

        fetch_all(downloads, context.access, context.report)
    return [_arrive(plan, context, number) for number, plan in enumerate(plans)]


def _plan(store: Store, locked: Locked, context: FetchContext, number: int) -> _Plan:
    is_pinned = locked.form is SourceKind.WHEEL and not locked.checks
    found = find_known(store, locked.filename, locked.digest, context.wanted) if is_pinned and locked.digest else None
    if locked.form is SourceKind.WHEEL and (
        found is None or (found.about.project, found.about.version) != (locked.project, locked.version)
    ):
        _refuse_other(locked, locked.filename)
    if found:
        return _Plan(locked, "", None, found if context.wanted else None)
    if not locked.is_file or not locked.is_remote:
        return _Plan(locked, locked.place, None)
    place = context.directory
    directory = f"{place}/{locked.digest or number}"
    if os.path.exists(directory):  # another project of the lock has the same file
        directory = f"{place}/{number}"
    os.mkdir(directory, 0o700)
    path = f"{directory}/{locked.filename}"
    if locked.digest:
        take_kept(store, locked.digest, path)
    return _Plan(locked, path, Download(locked.place, path, locked.digest, locked.size))


def _arrive(plan: _Plan, context: FetchContext, number: int) -> WheelToAdd:
    locked = plan.locked
    wheel_to_add = WheelToAdd("", origin_of(locked), is_direct=locked.is_direct, form=locked.form, revision=locked.revision)
    if not plan.path and locked.digest:
        return dataclasses.replace(wheel_to_add, wheel=KnownWheel(locked.filename, locked.digest, locked.size, plan.found))
    if locked.is_file and (plan.download is None or locked.hashes or locked.checks):
        _check_file(plan.path, locked)
    wheel = plan.path if locked.form is SourceKind.WHEEL else _build(plan, context, number)
    _refuse_other(locked, os.path.basename(wheel))
    return dataclasses.replace(wheel_to_add, wheel=wheel)


def _build(plan: _Plan, context: FetchContext, number: int) -> str:
    """Path of the wheel that is built of what is no wheel. Raises FetchFailed; BuildFailed names what it came from."""
    locked, source, directory = plan.locked, plan.path, f"{context.directory}/built-{number}"
    context.tell(f"building {locked.project} {locked.version}".rstrip())
    if locked.form is SourceKind.EDITABLE:
        from casfs.resolve.editables import build_editable

        return build_editable(context.uv, context.python, source, directory)
    if locked.form is SourceKind.REPOSITORY:
        from casfs.resolve.repository import check_out

        source = check_out(locked.place, f"{context.directory}/repository-{number}", context.uv.environ, context.access.limits)
    shown = parse_archive(origin_of(locked)).place
    if locked.subdirectory:
        from casfs.resolve.source_archive import unpack

        source = unpack(source, locked.subdirectory, f"{context.directory}/unpacked-{number}", shown)
    try:
        return context.uv.build(context.python, source, directory)
    except BuildFailed as error:
        reason = f"can't be built: {error.subject} {'; '.join(error.reasons)}"
        raise BuildFailed(shown, reason, said=error.said) from None


def _refuse_other(locked: Locked, filename: str) -> None:
    """Raises FetchFailed for a wheel of another project than the lock names, or, of a file, of another version.

    Whoever reads a wheel refuses one that is not what its name says. Source trees have the versions that they make up (PEP 751).
    """
    from packaging.version import Version

    from casfs.wheels.filename import parse_wheel_filename

    try:
        name = parse_wheel_filename(filename)
    except WheelRefused:
        return  # whoever reads it says so
    found, wanted = Version(name.version), Version(locked.version) if locked.version and locked.is_file else None
    if name.project != locked.project or wanted not in {None, found}:
        asked = f"{locked.project} {wanted or ''}".rstrip()
        raise FetchFailed(origin_of(locked), f"is {name.project} {found}, and the lock names {asked}")


def origin_of(locked: Locked) -> str:
    """What the environment remembers of where it came from: no password, and no login but the user of a repository behind SSH."""
    plain, login = split_login(locked.place) if locked.is_remote else (locked.place, None)
    if login and "ssh://" in plain:
        plain = plain.replace("://", f"://{login[0]}@", 1)
    return format_archive(plain, locked.digest, locked.subdirectory) if locked.form is SourceKind.SDIST else plain


def _check_file(path: str, locked: Locked) -> None:
    """Raises FetchFailed unless a file has the size and every hash that the lock says, and those that were asked for."""
    from casfs.digest import hash_file

    shown = split_login(locked.place)[0] if locked.is_remote else path
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise FetchFailed(shown, "is not a regular file")
        if locked.size and facts.st_size != locked.size:
            raise FetchFailed(shown, f"has {facts.st_size} bytes and should have {locked.size}")
        for algorithm, wanted in (*([("sha256", locked.digest)] if locked.digest else []), *locked.hashes):
            if (found := hash_file(file, algorithm)) != wanted:
                raise FetchFailed(shown, f"has the {algorithm.upper().replace('SHA256', 'SHA-256')} {found} and should have {wanted}")
        for group in locked.checks or ():
            found_hashes = {(algorithm, hash_file(file, algorithm)) for algorithm in sorted({algorithm for algorithm, _ in group})}
            if not group & found_hashes:
                said = ", ".join(f"{algorithm}:{value}" for algorithm, value in sorted(found_hashes))
                raise FetchFailed(shown, f"has {said}, which is not one of the given hashes")
