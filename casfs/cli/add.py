"""add: wheel files as they are; for everything else, `names`."""

from __future__ import annotations

import argparse
import os

from casfs.cli.changes import change_and_show, refuse_unrecordable
from casfs.cli.context import choose_interpreter, open_context

_ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar", ".zip")


def run_add(arguments: argparse.Namespace) -> None:
    """casfs add"""
    if not arguments.what and not arguments.requirements and not arguments.editable:
        arguments.usage_error("name something to add")
    if arguments.requirements or arguments.editable or not all(map(is_wheel_file, arguments.what)):
        from casfs.cli.names import add_names

        add_names(arguments)
        return
    for path in arguments.what:
        refuse_unrecordable(path)
    environment = open_context(arguments, create=True)
    interpreter = choose_interpreter(environment, arguments.python)
    change_and_show(arguments, environment, interpreter, arguments.what)


def is_wheel_file(word: str) -> bool:
    """Whether what was typed is a wheel's path; that of a file which is nothing to build either will be refused as one."""
    if "://" in word:
        return False
    return word.endswith(".whl") or ("/" in word and os.path.isfile(word) and not word.endswith(_ARCHIVES))
