from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from casfs.interpreters.probe import Facts
from casfs.interpreters.tags import compute_tags, iter_platforms, read_elf_header
from tests.interpreters.pythons import fake_answer, write_program

I386, ARM, X86_64 = 3, 40, 62
ARM_HARD_FLOAT, ARM_SOFT_FLOAT = 0x05000400, 0x05000200


def make_elf(path: Path, machine: int, bits: int, flags: int = 0, loader: str = "") -> Path:
    """An ELF file that is nothing but headers: one program header that is none of our business, and one that names the loader."""
    name = loader.encode() + b"\0"
    if bits == 64:
        head = struct.pack("<2HI3QI6H", 2, machine, 1, 0, 64, 0, flags, 64, 56, 2, 0, 0, 0)
        rows = [struct.pack("<2I6Q", kind, 0, 64 + 2 * 56, 0, 0, len(name), 0, 0) for kind in (6, 3)]
    else:
        head = struct.pack("<2HI3II6H", 2, machine, 1, 0, 52, 0, flags, 52, 32, 2, 0, 0, 0)
        rows = [struct.pack("<8I", kind, 52 + 2 * 32, 0, 0, len(name), 0, 0, 0) for kind in (6, 3)]
    start = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]).ljust(12, b"\0")
    path.write_bytes(start + head + b"".join(rows) + name)
    return path


def facts(executable: Path, version: str = "3.11.7", **changes: Any) -> Facts:
    answer = fake_answer(executable, version, **changes)
    del answer["implementation"]
    return Facts(**{**answer, "release": tuple(answer["release"])})


def test_the_header_of_an_elf_file_is_read(tmp_path: Path):
    header = read_elf_header(str(make_elf(tmp_path / "64", X86_64, 64, loader="/lib/ld-musl-x86_64.so.1")))
    assert header
    assert (header.is_32bit, header.machine, header.loader) == (False, X86_64, "/lib/ld-musl-x86_64.so.1")
    header = read_elf_header(str(make_elf(tmp_path / "32", ARM, 32, ARM_HARD_FLOAT, "/lib/ld-linux-armhf.so.3")))
    assert header
    assert (header.is_32bit, header.machine, header.flags, header.loader) == (True, ARM, ARM_HARD_FLOAT, "/lib/ld-linux-armhf.so.3")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x09\x01" + bytes(60), b"\x7fELF\x02\x01" + bytes(20)])
def test_what_is_no_elf_file_has_no_header(tmp_path: Path, content: bytes):
    (tmp_path / "file").write_bytes(content)
    assert read_elf_header(str(tmp_path / "file")) is None
    assert read_elf_header(str(tmp_path / "missing")) is None


def test_glibc_gives_manylinux_from_the_own_version_down_with_the_old_names(tmp_path: Path):
    platforms = list(iter_platforms(facts(tmp_path, glibc="2.18")))
    assert platforms[:5] == [
        "linux_x86_64",
        "manylinux_2_18_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
        "manylinux_2_16_x86_64",
    ]
    assert platforms[-2:] == ["manylinux_2_5_x86_64", "manylinux1_x86_64"]


def test_other_processors_begin_with_glibc_2_17(tmp_path: Path):
    platforms = list(iter_platforms(facts(tmp_path, platform="linux-aarch64", glibc="2.18")))
    assert platforms == ["linux_aarch64", "manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"]


def test_a_processor_without_manylinux_takes_its_own_wheels_only(tmp_path: Path):
    assert list(iter_platforms(facts(tmp_path, platform="linux-mips64"))) == ["linux_mips64"]


def test_a_32_bit_python_on_a_64_bit_kernel_takes_32_bit_wheels(tmp_path: Path):
    elf = make_elf(tmp_path / "python", I386, 32)
    assert "manylinux_2_17_i686" in set(iter_platforms(facts(elf, bits=32)))
    assert list(iter_platforms(facts(tmp_path / "no-elf", bits=32))) == ["linux_i686"]


@pytest.mark.parametrize(("flags", "expected"), [(ARM_HARD_FLOAT, True), (ARM_SOFT_FLOAT, False)])
def test_on_arm_only_hardware_floating_point_has_manylinux(tmp_path: Path, flags: int, expected: bool):
    platforms = list(iter_platforms(facts(make_elf(tmp_path / "python", ARM, 32, flags), platform="linux-aarch64", bits=32)))
    assert platforms[:2] == ["linux_armv8l", "linux_armv7l"]
    assert ("manylinux_2_17_armv7l" in platforms) == expected


def test_musl_gives_musllinux_from_the_version_that_its_loader_prints(tmp_path: Path):
    loader = write_program(tmp_path / "ld-musl-x86_64.so.1", "#!/bin/sh\nprintf 'musl libc (x86_64)\\nVersion 1.2.4\\n' >&2\nexit 1\n")
    elf = make_elf(tmp_path / "python", X86_64, 64, loader=str(loader))
    platforms = list(iter_platforms(facts(elf, glibc="")))
    assert platforms == ["linux_x86_64", "musllinux_1_2_x86_64", "musllinux_1_1_x86_64", "musllinux_1_0_x86_64"]


@pytest.mark.parametrize("text", ["#!/bin/sh\necho something else >&2\n", "no program"])
def test_a_loader_that_says_no_version_gives_no_musllinux(tmp_path: Path, text: str):
    loader = write_program(tmp_path / "ld-musl-x86_64.so.1", text)
    elf = make_elf(tmp_path / "python", X86_64, 64, loader=str(loader))
    assert list(iter_platforms(facts(elf, glibc=""))) == ["linux_x86_64"]


def abis(tags: tuple[str, ...]) -> set[str]:
    return {tag.split("-")[1] for tag in tags}


def test_a_debug_build_takes_ordinary_wheels_too(tmp_path: Path):
    tags = compute_tags(facts(tmp_path, debug=True))
    assert tags[0] == "cp311-cp311d-linux_x86_64"
    assert abis(tags) == {"cp311d", "cp311", "abi3", "none"}


def test_a_free_threaded_build_takes_neither_ordinary_nor_abi3_wheels(tmp_path: Path):
    tags = compute_tags(facts(tmp_path, "3.13.0", free_threaded=True))
    assert tags[0] == "cp313-cp313t-linux_x86_64"
    assert not {"cp313", "abi3"} & abis(tags)


def test_the_last_tags_are_those_of_pure_wheels(tmp_path: Path):
    tags = compute_tags(facts(tmp_path, "3.9.18"))
    assert {"py39-none-any", "py3-none-any", "cp39-none-any"} <= set(tags[-20:])
    assert tags[-1] == "py30-none-any"
