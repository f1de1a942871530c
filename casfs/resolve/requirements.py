"""Requirements files, wherever they are: on the disk, or behind a URL."""

from __future__ import annotations

import os
import stat
import tempfile

from casfs.errors import FetchFailed, LockRefused
from casfs.lockfiles.requirements import is_url
from casfs.resolve.access import Access, split_login

_MOST_BYTES = 16 << 20
"""No requirements file is larger: the largest that are generated have a few thousand projects, and 100 KB for each thousand hashes."""


def read_requirements(place: str, access: Access) -> bytes:
    """Content of a requirements file by path or URL. Raises OSError, FetchFailed, LockRefused."""
    if is_url(place):
        return _fetch(place, access)
    with open(place, "rb") as file:  # it may be a pipe, as of `-r <(uv export)`, so it is read once
        if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
            raise LockRefused(place, "is a directory")
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise LockRefused(place, f"is larger than {_MOST_BYTES} bytes, and no requirements file is")
    return content


def _fetch(url: str, access: Access) -> bytes:
    from casfs.resolve.download import Download, fetch_all

    shown = split_login(url)[0]
    if access.is_offline:
        raise FetchFailed(shown, "was not fetched because you asked to stay offline")

    def report(done: int, total: int, *_: int) -> None:
        if max(done, total) > _MOST_BYTES:
            raise FetchFailed(shown, f"is larger than {_MOST_BYTES} bytes, and no requirements file is")

    with tempfile.TemporaryDirectory(prefix="casfs-") as directory:
        fetch_all([Download(url, path := f"{directory}/requirements.txt")], access, report)
        report(os.path.getsize(path), 0)
        with open(path, "rb") as file:
            return file.read()
