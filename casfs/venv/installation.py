"""Installation: what installing a wheel adds to its files.

Launchers for its entry points, scripts that find their interpreter, INSTALLER, REQUESTED, direct_url.json (PEP 610) and the installed
RECORD, as the specification "Recording installed projects" asks. All of it depends only on the wheel, the release of Python, where the
wheel came from, and whether it was asked for by name, so equal installations are shared like everything else.
"""

from __future__ import annotations

import base64
import csv
import io
import posixpath
import re
from collections.abc import Iterable

from casfs.digest import Digest, digest_bytes
from casfs.errors import EnvironmentRefused
from casfs.paths import SITE_PACKAGES
from casfs.store.blobs import BlobSource
from casfs.store.manifests import Kind, Manifest, NewFile
from casfs.venv.bytecode_names import is_bytecode
from casfs.venv.launchers import build_launcher, rewrite_script
from casfs.venv.tree import show_path

INSTALLER = b"casfs\n"

INSTALLATION_FORM = 1
"""Another one whenever the same wheel gets other files: those that a store remembers are not taken then."""

_SCRIPT_START = b"#!python"
_MAX_SCRIPT = 16 << 20  # a script with `#!python` is text; nothing larger is rewritten

RecordRow = tuple[str, str, str]


def build_installation(
    manifest: Manifest,
    scripts: Iterable[NewFile],
    *,
    direct_url: bytes | None,
    requested: bool,
    python_directory: str,
) -> list[NewFile]:
    """Every file that installing adds. `scripts` are what `iter_scripts` yields; `direct_url` says what the wheel comes from.

    A wheel that was found by its project's name, in an index, has none: PEP 610 wants no direct_url.json then.
    """
    about = manifest.description
    information = f"{SITE_PACKAGES}/{about.dist_info}"
    files = {file.path: file for file in scripts}
    for name, module, attribute in choose_launchers(about.entry_points, python_directory):
        files[f"bin/{name}"] = NewFile(f"bin/{name}", build_launcher(name, module, attribute, python_directory), Kind.EXECUTABLE)
    made = [*files.values(), NewFile(f"{information}/INSTALLER", INSTALLER)]
    if requested:
        made.append(NewFile(f"{information}/REQUESTED", b""))
    if direct_url is not None:
        made.append(NewFile(f"{information}/direct_url.json", direct_url))
    record = format_record(manifest, made, f"{about.dist_info}/RECORD", python_directory)
    return [*made, NewFile(f"{information}/RECORD", record)]


# Wheels of pip, and old ones of setuptools, serve every Python, but declare commands for the one that they were built with.
_VERSIONED = {"pip": ("pip3", "pip{}"), "easy_install": ("easy_install-{}",)}


def choose_launchers(entry_points: Iterable[tuple[str, str, str]], python_directory: str) -> list[tuple[str, str, str]]:
    """(name, module, attribute) of each launcher. As with pip and uv, `pip` brings `pip3` and `pip3.11`, and none of another Python."""
    version = python_directory.removeprefix("python").removesuffix("t")
    chosen = {name: target for name, *target in entry_points}
    for command, names in _VERSIONED.items():
        if target := chosen.get(command):
            chosen = {name: target for name, target in chosen.items() if not re.fullmatch(rf"{command}-?\d+(\.\d+)?", name)}
            chosen |= {name.format(version): target for name in names}
    return [(name, module, attribute) for name, (module, attribute) in chosen.items()]


def iter_scripts(manifest: Manifest, blobs: BlobSource) -> Iterable[NewFile]:
    """The wheel's own scripts that begin with `#!python`, rewritten to find the environment's interpreter."""
    if "bin" not in manifest.directories:
        return
    directory = manifest.directories.index("bin")
    for index in manifest.files_in(directory):
        row = manifest.row(index, directory)
        with open(blobs.open_blob(row.digest, row.size), "rb") as file:
            start = file.read(len(_SCRIPT_START))
            if start != _SCRIPT_START:
                continue
            if row.size > _MAX_SCRIPT:
                raise EnvironmentRefused(row.path, f"is a script of more than {_MAX_SCRIPT} bytes")
            if (content := rewrite_script(start + file.read())) is not None:
                yield NewFile(row.path, content, Kind.EXECUTABLE)


def format_record(manifest: Manifest, made: Iterable[NewFile], record: str, python_directory: str) -> bytes:
    """The installed RECORD, in pip's order: each file relative to site-packages with hash and size, RECORD itself with neither.

    Nor has a wheel's own bytecode, as the specification allows: ours may take its place. Ours is not listed.
    """
    found: dict[str, tuple[Digest, int]] = {file.path: (file.digest, file.size) for file in manifest.iter_files()}
    found |= {file.path: (digest_bytes(file.content), len(file.content)) for file in made}
    rows = [_format_row(path, _record_path(path, python_directory), *facts) for path, facts in found.items()]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(sorted([*rows, (record, "", "")]))
    return text.getvalue().encode()


def _format_row(path: str, shown: str, digest: Digest, size: int) -> RecordRow:
    if is_bytecode(path):
        return shown, "", ""
    encoded = base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode()
    return shown, f"sha256={encoded}", str(size)


def _record_path(path: str, python_directory: str) -> str:
    if path.startswith(f"{SITE_PACKAGES}/"):
        return path.removeprefix(f"{SITE_PACKAGES}/")
    shown, start = (f"/{show_path(one, python_directory)}" for one in (path, SITE_PACKAGES))  # absolute: nobody asks where we are
    return posixpath.relpath(shown, start)
