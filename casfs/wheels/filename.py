"""What a wheel's file name says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from casfs.errors import InvalidValue, WheelRefused
from casfs.paths import MAX_COMPONENT, parse_path
from casfs.wheels.problems import quote


@dataclass(frozen=True, slots=True)
class WheelFilename:
    """The parts of NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl, normalised."""

    filename: str
    project: str
    version: str
    tags: tuple[str, ...]

    def is_stem(self, stem: str) -> bool:
        """Whether `stem` (of a .dist-info or .data directory) means this project and version, however it is spelt.

        A version may have a hyphen as well (1.0-1 is 1.0.post1), so any may be the one between the two.
        """
        hyphens = [at for at, character in enumerate(stem) if character == "-"]
        return any(self.is_about(stem[:at], stem[at + 1 :]) for at in hyphens)

    def is_about(self, name: str, version: str) -> bool:
        """Whether these are the project and the version, however they are spelt."""
        from packaging.version import Version

        if canonical_name(name) != self.project or len(version) > MAX_COMPONENT:
            return False
        try:
            return Version(version) == Version(self.version)
        except ValueError:  # no version, or one with a number so long that Python does not read it
            return False


def parse_wheel_filename(filename: str) -> WheelFilename:
    """The parts of `filename`, tags expanded and sorted. Raises WheelRefused. (Binary distribution format specification.)"""
    from packaging.utils import InvalidWheelFilename
    from packaging.utils import parse_wheel_filename as parse

    try:
        if "/" in parse_path(filename) or len(filename) > MAX_COMPONENT:
            raise WheelRefused(quote(filename), "is not a file name")
        project, version, _, tags = parse(filename)
    except InvalidValue as error:
        raise WheelRefused(quote(filename), *error.reasons) from None
    except InvalidWheelFilename:
        raise WheelRefused(quote(filename), "is not named as a wheel is: NAME-VERSION-PYTHON-ABI-PLATFORM.whl") from None
    return WheelFilename(filename, project, str(version), tuple(sorted(str(tag) for tag in tags)))


_PLAIN = re.compile(r"([^-]+)-([^-]+)(?:-[0-9][^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl")


def canonical_name(name: str) -> str:
    """The name of a project as everybody compares it (PEP 503), without `packaging`, which takes long to load."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_named_so(filename: str, project: str, version: str, tags: Sequence[str]) -> bool:
    """Whether `filename` says this project, version and tags. `packaging`, which takes 27 ms to load, is only asked about odd spellings."""
    if plain := _PLAIN.fullmatch(filename):
        said = {"-".join(tag) for tag in itertools.product(*(part.split(".") for part in plain.groups()[2:]))}
        if plain[2] == version and said == {*tags} and canonical_name(plain[1]) == project:
            return True
    try:
        parsed = parse_wheel_filename(filename)
    except WheelRefused:
        return False
    return (parsed.project, parsed.version, {*parsed.tags}) == (project, version, {*tags})
