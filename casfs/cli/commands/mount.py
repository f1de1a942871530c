"""mount: an environment as a virtual environment at a path, here or in the mount namespace of another process."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from casfs.cli.context import choose_interpreter, open_context, warn_if_dead, warn_of_dead_interpreter
from casfs.cli.hints import DEFAULT_ENVIRONMENT, complete_hints, hint_at
from casfs.cli.options import add_python, add_shared_pool, parse_positive
from casfs.cli.output import note, warn
from casfs.cli.owner import owner_ids, warn_of_useless_mount
from casfs.cli.parser import Commands
from casfs.daemon.start import Progress
from casfs.errors import CasfsError, EnvironmentRefused, MountRefused
from casfs.mounts.environment_overlays import find_shown
from casfs.mounts.mount import MountOptions, is_mounted_already, mount, prepared, refuse_mountpoint
from casfs.mounts.mountpoints import KERNEL, PLAIN, MountRecord
from casfs.mounts.other_namespace import namespace_of, resolve_in
from casfs.store.availability import iter_environments, require_available
from casfs.store.environments import Environment
from casfs.store.following import resolve_path
from casfs.store.pending_changes import changing
from casfs.store.uppers import current_upper
from casfs.venv.similar import find_slip


def add_command(commands: Commands) -> None:
    """casfs mount"""
    parser = commands.add("mount", run_mount, "casfs mount ~/project/.venv")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("mountpoint", nargs="?", metavar="PATH", help="an empty directory; it is made if it is absent")
    text = "many at once: lines of an environment's name and a path (empty lines and # comments are skipped); - is standard input"
    where.add_argument("--list", metavar="FILE", help=text)
    add_python(parser)
    add_shared_pool(parser)
    parser.add_argument("--owner", metavar="USER", help="to whom the files belong (default: the owner of the environment; root only)")
    text = "in the mount namespace of a process, such as a container's (root only)"
    parser.add_argument("--into", type=parse_positive, metavar="PID", help=text)
    parser.add_argument("--read-only", action="store_true", help="make it read-only")
    text = "have a `pip` in bin that lets the pip of the base interpreter, or uv, install into it; kept until said otherwise (default: yes)"
    parser.add_argument("--pip", action=argparse.BooleanOptionalAction, help=text)
    text = "who reads the files: the kernel, which also lets tools write, or the daemon (default: the kernel where it can; root only)"
    parser.add_argument("--data-path", choices=(KERNEL, PLAIN), help=text)
    parser.add_argument("--foreground", action="store_true", help="serve in this process until it is interrupted")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--after", default="", help=argparse.SUPPRESS)


def run_mount(arguments: argparse.Namespace) -> None:
    """casfs mount"""
    if arguments.list is not None:
        _mount_many(arguments)
        return
    path, namespace = target(arguments)
    environment = _open_to_mount(arguments)
    owner = None if arguments.owner is None else owner_ids(environment, arguments.owner)
    wish, pid = arguments.data_path or "", arguments.into or 0
    options = MountOptions(owner, wish, arguments.read_only, namespace, pid, arguments.after)
    where = f"{path} of process {pid}" if namespace else path
    if not is_mounted_already(environment, path, options):
        try:
            _mount(environment, path, options, arguments)
            return
        except MountRefused:
            if not is_mounted_already(environment, path, options):  # else another command has mounted it just now
                raise
    note(f"{where} already shows environment {environment.name!r}")


def target(arguments: argparse.Namespace) -> tuple[str, int]:
    """The path and the mount namespace that a command is about, which is 0 for our own. Raises MountRefused."""
    if arguments.into is None:
        return resolve_path(arguments.mountpoint), 0
    if os.geteuid() != 0:
        raise MountRefused(arguments.mountpoint, "only root can mount in the namespace of another process")
    path = resolve_in(arguments.into, arguments.mountpoint)
    if getattr(arguments, "foreground", False):
        raise MountRefused(path, "--foreground serves in this mount namespace only")
    return path, namespace_of(arguments.into)


def _mount(environment: Environment, path: str, options: MountOptions, arguments: argparse.Namespace) -> None:
    is_young = environment.current_number() in {None, 1}
    is_first = current_upper(environment) is None  # the kernel's data path makes one

    def require_generation() -> None:
        _require_generation(environment, arguments.python, arguments.pip)

    if arguments.foreground:
        _mount_in_foreground(environment, path, options, arguments)
        return
    made = mount(environment, path, options, require_generation, warn)
    if made is not None:
        _tell_what_is_missing(environment, made, arguments)
    if is_first and not options.namespace and (is_young or (made is not None and made.overlay)):
        _note_how_to_install(environment, is_writable=made is not None and bool(made.overlay) and not made.is_read_only)


def _mount_in_foreground(environment: Environment, path: str, options: MountOptions, arguments: argparse.Namespace) -> None:
    from casfs.mounts.serving import serve, serve_in_foreground

    if options.data_path == KERNEL:
        raise MountRefused(path, "only root's daemon has the kernel's data path; `casfs run` has it for everybody")
    refuse_mountpoint(environment, path, options)
    with prepared(path):
        _require_generation(environment, arguments.python, arguments.pip)
    if arguments.ready_fd is not None:
        serve(environment.store, environment.name, path, Progress(arguments.ready_fd), arguments.after)
        return

    def when_serving() -> None:
        from casfs.cli.service import tell_manager

        note(f"{path} shows environment {environment.name!r}; Ctrl-C ends it")
        tell_manager("READY=1")

    serve_in_foreground(environment.store, environment.name, path, when_serving, arguments.after)


def _tell_what_is_missing(environment: Environment, made: MountRecord, arguments: argparse.Namespace) -> None:
    if not made.overlay and not arguments.data_path:
        note(f"{made.path} is read-only: the kernel's data path can't be used ({made.why})")
    if arguments.owner is not None and not made.namespace:
        warn_of_useless_mount(arguments.owner, made.uid, made.gid, made.path, environment.require().interpreter.executable)


def _mount_many(arguments: argparse.Namespace) -> None:
    """Mount what the lines of a file say. One that fails keeps no other. Raises MountRefused that names those that did."""
    refused = []
    for name, path in _iter_list(arguments.list):
        hint_at(name)
        try:
            run_mount(argparse.Namespace(**{**vars(arguments), "env": name, "mountpoint": path, "list": None}))
        except CasfsError as error:
            refused.append(complete_hints(str(error)))
    if refused:
        raise MountRefused(arguments.list, *refused)


def _iter_list(path: str) -> Iterator[tuple[str, str]]:
    """(environment, path) of each line that says something; `~` is a home directory, as in a shell.

    Raises MountRefused that names the lines of another form.
    """
    with open(0 if path == "-" else path, encoding="utf-8", errors="surrogateescape", closefd=path != "-") as file:
        lines = [(number, line.strip()) for number, line in enumerate(file, 1)]
    filled = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if wrong := [f"line {number} is not a name and a path: {line!r}" for number, line in filled if len(line.split()) < 2]:
        raise MountRefused(path, *wrong)
    for _, line in filled:
        name, where = line.split(None, 1)
        yield name, os.path.expanduser(where)


def _open_to_mount(arguments: argparse.Namespace) -> Environment:
    """The environment to mount. Raises EnvironmentRefused if there is none of this name, but one that is probably meant.

    Any other new name makes an environment, since people mount first and add then. But what a slip of the keyboard made would be empty,
    beside the one that was meant, and nothing would say so again. Whoever does mean it adds something first, or names its interpreter.
    """
    environment = open_context(arguments, create=True)
    if arguments.python is None and environment.name != DEFAULT_ENVIRONMENT and environment.current_number() is None:
        known = [other.name for other in iter_environments(environment.store) if os.path.lexists(f"{other.directory}/current")]
        if meant := find_slip(environment.name, known):
            reason = f"there is no environment of this name; did you mean {meant!r}? `--python` makes it anyway"
            raise EnvironmentRefused(environment.name, reason)
    return environment


def _require_generation(environment: Environment, python: str | None, with_pip: bool | None) -> None:
    """Make the environment if it is new. Raises EnvironmentRefused if it is not, but is in no pool any more or of another interpreter.

    `with_pip`: whether bin has something that stands in for pip from now on; None leaves that as it is.

    What is shown already is not looked at again: it was there when it was first mounted, and its overlay needs no generation read.
    """
    if python is None and with_pip is None and (executable := find_shown(environment.store, environment.name)):
        warn_if_dead(environment, executable)
        return
    if (current := environment.current()) is not None:
        if python is not None:
            choose_interpreter(environment, python)
        require_available(environment, current)
        warn_of_dead_interpreter(environment, current)
    else:
        from casfs.changes.changes import create_environment

        made = create_environment(environment, choose_interpreter(environment, python))
        note(f"made environment {environment.name!r} for Python {made.interpreter.version}")
    if with_pip is not None:
        _set_pip(environment, with_pip=with_pip)


def _set_pip(environment: Environment, *, with_pip: bool) -> None:
    from casfs.changes.changes import has_stand_in, set_interpreter
    from casfs.mounts.refresh import refresh_after_change

    if has_stand_in(environment.require()) != with_pip:
        with changing(environment.store):
            set_interpreter(environment, choose_interpreter(environment, None), with_pip=with_pip)
            refresh_after_change(environment, warn)


def _note_how_to_install(environment: Environment, *, is_writable: bool) -> None:
    """Said at the first mount, as far as one can know."""
    from casfs.changes.changes import has_stand_in

    generation = environment.require()
    has_pip = has_stand_in(generation) or generation.find("pip") is not None
    pip = ", and `pip install NAME` in it" if is_writable and has_pip else ""
    note(f"`casfs add --env {environment.name} NAME` installs into it{pip}")
