"""Similar names: a slip of the keyboard is told from a name of the same series, and the nearest known name is offered."""

from __future__ import annotations

import pytest

from casfs.venv.similar import did_you_mean, find_slip


@pytest.mark.parametrize(
    "name", ["wbsite", "webssite", "websites", "wrbsite", "wbesite", "Website", "WEBSITE"], ids=lambda name: f"{name} for website"
)
def test_one_slip_is_noticed(name: str) -> None:
    assert find_slip(name, ["other", "website", "third"]) == "website"


def test_dashes_of_another_kind_are_a_slip() -> None:
    assert find_slip("my_env", ["my-env"]) == "my-env"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("job-2", "job-1"),
        ("py312", "py311"),
        ("user-11", "user-1"),
        ("team-b", "team-a"),
        ("siteB", "siteA"),
        ("web2", "web"),
        ("2web", "web"),
    ],
)
def test_a_series_is_no_slip(name: str, known: str) -> None:
    assert find_slip(name, [known]) is None


@pytest.mark.parametrize(("name", "known"), [("dev", "det"), ("website", "wbite"), ("website", "website"), ("tests", "server"), ("", "a")])
def test_what_is_further_away_or_too_short_is_no_slip(name: str, known: str) -> None:
    assert find_slip(name, [known]) is None


def test_the_nearest_name_is_offered_and_a_far_one_is_not() -> None:
    assert did_you_mean("numpyy", ["nump", "numpy", "pandas"]) == "; did you mean 'numpy'?"
    assert did_you_mean("scipy", ["flask", "django"]) == ""
    assert did_you_mean("scipy", []) == ""
