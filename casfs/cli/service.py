"""daemon install: a systemd unit, so that the daemon lives from boot on; and what systemd hears from it (sd_notify(3))."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from casfs.cli.context import store_directory
from casfs.cli.output import say
from casfs.errors import MountRefused
from casfs.paths import parse_environment_name
from casfs.store.publish import naming

_UNIT = """[Unit]
Description=casfs: Python environments from {store}
After=local-fs.target

[Service]
Type=notify
WorkingDirectory=/
ExecStart={start}
{more}Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec=10

[Install]
WantedBy={target}
"""


def run_install(arguments: argparse.Namespace) -> None:
    """casfs daemon install"""
    store = str(Path(store_directory(arguments)).absolute())
    command = [sys.executable, "-m", "casfs", "--store", store]
    if arguments.user:
        environment = ["--env", parse_environment_name(arguments.env)] if arguments.env is not None else []
        name, unit = "casfs@.service", format_user_unit(store, [*command, *environment])
    else:
        name, unit = "casfs.service", format_unit(store, command)
    if os.geteuid() != 0 and not arguments.user and arguments.directory is None:
        reason = "only root can; `casfs daemon install --user` writes one for your own mounts, `--directory DIR` writes it elsewhere"
        raise MountRefused("unit of the whole machine", reason)
    path = (arguments.directory or _unit_directory(is_user=arguments.user)) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(str(path)):
        path.with_suffix(".new").write_text(unit, encoding="utf-8")
    path.with_suffix(".new").rename(path)
    say(f"wrote {path}; enable it by")
    systemctl = "systemctl --user" if arguments.user else "systemctl"
    say(f"  {systemctl} daemon-reload")
    say(f"  {systemctl} enable --now " + ('"casfs@$(systemd-escape --path PATH).service"' if arguments.user else name))


def _unit_directory(*, is_user: bool) -> Path:
    if not is_user:
        return Path("/etc/systemd/system")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"


def format_unit(store: str, command: Sequence[str]) -> str:
    """The unit of a store's daemon (systemd.service(5)).

    When it dies with all its processes, systemd starts another, which makes its mounts again as soon as it serves. A reload is an upgrade
    without unmounting; a stop unmounts.
    """
    actions = {"ExecStartPost": ["start"], "ExecReload": ["upgrade"], "ExecStop": ["stop", "--force"]}
    more = "".join(f"{name}={_quote([*command, 'daemon', *words])}\n" for name, words in actions.items())
    start = _quote([*command, "daemon", "start", "--foreground"])
    return _UNIT.format(store=_escape(store), start=start, more=more, target="multi-user.target")


def format_user_unit(store: str, command: Sequence[str]) -> str:
    """The unit of a plain user's mounts: a template, whose instance is the mountpoint (%f; systemd.unit(5))."""
    start = _quote([*command, "mount", "--foreground", "--"]) + ' "%f"'
    return _UNIT.format(store=_escape(store), start=start, more="", target="default.target")


def _quote(words: Sequence[str]) -> str:
    """A command line as systemd reads it."""
    return " ".join(f'"{_escape(word).replace("$", "$$")}"' for word in words)


def _escape(text: str) -> str:
    for special, escaped in (("\\", r"\\"), ('"', r"\""), ("\n", r"\n"), ("%", "%%")):
        text = text.replace(special, escaped)
    return text


def tell_manager(message: str) -> None:
    """Tell the service manager that started this process, if one did, such as READY=1."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            manager.send(message.encode())
