"""Names of bytecode files, and of the sources that they are made from (PEP 3147, PEP 488)."""

from __future__ import annotations


def is_bytecode(path: str) -> bool:
    """Whether a path is one that Python gives to bytecode which it made itself (PEP 3147)."""
    parent, _, name = path.rpartition("/")
    return name.endswith(".pyc") and (parent == "__pycache__" or parent.endswith("/__pycache__"))


def source_of(path: str) -> str:
    """The source that bytecode at `path` was made from (PEP 3147, PEP 488)."""
    parent, _, name = path.rpartition("/")
    base, _, level = (stem := name.removesuffix(".pyc")).rpartition(".")
    stem = base if level.startswith("opt-") else stem
    return f"{parent.removesuffix('__pycache__')}{stem.rpartition('.')[0] or stem}.py"
