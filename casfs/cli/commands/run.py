"""run: a command in an environment that it alone sees."""

from __future__ import annotations

import argparse
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from casfs.cli.context import choose_interpreter, open_context, warn_of_dead_interpreter
from casfs.cli.foreground import Foreground, Start, end_alike
from casfs.cli.hints import DEFAULT_ENVIRONMENT
from casfs.cli.options import add_index_options, add_paths, add_python
from casfs.cli.output import note, warn
from casfs.cli.parser import Commands
from casfs.mounts.run_mounts import RunMount, enter_namespace, plan_showing, show_scene
from casfs.store.availability import require_available
from casfs.store.environments import Environment
from casfs.store.leases import HeldLease, Lease, clear_private_mount, forget_lease, is_lease_held, new_lease_id, private_lease, take_lease
from casfs.store.runtime_files import now_utc
from casfs.store.shared import shared_store_lock
from casfs.store.store import Store
from casfs.store.uppers import current_upper

_END_WAIT_S = 10.0  # how long we wait for the daemon to be gone; it needs 20 to 50 milliseconds
_LOOK_EVERY_S = 0.001
_STANDARD_STREAMS = 3


_DESCRIPTION = """Run a command in the environment, or in a temporary one made of some wheels.

The command sees the generation that is current when it starts, whatever changes meanwhile, and what tools wrote into the environment.
What it writes into the environment itself is kept in memory, seen by nobody else, and gone with it. No privilege is needed; a plain
user's command can't use sudo. What the command leaves running keeps the environment.

With `--with` it has the current generation and what that names, found and chosen as `casfs add` does, but not what tools wrote into the
mounts; the environment itself stays as it is."""


def add_command(commands: Commands) -> None:
    """casfs run"""
    run = commands.add("run", run_run, "casfs run six.whl -- python -c 'import six'")
    run.usage = "casfs run [--store DIR] [--python PYTHON] [--env NAME | WHEEL ...] [--with WHAT ...] [--] COMMAND ..."
    run.description = _DESCRIPTION
    add_python(run)
    text = "and this, with what it needs, for this run alone: a requirement, a path or a URL (repeatable)"
    run.add_argument("--with", action="append", dest="what", metavar="WHAT", help=text)
    add_paths(run, "--with-editable", dest="editable", metavar="PROJECT", help="and this project, where it is (repeatable)")
    add_paths(run, "--with-requirements", dest="requirements", metavar="FILE", help="and what is in this file (repeatable)")
    add_index_options(run)
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="WHEEL, COMMAND", help="`--` between the two is needed only in doubt")


def run_run(arguments: argparse.Namespace) -> int:
    """casfs run"""
    wheels, command = split_words(arguments.words)
    names = [*(arguments.what or ()), *(arguments.requirements or ()), *(arguments.editable or ())]
    if problem := _usage_problem(wheels, command, arguments.env):
        note(f"casfs run: {problem}; see `casfs run --help`")
        return 2
    environment = open_context(arguments, create=True)
    lease = _take_lease(environment, [*wheels, *names], arguments.python)
    foreground = None
    try:
        os.mkdir(lease.lease.mountpoint, 0o700)
        shown = Environment(environment.store, lease.lease.environment)
        with shared_store_lock(environment.store):
            if names or wheels:
                _fill(shown, environment, wheels, arguments)
        foreground = _start(shown, lease, command, arguments.umask)
        status = foreground.wait()
    finally:
        _end(environment.store, lease, is_waited_for=foreground is None or not foreground.has_left_others)
    return end_alike(status)


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """The wheels and the command: `--` stands between them. Without it the wheels are the first words, as long as they end with `.whl`."""
    if "--" in words:
        middle = words.index("--")
        if all(_is_wheel(word) for word in words[:middle]):
            return words[:middle], words[middle + 1 :]
    middle = next((index for index, word in enumerate(words) if not _is_wheel(word)), len(words))
    return words[:middle], words[middle:]


def _is_wheel(word: str) -> bool:
    return word.endswith(".whl") and not word.startswith("-")


def _usage_problem(wheels: list[str], command: list[str], name: str | None) -> str | None:
    if not command:
        return "name a command"
    if command[0].startswith("-"):
        return f"{command[0]} must stand before the wheels, or behind `--` if it is the command"
    if wheels and name is not None:
        return "name wheels or an environment, not both"
    return None


def _take_lease(environment: Environment, wheels: Sequence[str], python: str | None) -> HeldLease:
    """The lease of the mount to be made: whatever happens from here on, what it names is cleared away."""
    lease_id = new_lease_id()
    directory = f"{os.path.realpath(os.environ.get('TMPDIR') or '/tmp')}/casfs-{lease_id}"
    started = now_utc()
    if wheels:
        return take_lease(environment.store, private_lease(lease_id, directory, started))
    with shared_store_lock(environment.store):
        generation = _require_generation(environment, python)
        return take_lease(environment.store, private_lease(lease_id, directory, started, environment.name, generation))


def _require_generation(environment: Environment, python: str | None) -> int:
    """Number of the environment's current generation; a new environment gets one."""
    current = environment.current()
    if current is None and environment.name != DEFAULT_ENVIRONMENT:
        environment.require()  # says that there is none: a mistyped name makes no environment
    if current is None or python is not None:
        interpreter = choose_interpreter(environment, python)
        from casfs.changes.changes import create_environment

        current = create_environment(environment, interpreter)
    require_available(environment, current)
    warn_of_dead_interpreter(environment, current)
    return current.number


