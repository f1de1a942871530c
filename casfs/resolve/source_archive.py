"""Unpacking of a source archive, for what lies in a subdirectory of it: uv builds only whole ones."""

from __future__ import annotations

import os
import shutil
import tarfile

from casfs.errors import FetchFailed


def unpack(archive: str, subdirectory: str, directory: str, shown: str) -> str:
    """Path of a subdirectory of a source archive, which is unpacked into a new directory. Raises FetchFailed, which names it as `shown`.

    As with pip and uv, a single directory that has all of it does not count.
    """
    if not hasattr(tarfile, "data_filter"):
        raise FetchFailed(shown, "only the Pythons 3.11.4, 3.12 and later unpack archives safely, and this casfs runs with an older one")
    os.mkdir(directory, 0o700)
    try:
        if archive.endswith(".zip"):  # of which no links are made, and nothing outside of the directory
            shutil.unpack_archive(archive, directory)
        else:
            shutil.unpack_archive(archive, directory, filter="data")
    except Exception as error:  # five modules have exceptions of their own for what is wrong with an archive
        if isinstance(error, OSError) and error.errno is not None:  # the disk
            raise
        raise FetchFailed(shown, f"can't be unpacked: {str(error).replace(archive, 'it') or type(error).__name__}") from None
    names = os.listdir(directory)
    top = os.path.realpath(f"{directory}/{names[0]}" if len(names) == 1 else directory)
    path = os.path.realpath(os.path.join(top, subdirectory))
    if not os.path.isdir(path) or os.path.commonpath([path, top]) != top:
        raise FetchFailed(shown, f"has no subdirectory {subdirectory!r}")
    return path
