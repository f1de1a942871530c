"""Writing the present state of an environment as a lock file (PEP 751) that other tools can install."""

from __future__ import annotations

import json
import shlex
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from casfs.errors import EnvironmentRefused
from casfs.store.generations import Distribution, Generation
from casfs.venv.origins import is_place, is_wheel_place, parse_archive

Source = Mapping[str, Any]
"""A package's entry beside its name and version: where it comes from."""


@dataclass(frozen=True, slots=True)
class _Unknown:
    """Why nobody could install a distribution from a lock; "": a tool installed it, and an index may have it."""

    reason: str


def format_pylock(generation: Generation, read_direct_url: Callable[[Distribution], bytes | None]) -> str:
    """The generation as a lock. Raises EnvironmentRefused with one reason for all that have it, for what can't be had again."""
    import tomli_w

    sources = [(one, _source(one, read_direct_url(one))) for one in sorted(generation.distributions, key=lambda one: one.project)]
    unknown: dict[str, list[Distribution]] = {}
    for one, source in sources:
        if isinstance(source, _Unknown):
            unknown.setdefault(source.reason, []).append(one)
    if unknown:
        raise EnvironmentRefused(
            "lock",
            *(
                f"{', '.join(f'{one.name} {one.version}' for one in which)}: {reason or _describe_installed(which)}"
                for reason, which in unknown.items()
            ),
        )
    packages = [_format_package(distribution, source) for distribution, source in sources if not isinstance(source, _Unknown)]
    head = {"lock-version": "1.0", "requires-python": f">={generation.interpreter.directory.removeprefix('python').removesuffix('t')}"}
    return tomli_w.dumps({**head, "created-by": "casfs", "packages": packages})


def _describe_installed(which: Sequence[Distribution]) -> str:
    tools = " and ".join(sorted({distribution.origin for distribution in which}))
    words = " ".join(shlex.quote(f"{one.project}=={one.version}") for one in which)
    return f"installed by {tools} in the mounted environment, from an unknown source; `casfs add {words}` takes it from an index"


def _format_package(distribution: Distribution, source: Source) -> dict[str, Any]:
    """What is in a directory or repository has no version that a lock could promise, but the one that it had is told (PEP 751)."""
    version = {} if "directory" in source else {"version": distribution.version}
    tool = {} if distribution.requested else {"tool": {"casfs": {"requested": False}}}
    return {"name": distribution.project, **version, **source, **tool}


def _source(distribution: Distribution, direct_url: bytes | None) -> Source | _Unknown:
    """What direct_url.json says, if there is one: then it is neither of an index nor named so."""
    if direct_url is not None:
        return _direct_source(distribution, direct_url)
    if not is_place(distribution.origin):
        return _Unknown("")
    if is_wheel_place(distribution.origin):
        return {"wheels": [_archive(distribution.origin, distribution.wheel, distribution.wheel_size)]}
    source = parse_archive(distribution.origin)
    if source.digest is None:
        return _Unknown(f"built from {source.place}, whose SHA-256 is not known; `casfs add` it again")
    return {"sdist": _archive(source.place, source.digest)}


def _direct_source(distribution: Distribution, direct_url: bytes) -> Source | _Unknown:
    try:
        data = json.loads(direct_url)
        place = _place(data["url"])
        subdirectory = {"subdirectory": str(data["subdirectory"])} if data.get("subdirectory") else {}
        if "vcs_info" in data:
            vcs = data["vcs_info"]
            asked = {"requested-revision": str(vcs["requested_revision"])} if vcs.get("requested_revision") else {}
            return {"vcs": {"type": str(vcs["vcs"]), "url": str(data["url"]), **asked, "commit-id": str(vcs["commit_id"]), **subdirectory}}
        if "dir_info" in data and "://" not in place:
            editable = {"editable": True} if data["dir_info"].get("editable") else {}
            return {"directory": {"path": place, **editable, **subdirectory}}
        digest = _archive_digest(data["archive_info"])
        if digest and (digest != distribution.wheel or is_wheel_place(place)):
            return {"archive": {**_archive(place, digest, distribution.wheel_size if digest == distribution.wheel else 0), **subdirectory}}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return _Unknown("its direct_url.json does not say what it was installed from; `casfs add` it again")


def _archive_digest(archive: Mapping[str, Any]) -> str | None:
    """The SHA-256, in the form of today or in that of old."""
    found = archive.get("hashes", {}).get("sha256") or str(archive.get("hash", "")).partition("sha256=")[2]
    return str(found) if found else None


def _archive(place: str, digest: str, size: int = 0) -> dict[str, Any]:
    source: dict[str, Any] = {"url" if "://" in place else "path": place}
    if size:
        source["size"] = size
    return {**source, "hashes": {"sha256": digest}}


def _place(url: str) -> str:
    """The path of something on this machine; else the URL."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.unquote(parts.path) if parts.scheme == "file" and parts.netloc in {"", "localhost"} else url
