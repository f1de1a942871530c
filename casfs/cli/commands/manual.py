"""manual: the manual's pages, on a terminal as a book, else as they are."""

from __future__ import annotations

import argparse
import sys
from importlib import resources

from casfs.cli.output import say, say_table
from casfs.cli.parser import Commands
from casfs.errors import InvalidValue


def add_command(commands: Commands) -> None:
    """casfs manual"""
    manual = commands.add("manual", run_manual, "casfs manual mounts")
    manual.add_argument("topic", nargs="?", metavar="TOPIC", help="a page (default: list them)")


def run_manual(arguments: argparse.Namespace) -> None:
    """Show a page, or say which there are. Raises InvalidValue."""
    pages = {page.name.removesuffix(".md"): page for page in (resources.files("casfs") / "manual").iterdir() if page.name.endswith(".md")}
    if arguments.topic is None:
        say_table(("Topic", "About"), [(name, _title(pages[name].read_text(encoding="utf-8"))) for name in sorted(pages)])
        return
    if arguments.topic not in pages:
        raise InvalidValue(repr(arguments.topic), _explain(arguments.topic, sorted(pages)))
    text = pages[arguments.topic].read_text(encoding="utf-8")
    if sys.stdout.isatty():
        _show(text)
    else:
        say(text.rstrip("\n"))


def _title(text: str) -> str:
    return text.partition("\n")[0].removeprefix("# ")


def _explain(topic: str, pages: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(topic, pages, n=1)
    return f"is no topic of the manual{f'; did you mean {near[0]!r}?' if near else ''}; there are: {', '.join(pages)}"


def _show(text: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    with console.pager(styles=True):
        console.print(Markdown(text))
