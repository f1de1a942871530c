"""An environment is, path by path and byte by byte, what pip makes of the same wheels; `trees.MEANT` has the differences that are meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.python_versions import needs_python
from tests.real.environments import Environment, Maker, Pair
from tests.real.trees import comparable_rows, find_differences, find_untrue, read_record
from tests.real.wheels import OVERLAPPING, QUIRKS

pytestmark = [pytest.mark.network, needs_python("3.11")]


def assert_alike(pair: Pair) -> None:
    differences = find_differences(pair)
    assert not differences, "\n".join(differences)


def test_every_path_is_what_pip_makes_of_it(quirks: Pair):
    assert_alike(quirks)


@pytest.mark.parametrize("requirement", QUIRKS)
def test_wheel_is_recorded_as_pip_records_it(quirks: Pair, requirement: str):
    directory = find_dist_info(quirks.mounted, quirks.wheels[requirement].name)
    native, mounted = (read_record(one.site_packages / directory / "RECORD") for one in (quirks.native, quirks.mounted))
    assert comparable_rows(mounted) == comparable_rows(native)
    assert find_untrue(quirks.mounted, mounted) == []
    assert {name.rpartition("/")[2] for name, *_ in mounted} >= {"INSTALLER", "REQUESTED", "direct_url.json", "METADATA", "WHEEL"}


def find_dist_info(environment: Environment, wheel: str) -> str:
    name, version, *_ = parse_wheel_filename(wheel)
    found = [path.name for path in environment.site_packages.glob("*.dist-info")]
    names = [one for one in found if _is_of(one, name, str(version))]
    assert len(names) == 1, f"{wheel} has {names}"
    return names[0]


def _is_of(dist_info: str, name: str, version: str) -> bool:
    found, _, rest = dist_info.removesuffix(".dist-info").rpartition("-")
    return (canonicalize_name(found), rest) == (name, version)


def test_other_interpreters_get_what_pip_gives_them(portable: Pair):
    assert_alike(portable)


@pytest.mark.parametrize("last", range(len(OVERLAPPING)))
def test_of_two_wheels_with_one_path_the_later_wins_as_with_pip(make_overlapping: Callable[[int], Pair], last: int):
    pair = make_overlapping(last)
    assert_alike(pair)
    exceptions = (pair.mounted.site_packages / "jwt/exceptions.py").read_text()
    assert ("class PyJWTError" in exceptions) == OVERLAPPING[last].startswith("PyJWT")


def test_old_pip_and_setuptools_get_commands_of_this_python(old: Pair):
    assert_alike(old)
    names = {path.name for path in (old.mounted.root / "bin").iterdir()}
    assert {name for name in names if name.startswith(("pip", "easy"))} == {"pip", "pip3", "pip3.11", "easy_install", "easy_install-3.11"}


def test_wheels_are_found_where_pip_finds_them(quirks: Pair, maker: Maker):
    """direct_url.json quotes odd names and follows no links."""
    directory = maker.directory / "a b" / "ü+%41~#?'&"
    directory.mkdir(parents=True)
    (maker.directory / "link").symlink_to(directory)
    six, certifi, socks = (quirks.wheels[one] for one in ("six==1.17.0", "certifi==2026.10.18", "PySocks==1.7.1"))
    (directory / six.name).write_bytes(six.read_bytes())
    (directory / certifi.name).symlink_to(certifi)
    (directory / socks.name).write_bytes(socks.read_bytes())
    places = [directory / six.name, directory / certifi.name, maker.directory / "link/../link" / socks.name]
    native, mounted = maker.install("places", "3.11", [places])
    assert_alike(Pair(native, mounted, {}))
