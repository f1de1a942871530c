"""How commands speak: results on standard output, everything else on standard error.

Unprintable characters are written as JSON and TOML write them (\\u001b): names come from anywhere, and must move no cursor.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence

_SLOW_BYTES = 50 << 20
"""A wheel that unpacks to less takes under a second: a bar for it would only flash."""

_SLOW_SOURCES = 4 << 20  # the same of sources that are compiled
_SLOW_WHEELS = 500  # the same of wheels, however small

_COUNTED = ("wheels", "installing")
"""What is told with a number of wheels in place of bytes."""


def say(text: str = "") -> None:
    """A line of the result, or several."""
    print("\n".join(map(escape, text.split("\n"))))


def note(text: str) -> None:
    """A line beside the result, behind what was said of that. Reasons below it are indented, as CasfsError writes them."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    print("\n  ".join(map(escape, text.split("\n  "))), file=sys.stderr)


def escape(text: str) -> str:
    """A text that a terminal shows as it is. Letters of every script stay."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _escape_one(one) for one in text)


def _escape_one(one: str) -> str:
    """In the form that JSON and, for what JSON writes as two surrogates, TOML allow."""
    return f"\\u{ord(one):04x}" if ord(one) < 1 << 16 else f"\\U{ord(one):08x}"


def warn(text: str) -> None:
    """Something that went on but should be known."""
    note(f"casfs: warning: {text}")


def note_on_terminal(text: str) -> None:
    """For people who wait; a log does without."""
    if sys.stderr.isatty():
        note(text)


def say_json(value: object) -> None:
    """The result for programs."""
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
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, ["-" * width for width in widths], *rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextlib.contextmanager
def progress_of_wheels() -> Iterator[Callable[[str, int, int], None]]:
    """Something to call with a wheel's name, bytes done and bytes in all; on a terminal it shows bars for what takes long."""
    if not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    bars: dict[str, Callable[[int], None]] = {}
    with contextlib.ExitStack() as stack:

        def show(name: str, done: int, total: int) -> None:
            if total >= (_SLOW_WHEELS if name in _COUNTED else _SLOW_SOURCES if name == "bytecode" else _SLOW_BYTES):
                if name not in bars:
                    stack.close()  # one bar at a time: two would write over each other
                    bars.clear()
                    bars[name] = stack.enter_context(_bar(name, total, is_count=name in _COUNTED))
                bars[name](done)

        yield show


@contextlib.contextmanager
def _bar(name: str, total: int, *, is_count: bool = False) -> Iterator[Callable[..., None]]:
    """Something to call with what is done, and, if that changed, `description` and `total`."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn() if is_count else DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=total)
        yield lambda done, **more: progress.update(task, completed=done, **more)


@contextlib.contextmanager
def progress_of_downloads() -> Iterator[Callable[[int, int, int, int], None]]:
    """Something to call with bytes done, bytes in all, files done and files in all; on a terminal it shows a bar."""
    if not sys.stderr.isatty():
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
