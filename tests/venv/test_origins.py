"""What an origin becomes in direct_url.json, as other tools read it."""

from __future__ import annotations

import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.direct_url import ArchiveInfo, DirectUrl, DirInfo, VcsInfo

from casfs.digest import Digest, digest_bytes
from casfs.venv.origins import Archive, SourceKind, format_archive, format_direct_url, is_place, is_wheel_place, parse_archive

WHEEL = digest_bytes(b"a wheel")
SDIST = digest_bytes(b"a source distribution")
PLACES = [
    "/wheels/demo-1.0-py3-none-any.whl",
    '/tmp/a b#c?d%41/é, "x".whl',
    "/x/y+z~1-py3-none-any.whl",
    "https://host.example/demo-1.0-py3-none-any.whl",
]


def parse(origin: str, form: SourceKind) -> DirectUrl:
    return DirectUrl.from_dict(json.loads(format_direct_url(origin, WHEEL, form)))


@pytest.mark.parametrize("origin", PLACES)
def test_direct_url_is_what_pep_610_asks(origin: str) -> None:
    parsed = parse(origin, SourceKind.WHEEL)
    assert isinstance(parsed.archive_info, ArchiveInfo)
    assert parsed.archive_info.hashes == {"sha256": WHEEL}
    url = urllib.parse.urlsplit(parsed.url)
    if origin.startswith("https:"):
        assert parsed.url == origin
    else:
        assert (url.scheme, url.netloc, url.query, url.fragment) == ("file", "", "", "")
        assert urllib.parse.unquote(url.path) == origin


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_the_url_of_any_path_leads_back_to_it(name: str) -> None:
    url = json.loads(format_direct_url(f"/wheels/{name}", WHEEL))["url"]
    assert urllib.parse.unquote(urllib.parse.urlsplit(url).path) == f"/wheels/{name}"
    assert url.isascii()


@pytest.mark.parametrize("form", [SourceKind.DIRECTORY, SourceKind.EDITABLE])
def test_directory_is_no_archive(form: SourceKind) -> None:
    parsed = parse("/home/me/a project", form)
    assert isinstance(parsed.dir_info, DirInfo)
    assert bool(parsed.dir_info.editable) is (form is SourceKind.EDITABLE)
    assert parsed.url == "file:///home/me/a%20project"


def test_hash_of_a_source_distribution_is_its_own_and_not_that_of_what_was_built() -> None:
    parsed = parse(format_archive("/x/demo-1.0.tar.gz", SDIST), SourceKind.SDIST)
    assert isinstance(parsed.archive_info, ArchiveInfo)
    assert parsed.archive_info.hashes == {"sha256": SDIST}
    assert parsed.url == "file:///x/demo-1.0.tar.gz"
    assert json.loads(format_direct_url("/x/demo-1.0.tar.gz", WHEEL, SourceKind.SDIST))["archive_info"] == {}


@pytest.mark.parametrize("subdirectory", ["", "part/of it"])
def test_repository_is_told_with_its_commit(subdirectory: str) -> None:
    fragment = f"#subdirectory={subdirectory}" if subdirectory else ""
    parsed = parse(f"git+ssh://git@host.example/x@y.git@{'0' * 40}{fragment}", SourceKind.REPOSITORY)
    assert isinstance(parsed.vcs_info, VcsInfo)
    assert (parsed.vcs_info.vcs, parsed.vcs_info.commit_id) == ("git", "0" * 40)
    assert parsed.url == "ssh://git@host.example/x@y.git"
    assert (parsed.subdirectory or "") == subdirectory


def test_repository_is_told_with_what_was_asked_for() -> None:
    said = json.loads(format_direct_url(f"git+https://host.example/x@{'0' * 40}", WHEEL, SourceKind.REPOSITORY, "feature/x"))
    assert said["vcs_info"] == {"vcs": "git", "commit_id": "0" * 40, "requested_revision": "feature/x"}


def test_source_distribution_is_told_with_the_directory_in_it() -> None:
    parsed = parse(format_archive("https://host.example/two.tar.gz", SDIST, "part/of it"), SourceKind.SDIST)
    assert isinstance(parsed.archive_info, ArchiveInfo)
    assert (parsed.url, parsed.subdirectory, parsed.archive_info.hashes) == (
        "https://host.example/two.tar.gz",
        "part/of it",
        {"sha256": SDIST},
    )


@given(st.text(min_size=1), st.sampled_from([None, SDIST]), st.sampled_from(["", "part", "part/of it"]))
def test_parts_of_an_origin_are_found_again(place: str, digest: Digest | None, subdirectory: str) -> None:
    assert parse_archive(format_archive(place, digest, subdirectory)) == Archive(place, digest, subdirectory)


@pytest.mark.parametrize(
    ("origin", "is_known", "is_wheel"),
    [
        ("/x/a-1-py3-none-any.whl", True, True),
        ("https://host.example/a-1-py3-none-any.whl?token=1", True, True),
        ("https://host.example/a-1.tar.gz#sha256=" + SDIST, True, False),
        ("git+https://host.example/a@0", True, False),
        ("/home/me/project", True, False),
        ("pip", False, False),
    ],
)
def test_origin_says_whether_it_is_a_place_and_that_of_a_wheel(origin: str, *, is_known: bool, is_wheel: bool) -> None:
    assert (is_place(origin), is_wheel_place(origin)) == (is_known, is_wheel)
