"""Stamps: the digest of a wheel file that has not changed since it was hashed, so that adding it again reads nothing of it.

A stamp is believed only while device, inode, size, mtime and ctime of the file are what they were, and it is written only when the file had
been at rest for a while before it was hashed: a change within the clock's granularity would not show.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from casfs.digest import Digest, digest_bytes, parse_digest
from casfs.errors import InvalidValue
from casfs.store.derived import read_derived, write_derived
from casfs.store.store import Store

_REST_NS = 2_000_000_000  # FAT, the coarsest clock of a file system in use, counts two seconds


def file_facts(fd: int) -> list[int]:
    """What changes when somebody changes the file behind `fd`."""
    status = os.fstat(fd)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def read_stamp(store: Store, path: str, facts: list[int]) -> Digest | None:
    """The digest of the file at `path`, if it is known and the file is still the same."""
    if (body := read_derived(_stamp_path(store, path))) is not None:
        with contextlib.suppress(ValueError, KeyError, TypeError, InvalidValue):
            data = json.loads(body)
            return parse_digest(data["digest"]) if data["facts"] == facts else None
    return None


def write_stamp(store: Store, path: str, facts: list[int], digest: Digest) -> None:
    """Remember the digest, unless the file changed too recently to be sure. Never fails: a stamp only saves time."""
    if time.time_ns() - max(facts[3:]) < _REST_NS:
        return
    write_derived(_stamp_path(store, path), json.dumps({"digest": digest, "facts": facts, "path": path}).encode())


def _stamp_path(store: Store, path: str) -> str:
    return store.path("stamps", digest_bytes(os.fsencode(path))[:32])
