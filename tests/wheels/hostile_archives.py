"""Archives that must be refused, one for each kind of attack or damage."""

from __future__ import annotations

import zlib

from tests.make_wheels import DATA, DEMO, INFO, Hostile, demo_members, edit, make_wheel, pack, pack_bytes, wheel_members
from tests.wheels.zip_writer import WIDE, ZipEnd, ZipMember, deflate, write_zip

ARCHIVES: list[Hostile] = []
"""`read_wheel` refuses these."""

CONTENTS: list[Hostile] = []
"""Here only unpacking can tell."""


def _add(kind: str, members: list[ZipMember], *words: str) -> None:
    ARCHIVES.append(Hostile(kind, pack(members), words))


def _add_first(kind: str, member: ZipMember, *words: str) -> None:
    _add(kind, [member, *demo_members()], *words)


def _add_more(kind: str, member: ZipMember, *words: str) -> None:
    _add(kind, demo_members(member), *words)


def _add_name(kind: str, name: str, *words: str) -> None:
    _add_more(kind, ZipMember(name, b"evil"), repr(name), *words)


def _add_demo(kind: str, reason: str, **changes: object) -> None:
    """The member demo/__init__.py changed behind RECORD's back."""
    _add(kind, edit(demo_members(), DEMO.name, **changes), repr(DEMO.name), reason)


def _add_end(kind: str, end: ZipEnd, *words: str) -> None:
    ARCHIVES.append(Hostile(kind, pack(demo_members(), end), words))


def _add_bytes(kind: str, content: bytes, *words: str) -> None:
    ARCHIVES.append(Hostile(kind, pack_bytes(content), words))


def _add_content(kind: str, reason: str, **changes: object) -> None:
    CONTENTS.append(Hostile(kind, pack(edit(demo_members(), DEMO.name, **changes)), (repr(DEMO.name), reason)))


# --- names ---

_add_name("parent", "../../evil.py", "leaves its directory with '..'")
_add_name("parent inside", "demo/../../../evil.py", "leaves its directory with '..'")
_add_name("parent in data", f"{DATA}/scripts/../../../evil", "leaves its directory with '..'")
_add_name("parent as a directory", "../../evil/", "leaves its directory with '..'")
_add_name("absolute", "/etc/evil", "is an absolute path")
_add_name("absolute in data", f"{DATA}/data//etc/evil", "has an empty or '.' component")
_add_name("double slash", "demo//evil.py", "has an empty or '.' component")
_add_name("dot", "./evil.py", "has an empty or '.' component")
_add_name("dot inside", "demo/./evil.py", "has an empty or '.' component")
_add_name("only a slash", "/", "has an empty or '.' component")
_add_name("empty", "", "has an empty or '.' component")
_add_name("backslash", "sub\\win.py", "has a backslash")
_add_name("drive", "C:\\evil.py", "has a backslash")
_add_name("newline", "demo/a\nb.py", "has a control character")
_add_name("escape sequence", "demo/\x1b[2Jb.py", "has a control character")
_add_name("NUL", "demo/a.py\0.txt", "has a control character")
_add_name("C1 control character", "demo/a\x9bb.py", "has a control character")
_add_name("long component", "n" * 256, "has a component longer than 255 bytes")
_add_name("long component in UTF-8", "é" * 128, "has a component longer than 255 bytes")
_add_more("long path", ZipMember("d/" * 1600 + "x"), "is longer than 3072 bytes")
_add_more("path too long once installed", ZipMember("d/" * 1532 + "x"), "would be installed as", "is longer than 3072 bytes")
_add_more("name in no known encoding", ZipMember("x", raw_name=b"demo/\x81.py", flags=0), "neither ASCII nor marked as UTF-8")
_add_more("bad UTF-8", ZipMember("x", raw_name=b"demo/\xff.py", flags=0x800), "neither ASCII nor marked as UTF-8")
_add_more("surrogate in UTF-8", ZipMember("x", raw_name=b"\xed\xb2\x80", flags=0x800), "neither ASCII nor marked as UTF-8")
_add_name("python placeholder", "demo/{python}/x.py", "has a component {python}")
_add_name("python placeholder in data", f"{DATA}/data/lib/{{python}}/site-packages/x.py", "has a component {python}")
_add_first("duplicate member", DEMO, repr(DEMO.name), "twice")
_add_first("duplicate member with other bytes", DEMO.but(content=b"evil"), repr(DEMO.name), "twice")
_add("duplicate directory", [ZipMember("demo/"), ZipMember("demo/"), *demo_members()], "'demo/'", "twice")
_add_name("file and directory", "demo", "is both a file and a directory")
_add("file and directory entry", [*demo_members(ZipMember("evil")), ZipMember("evil/")], "'evil'", "is both a file and a directory")

