"""What a lock says of each distribution, and which ones it can't say anything of."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from typing import Any

import pytest

from casfs.digest import Digest, digest_bytes
from casfs.errors import EnvironmentRefused
from casfs.lockfiles.writing import format_pylock
from casfs.store.generations import Distribution, Generation
from tests.make_generations import BASE, Shelf, make_manifest

SDIST = digest_bytes(b"a source distribution")


def generation(*origins: str, **changes: Any) -> Generation:
    """Distributions a, b, … that came from these."""
    shelf = Shelf()
    found = [shelf.distribution(make_manifest({}, project)) for project in "abcdef"[: len(origins)]]
    distributions = tuple(replace(one, origin=origin, **changes) for one, origin in zip(found, origins, strict=True))
    return Generation(1, "", "", BASE, shelf.layer(make_manifest({}, "skeleton")), distributions)


def lock(one: Generation, direct_url: object = None) -> list[dict[str, Any]]:
    content = None if direct_url is None else direct_url if isinstance(direct_url, bytes) else json.dumps(direct_url).encode()

    def read(_: Distribution) -> bytes | None:
        return content

    packages = tomllib.loads(format_pylock(one, read))["packages"]
    assert isinstance(packages, list)
    return packages


def refusal(one: Generation, direct_url: object = None) -> str:
    with pytest.raises(EnvironmentRefused) as caught:
        lock(one, direct_url)
    return str(caught.value)


def test_wheel_of_an_index_is_named_with_its_digest() -> None:
    url = "https://host.example/a-1.0-py3-none-any.whl"
    [package] = lock(generation(url, wheel=SDIST, wheel_size=7))
    assert package == {"name": "a", "version": "1.0", "wheels": [{"url": url, "size": 7, "hashes": {"sha256": SDIST}}]}


def test_source_distribution_of_an_index_is_named_with_its_own_digest() -> None:
    [package] = lock(generation(f"https://host.example/a-1.0.tar.gz#sha256={SDIST}"))
    assert package["sdist"] == {"url": "https://host.example/a-1.0.tar.gz", "hashes": {"sha256": SDIST}}


def test_what_tools_installed_from_an_index_is_refused_in_one_line() -> None:
    said = refusal(generation("pip", "uv", "/x/c-1.0-py3-none-any.whl", wheel=Digest(""), wheel_size=0))
    assert said == (
        "lock: a 1.0, b 1.0: installed by pip and uv in the mounted environment, from an unknown source;"
        " `casfs add a==1.0 b==1.0` takes it from an index"
    )


def test_source_distribution_whose_digest_is_not_known_is_refused() -> None:
    assert "built from /x/a-1.0.tar.gz, whose SHA-256 is not known" in refusal(generation("/x/a-1.0.tar.gz"))


@pytest.mark.parametrize(
    ("direct_url", "source"),
    [
        ({"url": "file:///a%20b", "dir_info": {"editable": True}}, {"directory": {"path": "/a b", "editable": True}}),
        ({"url": "file://localhost/a", "dir_info": {}, "subdirectory": "c"}, {"directory": {"path": "/a", "subdirectory": "c"}}),
        (
            {"url": "https://host.example/a", "vcs_info": {"vcs": "git", "commit_id": "f00"}, "subdirectory": "c"},
            {"version": "1.0", "vcs": {"type": "git", "url": "https://host.example/a", "commit-id": "f00", "subdirectory": "c"}},
        ),
        (
            {"url": "https://host.example/a.zip", "archive_info": {"hash": f"sha256={SDIST}"}},
            {"version": "1.0", "archive": {"url": "https://host.example/a.zip", "hashes": {"sha256": SDIST}}},
        ),
    ],
)
def test_direct_url_of_a_tool_says_where_something_came_from(direct_url: object, source: dict[str, object]) -> None:
    assert lock(generation("pip"), direct_url) == [{"name": "a", **source}]


BAD: list[object] = [
    b"",
    b"\xff",
    b"[" * 100_000,
    [],
    {},
    {"url": 7, "archive_info": {}},
    {"url": "https://host.example/a.zip", "archive_info": {}},
    {"url": "https://host.example/a.zip", "archive_info": []},
    {"url": "https://host.example/a", "vcs_info": {"vcs": "git"}},
    {"url": "https://host.example/a", "dir_info": {}},
    {"url": "file:///a", "dir_info": 1},
]


@pytest.mark.parametrize("direct_url", BAD, ids=range(len(BAD)))
def test_direct_url_that_says_nothing_is_refused(direct_url: object) -> None:
    assert refusal(generation("pip"), direct_url).startswith("lock: a 1.0: its direct_url.json does not say what it was installed from")


def test_digest_of_what_was_built_is_not_taken_for_that_of_what_it_was_built_of() -> None:
    said = {"url": "file:///project", "archive_info": {"hashes": {"sha256": SDIST}}}
    assert "does not say" in refusal(generation("/project", wheel=SDIST), said)
