"""Tags: which wheels an interpreter can use, in order of preference, computed from what it said about itself.

The specification is "Platform compatibility tags" with PEP 600 (manylinux) and PEP 656 (musllinux). The order is that of
`packaging.tags.sys_tags()` run inside the interpreter. The module `_manylinux`, by which a distributor may forbid manylinux wheels, is not
asked: it would have to be imported from the interpreter's site-packages.
"""

from __future__ import annotations

import itertools
import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from casfs.interpreters.probe import Facts

_LEGACY_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Minor versions of glibc 2 that had a name before PEP 600."""

_MANYLINUX_ARCHITECTURES = {"x86_64", "aarch64", "ppc64", "ppc64le", "s390x", "loongarch64", "riscv64"}

_32_BIT_NAMES = {"x86_64": "i686", "aarch64": "armv8l"}
"""What a 32-bit Python calls the processor whose kernel names itself so."""

_MACHINE_I386, _MACHINE_ARM = 3, 40
_ARM_HARD_FLOAT_5 = 0x05000400  # EF_ARM_ABI_VER5 and EF_ARM_ABI_FLOAT_HARD
_ARM_ABI_MASK = 0xFF000400
_PROGRAM_INTERPRETER = 3  # PT_INTERP
_MAX_LOADER = 4096  # PATH_MAX


@dataclass(frozen=True, slots=True)
class ElfHeader:
    """What the head of an ELF executable says: is it 32-bit, for which machine, and which loader starts it ("" if none)."""

    is_32bit: bool
    machine: int
    flags: int
    loader: str


def compute_tags(facts: Facts) -> tuple[str, ...]:
    """Every tag that a wheel may have to fit, best first: "cp311-cp311-linux_x86_64"."""
    from packaging.tags import compatible_tags, cpython_tags

    version = facts.release[:2]
    name = f"cp{version[0]}{version[1]}"
    platforms = list(iter_platforms(facts))
    abis = list(_iter_abis(name, facts))
    specific = cpython_tags(version, abis, platforms)
    return tuple(map(str, itertools.chain(specific, compatible_tags(version, name, platforms))))


def _iter_abis(name: str, facts: Facts) -> Iterator[str]:
    threading = "t" if facts.free_threaded else ""
    if facts.debug:
        yield f"{name}{threading}d"
    yield f"{name}{threading}"  # since 3.8 a debug build takes extension modules of ordinary builds


def iter_platforms(facts: Facts) -> Iterator[str]:
    """Platform tags, best first."""
    platform = re.sub(r"[-. ]", "_", facts.platform)
    system, _, architecture = platform.partition("_")
    if system != "linux":
        yield platform
        return
    if facts.bits == 32:
        architecture = _32_BIT_NAMES.get(architecture, architecture)
    architectures = ["armv8l", "armv7l"] if architecture == "armv8l" else [architecture]
    elf = read_elf_header(facts.executable)
    yield from (f"linux_{one}" for one in architectures)
    if _has_manylinux(architectures, elf):
        yield from _iter_manylinux(architectures, facts.glibc)
    yield from _iter_musllinux(architectures, elf)


def _has_manylinux(architectures: list[str], elf: ElfHeader | None) -> bool:
    """Does manylinux know this processor? Of the 32-bit ones i686, and ARM with hardware floating point."""
    if "armv7l" in architectures:
        return elf is not None and elf.machine == _MACHINE_ARM and elf.flags & _ARM_ABI_MASK == _ARM_HARD_FLOAT_5
    if "i686" in architectures:
        return elf is not None and elf.is_32bit and elf.machine == _MACHINE_I386
    return not _MANYLINUX_ARCHITECTURES.isdisjoint(architectures)


def _iter_manylinux(architectures: list[str], glibc: str) -> Iterator[str]:
    version = re.match(r"2\.(\d+)", glibc)
    if not version:
        return
    oldest = 5 if {"x86_64", "i686"} & {*architectures} else 17
    for architecture in architectures:
        for minor in range(int(version[1]), oldest - 1, -1):
            yield f"manylinux_2_{minor}_{architecture}"
            if legacy := _LEGACY_NAMES.get(minor):
                yield f"{legacy}_{architecture}"


def _iter_musllinux(architectures: list[str], elf: ElfHeader | None) -> Iterator[str]:
    if elf is None or "musl" not in elf.loader or not (version := _ask_musl(elf.loader)):
        return
    major, newest = version
    for architecture in architectures:
        yield from (f"musllinux_{major}_{minor}_{architecture}" for minor in range(newest, -1, -1))


def _ask_musl(loader: str) -> tuple[int, int] | None:
    """The version of musl: its loader, called without arguments, prints it on stderr."""
    try:
        complaint = subprocess.run([loader], check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=10).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(rb"^musl.*\nVersion (\d+)\.(\d+)", complaint)
    return (int(version[1]), int(version[2])) if version else None


def read_elf_header(path: str) -> ElfHeader | None:
    """The ELF header of `path`; None if it can't be read or is something else, such as a wrapper script."""
    try:
        with open(path, "rb") as file:
            return _parse_elf_header(file)
    except (LookupError, OSError, struct.error, UnicodeDecodeError):
        return None


def _parse_elf_header(file: BinaryIO) -> ElfHeader | None:
    """What the format says (System V ABI, "Object files"). Raises LookupError or struct.error if it is cut short or unknown."""
    head = file.read(64)
    if head[:4] != b"\x7fELF":
        return None
    is_32bit = {1: True, 2: False}[head[4]]
    order = {1: "<", 2: ">"}[head[5]]
    header = struct.unpack_from(order + ("2HI3II6H" if is_32bit else "2HI3QI6H"), head, 16)
    _, machine, _, _, first, _, flags, _, size, count = header[:10]
    form, offset_at, size_at = (struct.Struct(order + "8I"), 1, 4) if is_32bit else (struct.Struct(order + "2I6Q"), 2, 5)
    for number in range(count):
        file.seek(first + number * size)
        row = form.unpack(file.read(form.size))
        if row[0] == _PROGRAM_INTERPRETER:
            file.seek(row[offset_at])
            loader = file.read(min(row[size_at], _MAX_LOADER)).rstrip(b"\0").decode()
            return ElfHeader(is_32bit, machine, flags, loader)
    return ElfHeader(is_32bit, machine, flags, "")
