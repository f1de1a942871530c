"""Synthetic wheels: small distributions in any number, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path

_CHUNK = 1 << 20
"""Bytes; the generator can't make 500 MB at once."""

_DATE = (2020, 1, 1, 0, 0, 0)


def make_wheels(folder: Path, count: int) -> list[str]:
    """Paths of `count` new wheels; each holds a package of three modules, `bench_00000` and so on."""
    return [str(_make_wheel(folder, f"bench_{number:05}")) for number in range(count)]


def make_blob_wheels(folder: Path, blobs: int, each: int) -> list[str]:
    """Paths of new wheels, `blobs_00000` and so on, which hold so many different tiny files together, and so many each."""
    paths = []
    for number in range(0, blobs, each):
        name = f"blobs_{number // each:05}"
        files = {
            f"{name}/{one % 10}/{one}.txt": f"tiny file {number + one} of {name}\n".encode() for one in range(min(each, blobs - number))
        }
        paths.append(str(_write_wheel(folder, name, files)))
    return paths


def make_large_wheel(folder: Path, size: int) -> str:
    """Path of a new wheel, `large`, with one file of `size` random bytes, `large/library.bin`, not deflated."""
    source = random.Random(0)
    content = b"".join(source.randbytes(min(_CHUNK, size - start)) for start in range(0, size, _CHUNK))
    return str(_write_wheel(folder, "large", {"large/library.bin": content}, zipfile.ZIP_STORED))


def _make_wheel(folder: Path, name: str) -> Path:
    return _write_wheel(folder, name, _build_modules(name))


def _write_wheel(folder: Path, name: str, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", method) as archive:
        for member, content in {**files, **_build_info(name, files)}.items():
            info = zipfile.ZipInfo(member, _DATE)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content, method)
    return path


def build_members(name: str) -> dict[str, bytes]:
    """The files of a distribution, RECORD last."""
    files = _build_modules(name)
    return {**files, **_build_info(name, files)}


def _build_modules(name: str) -> dict[str, bytes]:
    lines = "".join(f"VALUE_{number} = {name!r}, {number}\n" for number in range(40))
    return {
        f"{name}/__init__.py": f"from {name}.first import VALUE_1\n".encode(),
        f"{name}/first.py": lines.encode(),
        f"{name}/second.py": f"# of {name}\n{lines}".encode(),
    }


def _build_info(name: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    info = f"{name}-1.0.dist-info"
    members = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\nMade by the benchmark.\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: casfs-bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return {**members, f"{info}/RECORD": _format_record({**files, **members}, f"{info}/RECORD")}


def _format_record(members: Mapping[str, bytes], own: str) -> bytes:
    lines = [f"{name},sha256={_encode(hashlib.sha256(content).digest())},{len(content)}\n" for name, content in members.items()]
    return "".join([*lines, f"{own},,\n"]).encode()


def _encode(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
