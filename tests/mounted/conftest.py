"""Real mounts. A test that needs FUSE fails where there is none: that is what it is there to find out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, make_template


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def casfs(tmp_path: Path, template: Path) -> Iterator[Casfs]:
    """A store with an empty environment. When the test is over its mounts are gone, its daemons have ended, and fsck finds nothing."""
    with Casfs(tmp_path, template) as one:
        yield one


@pytest.fixture
def mounted(casfs: Casfs) -> Path:
    """A mount of an environment with one small distribution, demo 1.0."""
    casfs.add(casfs.wheel("demo", files={"demo/__init__.py": b"VALUE = 1\n", "demo/data.txt": b"some words\n"}))
    return casfs.mount()
