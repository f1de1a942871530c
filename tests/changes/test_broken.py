"""Which requirements a change breaks: only those in which something that came takes part."""

from __future__ import annotations

import os

import pytest

from casfs.changes.broken import find_broken
from casfs.changes.changes import Change, remove_distributions
from casfs.store.manifests import read_manifest
from tests.make_generations import INTERPRETER, Workshop
from tests.make_wheels import MadeWheel, make_wheel


def wheel(name: str, version: str = "1.0", *requires: str) -> MadeWheel:
    return make_wheel(None, name, version, metadata="\n".join(f"Requires-Dist: {one}" for one in requires) or "Summary: nothing")


def broken(workshop: Workshop, change: Change) -> list[str]:
    return [str(one) for one in find_broken(workshop.store, change.before, change.after, INTERPRETER)]


def test_new_version_that_breaks_what_is_there_is_named_with_both(workshop: Workshop) -> None:
    assert broken(workshop, workshop.add(wheel("one", "1.0", "two<2,>=1"), wheel("two"))) == []
    change = workshop.add(wheel("two", "2.0"))
    assert broken(workshop, change) == ["one 1.0 requires two<2,>=1, but two 2.0 is in the environment"]


def test_new_distribution_that_wants_another_version_of_what_is_there_is_named(workshop: Workshop) -> None:
    workshop.add(wheel("two"))
    assert broken(workshop, workshop.add(wheel("one", "1.0", "Two >5"))) == ["one 1.0 requires Two>5, but two 1.0 is in the environment"]


def test_what_needs_something_that_was_removed_is_named(workshop: Workshop) -> None:
    workshop.add(wheel("one", "1.0", "two>=1", "five; extra == 'more'"), wheel("two"), wheel("three", "1.0", "two"), wheel("five"))
    change = remove_distributions(workshop.environment, ["two", "three", "five"])
    assert broken(workshop, change) == ["one 1.0 requires two>=1, but that is not in the environment any more"]


def test_what_was_broken_before_is_not_told_again(workshop: Workshop) -> None:
    workshop.add(wheel("one", "1.0", "two>5"), wheel("two"))
    assert broken(workshop, workshop.add(wheel("three"))) == []
    assert broken(workshop, workshop.add(wheel("three"))) == []


@pytest.mark.parametrize(
    "requirement",
    [
        "two",
        "two>=1",
        "two==1.*",
        "two>5; extra == 'more'",
        "two>5; python_version < '3'",
        "two @ https://host.example/two.whl",
        "three>5",
    ],
)
def test_requirement_that_is_met_or_does_not_count_is_no_matter(workshop: Workshop, requirement: str) -> None:
    assert broken(workshop, workshop.add(wheel("one", "1.0", requirement), wheel("two"))) == []


def test_pre_release_that_is_there_counts_as_the_version_it_is(workshop: Workshop) -> None:
    assert broken(workshop, workshop.add(wheel("one", "1.0", "two>=1"), wheel("two", "2.0rc1"))) == []


def test_metadata_that_is_gone_from_the_pool_stops_nothing(workshop: Workshop) -> None:
    """The change is made by then."""
    change = workshop.add(wheel("one", "1.0", "two>5"), wheel("two"))
    [one] = [one for one in change.after.distributions if one.project == "one"]
    manifest = read_manifest(workshop.store, one.files.manifest)
    [digest] = [row.digest for row in manifest.iter_files() if row.path.endswith("/METADATA")]
    path = workshop.store.pool.path(digest)
    os.rename(path, f"{path}.away")
    try:
        assert broken(workshop, change) == []
    finally:
        os.rename(f"{path}.away", path)
