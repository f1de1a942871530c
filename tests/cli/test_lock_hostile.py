"""sync of locks that lie, or that somebody made to do harm: one clear line, and nothing changes."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.cli.package_index import PackageIndex
from tests.cli.projects import commit_project, make_project, pack_project
from tests.cli.test_changes import listed
from tests.cli.test_locks import write_lock
from tests.cli.test_names import casfs, index, leftovers
from tests.make_wheels import make_wheel
from tests.mounted.harness import Casfs

__all__ = ["casfs", "index"]

ZEROS = {"sha256": "0" * 64, "sha512": "0" * 128, "md5": "0" * 32}


def refusal(casfs: Casfs, *packages: str) -> str:
    """What is said of a lock that changes nothing."""
    before = casfs.generation()
    done = casfs.run("sync", write_lock(casfs, *packages), code=1, environ={"UV_HTTP_RETRIES": "0"})
    assert casfs.generation() == before
    assert done.stdout == ""
    assert leftovers(casfs) == []
    lines = [line for line in done.stderr.splitlines() if line.startswith("casfs: ") and not line.startswith("casfs: warning: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def of_path(path: Path, more: str, *, project: str = "one", version: str = "1.0") -> str:
    head = f'name = "{project}"\nversion = "{version}"\n' if version else f'name = "{project}"\n'
    return f'{head}wheels = [{{ path = "{path}", {more} }}]'


def digest(path: Path, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()


# --- hashes and sizes


@pytest.mark.parametrize("algorithm", ["sha512", "md5"])
def test_hash_of_any_kind_is_compared(casfs: Casfs, index: PackageIndex, algorithm: str) -> None:
    """Of what lies on the disk, and of what is fetched."""
    path = casfs.wheel("one")
    index.offer_file(path.name, path.read_bytes())
    url = of_path(path, f'hashes = {{ {algorithm} = "{ZEROS[algorithm]}" }}').replace(
        f'path = "{path}"', f'url = "{index.file_url(path.name)}"'
    )
    for lock in (of_path(path, f'hashes = {{ {algorithm} = "{ZEROS[algorithm]}" }}'), url):
        assert f"and should have {ZEROS[algorithm]}" in refusal(casfs, lock)
    good = url.replace(ZEROS[algorithm], digest(path, algorithm).upper())
    done = casfs.run("sync", write_lock(casfs, good))
    assert done.stdout == "+ one 1.0\n"
    assert ("no SHA-256 is known" in done.stderr) is (algorithm == "md5")


def test_one_wrong_hash_beside_a_right_one_is_enough(casfs: Casfs) -> None:
    path = casfs.wheel("one")
    hashes = f'hashes = {{ sha256 = "{digest(path)}", sha512 = "{ZEROS["sha512"]}" }}'
    assert f"has the SHA512 {digest(path, 'sha512')}" in refusal(casfs, of_path(path, hashes))


def test_size_is_compared(casfs: Casfs) -> None:
    path = casfs.wheel("one")
    said = refusal(casfs, of_path(path, f'size = 5, hashes = {{ sha256 = "{digest(path)}" }}'))
    assert said == f"casfs: {path}: has {path.stat().st_size} bytes and should have 5"


def test_hashes_that_nobody_can_compare_are_refused(casfs: Casfs) -> None:
    said = refusal(casfs, of_path(casfs.wheel("one"), 'hashes = { crc32 = "00", shake_128 = "00" }'))
    assert said.endswith("one: casfs knows no algorithm of its hashes: 'crc32', 'shake_128'")


def test_fifo_is_not_waited_for(casfs: Casfs) -> None:
    path = casfs.directory / "one-1.0-py3-none-any.whl"
    os.mkfifo(path)
    assert refusal(casfs, of_path(path, f'hashes = {{ sha256 = "{ZEROS["sha256"]}" }}')) == f"casfs: {path}: is not a regular file"


# --- another project or version


def of_archive(path: Path, version: str, more: str = "") -> str:
    return f'name = "one"\nversion = "{version}"\narchive = {{ path = "{path}", {more}hashes = {{ sha256 = "{digest(path)}" }} }}'


def test_wheel_of_another_project_is_refused(casfs: Casfs) -> None:
    """Also if the store knows it already."""
    path = casfs.wheel("two")
    assert refusal(casfs, of_archive(path, "1.0")) == f"casfs: {path}: is two 1.0, and the lock names one 1.0"
    casfs.run("--env", "other", "add", path)
    assert refusal(casfs, of_archive(path, "1.0")) == f"casfs: {path}: is two 1.0, and the lock names one 1.0"


def test_wheel_that_the_lock_gives_another_name_is_refused(casfs: Casfs) -> None:
    path = casfs.wheel("two")
    hashes = f'hashes = {{ sha256 = "{digest(path)}" }}'
    for named in (hashes, f'name = "one-1.0-py3-none-any.whl", {hashes}'):
        assert "two-1.0-py3-none-any.whl" in refusal(casfs, of_path(path, named))


def test_wheel_of_another_version_is_refused(casfs: Casfs) -> None:
    path = casfs.wheel("one", "2.0")
    assert refusal(casfs, of_archive(path, "1.0")) == f"casfs: {path}: is one 2.0, and the lock names one 1.0"
    casfs.run("sync", write_lock(casfs, of_archive(path, "2.0.0")))
    assert listed(casfs) == {"one": "2.0"}


def test_what_is_built_into_another_project_is_refused(casfs: Casfs) -> None:
    project = make_project(casfs.directory / "project", make_wheel(None, "other"))
    said = refusal(casfs, f'name = "one"\n[packages.directory]\npath = "{project}"')
    assert said == f"casfs: {project}: is other 1.0, and the lock names one"


def test_what_is_built_into_another_version_is_refused(casfs: Casfs) -> None:
    path = casfs.directory / "one-1.0.tar.gz"
    path.write_bytes(pack_project(make_project(casfs.directory / "project", make_wheel(None, "one")), "one"))
    assert refusal(casfs, of_archive(path, "2.0")).endswith("is one 1.0, and the lock names one 2.0")
    assert casfs.run("sync", write_lock(casfs, of_archive(path, "1.0"))).stdout == "+ one 1.0\n"


# --- repositories and archives


def of_repository(url: object, commit: str, kind: str = "git") -> str:
    return f'name = "one"\n[packages.vcs]\ntype = "{kind}"\nurl = "{url}"\ncommit-id = "{commit}"'


@pytest.mark.parametrize("commit", ["main", "-q", "--pathspec-from-file=/etc/hostname", "", "abcdef0", "A" * 40])
def test_commit_that_is_none_is_refused(casfs: Casfs, commit: str) -> None:
    assert f"commit-id {commit!r} is not a commit" in refusal(casfs, of_repository("file:///nowhere", commit))


def test_name_that_looks_like_a_commit_is_refused(casfs: Casfs) -> None:
    """git takes it for the ref: what is checked out decides."""
    project = make_project(casfs.directory / "project", make_wheel(None, "one"))
    commit = commit_project(project)
    tags = project / ".git/refs/tags"
    tags.mkdir(exist_ok=True)
    (tags / ("a" * 64)).write_text(f"{commit}\n")
    said = refusal(casfs, of_repository(f"file://{project}", "a" * 64))
    assert said.endswith(f"has the commit {commit} checked out and should have '{'a' * 64}'")
    assert casfs.run("sync", write_lock(casfs, of_repository(f"file://{project}", commit))).stdout == "+ one 1.0\n"


@pytest.mark.parametrize(("kind", "words"), [("hg", "kind 'hg'"), ("my_git", "unknown kind 'my_git'")])
def test_repository_of_another_kind_is_refused_without_its_login(casfs: Casfs, kind: str, words: str) -> None:
    said = refusal(casfs, of_repository("https://somebody:secret@127.0.0.1:9/x", "a" * 40, kind))
    assert words in said
    assert "secret" not in said


def of_subdirectory(path: Path, subdirectory: str) -> str:
    return f'name = "one"\n[packages.archive]\npath = "{path}"\nsubdirectory = "{subdirectory}"\nhashes = {{ sha256 = "{digest(path)}" }}'


@pytest.mark.parametrize("subdirectory", ["none", "..", "../../other", "/etc", "pyproject.toml"])
def test_archive_without_the_subdirectory_is_refused(casfs: Casfs, subdirectory: str) -> None:
    """Building the whole archive instead would be another project, and what is beside it is nobody's to build."""
    path = casfs.directory / "one-1.0.tar.gz"
    path.write_bytes(pack_project(make_project(casfs.directory / "project", make_wheel(None, "one")), "one"))
    assert refusal(casfs, of_subdirectory(path, subdirectory)) == f"casfs: {path}: has no subdirectory {subdirectory!r}"


