"""Works: sets of wheels as people use them, and what a process imports of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.bench.processes import run

IMPORTS = {
    "small": "import requests",
    "web": "import boto3, django.db, django.http, django.template, fastapi, flask, sqlalchemy.orm",
    "science": "import pandas, scipy.stats, sklearn.ensemble, matplotlib.pyplot, sympy",
    "deep": "import tensorflow",
}
"""By work; see WHEEL_SETS."""


def import_from(environment: Path, work: str, env: Mapping[str, str]) -> float:
    """Seconds that a process takes to import a work."""
    return run([str(environment / "bin/python"), "-c", IMPORTS[work]], env).seconds
