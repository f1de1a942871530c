"""Synthetic wheels: small distributions in any number, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

_DATE = (2020, 1, 1, 0, 0, 0)


def make_wheels(folder: Path, count: int) -> list[str]:
    """Paths of `count` new wheels; each holds a package of three modules, `bench_00000` and so on."""
    return [str(_make_wheel(folder, f"bench_{number:05}")) for number in range(count)]


def _make_wheel(folder: Path, name: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    members = build_members(name)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            info = zipfile.ZipInfo(member, _DATE)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def build_members(name: str) -> dict[str, bytes]:
    """The files of a distribution, RECORD last."""
    info = f"{name}-1.0.dist-info"
    lines = "".join(f"VALUE_{number} = {name!r}, {number}\n" for number in range(40))
    members = {
        f"{name}/__init__.py": f"from {name}.first import VALUE_1\n".encode(),
        f"{name}/first.py": lines.encode(),
        f"{name}/second.py": f"# of {name}\n{lines}".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\nMade by the benchmark.\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: casfs-bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return {**members, f"{info}/RECORD": _format_record(members, f"{info}/RECORD")}


def _format_record(members: Mapping[str, bytes], own: str) -> bytes:
    lines = [f"{name},sha256={_encode(hashlib.sha256(content).digest())},{len(content)}\n" for name, content in members.items()]
    return "".join([*lines, f"{own},,\n"]).encode()


def _encode(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