def pack(*members: tuple[str, str]) -> bytes:
    """An archive with empty files (no target) and symbolic links."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            archive.addfile(member)
    return packed.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pack(("one/inner/x", ""), ("one/../../../x", "")),
        pack(("one/out", "/tmp"), ("one/out/x", "")),
        pack(("one/out", "../../.."), ("one/x", "")),
        pack(("one/inner/x", ""))[:-20],
        b"no archive",
        b"",
    ],
    ids=["parent", "link", "relative link", "cut", "something else", "empty"],
)
def test_archive_that_can_not_be_unpacked_safely_is_refused(casfs: Casfs, content: bytes) -> None:
    path = casfs.directory / "one-1.0.tar.gz"
    path.write_bytes(content)
    assert refusal(casfs, of_subdirectory(path, "inner")).startswith(f"casfs: {path}: can't be unpacked: ")


def test_login_of_a_url_that_is_refused_is_not_told(casfs: Casfs) -> None:
    for url in ("http://somebody:secret@127.0.0.1/\\u0000/x-1.0.tar.gz", "ftp://somebody:secret@127.0.0.1/x-1.0.tar.gz"):
        said = refusal(casfs, f'name = "one"\n[packages.archive]\nurl = "{url}"\nhashes = {{ sha256 = "{ZEROS["sha256"]}" }}')
        assert "secret" not in said


# --- what is in no path and no URL

_WHEEL = 'name = "one"\nversion = "1.0"\nwheels = [{{ {}, hashes = {{ sha256 = "' + "0" * 64 + '" }} }}]'
_DIRECTORY = 'name = "one"\n[packages.directory]\n{}'

ODD = {
    "wheel path": _WHEEL.format(r'path = "a\u0000b/one-1.0-py3-none-any.whl"'),
    "wheel url": _WHEEL.format(r'url = "http://127.0.0.1:9/\u001b[31m/one-1.0-py3-none-any.whl"'),
    "directory": _DIRECTORY.format(r'path = "a\u0000b"'),
    "editable": _DIRECTORY.format(r'path = "a\u0085b"' + "\neditable = true"),
    "repository": of_repository(r"http://127.0.0.1:9/\u0000", "a" * 40),
    "line feed": _DIRECTORY.format(r'path = "a\ncasfs: all is well"'),
}


@pytest.mark.parametrize("name", ODD)
def test_control_character_is_refused(casfs: Casfs, name: str) -> None:
    said = refusal(casfs, ODD[name])
    assert said.startswith(f"casfs: {casfs.directory}/pylock.toml: one: ")
    assert said.endswith("has a control character")
    assert said.isprintable()


@pytest.mark.parametrize("url", ["http://[::1/one-1.0-py3-none-any.whl", "http://127.0.0.1:99999999/one-1.0-py3-none-any.whl"])
def test_url_that_is_none_is_refused(casfs: Casfs, url: str) -> None:
    for lock in (_WHEEL.format(f'url = "{url}"'), of_repository(url, "a" * 40)):
        said = refusal(casfs, lock)
        assert said.startswith(f"casfs: {casfs.directory}/pylock.toml: ")
        assert "its url is none: " in said or "Invalid IPv6 URL" in said  # whoever looks first