# --- kinds and modes ---

_add_demo("symbolic link", "is a symbolic link", mode=0o120777)
_add_first("symbolic link for a directory", ZipMember("demo/", mode=0o120777), "'demo/'", "is a symbolic link")
_add_demo("character device", "is a device", mode=0o020666)
_add_demo("block device", "is a device", mode=0o060666)
_add_demo("named pipe", "is a named pipe", mode=0o010666)
_add_demo("socket", "is a socket", mode=0o140666)
_add_demo("directory mode", "is a directory by its mode", mode=0o040755)
_add_demo("unknown kind", "is of an unknown kind", mode=0o150644)
_add_demo("setuid", "has a setuid or setgid bit", mode=0o104755)
_add_demo("setgid", "has a setuid or setgid bit", mode=0o102755)
_add_demo("setuid without a kind", "has a setuid or setgid bit", mode=0o4755)
_add_demo("DOS directory bit", "is a directory by its attributes", central={"attributes": (0o100644 << 16) | 0x10})

# --- packing ---

_add_demo("LZMA", "is packed with method 14", method=14)
_add_demo("Zstandard", "is packed with method 93", method=93)
_add_demo("encrypted", "is encrypted", flags=1)
_add_demo("strong encryption", "has flags 0x0040", flags=0x40)
_add_demo("masked headers", "has flags 0x2000", flags=0x2000)
_add_demo("needs a later unpacker", "needs version 6.4", central={"version": 64})
_add_demo("stored with another size", "is stored in 10 bytes but claims to have 11", method=0, local={"size": 11}, central={"size": 11})
_add_demo("impossible ratio", "more than its", local={"size": 1 << 20}, central={"size": 1 << 20})
_add_first("directory with content", ZipMember("demo/", b"hidden"), "'demo/'", "is a directory with content")
_add_first("directory with hidden content", ZipMember("demo/", packed=b"hidden"), "'demo/'", "is a directory with content")

# --- headers that disagree ---

_add_demo("another local name", "has another name in its local header", local={"name": b"demo/__evil__.py"})
_add_demo("a shorter local name", "has another name in its local header", local={"name": b"demo"})
_add_demo("a local name that is not UTF-8", "has another name", local={"name": b"demo/__init__.p\xff"})
_add_demo("another local method", "has other flags or another method", local={"method": 0})
_add_demo("other local flags", "has other flags or another method", local={"flags": 2})
_add_demo("another local size", "has other sizes or another CRC", local={"size": 9})
_add_demo("another local packed size", "has other sizes or another CRC", local={"compressed": 1})
_add_demo("another local CRC", "has other sizes or another CRC", local={"crc": 1})
_add_demo("sizes of zero without a descriptor", "has other sizes or another CRC", local={"crc": 0, "size": 0, "compressed": 0})
_add_demo("no local header", "has no local header", local={"signature": b"PK\3\5"})
_add_demo("flag of a descriptor that is not there", "has no data descriptor", flags=8)
_add_demo("descriptor without its flag", "is followed by 16 bytes", descriptor="<4sLLL", flags=0, local={"flags": 0})
_add_demo("descriptor that lies", "has no data descriptor, or one", flags=8, after=b"PK\7\x08" + bytes(12))
_add_demo("descriptor of another length", "has no data descriptor, or one", flags=8, after=bytes(13))
_add_demo("second name in an extra field", "has a second name", extra=b"up\5\0\1abcd")
_add_demo("second name in a local extra field", "has a second name", local_extra=b"up\5\0\1abcd")
_add_demo("extra field cut off", "has an extra field that is cut off", extra=b"UT\5\0\1")
_add_demo("extra field of one byte", "has an extra field that is cut off", local_extra=b"U")
_add_demo("ZIP64 size missing", "says that a size is in a ZIP64 field", central={"size": WIDE})
_add_demo("ZIP64 field too short", "has a ZIP64 field of the wrong length", central={"size": WIDE}, extra=b"\1\0\4\0abcd")
_add_demo("two ZIP64 fields", "has two ZIP64 fields", extra=b"\1\0\0\0\1\0\0\0")
_add_demo("ZIP64 field that contradicts", "has a ZIP64 field that contradicts", extra=b"\1\0\x10\0" + bytes(16))
_add_demo("local ZIP64 that lies", "has other sizes", local={"size": WIDE}, local_extra=b"\1\0\x08\0" + (11).to_bytes(8, "little"))
_add_demo("member comment", "has a comment", central={"comment": b"hello"})
_add_demo("member on another disk", "is on another disk", central={"disk": 1})

