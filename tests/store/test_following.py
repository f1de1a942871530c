"""Paths that somebody else may have a hand in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casfs.errors import PathRefused
from casfs.store.following import made_directory, resolve_path

STRANGER = 12345

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make links of somebody else")


def test_a_path_is_named_as_the_kernel_names_it(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert resolve_path(f"{tmp_path}/link/./x/../mnt/") == f"{tmp_path}/real/mnt"


def test_a_path_is_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert [resolve_path(path) for path in ("", ".", "a/b", "../x")] == [
        str(tmp_path),
        str(tmp_path),
        f"{tmp_path}/a/b",
        f"{tmp_path.parent}/x",
    ]


def test_above_the_top_is_the_top():
    assert resolve_path("/../..//../absent/x") == "/absent/x"


def test_a_link_means_what_it_leads_to(tmp_path: Path):
    (tmp_path / "real/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "to link").symlink_to(tmp_path / "link")
    (tmp_path / "to absent").symlink_to("link/absent")
    (tmp_path / "deep").symlink_to("real/below")
    assert resolve_path(f"{tmp_path}/to link/") == f"{tmp_path}/real"
    assert resolve_path(f"{tmp_path}/to absent") == f"{tmp_path}/real/absent"
    assert resolve_path(f"{tmp_path}/deep/../x") == f"{tmp_path}/real/x"


def test_a_pipe_without_a_path_is_named_by_its_descriptor(tmp_path: Path):
    reading, writing = os.pipe()
    (tmp_path / "link").symlink_to(f"/dev/fd/{writing}")
    with open(reading, "rb") as pipe, open(writing, "wb"):
        found = resolve_path(f"{tmp_path}/link")
        Path(found).write_bytes(b"x")
        assert found == f"/proc/{os.getpid()}/fd/{writing}"
        assert pipe.read(1) == b"x"
        (tmp_path / "alike").symlink_to(os.readlink(found))
    assert resolve_path(f"{tmp_path}/alike") == f"{tmp_path}/{os.readlink(tmp_path / 'alike')}"


def test_no_directory_is_asked_for_its_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It may be a mount whose daemon hangs, and then whoever asks hangs as well."""
    (tmp_path / "mnt").mkdir()
    found = os.stat("/")
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", lambda path: {"/": found}[path])
        patched.setattr(os, "lstat", None)
        patched.setattr(os, "fstat", None)
        resolved = resolve_path(f"{tmp_path}/mnt")
    assert resolved == f"{tmp_path}/mnt"


def test_links_that_lead_in_a_circle_lead_nowhere(tmp_path: Path):
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(PathRefused, match="too many levels"):
        resolve_path(f"{tmp_path}/one")


@as_root
@pytest.mark.parametrize("path", ["link", "link/absent", "link/../below", "root's/below"])
def test_root_follows_no_link_of_another_user(tmp_path: Path, path: str):
    (tmp_path / "real/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "root's").symlink_to("link")
    os.lchown(tmp_path / "link", STRANGER, STRANGER)
    with pytest.raises(PathRefused, match=f"^{tmp_path}/link: is a symbolic link of user {STRANGER}, .* 'real'$"):
        resolve_path(f"{tmp_path}/{path}")


def test_a_directory_is_made_with_all_above_it(tmp_path: Path):
    for _ in range(2):
        with made_directory(f"{tmp_path}/a/b") as fd:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    assert (tmp_path / "a/b/file").exists()


def test_a_link_that_was_put_on_the_way_is_not_followed(tmp_path: Path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "link").symlink_to("victim")
    for path in ("link", "link/new", "link/new/deeper"):
        with pytest.raises(NotADirectoryError), made_directory(f"{tmp_path}/{path}"):
            pass
    assert os.listdir(tmp_path / "victim") == []
