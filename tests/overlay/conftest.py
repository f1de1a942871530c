"""What the tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.make_generations import Workshop, open_workshop

# only root may do what they test
collect_ignore = [] if os.geteuid() == 0 else ["test_absorb_overlay.py", "test_metacopy.py", "test_kernel.py", "test_mounted_image.py"]


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    """A store with one environment that has nothing in it yet."""
    with open_workshop(tmp_path) as one:
        yield one
