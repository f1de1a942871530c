"""Rubbish: what contenders have left is put out of the way, but stays until the run ends.

Where ext4 has no journal, whoever makes a file looks at every inode of its group that was removed within the last minutes
(fs/ext4/ialloc.c, recently_deleted): what one contender's removal leaves behind, the next one pays for.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

_LARGE = 1 << 20
"""Bytes. They are most of the space, and few: giving back that of a file can take as long as removing it."""


def put_away(path: Path, rubbish: Path) -> None:
    """Move a tree into the folder, which is made if need be, and give back the space of large files that have no other name."""
    rubbish.mkdir(exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=rubbish)) / "left"
    path.rename(place)
    for directory, _, names in os.walk(place):
        for name in names:
            _empty(os.path.join(directory, name))


def _empty(path: str) -> None:
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size < _LARGE:
        return
    try:
        os.truncate(path, 0)
    except PermissionError:  # of a file that is read-only; not for root
        os.chmod(path, stat.S_IWUSR)
        os.truncate(path, 0)