# --- layout ---

_add_demo("bytes between members", "is followed by 4 bytes", after=b"evil")
_add_end("bytes before the archive", ZipEnd(prefix=b"#!/bin/sh\n"), "bytes stand before the archive")
_add_end("bytes before the archive, known to it", ZipEnd(prefix=b"#!/bin/sh\n", shift=10), "10 bytes before its first")
_add_end("bytes after the archive", ZipEnd(suffix=b"evil"), "4 bytes", "after its end record")
_add_end("bytes before the end record", ZipEnd(before_end=b"evil"), "its end record begins at")
_add_end("archive comment", ZipEnd(comment=b"hello"), "5 bytes (a comment", "after its end record")
_add_end("archive in a comment", ZipEnd(comment=write_zip(demo_members())), "bytes stand before the archive")
_add_end("one disk of several", ZipEnd(end={"disk": 1}), "several disks")
_add_end("members on several disks", ZipEnd(end={"here": 3}), "several disks")
_add_end("too many members in the end record", ZipEnd(end={"here": 9, "count": 9}), "has 4 members, but", "says 9")
_add_end("too few members in the end record", ZipEnd(end={"here": 3, "count": 3}), "has 4 members, but", "says 3")
_add_end("ZIP64 locator that points elsewhere", ZipEnd(zip64=True, locator_offset=0), "locator points elsewhere")
_add_end("ZIP64 end records that disagree", ZipEnd(zip64=True, end={"size": 1}), "its two end records disagree")
_add_end("ZIP64 end record of another length", ZipEnd(zip64=True, end64={"length": 45}), "has no ZIP64 end record")
_add_end("ZIP64 end record of several disks", ZipEnd(zip64=True, end64={"first_disk": 1}), "several disks")
_add_end("ZIP64 locator of several disks", ZipEnd(zip64=True, disks=2), "several disks")
_add_end("directory beyond the file", ZipEnd(end={"offset": WIDE}), "its end record begins at")
_add_end("no entry in the directory", ZipEnd(before_end=bytes(99), more_size=99), "has no entry at byte")
_add_end("too short an entry in the directory", ZipEnd(before_end=b"PK\1\2", more_size=4), "has no entry at byte")
_add("directory entry cut off", edit(demo_members(), DEMO.name, extra_length=0xFFFF), "entry at byte 0 of its central directory is cut off")
_add("no directory entry", edit(demo_members(), DEMO.name, central={"signature": b"PK\1\3"}), "has no entry at byte 0")
_add("overlapping members", [*demo_members(), DEMO.but(name="demo/again.py", central={"offset": 0})], "overlaps what follows")
_add("member beyond the file", [*demo_members()[1:], DEMO.but(central={"offset": 1 << 30})], repr(DEMO.name), "overlaps what follows")
_add_demo("extra field beyond the file", "overlaps what follows", local_extra_length=0xFFFF)
_add_bytes("no ZIP", b"hello" * 99, "is not a ZIP archive")
_add_bytes("empty file", b"", "is not a ZIP archive: too short")
_add_bytes("cut off", make_wheel().content[:-30], "is not a ZIP archive, or is cut off")
_add_bytes("cut off in its comment", make_wheel().content[:-2] + b"\5\0", "is cut off within its comment")
_add_bytes("concatenated", make_wheel().content * 2, "bytes stand before the archive")
_add("no members", [], "must have one .dist-info directory, but has 0")


