"""Works: sets of wheels as people use them, and what a process imports of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.bench.processes import run

IMPORTS = {
    "small": "import requests",
    "web": "import boto3, fastapi, sqlalchemy.orm",
    "science": "import pandas, matplotlib.pyplot",
    "deep": "import tensorflow",
}
"""By work; see WHEEL_SETS. As much as one process is likely to need of it."""

SLOW = {"science": ("pip", "uvl-fuse"), "deep": ("pip", "uvl-fuse")}
"""Who is left out where a work is installed: it would take longer than everybody else together, to say what the other works say, too."""

LEAST = {"deep": 1, "tensorflow": 1}
"""Rounds, for works of which one round alone takes minutes."""


def import_from(environment: Path, work: str, env: Mapping[str, str]) -> float:
    """Seconds that a process takes to import a work."""
    return run([str(environment / "bin/python"), "-c", IMPORTS[work]], env).seconds
