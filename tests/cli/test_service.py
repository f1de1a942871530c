"""daemon install, and what a service manager hears."""

from __future__ import annotations

import configparser
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from casfs.cli.service import format_unit, format_user_unit
from tests.mounted.harness import Casfs, wait_for_end


def read_unit(text: str) -> dict[str, str]:
    """Every setting of a unit; no setting appears twice."""
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return {name: value for section in parser.sections() for name, value in parser.items(section)}


def words_of(line: str) -> list[str]:
    """A command line, read as systemd does where it differs from a shell: %% and $$."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


def test_the_unit_starts_this_installation_for_this_store(casfs: Casfs, tmp_path: Path) -> None:
    done = casfs.run("daemon", "install", "--directory", tmp_path / "units")
    path = tmp_path / "units/casfs.service"
    assert str(path) in done.stdout
    assert "systemctl daemon-reload" in done.stdout
    assert "systemctl enable --now casfs.service" in done.stdout
    assert os.listdir(path.parent) == [path.name]
    unit = read_unit(path.read_text())
    assert words_of(unit["ExecStart"]) == casfs_command(casfs, "daemon", "start", "--foreground")
    assert words_of(unit["ExecStartPost"]) == casfs_command(casfs, "daemon", "start")
    assert words_of(unit["ExecStop"]) == casfs_command(casfs, "daemon", "stop", "--force")
    assert (unit["Type"], unit["Restart"], unit["KillMode"]) == ("notify", "always", "mixed")


def casfs_command(casfs: Casfs, *words: str) -> list[str]:
    return [sys.executable, "-m", "casfs", "--store", str(casfs.store), *words]


def test_the_unit_of_a_user_is_a_template_of_mountpoints(casfs: Casfs, tmp_path: Path) -> None:
    done = casfs.run("--env", "web", "daemon", "install", "--user", environ={"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert "systemctl --user enable --now" in done.stdout
    unit = read_unit((tmp_path / "config/systemd/user/casfs@.service").read_text())
    assert words_of(unit["ExecStart"]) == casfs_command(casfs, "--env", "web", "mount", "--foreground", "--", "%f")
    assert unit["WantedBy"] == "default.target"


@pytest.mark.parametrize("word", ["a b", 'a"b', "50%", "$HOME", "back\\slash", "plain"])
def test_any_path_of_a_store_can_stand_in_a_unit(word: str) -> None:
    for text in (format_unit(word, ["casfs", "--store", word]), format_user_unit(word, ["casfs", "--store", word])):
        assert words_of(read_unit(text)["ExecStart"])[:3] == ["casfs", "--store", word]


@pytest.mark.parametrize("is_abstract", [False, True])
@pytest.mark.parametrize("words", [("daemon", "start", "--foreground"), ("mount", "--foreground", "MOUNTPOINT")], ids=" ".join)
def test_a_service_manager_hears_when_it_serves(casfs: Casfs, tmp_path: Path, words: tuple[str, ...], is_abstract: bool) -> None:
    address = f"@casfs-{secrets.token_hex(6)}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(60)
        command = casfs.command(*(str(tmp_path / "mnt") if word == "MOUNTPOINT" else word for word in words))
        environ = {**casfs.environ, "NOTIFY_SOCKET": address}
        with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as daemon:
            try:
                assert manager.recv(100) == b"READY=1"
                assert [one["pid"] for one in casfs.leases()] == [daemon.pid]
            finally:
                daemon.send_signal(signal.SIGTERM)
        assert daemon.returncode == 0


def test_what_a_daemon_showed_that_died_is_shown_again_by_the_next_start(casfs: Casfs) -> None:
    mountpoint = casfs.mount()
    [before] = casfs.status()
    os.killpg(before["supervisor"], signal.SIGKILL)
    wait_for_end(before["supervisor"])
    wait_for_end(before["worker"])
    casfs.run("daemon", "start")
    assert (mountpoint / "pyvenv.cfg").is_file()
    assert [one["mountpoint"] for one in casfs.status()] == [str(mountpoint)]


def test_a_store_has_one_daemon(casfs: Casfs) -> None:
    casfs.run("daemon", "start")
    assert "is served already, by process" in casfs.run("daemon", "start", "--foreground", code=1).stderr
    assert len(casfs.leases()) == 1
