"""The parser: what there is to type. Only what the command that was typed needs is built: all of it takes longer than many a command."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

from casfs import __version__
from casfs.cli.client import find_command
from casfs.cli.commands import Commands, Parser, add_places
from casfs.cli.index_options import add_index_options
from casfs.cli.sizes import parse_size

_DESCRIPTION = """Give a Python project its environment by writing a manifest.

The files of every wheel live once, in a pool; a mount shows them as an ordinary virtual environment."""

_EXAMPLE = """example:
  casfs add numpy-2.4.6-*.whl
  casfs mount ~/project/.venv
  ~/project/.venv/bin/python -c 'import numpy'"""

_ROLLBACK = "return to an earlier generation by making a new one that equals it; no generation is lost"

_SIGNS = "signs: + added, - removed, ~ another version or another origin, = already there"

_LIST_HELP = "many at once: lines of an environment's name and a path (empty lines and # comments are skipped); - is standard input"

_RUN_DESCRIPTION = """Run a command in the environment, or in a temporary one made of some wheels.

The command sees the generation that is current when it starts, whatever changes meanwhile, and what tools wrote into the environment.
What it writes into the environment itself is kept in memory, seen by nobody else, and gone with it. No privilege is needed; a plain
user's command can't use sudo. What the command leaves running keeps the environment.

With `--with` it has the current generation and what that names, found and chosen as `casfs add` does, but not what tools wrote into the
mounts; the environment itself stays as it is."""


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of these words: if they begin with a command, it knows no other one but its neighbours; else every command."""
    parser = Parser("casfs", description=_DESCRIPTION, epilog=_EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"casfs {__version__}")
    add_places(parser, None)
    commands = Commands(parser.add_subparsers(title="commands", metavar="COMMAND"))
    parser.set_defaults(run="helping:run_greeting")
    builders = _builders()
    for build in dict.fromkeys([builders[command]] if (command := find_command(words)) in builders else builders.values()):
        build(commands)
    return parser


def _builders() -> dict[str, Callable[[Commands], None]]:
    """What builds each command, in the order in which help lists them."""
    return {
        "add": _add_add_command,
        "compile": _add_compile_command,
        "sync": _add_lock_commands,
        "lock": _add_lock_commands,
        "adopt": _add_plain_commands,
        "export": _add_plain_commands,
        "image": _add_plain_commands,
        "remove": _add_earlier_commands,
        "rollback": _add_earlier_commands,
        "diff": _add_upper_commands,
        "absorb": _add_upper_commands,
        "reset": _add_upper_commands,
        "list": _add_list_commands,
        "generations": _add_list_commands,
        "status": _add_look_commands,
        "metrics": _add_look_commands,
        "show": _add_check_commands,
        "fsck": _add_check_commands,
        "mount": _add_mount_commands,
        "umount": _add_mount_commands,
        "run": _add_run_command,
        "env": _add_environment_commands,
        "pool": _add_pool_commands,
        "collect": _add_collect_command,
        "daemon": _add_daemon_commands,
        "help": _add_help_command,
    }


def _add_help_command(commands: Commands) -> None:
    text = "list the commands, or explain one"
    commands.add("help", "helping:run_help", text, "casfs help add").add_argument("words", nargs="*", metavar="COMMAND", help="a command")


def _add_add_command(commands: Commands) -> None:
    text = "add distributions to the environment, by name or as files; wheel files alone are taken as they are, without what they need"
    add = commands.add("add", "add:run_add", text, f"casfs add 'pandas>=2' --python 3.12\n\n{_SIGNS}")
    add.add_argument("what", nargs="*", metavar="WHAT", help="a requirement, the path of a wheel or a project, or a URL")
    _add_requirements_files(add)
    text = "a project that is used where it is, so that edits count at once (repeatable)"
    _add_paths(add, "-e", "--editable", metavar="PROJECT", help=text)
    add.set_defaults(usage_error=add.error)
    add_index_options(add)
    add.add_argument("--python", metavar="PYTHON", help="interpreter of a new environment: a path, or a version such as 3.12")
    _add_shared_pool(add)
    _add_manner(add)
    _add_json(add)


