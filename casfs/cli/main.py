"""The command line: how a command begins, and how it ends. What there is to type is in `parser`.

Exit codes: 0 fine, 1 an error that is the user's to mend, 2 wrong usage, 3 `fsck` found damage. A bug shows its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from casfs.cli.ending import end_in_order, exit_code
from casfs.cli.hints import environment_name, hint_as_typed
from casfs.cli.output import be_quiet, note
from casfs.cli.parser import build_parser
from casfs.errors import CasfsError, StoreDamaged


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    _open_standard_streams()
    end_in_order()
    umask = os.umask(0o077)
    os.umask(umask & 0o077 | 0o022)  # as strict as it was, but the owner may use what we make and nobody else may write to it
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal can't show ends no command
    words = sys.argv[1:] if argv is None else argv
    sys.exit(exit_code(lambda: _run(words, umask)))


def _open_standard_streams() -> None:
    """Open what whoever started us has closed; the next files would else be taken for it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


_APART = (
    "daemons:run_start",
    "daemons:run_stop",
    "daemons:run_adopt",
    "daemons:run_answer",
    "service:run_install",
    "helping:run_help",
    "helping:run_greeting",
)
"""Commands that find mounts as they are: they start and end daemons themselves."""


def _run(words: Sequence[str], umask: int) -> int:
    """Run the command's function, which is imported only now: most commands need little of the program."""
    arguments = build_parser(words).parse_args(words, argparse.Namespace(umask=umask))
    hint_as_typed(arguments)
    if arguments.quiet:
        be_quiet()
    if arguments.verbose:
        return _run_talking(arguments)
    return _run_command(arguments)


def _note_failed_read(arguments: argparse.Namespace, error: StoreDamaged) -> None:
    """If a blob is lost, let adding its wheel again restore it."""
    from casfs.cli.context import store_directory
    from casfs.store.quarantine import note_failed_read
    from casfs.store.store import Store

    note_failed_read(Store(os.path.abspath(store_directory(arguments))), error)


def _run_talking(arguments: argparse.Namespace) -> int:
    """Run the command, and say what it is about, and of an error where it arose."""
    from casfs.cli.context import store_directory

    note(f"store {store_directory(arguments)}, environment {environment_name(arguments)!r}")
    try:
        return _run_command(arguments)
    except (CasfsError, OSError):
        import traceback

        for line in traceback.format_exc().splitlines():
            note(line)
        raise


def _run_command(arguments: argparse.Namespace) -> int:
    if way := os.environ.get("CASFS_TEST_WAY"):
        from casfs.mount.overlay_layers import force_way

        force_way(way)
    if arguments.run not in _APART and not getattr(arguments, "foreground", False) and not getattr(arguments, "all", False):
        from casfs.cli.comeback import bring_back_mounts

        bring_back_mounts(arguments)
    module, _, function = arguments.run.partition(":")
    try:
        return int(getattr(importlib.import_module(f"casfs.cli.{module}"), function)(arguments) or 0)
    except StoreDamaged as error:
        _note_failed_read(arguments, error)
        raise


if __name__ == "__main__":
    main()
