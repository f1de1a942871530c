"""add: wheel files as they are; for everything else, `names`."""

from __future__ import annotations

import argparse
import os

from casfs.cli.changes import change_and_show, refuse_unrecordable
from casfs.cli.context import choose_interpreter, open_context
from casfs.cli.options import add_index_options, add_json, add_manner, add_paths, add_python, add_requirements_files, add_shared_pool
from casfs.cli.parser import SIGNS, Commands

_ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar", ".zip")

_REQUIRE_HASHES = ("PIP_REQUIRE_HASHES", "UV_REQUIRE_HASHES")


def add_command(commands: Commands) -> None:
    """casfs add"""
    add = commands.add("add", run_add, f"casfs add 'pandas>=2' --python 3.12\n\n{SIGNS}")
    add.add_argument("what", nargs="*", metavar="WHAT", help="a requirement, the path of a wheel or a project, or a URL")
    add_requirements_files(add)
    text = "a project that is used where it is, so that edits count at once (repeatable)"
    add_paths(add, "-e", "--editable", metavar="PROJECT", help=text)
    add.set_defaults(usage_error=add.error)
    add_index_options(add)
    add_python(add)
    add_shared_pool(add)
    add_manner(add)
    add_json(add)


def run_add(arguments: argparse.Namespace) -> None:
    """Add what was typed."""
    if not arguments.what and not arguments.requirements and not arguments.editable:
        arguments.usage_error("name something to add")
    is_more = arguments.requirements or arguments.editable or must_have_hashes()
    if is_more or not all(map(is_wheel_file, arguments.what)):
        from casfs.cli.names import add_names

        add_names(arguments)
        return
    for path in arguments.what:
        refuse_unrecordable(path)
    environment = open_context(arguments, create=True)
    interpreter = choose_interpreter(environment, arguments.python)
    change_and_show(arguments, environment, interpreter, arguments.what)


def must_have_hashes() -> bool:
    """Whether a variable says that everything must have a hash: then wheel files are requirements as all others."""
    if not any(os.environ.get(name) for name in _REQUIRE_HASHES):
        return False
    from casfs.resolve.configured import read_pip_settings, says_hashes_are_required

    return says_hashes_are_required(os.environ, read_pip_settings(os.environ), ())


def is_wheel_file(word: str) -> bool:
    """Whether what was typed is a wheel's path; that of a file which is nothing to build either will be refused as one."""
    if "://" in word:
        return False
    return word.endswith(".whl") or ("/" in word and os.path.isfile(word) and not word.endswith(_ARCHIVES))
