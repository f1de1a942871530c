r"""Launchers: scripts that find their interpreter beside themselves, so that the same bytes serve wherever the environment is mounted.

A script of a usual environment names its interpreter in the first line, by an absolute path. Ours begins with two lines that the shell
runs and Python takes for comments; what the wheel or pip would have after the first line follows unchanged:

    #!/bin/sh -
    <FF># >/dev/null 2>&1; ...; exec "${casfs_launcher%/*}/python" "$0" "$@"
    import sys
    ...

- The second line begins with a form feed. To Python that is white space (language reference, "Indentation"), so the line is a comment and
  neither a docstring nor a statement: `__doc__`, `from __future__ import` and the line that declares an encoding work as in any script. To
  a shell a form feed is a letter: the line calls a command of that odd name, which does not exist and says so to /dev/null, and goes on.
- `exec` gives Python the path as it was called, so `sys.argv[0]` is what it would be with an interpreter in the first line, and runs
  bin/python, so `sys.prefix` is the mountpoint.
- Only a symlink to a launcher, and a path with `.` or `..`, cost a call of `readlink`; all else happens inside the shell.
- `casfs_launcher` is a variable of the shell alone and does not reach Python's environment.
- A path that begins with a dash must not be taken for an option: hence the `-` of the first line and the second `exec`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from dataclasses import dataclass

from casfs.errors import InvalidValue

_SHELL = (
    "case $0 in /*) casfs_launcher=$0 ;; *) casfs_launcher=$PWD/$0 ;; esac",
    'case $casfs_launcher in */./* | */../*) casfs_launcher=$(readlink -f "$casfs_launcher") ;; esac',
    'if [ -L "$casfs_launcher" ]; then casfs_launcher=$(readlink -f "$casfs_launcher"); fi',
    'case $0 in -*) exec "${casfs_launcher%/*}/python" -- "$0" "$@" ;; esac',
    'exec "${casfs_launcher%/*}/python" "$0" "$@"',
)

_BODY = """\
import sys
from {module} import {imported}
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit({attribute}())
"""
"""What pip 26 writes, word for word: who compares an environment with pip's finds only the lines above it changed."""

_BODY_OF_3_8 = """\
# -*- coding: utf-8 -*-
import re
import sys
from {module} import {imported}
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit({attribute}())
"""
"""What the last pip for Python 3.8 writes: `removesuffix` came with 3.9."""

_DOTTED_NAME = re.compile(r"\w+(\.\w+)*")  # what pip takes in an entry point

_WANTS_PYTHON = b"#!python"  # also `#!pythonw`: binary distribution format, "Recommended installer features"

_ENCODING = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)  # PEP 263


_EXEC = re.compile(rb"#!/bin/sh\n(?:# coding: ([-\w.]+)\n)?'''exec' ([^\n]+) \"\$0\" \"\$@\"\n' '''\n")
_FIRST_LINE = re.compile(rb"#![ \t]*(/[^\n]*?|\"[^\n]*?)[ \t]*\r?\n")
_BESIDE = re.compile(rb'"\$\(dirname -- "\$\(realpath -- "\$0"\)"\)"/')
_OCTAL = re.compile(rb"\"\$\(printf %b((?: '\\'0[0-7]{3})+)\)\"")
_PYTHON = re.compile(r"(?P<prefix>/.*?)/bin/python[\d.]*t?w?(?P<options>(?: +[-\w.=]+)*)")


@dataclass(frozen=True, slots=True)
class ForeignScript:
    """A script that another installer made, or a wheel brought so: what its first lines name, and what follows them."""

    prefix: str | None  # directory above the interpreter's `bin`; None: it is found beside the script
    options: str  # " -E": what the interpreter is given besides the script
    encoding: bytes  # of the script, if the first lines declare it
    rest: bytes

    def make_relocatable(self) -> bytes:
        """The script, made to find its interpreter beside itself."""
        return _preamble(self.encoding or _declared_encoding(self.rest), self.options) + self.rest


def parse_script(content: bytes) -> ForeignScript | None:
    """A script that names a Python by its path, in any form that is in use; None if it does not.

    An interpreter in the first line, with or without quotes and options, is what pip (also where the path has a space), uv, setuptools,
    distlib and installer write. Where the kernel can't read that, they have `/bin/sh` execute it: distlib with double quotes or none,
    installer and uv with single ones, uv in octal if the script declares an encoding, and beside itself in an environment that moves.
    """
    if match := _EXEC.match(content):
        encoding, word = match[1] or b"", match[2]
        if _BESIDE.match(word):
            return ForeignScript(None, "", encoding, content[match.end() :])
        if octal := _OCTAL.fullmatch(word):
            word = bytes(int(one, 8) for one in re.findall(rb"0[0-7]{3}", octal[1]))
    elif match := _FIRST_LINE.match(content):
        encoding, word = b"", match[1]
    else:
        return None
    named = _PYTHON.fullmatch(_unquote(word))
    return ForeignScript(named["prefix"], named["options"], encoding, content[match.end() :]) if named else None


def _unquote(word: bytes) -> str:
    """A path, and what may follow it, without the shell's quotes."""
    text = os.fsdecode(word)
    if text.startswith('"'):
        return text.replace('"', "")  # nobody who writes these escapes what is between them
    if text.startswith("'"):
        with contextlib.suppress(ValueError):
            return " ".join(shlex.split(text))
    return text


def build_launcher(name: str, module: str, attribute: str, python_directory: str = "") -> bytes:
    """The script `name` that calls the entry point `module:attribute`, for any Python, or for "python3.8".

    Raises InvalidValue if module or attribute is not a dotted name.
    """
    for part in (module, attribute):
        if not _DOTTED_NAME.fullmatch(part):
            raise InvalidValue(f"entry point {name!r}", f"{part!r} is not a dotted name")
    body = _BODY_OF_3_8 if python_directory == "python3.8" else _BODY
    return _preamble() + body.format(module=module, imported=attribute.partition(".")[0], attribute=attribute).encode()


def rewrite_script(content: bytes) -> bytes | None:
    """A wheel's script whose first line asks for Python, made to find it; None if its first line asks for nothing of the kind.

    As with pip, what stands after `#!python` is dropped.
    """
    if not content.startswith(_WANTS_PYTHON):
        return None
    rest = content.partition(b"\n")[2]
    return _preamble(_declared_encoding(rest)) + rest


def is_relocatable(content: bytes) -> bool:
    """Whether a script is one that was made here, and so finds its interpreter beside itself."""
    return content.startswith(_preamble().removesuffix(b"\n"))


def _declared_encoding(rest: bytes) -> bytes:
    """What the script's second line declares, or nothing. Python looks at two lines only, and our second line comes first."""
    declaration = _ENCODING.match(rest.partition(b"\n")[0])
    return declaration[1] if declaration else b""


def _preamble(encoding: bytes = b"", options: str = "") -> bytes:
    shell = "; ".join(["\f# >/dev/null 2>&1", *_SHELL]).replace('/python"', f'/python"{options}').encode()
    comment = b" # -*- coding: " + encoding + b" -*-" if encoding else b""
    return b"#!/bin/sh -\n" + shell + comment + b"\n"
