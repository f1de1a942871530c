"""All wheels that must be refused, each with the words that the refusal must contain."""

from __future__ import annotations

from tests.make_wheels import Hostile
from tests.wheels.hostile_archives import ARCHIVES, CONTENTS
from tests.wheels.hostile_projects import PROJECTS

HOSTILE: list[Hostile] = [*ARCHIVES, *PROJECTS]
"""`read_wheel` refuses these, before any content is unpacked."""

LYING_CONTENT: list[Hostile] = CONTENTS
"""These are refused when they are unpacked."""
