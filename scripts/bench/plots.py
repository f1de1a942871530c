"""Draws charts: `python plots.py FOLDER`, with a JSON list of charts on standard input; writes FOLDER/NAME.svg for each.

It runs with an interpreter that has Matplotlib, and imports nothing of the benchmark.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]
from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

_STYLE = {"svg.hashsalt": "casfs", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
"""A fixed salt: the same values make the same file."""


def draw(chart: dict[str, Any], folder: str) -> None:
    """Write one chart."""
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    _draw_bars(axes, chart)
    axes.set_title(chart["title"], loc="left")
    axes.grid(visible=True, axis="y", linewidth=0.4)
    axes.set_axisbelow(True)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(os.path.join(folder, f"{chart['name']}.svg"), metadata={"Date": None}, facecolor="white")


def _draw_bars(axes: Any, chart: dict[str, Any]) -> None:
    width = 0.84 / len(chart["series"])
    for number, (name, values) in enumerate(chart["series"].items()):
        places = [group + (number - (len(chart["series"]) - 1) / 2) * width for group in range(len(values))]
        axes.bar(places, [value or 0 for value in values], width, label=name)
    axes.set_xticks(range(len(chart["groups"])), chart["groups"])
    axes.set_ylabel(chart["axis"])
    if chart["is_log"]:
        axes.set(yscale="log", ylabel=f"{chart['axis']}, logarithmic")
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_minor_formatter("")


if __name__ == "__main__":
    mpl.rcParams.update(_STYLE)
    for chart in json.load(sys.stdin):
        draw(chart, sys.argv[1])
