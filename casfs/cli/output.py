"""How commands speak: results on standard output, everything else on standard error.

Unprintable characters are written as JSON and TOML write them (\\u001b): names come from anywhere, and must move no cursor.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from casfs.cli.hints import complete_hints
from casfs.errors import CasfsError, FetchFailed
from casfs.store.publish import naming

OUTPUT = "standard output"

_SLOW_BYTES = 50 << 20
"""A wheel that unpacks to less takes under a second: a bar for it would only flash."""

_SLOW_SOURCES = 4 << 20  # the same of sources that are compiled
_SLOW_WHEELS = 500  # the same of wheels, however small

_COUNTED = ("wheels", "installing")
"""What is told with a number of wheels in place of bytes."""


_MAX_NAME, _BAR_WIDTH = 30, 20  # so that a line of 80 columns also holds bytes and time

_quiet: list[bool] = []
"""Not empty if only results, warnings and errors are wanted (-q). A process runs one command."""


def be_quiet() -> None:
    """From here on notes and bars are left out."""
    _quiet.append(True)


def say(text: str = "") -> None:
    """A line of the result, or several. Raises OSError that names the output."""
    with naming(OUTPUT):
        print("\n".join(map(escape, text.split("\n"))))


def note(text: str) -> None:
    """A line beside the result, behind what was said of that. Reasons below it are indented, as CasfsError writes them.

    The commands that it names can be copied: they say which store and environment.
    """
    if not _quiet:
        complain(text)


def complain(text: str) -> None:
    """A line on standard error for what has to be known even if few words are wanted."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        print("\n  ".join(map(escape, complete_hints(text).split("\n  "))), file=sys.stderr)
    except OSError:  # where nobody can read it, the exit code has to do
        leave_stream(sys.stderr)


def leave_stream(stream: TextIO) -> None:
    """What nobody takes goes nowhere; else Python would try once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def escape(text: str) -> str:
    """A text that a terminal shows as it is. Letters of every script stay."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _escape_one(one) for one in text)


def _escape_one(one: str) -> str:
    """In the form that JSON and, for what JSON writes as two surrogates, TOML allow."""
    return f"\\u{ord(one):04x}" if ord(one) < 1 << 16 else f"\\U{ord(one):08x}"


def say_why(error: CasfsError) -> None:
    """What the program that failed had to say, if one did."""
    if isinstance(error, FetchFailed) and error.said:
        from casfs.resolve.access import hide_logins

        for line in error.said:
            complain(hide_logins(line))


def warn(text: str) -> None:
    """Something that went on but should be known."""
    complain(f"casfs: warning: {text}")


def note_on_terminal(text: str) -> None:
    """For people who wait; a log does without."""
    if sys.stderr.isatty():
        note(text)


def say_json(value: object) -> None:
    """The result for programs. In all that commands write so,

    - keys are snake_case and fixed; only what a daemon counts by kind of request or by environment, in `status`, has those as keys;
    - a number of things is `THING_count`, so that what has a plural name is a list;
    - sizes are in bytes: `bytes`, or `..._bytes`; durations end with their unit; moments are ISO 8601 in UTC; digests are SHA-256;
    - what is not known or not there is null, and its key stays.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    say(re.sub(r"[^\x00-\uffff]", lambda one: one[0] if one[0].isprintable() else json.dumps(one[0])[1:-1], text))


def format_size(size: float) -> str:
    """Bytes for people: 1.5 MB is 1,500,000 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_count(count: int, thing: str) -> str:
    """`1 file`, `1,166 files`."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def say_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as what they hold, as pip prints them."""
    shown = [[escape(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(_width, column)) for column in zip(*shown, strict=True)]
    for row in (shown[0], ["-" * width for width in widths], *shown[1:]):
        line = "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        say(_fit(line) if sys.stdout.isatty() else line)


def _fit(line: str) -> str:
    """The line, or as much of it as a terminal shows in one."""
    import shutil

    columns = shutil.get_terminal_size().columns
    if _width(line) <= columns:
        return line
    while _width(line) >= columns and line:
        line = line[:-1]
    return f"{line}…"


def local_time(moment: str) -> str:
    """A moment that is kept as UTC (ISO 8601), by the clock of whoever reads it."""
    import calendar

    try:
        seconds = calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%S+00:00"))
    except ValueError:
        return moment  # of another program
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _width(text: str) -> int:
    """How many columns of a terminal a text takes: letters of East Asia take two, combining ones none."""
    if not text or max(text.replace("…", ".")) < "\u0300":  # nothing to load a library for
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """What is waited for in the block, on a terminal."""
    if _quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextlib.contextmanager
def progress_of_wheels() -> Iterator[Callable[[str, int, int], None]]:
    """Something to call with a wheel's name, bytes done and bytes in all; on a terminal it shows bars for what takes long."""
    if _quiet or not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    bars: dict[str, Callable[[int], None]] = {}
    with contextlib.ExitStack() as stack:

        def show(name: str, done: int, total: int) -> None:
            if total >= (_SLOW_WHEELS if name in _COUNTED else _SLOW_SOURCES if name == "compiling" else _SLOW_BYTES):
                if name not in bars:
                    stack.close()  # one bar at a time: two would write over each other
                    bars.clear()
                    bars[name] = stack.enter_context(_bar(name, total, is_count=name in _COUNTED))
                bars[name](done)

        yield show


_REDRAW_S = 0.1  # a bar takes 1 ms to draw


@contextlib.contextmanager
def _bar(name: str, total: int, *, is_count: bool = False) -> Iterator[Callable[..., None]]:
    """Something to call with what is done, and, if that changed, `description` and `total`."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    name_column = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=_MAX_NAME))
    columns = (name_column, BarColumn(_BAR_WIDTH), MofNCompleteColumn() if is_count else DownloadColumn(), TimeRemainingColumn())
    shown_s = 0.0
    # no thread of its own, which would keep wheels from being unpacked by more than one process
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        task = progress.add_task(name, total=total)

        def update(done: int, **more: Any) -> None:
            nonlocal shown_s
            progress.update(task, completed=done, **more)
            if (now_s := time.monotonic()) - shown_s > _REDRAW_S:
                shown_s = now_s
                progress.refresh()

        yield update


@contextlib.contextmanager
def progress_of_downloads() -> Iterator[Callable[[int, int, int, int], None]]:
    """Something to call with bytes done, bytes in all, files done and files in all; on a terminal it shows a bar."""
    if _quiet or not sys.stderr.isatty():
        yield lambda done, total, files, every: None
        return
    with contextlib.ExitStack() as stack:
        bars: list[Callable[..., None]] = []

        def show(done: int, total: int, files: int, every: int) -> None:
            if not bars and total > done:
                bars.append(stack.enter_context(_bar("downloading", total)))
            for update in bars:
                update(done, total=total, description="downloading" if every == 1 else f"downloading {files:,}/{every:,}")

        yield show