def _quoted_overlap() -> list[ZipMember]:
    """The bomb of CVE-2024-0450: the local header of one member is content of the one before, and both share the packed data."""
    kernel = ZipMember("demo/2", bytes(1 << 20))
    header = write_zip([kernel])[: 30 + len(kernel.name)]
    quoted = b"\0" + len(header).to_bytes(2, "little") + (len(header) ^ 0xFFFF).to_bytes(2, "little") + header
    outer = ZipMember("demo/1", header + kernel.content, packed=quoted + kernel.pack())
    return [outer, *demo_members(), kernel.but(central={"offset": 30 + len(outer.name) + 5})]


_add("quoted overlap", _quoted_overlap(), "'demo/1'", "overlaps what follows it")

# --- bombs ---

_MANY = {"here": 100_001, "count": 100_001}
_HUGE: dict[str, int | bytes] = {"size": 4_000_000_000, "compressed": 4_000_000}
_ENDLESS = b"\1\0\x10\0" + b"\xff" * 16
_add_end("member count", ZipEnd(zip64=True, end64=_MANY), "100001 members", "the limits are 100000")
_add("directory count", [ZipMember(f"{i}/" + "d/" * 1500 + "x", method=0) for i in range(70)], "has 105070 directories")
_add_end("directory size", ZipEnd(before_end=bytes(33 << 20), more_size=33 << 20), "the limits are 100000 and 33554432")
_add_more("total size", ZipMember("x", central=_HUGE), "claims to unpack to 4000000", "more than 200 times")
_add_more("beyond all sizes", ZipMember("x", central={"size": WIDE, "compressed": WIDE}, extra=_ENDLESS), "unpack to 18446744", "limit is")
_add("RECORD bomb", [*demo_members()[:-1], ZipMember(f"{INFO}/RECORD", bytes(33 << 20))], f"'{INFO}/RECORD'", "the limit is 33554432")
_ROWS = "".join(f"{i},,\n" for i in range(100_002)).encode()
_add("RECORD of too many rows", edit(demo_members(), f"{INFO}/RECORD", content=_ROWS), f"'{INFO}/RECORD'", "has more than 100000 rows")
_add("METADATA bomb", wheel_members([DEMO], metadata="X: " + "y" * (9 << 20)), f"'{INFO}/METADATA'", "the limit is 8388608")

# --- contents ---

_PACKED = deflate(DEMO.content)
_ENDLESS_BLOCK = b"\0\x0a\0\xf5\xff" + DEMO.content  # holds the content as it is, and says that another block follows
_RECORD = demo_members()[-1]
_EMPTY = {"crc": zlib.crc32(b"")}
_add_content("other bytes than RECORD says", "is not the one in RECORD", content=b"VALUE = 2\n")
_add_content("wrong CRC", "has another CRC", local={"crc": 1}, central={"crc": 1})
_add_content("bytes after the stream", "has bytes after the end of its deflate stream", packed=_PACKED + b"evil")
_add_content("a byte after the stream", "has bytes after the end of its deflate stream", packed=_PACKED + b"\0")
_add_content("far more after the stream", "has bytes after the end of its deflate stream", packed=_PACKED + bytes(1 << 20))
_add_content("two streams", "has bytes after the end of its deflate stream", packed=_PACKED * 2)
_add_content("stream cut off", "has a deflate stream that is cut off", packed=_PACKED[:-1])
_add_content("stream without an end", "has a deflate stream that is cut off", packed=_ENDLESS_BLOCK)
_add_content("no stream", "has a bad deflate stream", packed=b"\xff" * 20)
_add_content("bomb that lies", "unpacks to more than the 10 bytes", packed=deflate(bytes(50_000_000)))
_add_content("less than it claims", "unpacks to 5 bytes but claims 10", packed=deflate(DEMO.content[:5]))
_add_content("stored, other bytes", "has another CRC", method=0, packed=b"VALUE = 2\n")
_add("RECORD with a wrong CRC", edit(demo_members(), _RECORD.name, local=_EMPTY, central=_EMPTY), repr(_RECORD.name), "has another CRC")
_add("RECORD with bytes after it", edit(demo_members(), _RECORD.name, packed=_RECORD.pack() + b"x"), repr(_RECORD.name), "after the end")
