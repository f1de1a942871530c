"""What all tests share: how hypothesis behaves, and which tests run in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: a machine that is busy with other work is no bug of ours.
settings.register_profile("casfs", deadline=None, print_blob=True)
settings.load_profile("casfs")

_REAL = Path(__file__).parent / "real"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those of a file stay together, for its fixtures; and all of real/, for its environments."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("real" if _REAL in item.path.parents else str(item.path)))
