"""Makes wheels: good ones, odd but good ones (QUIRKS), and a source to read them from.

The hostile ones are in tests/wheels/hostile_corpus.py.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from casfs.errors import WheelRefused
from tests.wheels.zip_writer import EXECUTABLE, WIDE, ZipEnd, ZipMember, write_zip

Row = tuple[str, str, str]
T = TypeVar("T")


class BytesSource:
    """A wheel in memory, that counts what is asked of it."""

    def __init__(self, content: bytes, name: str) -> None:
        self._content = content
        self.name = name
        self.size = len(content)
        self.bytes_read = 0

    def read_at(self, offset: int, length: int) -> bytes:
        self.bytes_read += length
        if offset + length > self.size:
            raise WheelRefused(self.name, f"ends {offset + length - self.size} bytes too early")
        return self._content[offset : offset + length]


@dataclass(frozen=True)
class Hostile:
    """A wheel that must be refused, and what the refusal must say: usually the member and the reason."""

    kind: str
    wheel: MadeWheel
    words: tuple[str, ...]
    record_only: bool = False
    """RECORD lies and nothing else does: a user may choose to tolerate it."""


@dataclass(frozen=True)
class MadeWheel:
    """A wheel as a file name and bytes."""

    filename: str
    content: bytes

    def write_to(self, directory: Path) -> Path:
        path = directory / self.filename
        path.write_bytes(self.content)
        return path

    def source(self) -> BytesSource:
        return BytesSource(self.content, self.filename)


def unless_refused(function: Callable[..., T], *arguments: object) -> T | None:
    """What `function` returns, or None if it refuses with a reason."""
    try:
        return function(*arguments)
    except WheelRefused as refusal:
        if not refusal.reasons:
            raise
        return None


def hash_field(content: bytes, algorithm: str = "sha256") -> str:
    """`content`'s hash as RECORD writes it."""
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def record_rows(members: Iterable[ZipMember], record: str) -> list[Row]:
    """True rows for all members but directories, and RECORD's own."""
    rows = [(member.name, hash_field(member.content), str(len(member.content))) for member in members if not member.name.endswith("/")]
    return [*rows, (record, "", "")]


def format_rows(rows: Iterable[Sequence[str]], line_end: str = "\n") -> bytes:
    """RECORD's text."""
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end).writerows(rows)
    return text.getvalue().encode()


