"""Markers that uv and Poetry read in another way than packaging, and so pip: what each of them would install is installed.

packaging takes `platform_release` for a version, and nothing is true of one that is none, as the names of most kernels; `platform_version`
it does not order. uv orders both as texts, and Poetry takes the number at the beginning of `platform_release`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

Decide = Callable[[str, str, str, str], bool | None]
"""Called with a marker's name, what it is here, a relation and a value: whether it is true; None if it is as packaging says."""

_COMPARISON = re.compile(r"""\b([a-z]+(?:_[a-z]+)+)\s*(<=|>=|==|!=|<|>)\s*(?:'([^']*)'|"([^"]*)")|'[^']*'|"[^"]*\"""")
_OPERATORS = {"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">=": operator.ge, ">": operator.gt}


def decide_as_uv(name: str, here: str, relation: str, value: str) -> bool | None:
    """What the system says of itself is text."""
    return bool(_OPERATORS[relation](here, value)) if name in {"platform_release", "platform_version"} else None


def decide_as_poetry(name: str, here: str, relation: str, value: str) -> bool | None:
    """A release is a version, whatever follows its number."""
    from packaging.specifiers import InvalidSpecifier, Specifier

    number = re.match(r"\d+(\.\d+)*", here)
    if name != "platform_release" or not number:
        return None
    try:
        return Specifier(f"{relation}{value}").contains(number[0], prereleases=True)
    except InvalidSpecifier:
        return None


def settle(lock: Mapping[str, Any], markers: Mapping[str, str], decide: Decide) -> dict[str, Any]:
    """A lock with what everybody reads alike in place of each comparison that is decided."""
    packages = lock.get("packages")
    return {**lock, "packages": [_settle(one, markers, decide) for one in packages]} if isinstance(packages, list) else {**lock}


def _settle(package: Any, markers: Mapping[str, str], decide: Decide) -> Any:
    def settle_one(found: re.Match[str]) -> str:
        name, relation, *values = found.groups()
        if name not in markers:  # also another text, which may look like a comparison
            return found[0]
        is_true = decide(name, markers[name], relation, next(value for value in values if value is not None))
        return found[0] if is_true is None else f"python_version {'!=' if is_true else '=='} '0'"

    marker = package.get("marker") if isinstance(package, Mapping) else None
    return {**package, "marker": _COMPARISON.sub(settle_one, marker)} if isinstance(marker, str) else package
