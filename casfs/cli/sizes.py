"""Sizes as people type them."""

from __future__ import annotations

import argparse
import re


def parse_size(text: str) -> int:
    """Bytes; K, M and G are powers of 1,024, as with dd(1)."""
    if not (found := re.fullmatch(r"([0-9]{1,15})([KMGT]?)", text.upper())):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write bytes, or a number with K, M or G, such as 2G")
    return int(found[1]) << 10 * " KMGT".index(found[2] or " ")
