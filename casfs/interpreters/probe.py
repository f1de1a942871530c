"""Probe: what a Python says about itself when it is run once, without its site-packages and without the user's settings."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from casfs.errors import InterpreterRefused

OLDEST = (3, 8)
"""The oldest CPython that casfs serves."""

_PROGRAM = """\
import json, os, struct, sys, sysconfig
from _frozen_importlib_external import MAGIC_NUMBER
def glibc():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    except (AttributeError, IndexError, OSError, ValueError):
        return ""
def markers():
    about, system = sys.implementation.version, os.uname()
    release = "%d.%d.%d" % about[:3]
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": release + ("" if about[3] == "final" else about[3][0] + str(about[4])),
        "os_name": os.name,
        "platform_machine": system.machine,
        "platform_python_implementation": "CPython",
        "platform_release": system.release,
        "platform_system": system.sysname,
        "platform_version": system.version,
        "python_full_version": sys.version.split()[0],
        "python_version": "%d.%d" % sys.version_info[:2],
        "sys_platform": sys.platform,
    }
variable = sysconfig.get_config_var
json.dump({
    "implementation": sys.implementation.name,
    "version": sys.version.split()[0],
    "release": list(sys.version_info[:3]),
    "executable": getattr(sys, "_base_executable", None) or sys.executable,
    "cache_tag": sys.implementation.cache_tag or "",
    "magic": "".join("%02x" % byte for byte in MAGIC_NUMBER),
    "library": sysconfig.get_path("stdlib"),
    "platform": sysconfig.get_platform(),
    "bits": struct.calcsize("P") * 8,
    "debug": bool(variable("Py_DEBUG") or hasattr(sys, "gettotalrefcount")),
    "free_threaded": bool(variable("Py_GIL_DISABLED")),
    "glibc": glibc(),
    "markers": markers(),
}, sys.stdout)
"""
"""Runs on every Python 3, so that one that is too old can say so."""

_LAST_LINE = _PROGRAM.splitlines()[-1]

_COMMAND = ("-I", "-S", "-B", "-c", _PROGRAM)

_TIMEOUT_S = 30.0  # a first start from a cold network disk takes seconds

_MAX_COMPLAINT = 200  # some programs quote all they were given


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probe printed, checked: an executable of a CPython that casfs can serve."""

    version: str  # as sys.version begins: "3.14.0rc1"
    release: tuple[int, int, int]
    executable: str  # in a virtual environment that one's base, as far as this Python knows it
    cache_tag: str
    magic: str  # of its bytecode, in hexadecimal digits
    library: str  # directory of the standard library
    platform: str  # "linux-x86_64", of the kernel: a 32-bit Python may run on it
    bits: int
    debug: bool
    free_threaded: bool
    glibc: str  # "2.36"; empty if this is not glibc
    markers: Mapping[str, str]  # PEP 508


def probe_python(executable: str, timeout_s: float = _TIMEOUT_S) -> Facts:
    """The facts about `executable`. Raises InterpreterRefused if it can't be run, does not answer as a Python does, or is unsuitable."""
    output = _run(executable, timeout_s)
    try:
        facts = json.loads(output)
        version, implementation = str(facts["version"]), str(facts.pop("implementation"))
        facts["release"] = release = tuple(map(int, facts["release"]))
    except (KeyError, RecursionError, TypeError, ValueError):
        raise InterpreterRefused(executable, "does not answer as a Python interpreter does") from None
    if implementation != "cpython":
        raise InterpreterRefused(executable, f"is {implementation}, not CPython")
    if release < OLDEST:
        raise InterpreterRefused(executable, f"is CPython {version}; the oldest that can be used is {OLDEST[0]}.{OLDEST[1]}")
    try:
        return Facts(**facts)
    except TypeError:
        raise InterpreterRefused(executable, "does not answer as a Python interpreter does") from None


def _run(executable: str, timeout_s: float) -> bytes:
    import subprocess

    try:
        process = subprocess.Popen(
            [executable, *_COMMAND],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that what a wrapper script has started can be ended with it
        )
    except OSError as error:
        raise InterpreterRefused(executable, f"can't be run: {error.strerror}") from None
    try:
        output, complaint = process.communicate(timeout=timeout_s)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise InterpreterRefused(executable, f"did not answer within {timeout_s:g} seconds") from None
        raise
    if process.returncode:
        raise InterpreterRefused(executable, _failure(process.returncode, complaint))
    return output


def _failure(status: int, complaint: bytes) -> str:
    last = complaint.decode(errors="replace").strip().rpartition("\n")[2][-_MAX_COMPLAINT:]
    end = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
    if _LAST_LINE in last:  # it took our program for something else, such as the name of a file
        return f"does not answer as a Python interpreter does: {end}"
    return f"{end}: {last}" if last else end
