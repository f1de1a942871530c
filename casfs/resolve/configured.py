"""What users of pip and uv have configured already: pip.conf and PIP_*, uv.toml and UV_*."""

from __future__ import annotations

import configparser
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UV_INDEX_VARIABLES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX")
_UV_INDEX_KEYS = ("index", "index-url", "extra-index-url", "find-links", "no-index")
_INDEX_OPTIONS = ("--index", "--default-index", "--index-url", "--extra-index-url", "--find-links", "--no-index")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

Settings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Configured:
    """How uv is to be run: options beside those that were typed, and its environment variables."""

    options: tuple[str, ...]
    environ: Mapping[str, str]


def translate(typed: Sequence[str], environ: Mapping[str, str], pip: Settings, uv: Sequence[Mapping[str, Any]]) -> Configured:
    """Options and variables by which uv does what pip would. What is said to uv itself, in any way, counts before what is said to pip."""
    names = {word.partition("=")[0] for word in typed}
    says_index = bool(names & {*_INDEX_OPTIONS}) or any(environ.get(name) for name in _UV_INDEX_VARIABLES)
    says_index = says_index or any(key in part for table in uv for part in (table, table.get("pip", {})) for key in _UV_INDEX_KEYS)
    options = [] if says_index else [*_index_options(pip, environ, names)]
    if "--prerelease" not in names and _is_true(pip.get("pre", "")):
        options += ["--prerelease", "allow"]
    if not environ.get("UV_CONSTRAINT"):
        options += [word for path in pip.get("constraint", "").split() for word in ("--constraints", path)]
    options += [word for host in pip.get("trusted-host", "").split() for word in ("--allow-insecure-host", host)]
    if pip.get("keyring-provider") == "subprocess" and "--keyring-provider" not in names and not environ.get("UV_KEYRING_PROVIDER"):
        options += ["--keyring-provider", "subprocess"]
    return Configured(tuple(options), _variables(environ, pip))


def _index_options(pip: Settings, environ: Mapping[str, str], names: set[str]) -> Iterator[str]:
    if url := pip.get("index-url", "").strip():
        yield from ("--index-url", url)
    extra = pip.get("extra-index-url", "").split()
    for url in extra:
        yield from ("--extra-index-url", url)
    if extra and "--index-strategy" not in names and not environ.get("UV_INDEX_STRATEGY"):
        yield from ("--index-strategy", "unsafe-best-match")  # pip takes the best of all; uv would take the first index that has any
    for place in pip.get("find-links", "").split():
        yield from ("--find-links", place)
    if _is_true(pip.get("no-index", "")):
        yield "--no-index"


def _variables(environ: Mapping[str, str], pip: Settings) -> Mapping[str, str]:
    more = {}
    certificates = pip.get("cert") or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    if certificates and not any(environ.get(name) for name in _CERTIFICATES):
        more["SSL_CERT_DIR" if os.path.isdir(certificates) else "SSL_CERT_FILE"] = certificates
    if (proxy := pip.get("proxy")) and not any(environ.get(name) or environ.get(name.upper()) for name in _PROXIES):
        more |= dict.fromkeys(_PROXIES[:2], proxy)
    return {**environ, **more}


def _is_true(text: str) -> bool:
    return text.strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def take_constraints(words: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The options without files of constraints, and these: casfs reads them itself."""
    kept, files, left = [], [], list(words)
    while left:
        word = left.pop(0)
        if word == "--constraints":
            files.append(left.pop(0))
        else:
            kept.append(word)
    return tuple(kept), files


def says_hashes_are_required(environ: Mapping[str, str], pip: Settings, uv: Sequence[Mapping[str, Any]]) -> bool:
    """Whether everything must have a hash."""
    said = (environ.get("UV_REQUIRE_HASHES", ""), pip.get("require-hashes", ""))
    tables = [one.get("pip", {}) for one in uv]
    return any(map(_is_true, said)) or any(isinstance(one, Mapping) and one.get("require-hashes") is True for one in tables)


def read_pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's settings that have to do with indexes, as pip reads them: system, user, then environment; the later counts."""
    parser = configparser.RawConfigParser()
    for path in _pip_files(environ):
        with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):  # pip says what is wrong with them
            parser.read_string(path.read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    variables = {name[4:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("PIP_")}
    return found | {name: value for name, value in variables.items() if value}


def _pip_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """pip.conf of the system, the user and the active virtual environment, and the one that is named (os.devnull: it alone)."""
    named = environ.get("PIP_CONFIG_FILE", "")
    home = Path(environ.get("HOME") or "/")
    if named != os.devnull:
        for directory in reversed((environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")):
            yield Path(directory, "pip/pip.conf")
        yield Path("/etc/pip.conf")
        yield home / ".pip/pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip/pip.conf")
        if active := environ.get("VIRTUAL_ENV"):
            yield Path(active, "pip.conf")
    if named:
        yield Path(named)


def read_uv_settings(environ: Mapping[str, str], directory: Path) -> list[dict[str, Any]]:
    """The tables of uv's configuration files that count in a directory, the most important one first. uv says what is wrong with them."""
    import tomllib

    found = []
    for path in _uv_files(environ, directory):
        with contextlib.suppress(OSError, ValueError):
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            table = table.get("tool", {}).get("uv", {}) if path.name == "pyproject.toml" else table
            if isinstance(table, dict):
                found.append(table)
    return found


def _uv_files(environ: Mapping[str, str], directory: Path) -> Iterator[Path]:
    if named := environ.get("UV_CONFIG_FILE"):
        yield Path(named)
        return
    if environ.get("UV_NO_CONFIG"):
        return
    for folder in (directory, *directory.parents):
        if near := [path for path in (folder / "uv.toml", folder / "pyproject.toml") if path.is_file()]:
            yield near[0]
            break
    home = Path(environ.get("HOME") or "/")
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "uv/uv.toml")
    for place in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"):
        yield Path(place, "uv/uv.toml")
    yield Path("/etc/uv/uv.toml")
