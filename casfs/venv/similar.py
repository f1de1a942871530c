"""Similar names: what somebody may have meant who typed a name that nobody knows."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SHORTEST = 4  # of three letters, every other name is one letter away


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'NAME'?` with the known name that is nearest; empty if none is near."""
    from difflib import get_close_matches

    found = get_close_matches(name, [*known], n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def find_slip(name: str, known: Iterable[str]) -> str | None:
    """A known name that is probably meant: this one has a letter more, less or other, two letters swapped, or other case or dashes.

    Names that tell things of one kind apart are no slips: they differ in digits or in the last letter (`job-1`, `siteA`, `team-b`).
    """
    return next((other for other in known if other != name and _is_slip(name, other)), None)


def _is_slip(name: str, other: str) -> bool:
    one, two = (re.sub("[_.]", "-", text.lower()) for text in (name, other))
    if one == two:
        return True
    start = _count_alike(one, two)
    end = _count_alike(one[start:][::-1], two[start:][::-1])
    here, there = one[start : len(one) - end], two[start : len(two) - end]
    if min(len(one), len(two)) < _SHORTEST or not (here + there).isalpha():
        return False
    if len(here) == len(there) == 1:
        return (one[:start][-1:] + one[start + 1 :][:1]).isalpha() and 0 < start < len(one) - 1
    return {len(here), len(there)} == {0, 1} or (len(here) == 2 and here == there[::-1])


def _count_alike(one: str, two: str) -> int:
    """With how many characters both texts begin."""
    return next((count for count, (left, right) in enumerate(zip(one, two, strict=False)) if left != right), min(len(one), len(two)))