def _add_compile_command(commands: Commands) -> None:
    compile_ = commands.add(
        "compile", "changes:run_compile", "compile the environment's sources to bytecode, once for the store", "casfs compile --optimize 1"
    )
    compile_.add_argument(
        "--optimize", type=_whole, choices=(0, 1, 2), default=0, help="for python (0, the default), python -O (1) or python -OO (2)"
    )


def _add_earlier_commands(commands: Commands) -> None:
    remove = commands.add("remove", "changes:run_remove", "remove distributions from the environment", "casfs remove numpy")
    remove.add_argument("names", nargs="+", metavar="NAME", help="name of a project")
    _add_json(remove)
    rollback = commands.add("rollback", "changes:run_rollback", _ROLLBACK, "casfs rollback 3")
    help_text = "the generation (default: the one before the current one; so a second rollback undoes the first)"
    rollback.add_argument("generation", nargs="?", type=_whole, metavar="N", help=help_text)
    _add_json(rollback)


def _add_requirements_files(parser: argparse.ArgumentParser) -> None:
    _add_paths(parser, "-r", "--requirements", "--requirement", metavar="FILE", help="a requirements file: a path, a URL or - (repeatable)")


def _add_paths(parser: argparse.ArgumentParser, *names: str, **more: str) -> None:
    """A repeatable option for paths; bash expands `~` in `-r ~/FILE`, but not in `--requirements=~/FILE`."""
    parser.add_argument(*names, action="append", type=os.path.expanduser, **more)  # type: ignore[arg-type]


def _add_lock_commands(commands: Commands) -> None:
    text = "make the environment exactly what a lock file says"
    sync = commands.add("sync", "sync:run_sync", text, f"casfs sync pylock.toml\n\n{_SIGNS}")
    sync.add_argument("lock", metavar="LOCK", help="a pylock.toml, uv.lock, poetry.lock or requirements file (the last may be a URL or -)")
    sync.add_argument("--python", metavar="PYTHON", help="interpreter of a new environment: a path, or a version such as 3.12")
    _add_choice(sync)
    sync.add_argument("--show-left-out", action="store_true", help="name each requirement that a marker of the lock leaves out")
    _add_shared_pool(sync)
    _add_manner(sync)
    _add_json(sync)
    add_index_options(sync)
    lock = commands.add("lock", "locks:run_lock", "write the environment as a pylock.toml (PEP 751)", "casfs lock --output pylock.toml")
    lock.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: standard output)")


_USUAL_PARTS = """Without these options no extra, and the groups that `uv sync` takes by itself, or
`poetry install` (all that are not optional), or that a pylock.toml calls its
default-groups. For a uv.lock the variables UV_NO_DEV, UV_NO_GROUP and
UV_NO_DEFAULT_GROUPS count as they do in uv."""


