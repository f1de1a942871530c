"""RECORD: what a wheel claims about its files. (Recording installed projects, and binary distribution format specifications.)"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from casfs.digest import RECORD_ALGORITHMS
from casfs.wheels.archive import Member
from casfs.wheels.directory import MAX_MEMBERS
from casfs.wheels.problems import Problems, quote

# tensorflow's has 1.7 MB, 106 bytes a member.
MAX_RECORD = 32 << 20

# Made after RECORD, or from it, so RECORD need not list them, and can't know their hashes.
_SELF_AND_SIGNATURES = ("RECORD", "RECORD.jws", "RECORD.p7s")

_DIGEST_SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
_OTHER_BASE64 = str.maketrans("+/", "-_")
_HEX = re.compile(r"[0-9a-f]+")
_LEADING = re.compile(r"^(?:/+|(?:\./+)+)")
_SIZE = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """One row: what the file at `path` must hash to, and its size if the row states one."""

    path: str
    algorithm: str
    digest: bytes
    size: int | None


def record_problem(entry: RecordEntry, size: int, record_hash: bytes) -> str | None:
    """How a file of `size` bytes that hashes (by the entry's algorithm) to `record_hash` breaks RECORD's claim; names the member."""
    if entry.size not in (None, size):
        return f"{quote(entry.path)}: has {size} bytes, but RECORD says {entry.size}"
    if entry.digest != record_hash:
        return f"{quote(entry.path)}: its {entry.algorithm} is not the one in RECORD"
    return None


def parse_record(content: bytes, dist_info: str, problems: Problems, *, is_installed: bool = False) -> dict[str, RecordEntry | None]:
    """Rows by path; None for a row that claims nothing that could be checked. What is wrong goes to `problems`.

    Where something is installed a path that begins with "/" is one of the machine; in a wheel it can only be a slip.
    """
    own = f"{dist_info}/RECORD"
    rows: dict[str, RecordEntry | None] = {}
    try:
        for number, row in enumerate(csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""), strict=True)):
            if number > MAX_MEMBERS:
                problems.refuse(f"{quote(own)}: has more than {MAX_MEMBERS} rows")
            if not row:
                continue  # an empty line
            if not is_installed and (path := _LEADING.sub("", row[0], count=1)) not in {"", row[0]}:
                problems.remark("RECORD has paths that begin with / or ./")
                row[0] = path
            if row[0] in rows:
                problems.add_record(row[0], "is listed in RECORD twice")
            rows[row[0]] = _parse_row(row, dist_info, problems)
    except UnicodeDecodeError:
        problems.add(own, "is not UTF-8")
    except csv.Error as error:
        problems.add(own, f"is not CSV: {error}")
    return rows


def _parse_row(row: list[str], dist_info: str, problems: Problems) -> RecordEntry | None:
    path = row[0]
    if len(row) != 3:
        problems.add_record(path, f"has {len(row)} columns in RECORD instead of 3")
        return None
    if not row[1]:
        if not is_unhashed(path, dist_info):
            problems.add_record(path, "has no hash in RECORD")
        return None
    if row[2] and not _SIZE.fullmatch(row[2]):
        problems.add_record(path, f"has the size {quote(row[2])} in RECORD, which is not a number")
        return None
    algorithm, _, value = row[1].partition("=")
    if algorithm not in RECORD_ALGORITHMS:
        problems.add_record(path, f"has a hash of kind {quote(algorithm)} in RECORD; it must be sha256, sha384 or sha512")
        return None
    digest = _parse_hash(algorithm, value)
    if digest is None and (digest := _parse_hash(algorithm, value.rstrip("=").translate(_OTHER_BASE64))):
        problems.remark("RECORD has hashes that are padded, or in the base64 that is not for URLs")
    if digest is None:
        problems.add_record(path, f"has a hash in RECORD that is not a {algorithm} in unpadded URL-safe base64")
        return None
    return RecordEntry(path, algorithm, digest, int(row[2]) if row[2] else None)


def _parse_hash(algorithm: str, value: str) -> bytes | None:
    """The hash in base64 as it must be, or in hexadecimal as gmsh's wheels have it."""
    size = _DIGEST_SIZES[algorithm]
    if len(value) == 2 * size and _HEX.fullmatch(value):
        return bytes.fromhex(value)
    try:
        digest = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return None
    # The decoder skips what it does not know: only what encodes to the same text was meant.
    if len(digest) != size or base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != value:
        return None
    return digest


def is_unhashed(path: str, dist_info: str) -> bool:
    """Whether RECORD may be silent about `path`."""
    directory, _, name = path.rpartition("/")
    return directory == dist_info and name in _SELF_AND_SIGNATURES


def match_record(
    rows: dict[str, RecordEntry | None], members: Collection[Member], dist_info: str, problems: Problems
) -> dict[str, RecordEntry]:
    """The rows that are about members. A row without its file, or a file without its row, goes to `problems`."""
    names = {member.name for member in members}
    for path in (path for path in rows if path not in names):
        problems.add_record(path, "is listed in RECORD but is not in the archive")
    return dict(_iter_matches(rows, members, dist_info, problems))


def _iter_matches(
    rows: dict[str, RecordEntry | None], members: Iterable[Member], dist_info: str, problems: Problems
) -> Iterable[tuple[str, RecordEntry]]:
    for member in members:
        if member.name not in rows and not is_unhashed(member.name, dist_info):
            problems.add_record(member.name, "is not listed in RECORD")
        entry = rows.get(member.name)
        if entry is None:
            continue
        if entry.size not in (None, member.size):
            problems.add_record(member.name, f"has {member.size} bytes, but RECORD says {entry.size}")
            entry = RecordEntry(entry.path, entry.algorithm, entry.digest, None)  # told once is enough
        yield member.name, entry