def _fill(shown: Environment, environment: Environment, wheels: Sequence[str], arguments: argparse.Namespace) -> None:
    """Make an environment of what the command names."""
    from casfs.changes.changes import AddOptions
    from casfs.cli.changes import add_fitting
    from casfs.cli.commands.add import must_have_hashes

    if arguments.what or arguments.requirements or arguments.editable or must_have_hashes():
        _fill_by_names(shown, environment, wheels, arguments)
    else:
        add_fitting(shown, choose_interpreter(shown, arguments.python), wheels, AddOptions(), is_compiled=False)


def _fill_by_names(shown: Environment, environment: Environment, wheels: Sequence[str], arguments: argparse.Namespace) -> None:
    """Make an environment of another one (of none beside wheels) and of what is asked for by name, with what that needs."""
    from casfs.changes.changes import AddOptions
    from casfs.cli.changes import add_fitting
    from casfs.cli.names import AddRequest, finding, make_reach

    base = None if wheels else environment.require() if environment.name != DEFAULT_ENVIRONMENT else environment.current()
    interpreter = choose_interpreter(shown if wheels else environment, arguments.python)
    setup = make_reach(arguments)
    quiet = replace(setup, uv=replace(setup.uv, options=(*setup.uv.options, "--quiet")))  # what it says is not the command's
    wish = AddRequest([*wheels, *(arguments.what or ())], arguments.requirements or (), arguments.editable or ())
    with finding(shown.store, interpreter, base, quiet, wish) as (wheels_to_add, _):
        options = AddOptions(max_wheel_size=arguments.max_wheel_size, command="run", base=base)
        add_fitting(shown, interpreter, wheels_to_add, options, is_compiled=False)


def _start(environment: Environment, lease: HeldLease, command: list[str], umask: int) -> Foreground:
    """Start the daemon and the command, which mounts before it begins."""
    store, directory = environment.store, lease.lease.mountpoint
    upper = current_upper(environment)
    pools = store.pool.directories
    show = plan_showing(store, environment.read(lease.lease.generation))
    scene = RunMount(directory, [upper.files] if upper else [], pools, show)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        _start_keeper(store, lease, theirs, must_answer=show is None)

        def prepare() -> None:
            enter_namespace()
            theirs.close()  # so that a daemon that has ended is noticed
            if reason := show_scene(scene, ours):
                warn(f"the environment is read-only and does not show what tools wrote into it: {reason}")

        return Foreground(Start(prepare, command, _environ(environment, directory), umask))


_LEADS_ELSEWHERE = {"PYTHONHOME", "CONDA_DEFAULT_ENV", "PDM_IGNORE_ACTIVE_VENV", "PIPENV_IGNORE_VIRTUALENVS", "UV_SYSTEM_PYTHON"}
"""With one of these Python, or a tool, would use something else than the active environment: Poetry and PDM with conda's base, for one."""


def _environ(environment: Environment, directory: str) -> Mapping[str, str]:
    """As after `activate`, and so that tools which have an environment for each project take this one."""
    kept = {name: value for name, value in os.environ.items() if name not in _LEADS_ELSEWHERE}
    path = os.pathsep.join((f"{directory}/bin", kept.get("PATH", os.defpath)))
    told = {"UV_PROJECT_ENVIRONMENT": directory, "PDM_IGNORE_SAVED_PYTHON": "1", "PDM_USE_VENV": "1"}  # Poetry takes the active one
    return {"UV_LINK_MODE": "copy", **kept, **told, "PATH": path, "VIRTUAL_ENV": directory, "VIRTUAL_ENV_PROMPT": environment.name}


def _start_keeper(store: Store, lease: HeldLease, line: socket.socket, *, must_answer: bool) -> None:
    """Start what keeps the mount, as nobody's child: it outlives us if the command does."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if not os.fork():
            _keep(store, lease, line, must_answer=must_answer)
    finally:
        os._exit(0)


def _keep(store: Store, lease: HeldLease, line: socket.socket, *, must_answer: bool) -> None:
    """The whole life of the keeper. It holds nothing open that was ours: who reads our output waits for no keeper."""
    from casfs.mounts.keeper import keep_private

    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(_STANDARD_STREAMS):
        os.dup2(null, fd)
    low = _STANDARD_STREAMS
    for kept in sorted((lease.fd, line.fileno())):
        os.closerange(low, kept)
        low = kept + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")
    keep_private(store, lease, line, _log, must_answer=must_answer)


def _log(store: Store, lease: Lease) -> None:
    """From here on the keeper has a log."""
    from casfs.daemon.start import log_to_file

    log_to_file(store.run_path(f"{lease.id}.log"))


def _end(store: Store, held: HeldLease, *, is_waited_for: bool) -> None:
    """Return when nothing is left, unless that is not to be waited for. The daemon clears away; we do if there is none."""
    os.close(held.fd)
    until = time.monotonic() + _END_WAIT_S
    while is_waited_for and is_lease_held(store, held.lease) and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)
    if not is_lease_held(store, held.lease):
        clear_private_mount(store, held.lease)
        forget_lease(store, held.lease)
