"""Writes ZIP archives, and everything that a ZIP archive should not be: each header field can be made to lie."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

REGULAR = 0o100644
EXECUTABLE = 0o100755
WIDE = 0xFFFFFFFF


@dataclass(frozen=True)
class ZipMember:
    """One member. What is None is made as it should be; `local` and `central` replace fields of one header only."""

    name: str
    content: bytes = b""
    mode: int = REGULAR
    method: int = 8
    packed: bytes | None = None
    raw_name: bytes | None = None
    flags: int | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    descriptor: str | None = None
    """struct format of the data descriptor that follows the content: <LLL, <4sLLL, <LQQ or <4sLQQ."""
    local: dict[str, int | bytes] = field(default_factory=dict)
    central: dict[str, int | bytes] = field(default_factory=dict)
    extra_length: int | None = None
    local_extra_length: int | None = None
    after: bytes = b""
    """Bytes between this member and the next."""

    def but(self, **changes: object) -> ZipMember:
        return replace(self, **changes)  # type: ignore[arg-type]

    def fields(self) -> dict[str, int | bytes]:
        raw_name = self.raw_name if self.raw_name is not None else self.name.encode("utf-8")
        flags = self.flags if self.flags is not None else (0 if raw_name.isascii() else 0x800) | (8 if self.descriptor else 0)
        return {
            "version": 20, "flags": flags, "method": self.method, "crc": zlib.crc32(self.content), "compressed": len(self.pack()),
            "size": len(self.content), "name": raw_name, "disk": 0, "attributes": self.mode << 16, "comment": b"",
        }  # fmt: skip

    def pack(self) -> bytes:
        if self.packed is not None:
            return self.packed
        return deflate(self.content) if self.method == 8 else self.content


@dataclass(frozen=True)
class ZipEnd:
    """How the archive ends, and what stands around it. What is None is made as it should be."""

    prefix: bytes = b""
    before_end: bytes = b""
    comment: bytes = b""
    suffix: bytes = b""
    zip64: bool = False
    end: dict[str, int] = field(default_factory=dict)
    end64: dict[str, int] = field(default_factory=dict)
    locator_offset: int | None = None
    disks: int = 1
    more_size: int = 0
    """Bytes that the directory is said to have more than it has."""
    shift: int = 0
    """Added to each offset: len(prefix) makes an archive that knows of its prefix."""


def deflate(content: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    return stream.compress(content) + stream.flush()


def write_zip(members: Sequence[ZipMember], end: ZipEnd | None = None) -> bytes:
    """The archive. A member with an `offset` in its `central` fields points there."""
    end = end or ZipEnd()
    output = bytearray(end.prefix)
    directory = bytearray()
    for member in members:
        offset = len(output) - len(end.prefix) + end.shift
        output += _format_local(member)
        directory += _format_central(member, offset)
    offset = len(output) - len(end.prefix) + end.shift
    output += directory + end.before_end
    output += _format_end(end, offset, len(directory) + end.more_size, len(members), len(output))
    return bytes(output) + end.suffix


def _format_local(member: ZipMember) -> bytes:
    fields = member.fields()
    packed = member.pack()
    descriptor = b""
    if member.descriptor:
        values = [fields["crc"], fields["compressed"], fields["size"]]
        descriptor = struct.pack(member.descriptor, *([b"PK\7\x08"] if "s" in member.descriptor else []), *values)
        fields |= {"crc": 0, "compressed": 0, "size": 0}
    fields |= member.local
    name = fields["name"]
    assert isinstance(name, bytes)
    numbers = [fields[key] for key in ("version", "flags", "method")]
    sizes = [fields[key] for key in ("crc", "compressed", "size")]
    signature = fields.get("signature", b"PK\3\4")
    extra_length = len(member.local_extra) if member.local_extra_length is None else member.local_extra_length
    head = struct.pack("<4sHHHHHLLLHH", signature, *numbers, 0, 33, *sizes, len(name), extra_length)
    return head + name + member.local_extra + packed + descriptor + member.after


def _format_central(member: ZipMember, offset: int) -> bytes:
    fields = {"offset": offset} | member.fields() | member.central
    name, comment = fields["name"], fields["comment"]
    assert isinstance(name, bytes)
    assert isinstance(comment, bytes)
    numbers = [fields[key] for key in ("version", "flags", "method")]
    sizes = [fields[key] for key in ("crc", "compressed", "size")]
    lengths = [len(name), len(member.extra) if member.extra_length is None else member.extra_length, len(comment)]
    rest = [fields["disk"], 0, fields["attributes"], fields["offset"]]
    head = struct.pack("<4sBBHHHHHLLLHHHHHLL", fields.get("signature", b"PK\1\2"), 20, 3, *numbers, 0, 33, *sizes, *lengths, *rest)
    return head + name + member.extra + comment


def _format_end(end: ZipEnd, offset: int, size: int, count: int, at: int) -> bytes:
    wide = b""
    short = {"disk": 0, "first_disk": 0, "here": count, "count": count, "size": size, "offset": offset}
    if end.zip64:
        fields = {"length": 44, **short} | end.end64
        wide = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", fields.pop("length"), 45, 45, *fields.values())
        wide += struct.pack("<4sLQL", b"PK\6\7", 0, at if end.locator_offset is None else end.locator_offset, end.disks)
        short |= {"here": 0xFFFF, "count": 0xFFFF, "size": WIDE, "offset": WIDE}
    short |= end.end
    return wide + struct.pack("<4sHHHHLLH", b"PK\5\6", *short.values(), len(end.comment)) + end.comment
