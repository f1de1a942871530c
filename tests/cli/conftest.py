"""The command line in subprocesses: what it prints, how it ends, and what it leaves."""

from __future__ import annotations

from tests.mounted.conftest import casfs, template

__all__ = ["casfs", "template"]
