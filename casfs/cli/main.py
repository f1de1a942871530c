"""The command line: how a command begins, and how it ends. What there is to type is in `parser`.

Exit codes: 0 fine, 1 an error that is the user's to mend, 2 wrong usage, 3 `fsck` found damage. A bug shows its traceback.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from casfs.cli.client import has_server
from casfs.cli.hints import environment_name, hint_as_typed
from casfs.cli.output import OUTPUT, be_quiet, complain, format_count, leave_stream, note, say_why, warn
from casfs.cli.parser import build_parser
from casfs.errors import CasfsError, StoreDamaged, describe_failure
from casfs.store.publish import naming


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


def _run(words: Sequence[str], umask: int) -> int:
    """Run the command's function."""
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
        from casfs.mounts.overlay_layers import force_way

        force_way(way)
    if not has_server():
        from casfs.daemon.start import without_command_server

        without_command_server.append(True)
    if rate := os.environ.get("CASFS_SCRUB_RATE"):
        from casfs.cli.options import parse_size
        from casfs.store.scrub import first_rate

        first_rate[:] = [parse_size(rate)]
    if not getattr(arguments, "is_apart", False) and not getattr(arguments, "foreground", False) and not getattr(arguments, "all", False):
        _recover_mounts(arguments)
    try:
        return int(arguments.run(arguments) or 0)
    except StoreDamaged as error:
        _note_failed_read(arguments, error)
        raise


def _recover_mounts(arguments: argparse.Namespace) -> None:
    from casfs.cli.context import store_directory
    from casfs.mounts.recovery import recover_mounts

    if count := recover_mounts(store_directory(arguments), warn):
        note(f"casfs: the daemon had died; {format_count(count, 'mount')} came back")


_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def end_in_order() -> None:
    """From now on SIGTERM and SIGHUP end this process as Ctrl-C does: it clears away what it has begun. Forked ones end at once."""
    for number in _ENDINGS:
        if signal.getsignal(number) is signal.SIG_DFL:  # else whoever started us had it ignored
            signal.signal(number, _end)
    os.register_at_fork(after_in_child=_end_at_once)


def _end(number: int, frame: object) -> NoReturn:
    """Once is enough: a second signal would disturb the clearing away."""
    _set_ours(signal.SIG_IGN)
    raise SystemExit(128 + number)


def _end_at_once() -> None:
    _set_ours(signal.SIG_DFL)


def _set_ours(how: signal.Handlers) -> None:
    for number in _ENDINGS:
        if signal.getsignal(number) is _end:
            signal.signal(number, how)


def exit_code(run: Callable[[], int | None]) -> int:
    """The exit code that `run` answers, 0 for None. An error that is the user's to mend is said in a line; a bug leaves as it came."""
    try:
        code = _answer(run)
        with naming(OUTPUT):
            sys.stdout.flush()
        return code
    except CasfsError as error:
        say_why(error)
        complain(f"casfs: {error}")
    except BrokenPipeError:  # the reader of our output left, as `head` does
        leave_stream(sys.stdout)
    except OSError as error:
        if error.filename == OUTPUT:
            leave_stream(sys.stdout)
        complain(f"casfs: {describe_failure(error)}")
    except KeyboardInterrupt:
        complain("casfs: interrupted")
        return 130
    return 1


def _answer(run: Callable[[], int | None]) -> int:
    try:
        return run() or 0
    except SystemExit as leaving:  # argparse's way
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
