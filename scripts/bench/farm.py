"""A farm of symbolic links, as people built them before: every wheel is unpacked once, and an environment is links to its files.

python -I farm.py unpack POOL WHEEL...       unpacks wheels into folders of the pool
python -I farm.py link POOL SITE_PACKAGES    links the files of all folders of the pool, a directory being a real one

Launchers are not made, and a wheel's data outside of site-packages is left out: it is at its best.
"""

from __future__ import annotations

import os
import sys
import zipfile


def unpack(pool: str, *wheels: str) -> None:
    """By name of the wheel's file."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(os.path.join(pool, os.path.basename(wheel)))


def link(pool: str, target: str) -> None:
    """One link for each file."""
    for wheel in os.listdir(pool):
        top = os.path.join(pool, wheel)
        for directory, _, names in os.walk(top):
            place = os.path.join(target, os.path.relpath(directory, top))
            os.makedirs(place, exist_ok=True)
            for name in names:
                os.symlink(os.path.join(directory, name), os.path.join(place, name))


if __name__ == "__main__":
    kind, *words = sys.argv[1:]
    (unpack if kind == "unpack" else link)(*words)
