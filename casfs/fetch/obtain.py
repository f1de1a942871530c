"""Obtain: what a lock names, as wheels that can be added: those the store knows, those on the disk, those fetched and those built."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass

from casfs.errors import FetchFailed
from casfs.fetch.access import Access, split_login
from casfs.fetch.download import Download, Report
from casfs.fetch.uv import Uv
from casfs.store.ingest import KnownWheel, find_known
from casfs.store.store import Store
from casfs.venv.changes import Arrival
from casfs.venv.locks.locks import Locked
from casfs.venv.origins import Form, with_digest


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to obtain wheels: who builds and for which Python, who is let in, and where files lie meanwhile."""

    uv: Uv
    python: str
    access: Access
    directory: str
    report: Report


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the file of a locked project is, or will be when it has been downloaded."""

    locked: Locked
    path: str  # "": the store knows the wheel
    download: Download | None


def obtain(store: Store, wanted: Sequence[Locked], means: Means) -> list[Arrival]:
    """The wheels for what is wanted, in its order. Whatever is not in the store is on the disk then, below the directory of `means`.

    Raises FetchFailed and OSError.
    """
    plans = [_plan(store, one, f"{means.directory}/{number}") for number, one in enumerate(wanted)]
    if downloads := [plan.download for plan in plans if plan.download]:
        if means.access.is_offline:
            raise FetchFailed(split_login(downloads[0].url)[0], "is not in the store, and was not fetched since you asked to stay offline")
        from casfs.fetch.downloads import fetch_all

        fetch_all(downloads, means.access, means.report)
    return [_arrive(plan, means, number) for number, plan in enumerate(plans)]


def _plan(store: Store, locked: Locked, directory: str) -> _Plan:
    if locked.form is Form.WHEEL and locked.digest and find_known(store, locked.filename, locked.digest):
        return _Plan(locked, "", None)
    if locked.form in {Form.DIRECTORY, Form.EDITABLE, Form.REPOSITORY} or not locked.is_remote:
        return _Plan(locked, locked.place, None)
    os.mkdir(directory, 0o700)
    path = f"{directory}/{locked.filename}"
    return _Plan(locked, path, Download(locked.place, path, locked.digest, locked.size))


def _arrive(plan: _Plan, means: Means, number: int) -> Arrival:
    locked = plan.locked
    arrival = Arrival("", origin_of(locked), is_direct=locked.is_direct, form=locked.form)
    if not plan.path and locked.digest:
        return dataclasses.replace(arrival, wheel=KnownWheel(locked.filename, locked.digest, locked.size))
    if plan.download is None and locked.digest:
        _check_file(plan.path, locked)
    if locked.form is Form.WHEEL:
        return dataclasses.replace(arrival, wheel=plan.path)
    source, directory = plan.path, f"{means.directory}/built-{number}"
    if locked.form is Form.EDITABLE:
        from casfs.fetch.editables import build_editable

        return dataclasses.replace(arrival, wheel=build_editable(means.uv, means.python, source, directory))
    if locked.form is Form.REPOSITORY:
        from casfs.fetch.repository import check_out

        source = check_out(locked.place, f"{means.directory}/repository-{number}", means.uv.environ)
    return dataclasses.replace(arrival, wheel=means.uv.build(means.python, source, directory))


def origin_of(locked: Locked) -> str:
    """What the environment remembers of where it came from: no password, and no login but the user of a repository behind SSH."""
    plain, login = split_login(locked.place) if locked.is_remote else (locked.place, None)
    if login and "ssh://" in plain:
        plain = plain.replace("://", f"://{login[0]}@", 1)
    return with_digest(plain, locked.digest) if locked.form is Form.SDIST else plain


def _check_file(path: str, locked: Locked) -> None:
    from casfs.digest import digest_file

    with open(path, "rb") as file:
        digest = digest_file(file)
    if digest != locked.digest:
        raise FetchFailed(path, f"has the SHA-256 {digest} and should have {locked.digest}")