def _add_choice(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which parts of the lock", _USUAL_PARTS)
    for option, what in (
        ("--extra", "and this extra"),
        ("--no-extra", "but not this extra, of all"),
        ("--group", "and this dependency group"),
        ("--no-group", "but not this dependency group"),
        ("--only-group", "this dependency group alone, of a uv.lock or poetry.lock"),
    ):
        group.add_argument(option, action="append", metavar="NAME", help=f"{what} (repeatable)")
    for option, meant in (("--dev", "--group"), ("--no-dev", "--no-group"), ("--only-dev", "--only-group")):
        dest = meant[2:].replace("-", "_")
        group.add_argument(option, action="append_const", const="dev", dest=dest, help=f"the same as {meant} dev")
    group.add_argument("--all-extras", action="store_true", help="all extras")
    group.add_argument("--all-groups", action="store_true", help="all dependency groups")
    group.add_argument("--no-default-groups", action="store_true", help="no dependency group but those that are named")


def _add_plain_commands(commands: Commands) -> None:
    text = "make the environment of an existing virtual environment, which is only read"
    adopt = commands.add("adopt", "adopt:run_adopt", text, "casfs adopt ~/project/.venv")
    adopt.add_argument("directory", metavar="PATH", help="a virtual environment that venv, virtualenv, uv or Poetry made")
    adopt.add_argument("--python", metavar="PYTHON", help="its base interpreter (default: the one that it was made with)")
    _add_shared_pool(adopt)
    _add_no_compile(adopt)
    _add_json(adopt)
    text = "write the environment as a plain virtual environment, which works without casfs"
    export = commands.add("export", "export:run_export", text, "casfs export ~/project/.venv")
    where = export.add_mutually_exclusive_group(required=True)
    text = "where: nothing, or an empty directory; it appears when all of it is there"
    where.add_argument("directory", nargs="?", metavar="DIR", help=text)
    where.add_argument("--tar", metavar="FILE", help="write a tar archive, byte for byte reproducible (-: standard output)")
    text = "write the environment's metadata image (EROFS), which an overlay shows with the pool's files"
    image = commands.add("image", "image:run_image", text, "casfs image -o project.erofs")
    image.add_argument("-o", "--output", metavar="FILE", required=True, help="where to write it (-: standard output)")
    image.add_argument("--composefs", action="store_true", help="as composefs takes it, with the store's blobs/ as its object store")


def _add_manner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="refuse two distributions that claim one path with different contents")
    parser.add_argument(
        "--allow-record-mismatch", action="store_true", help="take a wheel whose RECORD disagrees with its files, and remember that it does"
    )
    _add_no_compile(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON; notes, warnings and errors go to standard error as ever")


def _add_no_compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-compile", action="store_true", help="compile nothing to bytecode; bytecode that the pool has is still used")


def _add_upper_commands(commands: Commands) -> None:
    diff = commands.add("diff", "uppers:run_diff", "show what was written into the mounts of the environment", "casfs diff --json")
    _add_json(diff)
    text = "keep what pip, uv or Poetry installed in a mount, as part of the environment"
    _add_no_compile(absorb := commands.add("absorb", "uppers:run_absorb", text, "casfs absorb"))
    _add_json(absorb)
    reset = commands.add("reset", "uppers:run_reset", "throw away what was written into the mounts of the environment", "casfs reset")
    text = "throw away only the changes to this project (default: all changes)"
    reset.add_argument("names", nargs="*", metavar="NAME", help=text)
    reset.add_argument("--yes", action="store_true", help="without asking")


def _add_list_commands(commands: Commands) -> None:
    for name, run, text in (
        ("list", "queries:run_list", "list the distributions of the environment"),
        ("generations", "queries:run_generations", "list the generations of the environment"),
    ):
        _add_json(commands.add(name, run, text, f"casfs {name} --json"))


def _add_look_commands(commands: Commands) -> None:
    _add_status(commands, "show the mounts, the processes that serve them, and their requests", "casfs status --watch")
    commands.add("metrics", "metrics:run_metrics", "print what the daemons do, for Prometheus", "casfs metrics")


def _add_check_commands(commands: Commands) -> None:
    text = "show what a distribution is, what it requires and where it comes from; or the same of a file in a mount"
    show = commands.add("show", "show:run_show", text, "casfs show numpy")
    show.add_argument("what", metavar="NAME|PATH", help="name of a project, or path of a file in a mount (with a slash in it)")
    show.add_argument("--files", action="store_true", help="and every file of the distribution, with its size and SHA-256")
    show.set_defaults(usage_error=show.error)
    _add_json(show)
    fsck = commands.add("fsck", "check:run_fsck", "check everything in the store; exit code 3 if something is damaged", "casfs fsck --fast")
    fsck.add_argument("--fast", action="store_true", help="compare files with XXH3-128 instead of SHA-256: finds bit rot, not forgery")
    fsck.add_argument("--repair", action="store_true", help="set damaged files aside, so that adding their wheels again restores them")
    _add_json(fsck)


def _add_collect_command(commands: Commands) -> None:
    text = "remove files that nothing needs from the store, such as those of removed environments and killed commands"
    collect = commands.add("collect", "collect:run_collect", text, "casfs collect --unused-wheels --keep 3")
    text = "also wheels that no environment has; until then adding them again costs nothing, and other stores may rely on them"
    collect.add_argument("--unused-wheels", action="store_true", help=text)
    text = "first drop older generations of each environment that is not mounted, all but the newest N (default: drop none)"
    collect.add_argument("--keep", type=_positive, metavar="N", help=text)
    collect.add_argument("--dry-run", action="store_true", help="remove nothing, say what would be removed")
    _add_json(collect)


def _add_environment_commands(commands: Commands) -> None:
    environments = commands.add("env", "", "list, change or remove the environments of the store", "casfs env list")
    actions = Commands(environments.add_subparsers(title="actions", metavar="ACTION", required=True))
    text = "list the environments with their interpreters, sizes and mounts"
    _add_json(actions.add("list", "environments:run_list", text, "casfs env list --json"))
    text = "remove environments, with their generations and what was written into their mounts; the pool keeps its files"
    remove = actions.add("remove", "environments:run_remove", text, "casfs env remove tests")
    remove.add_argument("names", nargs="+", metavar="NAME", help="name of an environment")
    remove.add_argument("--yes", action="store_true", help="even if something that was written into its mounts would be lost")
    text = "give an environment another interpreter of the same release, such as a newer patch release; its mounts show it at once"
    set_python = actions.add("set-python", "environments:run_set_python", text, "casfs env set-python tests 3.11")
    set_python.add_argument("name", metavar="NAME", help="name of an environment")
    set_python.add_argument("python", metavar="PYTHON", help="an interpreter: a path, or a version such as 3.11")


def _add_pool_commands(commands: Commands) -> None:
    pool = commands.add(
        "pool", "", "choose the shared pools that lie behind the store, read-only; fill the store's own", "casfs pool add /srv/casfs"
    )
    actions = Commands(pool.add_subparsers(title="actions", metavar="ACTION", required=True))
    for name, text in (("add", "let another store lie behind this one"), ("remove", "do without a shared pool")):
        action = actions.add(name, f"pools:run_{name}", text, f"casfs pool {name} /srv/casfs")
        action.add_argument("directory", metavar="DIR", help="a store that this one may read")
        if name == "remove":
            action.add_argument("--force", action="store_true", help="even if an environment needs files that only this pool has")
    _add_warm(actions)
    _add_json(actions.add("list", "pools:run_list", "list the shared pools, in the order in which they are asked", "casfs pool list"))


def _add_warm(actions: Commands) -> None:
    text = "fill the pool ahead of users: resolve each requirement by itself, fetch all that it needs, compile it"
    warm = actions.add("warm", "warm:run_warm", text, "casfs pool warm -r popular.txt --python 3.12 --python 3.13")
    warm.add_argument("what", nargs="*", metavar="WHAT", help="a requirement")
    _add_requirements_files(warm)
    warm.add_argument(
        "--python", action="append", metavar="PYTHON", help="for this interpreter: a path, or a version such as 3.12 (repeatable)"
    )
    warm.add_argument(
        "--jobs", type=_positive, default=os.cpu_count() or 1, metavar="N", help="so many at a time (default: one for each core)"
    )
    warm.set_defaults(usage_error=warm.error)
    _add_no_compile(warm)
    add_index_options(warm)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _positive(text: str) -> int:
    if (number := _whole(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _add_shared_pool(parser: argparse.ArgumentParser) -> None:
    _add_paths(parser, "--shared-pool", metavar="DIR", help="`casfs pool add DIR` first, if it is not a shared pool yet (repeatable)")


def _add_status(commands: Commands, text: str, example: str) -> None:
    status = commands.add("status", "status:run_status", text, example)
    _add_json(status)
    status.add_argument("--watch", action="store_true", help="again every second, until it is interrupted")


def _add_daemon_commands(commands: Commands) -> None:
    from pathlib import Path

    daemon = commands.add("daemon", "", "look after the processes that serve mounts", "casfs daemon upgrade")
    actions = Commands(daemon.add_subparsers(title="actions", metavar="ACTION", required=True))
    start = actions.add("start", "daemons:run_start", "start the daemon that serves the mounts of the store (root)", "casfs daemon start")
    start.add_argument("--foreground", action="store_true", help="serve in this process until it is stopped")
    text = "read the pool again at so many bytes a second, now and later; 10M and the like, 0: not at all"
    start.add_argument("--scrub-rate", type=parse_size, metavar="BYTES", help=f"{text} (default: CASFS_SCRUB_RATE, or 10M)")
    start.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    start.add_argument("--after", default="", help=argparse.SUPPRESS)
    _add_status(actions, "show the daemons and what they serve", "casfs daemon status")
    actions.add("logs", "daemons:run_logs", "print what the daemons logged", "casfs daemon logs")
    actions.add("upgrade", "daemons:run_upgrade", "serve with the program as it is now, without unmounting", "casfs daemon upgrade")
    actions.add("stop", "daemons:run_stop", "end all mounts of the store, and the daemon", "casfs daemon stop").add_argument(
        "--force", action="store_true", help="even if they are in use"
    )
    install = actions.add("install", "service:run_install", "write a systemd unit for the daemon", "casfs daemon install")
    install.add_argument("--user", action="store_true", help="a unit for mounts of a plain user, one for each path")
    install.add_argument("--directory", type=Path, metavar="DIR", help="where to write it (default: where systemd looks)")
    actions.add_hidden("adopt", "daemons:run_adopt").add_argument("handover")
    actions.add_hidden("answer", "daemons:run_answer").add_argument("listener", type=int)


def _add_mount_commands(commands: Commands) -> None:
    mount = commands.add("mount", "into:run_mount", "show the environment as a virtual environment", "casfs mount ~/project/.venv")
    where = mount.add_mutually_exclusive_group(required=True)
    where.add_argument("mountpoint", nargs="?", metavar="PATH", help="an empty directory; it is made if it is absent")
    where.add_argument("--list", metavar="FILE", help=_LIST_HELP)
    mount.add_argument("--python", metavar="PYTHON", help="interpreter of a new environment: a path, or a version such as 3.12")
    _add_shared_pool(mount)
    mount.add_argument("--owner", metavar="USER", help="to whom the files belong (default: the owner of the environment; root only)")
    mount.add_argument(
        "--into", type=_positive, metavar="PID", help="in the mount namespace of a process, such as a container's (root only)"
    )
    mount.add_argument("--read-only", action="store_true", help="make it read-only")
    text = "have a `pip` in bin that lets the pip of the base interpreter, or uv, install into it; kept until said otherwise (default: yes)"
    mount.add_argument("--pip", action=argparse.BooleanOptionalAction, help=text)
    mount.add_argument(
        "--data-path",
        choices=("kernel", "fuse"),
        help="who reads the files: the kernel, which also lets tools write, or the daemon (default: the kernel where it can; root only)",
    )
    mount.add_argument("--foreground", action="store_true", help="serve in this process until it is interrupted")
    mount.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    mount.add_argument("--after", default="", help=argparse.SUPPRESS)
    umount = commands.add("umount", "into:run_umount", "end a mount", "casfs umount ~/project/.venv")
    what = umount.add_mutually_exclusive_group(required=True)
    what.add_argument("mountpoint", nargs="?", metavar="PATH", help="where it is mounted")
    what.add_argument("--all", action="store_true", help="every mount of the store; one that is in use stays and is named, the others end")
    umount.add_argument("--into", type=_positive, metavar="PID", help="PATH is in the mount namespace of this process (root only)")
    umount.add_argument("--lazy", action="store_true", help="even if it is in use: it disappears now and ends with its last user")


def _add_run_command(commands: Commands) -> None:
    run = commands.add(
        "run", "run:run_run", "run a command in the environment, or in one of some wheels", "casfs run six.whl -- python -c 'import six'"
    )
    run.usage = "casfs run [--store DIR] [--python PYTHON] [--env NAME | WHEEL ...] [--with WHAT ...] [--] COMMAND ..."
    run.description = _RUN_DESCRIPTION
    run.add_argument("--python", metavar="PYTHON", help="interpreter of a new environment: a path, or a version such as 3.12")
    text = "and this, with what it needs, for this run alone: a requirement, a path or a URL (repeatable)"
    run.add_argument("--with", action="append", dest="what", metavar="WHAT", help=text)
    _add_paths(run, "--with-editable", dest="editable", metavar="PROJECT", help="and this project, where it is (repeatable)")
    _add_paths(run, "--with-requirements", dest="requirements", metavar="FILE", help="and what is in this file (repeatable)")
    add_index_options(run)
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="WHEEL, COMMAND", help="`--` between the two is needed only in doubt")
