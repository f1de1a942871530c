"""Pairs of environments, made once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.mounted.harness import Casfs
from tests.python_versions import needs_python
from tests.real.downloads import provide_tools
from tests.real.environments import Maker, Pair
from tests.real.wheels import FLASK, NUMPY, OLD, OVERLAPPING, PORTABLE, QUIRKS


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    """One store for all; at the end the mounts go, and fsck finds nothing."""
    directory = tmp_path_factory.mktemp("real")
    tools = provide_tools()
    with Casfs(directory) as casfs:
        yield Maker(tools, casfs, directory)


@pytest.fixture(scope="session")
def quirks(maker: Maker) -> Pair:
    return maker.make("quirks", "3.11", tuple(QUIRKS))


@pytest.fixture(scope="session")
def flask(maker: Maker) -> Pair:
    return maker.make("flask", "3.11", FLASK)


@pytest.fixture(scope="session")
def numpy(maker: Maker) -> Pair:
    return maker.make("numpy", "3.11", NUMPY)


@pytest.fixture(scope="session")
def old(maker: Maker) -> Pair:
    return maker.make("old", "3.11", OLD)


@pytest.fixture(scope="session")
def make_overlapping(maker: Maker) -> Callable[[int], Pair]:
    """The pair in which the wheel at this place comes last."""
    return lambda last: maker.make(f"last{last}", "3.11", [OVERLAPPING[1 - last]], [OVERLAPPING[last]])


@pytest.fixture(scope="session", params=[pytest.param(one, marks=needs_python(one)) for one in ("3.12", "3.13")])
def portable(request: pytest.FixtureRequest, maker: Maker) -> Pair:
    return maker.make(f"portable{request.param}", request.param, PORTABLE)