def dist_info_members(
    name: str = "demo", version: str = "1.0", *, tag: str = "py3-none-any", metadata: str = "", entry_points: str | None = None
) -> list[ZipMember]:
    """What every wheel has in its .dist-info, without RECORD."""
    directory = f"{name}-{version}.dist-info"
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}\nSome words about it.\n"
    members = [
        ZipMember(f"{directory}/METADATA", text.encode()),
        ZipMember(f"{directory}/WHEEL", f"Wheel-Version: 1.0\nGenerator: casfs tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()),
    ]
    if entry_points is not None:
        members.append(ZipMember(f"{directory}/entry_points.txt", entry_points.encode()))
    return members


def wheel_members(members: Iterable[ZipMember], name: str = "demo", version: str = "1.0", **info: str) -> list[ZipMember]:
    """`members` and a .dist-info with a true RECORD: what a wheel should hold."""
    members = [*members, *dist_info_members(name, version, **info)]
    record = f"{name}-{version}.dist-info/RECORD"
    return [*members, ZipMember(record, format_rows(record_rows(members, record)))]


def make_wheel(
    files: Mapping[str, bytes] | None = None,
    name: str = "demo",
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    executable: Iterable[str] = (),
    **info: str,
) -> MadeWheel:
    """A good wheel with `files` (by name in the archive); `info` is `metadata` (header lines) and `entry_points` (the file's text)."""
    executable = set(executable)
    files = {f"{name}/__init__.py": b"VALUE = 1\n"} if files is None else files
    plain = [ZipMember(path, content, EXECUTABLE if path in executable else 0o100644) for path, content in files.items()]
    return MadeWheel(f"{name}-{version}-{tag}.whl", write_zip(wheel_members(plain, name, version, tag=tag, **info)))


def pack(members: Sequence[ZipMember], end: ZipEnd | None = None, filename: str = "demo-1.0-py3-none-any.whl") -> MadeWheel:
    """The members as they are."""
    return MadeWheel(filename, write_zip(members, end))


def pack_bytes(content: bytes) -> MadeWheel:
    """Anything, called a wheel."""
    return MadeWheel("demo-1.0-py3-none-any.whl", content)


DEMO = ZipMember("demo/__init__.py", b"VALUE = 1\n")
INFO = "demo-1.0.dist-info"
DATA = "demo-1.0.data"


def demo_members(*more: ZipMember, **info: str) -> list[ZipMember]:
    """A small project, with members of one's own; RECORD is true."""
    return wheel_members([DEMO, *more], **info)


def edit(members: Iterable[ZipMember], name: str, **changes: object) -> list[ZipMember]:
    """`members` with the one called `name` changed, after RECORD was written."""
    return [member.but(**changes) if member.name == name else member for member in members]


def with_record(
    rows: Callable[[list[Row]], Iterable[Sequence[str]]], *more: ZipMember, line_end: str = "\n", **info: str
) -> list[ZipMember]:
    """A small project with the RECORD that `rows` makes of the true one."""
    members = demo_members(*more, **info)[:-1]
    record = f"{INFO}/RECORD"
    return [*members, ZipMember(record, format_rows(rows(record_rows(members, record)), line_end))]


def _hex_row(row: Row) -> Row:
    algorithm, _, value = row[1].partition("=")
    return (row[0], f"{algorithm}={base64.urlsafe_b64decode(value + '=').hex()}" if value else "", row[2])


def _streamed(format_: str) -> list[ZipMember]:
    return edit(demo_members(), DEMO.name, descriptor=format_)


def _forced_zip64(member: ZipMember) -> ZipMember:
    sizes = len(member.content).to_bytes(8, "little") + len(member.pack()).to_bytes(8, "little")
    return member.but(local={"compressed": WIDE, "size": WIDE}, local_extra=b"\1\0\x10\0" + sizes)


def _widened(member: ZipMember) -> ZipMember:
    sizes = len(member.content).to_bytes(8, "little") + len(member.pack()).to_bytes(8, "little")
    return _forced_zip64(member).but(central={"compressed": WIDE, "size": WIDE}, extra=b"\1\0\x10\0" + sizes)


_SPACE = " .git-blame-ignore-revs"

QUIRKS: dict[str, MadeWheel] = {
    "plain": pack(demo_members()),
    "one module": make_wheel({"six.py": b"x = 1\n"}, "six", "1.16.0", tag="py2.py3-none-any"),
    "scripts": make_wheel({f"{DATA}/scripts/demo": b"#!python\nprint(1)\n", f"{DATA}/scripts/demo.cmd": b"@echo off\r\n"}),
    "binary script": make_wheel({f"{DATA}/scripts/ruff": b"\x7fELF" + bytes(range(256)) * 50}),
    "headers": make_wheel({f"{DATA}/headers/deep/er/demo.h": b"int x;\n", f"{DATA}/headers/demo.h": b"int y;\n"}),
    "data": make_wheel({f"{DATA}/data/etc/jupyter/demo.json": b"{}", f"{DATA}/data/share/man/man1/demo.1": b".TH"}),
    "data in lib": make_wheel({f"{DATA}/data/lib/libdemo.so": b"\x7fELF", f"{DATA}/data/lib64/libother.so": b"\x7fELF"}),
    "data that spells out pythonX.Y": make_wheel({f"{DATA}/data/lib/python3.11/site-packages/extra.py": b""}),
    "purelib and platlib": make_wheel({f"{DATA}/purelib/pure.py": b"", f"{DATA}/platlib/plat.py": b"", "root.py": b""}),
    "empty files": make_wheel({"demo/__init__.py": b"", "demo/py.typed": b""}),
    "stored": pack([member.but(method=0) for member in demo_members()]),
    "empty member without a stream": pack(demo_members(ZipMember("demo/py.typed", packed=b""))),
    "directory entries": pack([ZipMember("demo/", mode=0o40755, method=0), ZipMember(f"{DATA}/", mode=0o40755, method=0), *demo_members()]),
    "setgid directory": pack([ZipMember("demo/", mode=0o42775, method=0), *demo_members()]),
    "directory without a mode": pack([ZipMember("demo/", mode=0), *demo_members()]),
    "modes": pack(demo_members(*[ZipMember(f"demo/{mode:o}", b"", 0o100000 | mode) for mode in (0, 0o600, 0o640, 0o666, 0o744, 0o777)])),
    "no mode": pack([member.but(mode=0) for member in demo_members()]),
    "RECORD with CRLF": pack(with_record(lambda rows: rows, line_end="\r\n")),
    "RECORD with quoted names": pack(with_record(lambda rows: rows, ZipMember('demo/a, "b".txt', b"x"))),
    "RECORD with empty lines": pack(with_record(lambda rows: [*rows[:1], (), *rows[1:], (), ()])),
    "RECORD in hexadecimal": pack(with_record(lambda rows: map(_hex_row, rows))),
    "RECORD with sha512": pack(with_record(lambda rows: [(DEMO.name, hash_field(DEMO.content, "sha512"), "10"), *rows[1:]])),
    "RECORD with sha384": pack(with_record(lambda rows: [(DEMO.name, hash_field(DEMO.content, "sha384"), "10"), *rows[1:]])),
    "RECORD without sizes": pack(with_record(lambda rows: [(row[0], row[1], "") for row in rows])),
    "RECORD without itself": pack(with_record(lambda rows: rows[:-1])),
    "signatures": pack([*demo_members(), ZipMember(f"{INFO}/RECORD.jws", b"{}"), ZipMember(f"{INFO}/RECORD.p7s", b"0")]),
    "installer's files": make_wheel({f"{INFO}/INSTALLER": b"conda\n", f"{INFO}/REQUESTED": b"", f"{INFO}/direct_url.json": b"{}"}),
    "names with spaces": make_wheel({f"flax/oss/{_SPACE}": b"", "demo/Lorem ipsum.txt": b"", "demo/script (dev).tmpl": b""}),
    "names beyond ASCII": make_wheel({"demo/Grüße.txt": b"", "demo/日本語.py": b"", "demo/e\u0301.txt": b"", "demo/é.txt": b""}),
    "case twins": make_wheel({"demo/Case.py": b"1", "demo/case.py": b"2"}),
    "long names": make_wheel({"/".join(["d" * 87] * 5) + "/x.py": b"", "n" * 255: b""}),
    "pth files": make_wheel({"aaaaa_demo.pth": b"import os\n", "demo-nspkg.pth": b"import sys\n", "demo/weights.pth": b"\0\1"}),
    "bytecode": make_wheel({"demo/__pycache__/x.cpython-311.pyc": b"\xa7\r\r\n"}),
    "same bytes thrice": make_wheel({f"demo/libz.so{end}": b"\x7fELF" for end in ("", ".1", ".1.3.2")}),
    "a wheel in a wheel": pack(demo_members(ZipMember("demo/inner.whl", make_wheel().content, method=0))),
    "vendored dist-info": make_wheel({"demo/_vendor/other-2.0.dist-info/RECORD": b"", "demo/x.data/y": b""}),
    "build tag": MadeWheel("demo-1.0-0-py3-none-any.whl", make_wheel().content),
    "other spelling": MadeWheel("de_mo-1.0.0-py3-none-any.whl", make_wheel({"x.py": b""}, "De.Mo", "1.0").content),
    "local version": make_wheel(None, "demo", "2.0+cu118"),
    "old metadata.json": make_wheel({f"{INFO}/metadata.json": b"{}", f"{INFO}/namespace_packages.txt": b"demo\n"}),
    "METADATA with CRLF": pack(
        wheel_members([ZipMember(f"{INFO}/extra", b"")], metadata="Author: J\u00f6rg\r\nRequires-Python: >=3.8,\r\n <4\r\n")
    ),
    "Requires-Python that is none": pack(demo_members(metadata="Requires-Python: whatever\n")),
    "gui and console": pack(
        demo_members(entry_points="[console_scripts]\ndemo=demo:main\n  other = demo.cli:Main.run [x]\n\n[gui_scripts]\ngdemo = demo:gui\n")
    ),
    "empty section": pack(demo_members(entry_points="[gui_scripts]\n\n[plugins]\nanything goes ! = %(here)s\n")),
    "launcher replaces script": pack(
        demo_members(
            *[ZipMember(f"{DATA}/scripts/{name}", b"#!python\n") for name in ("demo", "demo-script.py", "demo.exe", "demo.pya", "kept")],
            entry_points="[console_scripts]\ndemo = demo:main\n",
        )
    ),
    "activate-something": make_wheel({f"{DATA}/scripts/activate-global-python-argcomplete": b"#!/bin/sh\n"}),
    "python-something": make_wheel({f"{DATA}/scripts/python-argcomplete-check-easy-install-script": b"#!/bin/sh\n"}),
    **{f"streamed {format_}": pack(_streamed(format_)) for format_ in ("<LLL", "<4sLLL", "<LQQ", "<4sLQQ")},
    "forced ZIP64": pack([_forced_zip64(member) for member in demo_members()]),
    "ZIP64 in both headers": pack([_widened(member) for member in demo_members()]),
    "ZIP64 end": pack(demo_members(), ZipEnd(zip64=True)),
    "unknown extra fields": pack([member.but(extra=b"UT\5\0\1abcd", local_extra=b"UT\5\0\1abcd") for member in demo_members()]),
    "members in another order": pack([*reversed(demo_members())]),
}
"""Wheels that look odd and must be taken as pip takes them; the names are those of what is odd."""
