"""Origins: what a distribution was installed from, as the one text that an environment remembers, and as other tools are told it (PEP 610).

One line of each form:

    /srv/six-1.17.0-py2.py3-none-any.whl        a wheel: its path or URL
    https://host/idna-3.11.tar.gz#sha256=…      a source distribution, with its own digest: that of the wheel says nothing about it
    https://host/two.tar.gz#sha256=…&subdirectory=PATH   the same, of a directory in it
    /home/me/project                            a directory, which was built or is used as it is (editable)
    git+https://host/project@COMMIT#subdirectory=PATH    a repository
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from dataclasses import dataclass
from enum import Enum
from typing import Any

from casfs.digest import Digest

_ARCHIVE = re.compile(r"(.*)#(?:sha256=([0-9a-f]{64})(?:&subdirectory=(.+))?|subdirectory=(.+))", re.DOTALL)


class SourceKind(Enum):
    """What a distribution comes from: only wheels can be added as they are."""

    WHEEL = "wheel"
    SDIST = "source distribution"
    DIRECTORY = "directory"
    EDITABLE = "editable project"
    REPOSITORY = "repository"


@dataclass(frozen=True, slots=True)
class Repository:
    """The parts of a repository's origin."""

    kind: str  # "git"
    url: str
    commit: str
    subdirectory: str  # "" for its root


@dataclass(frozen=True, slots=True)
class Archive:
    """The parts of a source distribution's origin."""

    place: str
    digest: Digest | None
    subdirectory: str  # "" for its root


def format_archive(place: str, digest: Digest | None, subdirectory: str = "") -> str:
    """The origin of a source distribution."""
    words = [f"sha256={digest}"] if digest else []
    words += [f"subdirectory={subdirectory}"] if subdirectory else []
    return f"{place}#{'&'.join(words)}" if words else place


def parse_archive(origin: str) -> Archive:
    """The parts of `PLACE[#[sha256=DIGEST][&][subdirectory=PATH]]`."""
    if not (match := _ARCHIVE.fullmatch(origin)):
        return Archive(origin, None, "")
    return Archive(match[1], Digest(match[2]) if match[2] else None, match[3] or match[4] or "")


def parse_repository(origin: str) -> Repository:
    """The parts of `KIND+URL@COMMIT[#subdirectory=PATH]`."""
    kind, _, rest = origin.partition("+")
    rest, _, subdirectory = rest.partition("#subdirectory=")
    url, _, commit = rest.rpartition("@")
    return Repository(kind, url, commit, subdirectory)


def is_place(origin: str) -> bool:
    """Whether an origin says where something is; else it is the name of the tool that installed it."""
    return "://" in origin or os.path.isabs(origin)


def is_wheel_place(place: str) -> bool:
    """Whether a path or URL is that of a wheel."""
    return (urllib.parse.urlsplit(place).path if "://" in place else place).endswith(".whl")


def format_direct_url(origin: str, wheel: Digest, form: SourceKind = SourceKind.WHEEL, revision: str = "") -> bytes:
    """direct_url.json (PEP 610), in the form that pip writes. `wheel` is the digest of the wheel that was built or taken.

    `revision` is what was asked for of a repository; "" if that is not known.
    """
    return json.dumps(_describe(origin, wheel, form, revision), sort_keys=True).encode()


def _describe(origin: str, wheel: Digest, form: SourceKind, revision: str) -> dict[str, Any]:
    if form is SourceKind.REPOSITORY:
        repository = parse_repository(origin)
        more = {"subdirectory": repository.subdirectory} if repository.subdirectory else {}
        asked = {"requested_revision": revision} if revision else {}
        return {"vcs_info": {"vcs": repository.kind, "commit_id": repository.commit, **asked}, "url": as_url(repository.url), **more}
    if form in {SourceKind.DIRECTORY, SourceKind.EDITABLE}:
        return {"dir_info": {"editable": True} if form is SourceKind.EDITABLE else {}, "url": as_url(origin)}
    archive = Archive(origin, wheel, "") if form is SourceKind.WHEEL else parse_archive(origin)
    hashes = {"hash": f"sha256={archive.digest}", "hashes": {"sha256": archive.digest}} if archive.digest else {}
    more = {"subdirectory": archive.subdirectory} if archive.subdirectory else {}
    return {"archive_info": hashes, "url": as_url(archive.place), **more}


def as_url(place: str) -> str:
    """A URL as it is, and a path as one."""
    return place if "://" in place else f"file://{urllib.parse.quote(place)}"
