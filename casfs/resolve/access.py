"""Access: what a download needs to be let in: credentials, certificates, and which hosts need no certificate.

Credentials stand in the URL, in the URL of an index on the same host, in UV_INDEX_<NAME>_USERNAME and _PASSWORD, in netrc (which requests
reads), or a keyring has them: `keyring get URL USER`, if that was asked for as uv's and pip's users do.
"""

from __future__ import annotations

import itertools
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from casfs.resolve.limits import Limits
from casfs.wheels.source import MAX_WHEEL_SIZE

_KEYRING_LIMIT_S = 60  # somebody may have to unlock it
_URL_OPTIONS = ("--index", "--default-index", "--index-url", "--extra-index-url", "--find-links")
_URL_VARIABLES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")

Login = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Access:
    """How to be let in by the hosts that wheels come from."""

    logins: Mapping[str, Login]  # by scheme, host and port, as URLs write them; the password may be ""
    certificates: str | None = None  # file or directory; None: those that the system trusts
    insecure: frozenset[str] = frozenset()  # hosts, with or without a port, whose certificates nobody checks
    has_keyring: bool = False
    is_offline: bool = False
    proxy: str | None = None  # for hosts of whom the environment says nothing
    limits: Limits = field(default_factory=Limits)

    def login(self, url: str) -> Login | None:
        """User and password for a URL; None if nobody said any."""
        plain, said = split_login(url)
        return said or self.logins.get(_realm(plain))

    def ask_keyring(self, url: str) -> Login | None:
        """What a keyring says for a URL or its host, for the user that is known."""
        import subprocess

        said = self.login(url)
        if not self.has_keyring or said is None or said[1]:
            return None
        plain, _ = split_login(url)
        for service in (plain, urllib.parse.urlsplit(plain).netloc):
            try:
                command = ["keyring", "get", service, said[0]]
                done = subprocess.run(
                    command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_KEYRING_LIMIT_S
                )
            except (OSError, subprocess.TimeoutExpired):
                return None
            if done.returncode == 0 and (password := done.stdout.strip("\r\n")):
                return said[0], password
        return None

    def is_insecure(self, url: str) -> bool:
        """Whether the certificate of this URL's host is taken as it is."""
        parts = urllib.parse.urlsplit(url)
        return not self.insecure.isdisjoint({parts.hostname or "", parts.netloc.rpartition("@")[2]})


def hide_logins(text: str) -> str:
    """What somebody typed or wrote into a file, without the users and passwords of the URLs in it: so it can be shown."""
    return re.sub(r"(?<=://)[^/?#\s]*@", "", text)


def split_login(url: str) -> tuple[str, Login | None]:
    """A URL without user and password, and these. What is no URL has none, and is nowhere to log in."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return hide_logins(url), None
    before, _, host = parts.netloc.rpartition("@")
    if not before:
        return url, None
    user, _, password = before.partition(":")
    return parts._replace(netloc=host).geturl(), (urllib.parse.unquote(user), urllib.parse.unquote(password))


def _realm(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def build_access(
    options: Sequence[str],
    environ: Mapping[str, str],
    uv: Sequence[Mapping[str, Any]],
    proxy: str | None = None,
    body: int = MAX_WHEEL_SIZE,
) -> Access:
    """What uv's options, variables and configuration files say. `body`: bytes that a file may have."""
    logins: dict[str, Login] = {}
    for name, url in (*_iter_typed(options, environ), *_iter_configured(uv)):
        plain, login = split_login(url)
        if login := _named_login(name, environ) or login:
            logins.setdefault(_realm(plain), login)
    given = [*itertools.pairwise(options)]
    insecure = [value for option, value in given if option == "--allow-insecure-host"] + environ.get("UV_INSECURE_HOST", "").split()
    keyring = next((value for option, value in given if option == "--keyring-provider"), environ.get("UV_KEYRING_PROVIDER", ""))
    keyring = keyring or next((str(table["keyring-provider"]) for table in uv if "keyring-provider" in table), "")
    return Access(
        logins,
        environ.get("SSL_CERT_FILE") or environ.get("SSL_CERT_DIR") or None,
        frozenset(insecure),
        keyring == "subprocess",
        "--offline" in options or environ.get("UV_OFFLINE", "").lower() in {"1", "true"},
        proxy,
        Limits(_number(environ, "UV_HTTP_TIMEOUT", 30) or 1, retries=_number(environ, "UV_HTTP_RETRIES", 3), body=body),
    )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 6 else default


def _iter_typed(options: Sequence[str], environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name or "", URL) of every index on the command line and in variables; uv writes a named one NAME=URL."""
    texts = [value for option, value in itertools.pairwise(options) if option in _URL_OPTIONS]
    texts += [word for variable in _URL_VARIABLES for word in re.split(r"[\s,]+", environ.get(variable, ""))]
    for text in texts:
        named = re.fullmatch(r"([\w.-]+)=(.*://.*)", text)
        yield (named[1], named[2]) if named else ("", text)


def _iter_configured(uv: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for table in uv:
        for part in (table, table.get("pip", {})):
            yield from ((str(one.get("name", "")), str(one.get("url", ""))) for one in part.get("index", ()) if isinstance(one, dict))
            urls = [part.get("index-url"), *(part.get("extra-index-url") or ()), *(part.get("find-links") or ())]
            yield from (("", url) for url in urls if isinstance(url, str))


def _named_login(name: str, environ: Mapping[str, str]) -> Login | None:
    """UV_INDEX_<NAME>_USERNAME and _PASSWORD, where what is neither letter nor digit in the name is an underscore."""
    start = f"UV_INDEX_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"
    user, password = environ.get(f"{start}_USERNAME", ""), environ.get(f"{start}_PASSWORD", "")
    return (user, password) if name and (user or password) else None
