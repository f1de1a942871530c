"""mount, umount, status: what they promise about mountpoints, daemons and what is left when they are done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interpreters.pythons import write_python
from tests.mounted.harness import Casfs, is_alive, is_readable, iter_mountpoints, kill_daemon, run_python, site_packages, wait_for_end


def test_mount_answers_when_the_command_returns_and_makes_its_mountpoint(casfs: Casfs, tmp_path: Path) -> None:
    casfs.add(casfs.wheel("demo"))
    mountpoint = casfs.mount(name="a/b/c")
    assert (mountpoint / "pyvenv.cfg").is_file()
    assert os.path.ismount(mountpoint)
    assert run_python(mountpoint, "import demo, sys; print(demo.VALUE, sys.prefix)") == f"1 {mountpoint}"


def test_relative_mountpoint_and_symlinked_parent_mean_the_real_directory(casfs: Casfs, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "link").symlink_to("project")
    casfs.run("mount", ".venv", cwd=tmp_path / "project")
    assert [one["mountpoint"] for one in casfs.status()] == [str(tmp_path / "project/.venv")]
    assert "already shows" in casfs.run("mount", tmp_path / "link/.venv").stderr
    casfs.run("umount", "link/.venv/", cwd=tmp_path)
    assert not casfs.leases()


@pytest.mark.parametrize("name", ["with space", "naïve ünïcode", "-dash", "tab\tand\\backslash", "comma,equals=,ro"])
def test_odd_mountpoints_work(casfs: Casfs, tmp_path: Path, name: str) -> None:
    mountpoint = tmp_path / name
    casfs.run("mount", "--", mountpoint.name, cwd=tmp_path)
    assert (mountpoint / "pyvenv.cfg").is_file()
    assert [one["mountpoint"] for one in casfs.status()] == [str(mountpoint)]
    casfs.run("umount", "--", mountpoint.name, cwd=tmp_path)
    assert not os.path.ismount(mountpoint)


def test_mountpoint_that_holds_files_is_refused_and_left_alone(casfs: Casfs, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    done = casfs.run("mount", tmp_path / "full", code=1)
    assert done.stderr == f"casfs: {tmp_path}/full: is not empty (it holds 'file'); mount on an empty or a new directory\n"
    assert (tmp_path / "full/file").read_text() == "mine"
    assert not casfs.leases()


@pytest.mark.parametrize("kind", ["file", "below a file", "fifo"])
def test_mountpoint_that_is_no_directory_is_refused(casfs: Casfs, tmp_path: Path, kind: str) -> None:
    mountpoint = tmp_path / "point"
    if kind == "fifo":
        os.mkfifo(mountpoint)
    else:
        mountpoint.write_text("")
        mountpoint = mountpoint / "x" if kind == "below a file" else mountpoint
    done = casfs.run("mount", mountpoint, code=1)
    assert done.stderr.startswith(f"casfs: {mountpoint}: ")
    assert done.stderr.count("\n") == 1
    assert not casfs.leases()


def test_second_mount_elsewhere_shows_the_same_and_lives_on_alone(casfs: Casfs, mounted: Path) -> None:
    other = casfs.mount()
    assert (site_packages(other) / "demo/__init__.py").read_bytes() == (site_packages(mounted) / "demo/__init__.py").read_bytes()
    assert {one["mountpoint"] for one in casfs.status()} == {str(mounted), str(other)}
    casfs.umount(mounted)
    assert run_python(other, "import demo; print(demo.VALUE)") == "1"


def test_mounting_again_at_the_same_place_changes_nothing(casfs: Casfs, mounted: Path) -> None:
    [before] = casfs.leases()
    done = casfs.run("mount", mounted)
    assert done.stderr == f"{mounted} already shows environment 'default'\n"
    assert casfs.leases() == [before]
    assert list(iter_mountpoints(casfs.directory)) == [mounted]


def test_another_environment_at_the_same_place_is_refused(casfs: Casfs, mounted: Path) -> None:
    casfs.run("--env", "other", "add", casfs.wheel("other"))
    done = casfs.run("mount", "--env", "other", mounted, code=1)
    assert done.stderr == f"casfs: {mounted}: already shows environment 'default'\n"
    assert (site_packages(mounted) / "demo").is_dir()


def test_what_someone_else_mounted_is_refused(casfs: Casfs) -> None:
    assert "something else is mounted" in casfs.run("mount", "/proc", code=1).stderr
    assert casfs.run("umount", "/proc", code=1).stderr == "casfs: /proc: is not a mount of casfs\n"


def test_mount_before_any_add_makes_an_environment_that_fills_live(casfs: Casfs) -> None:
    mountpoint = casfs.directory / "early"
    done = casfs.run("mount", "--env", "early", mountpoint)
    assert "made environment 'early'" in done.stderr
    assert os.listdir(site_packages(mountpoint)) == []
    casfs.run("add", "--env", "early", casfs.wheel("demo"))
    assert run_python(mountpoint, "import demo; print(demo.VALUE)") == "1"


def test_dead_mount_is_cleaned_up_by_the_next_mount(casfs: Casfs, mounted: Path) -> None:
    [status] = casfs.status()
    os.stat(mounted)
    kill_daemon(status)
    assert os.path.exists(mounted)  # from the kernel's memory a dead mount looks alive
    with pytest.raises(OSError, match="not connected"):
        os.listdir(mounted)
    casfs.run("mount", mounted)
    assert run_python(mounted, "import demo; print(demo.VALUE)") == "1"
    assert list(iter_mountpoints(casfs.directory)) == [mounted]
    [after] = casfs.status()
    assert not {after["supervisor"], after["worker"]} & {status["supervisor"], status["worker"]}
    assert {lease["id"] for lease in casfs.leases()} == {after["id"]}
    assert not [*(casfs.store / "run").glob(f"{status['id']}*")]  # nothing of the dead one


def test_after_a_death_every_mount_is_shown_again_and_the_others_live_on(casfs: Casfs, mounted: Path) -> None:
    """Two daemons: one for all that is mounted by it, and one in the foreground."""
    other = casfs.directory / "front"
    with subprocess.Popen(casfs.command("mount", "--foreground", other), env=casfs.environ, stderr=subprocess.PIPE, text=True) as front:
        try:
            assert front.stderr
            assert front.stderr.readline()
            [dead] = [one for one in casfs.status() if one["mountpoint"] == str(mounted)]
            kill_daemon(dead)
            shown = {one["mountpoint"]: one["pid"] for one in casfs.status()}
            assert shown.keys() == {str(mounted), str(other)}
            assert shown[str(other)] == front.pid
            casfs.add(casfs.wheel("more"))
            assert (site_packages(other) / "more").is_dir()
            casfs.umount(mounted)
            assert list(iter_mountpoints(casfs.directory)) == [other]
        finally:
            front.terminate()
            front.communicate()


def test_umount_leaves_nothing_behind(casfs: Casfs, mounted: Path) -> None:
    [lease] = casfs.leases()
    assert is_alive(lease["pid"])
    done = casfs.run("umount", mounted)
    assert (done.stdout, done.stderr) == ("", "")
    assert not os.path.ismount(mounted)
    assert os.listdir(mounted) == []
    assert os.listdir(casfs.store / "run") == []
    wait_for_end(lease["pid"])


def test_umount_of_a_busy_mount_names_who_uses_it(casfs: Casfs, mounted: Path) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=mounted / "bin") as user:
        try:
            done = casfs.run("umount", mounted, code=1)
            expected = f"is in use by sleep (process {user.pid}); end it, or use `casfs umount --lazy {mounted}`"
            assert done.stderr == f"casfs: {mounted}: {expected}\n"
            assert (mounted / "pyvenv.cfg").is_file()
        finally:
            user.kill()
    casfs.umount(mounted)


def test_lazy_umount_hides_a_busy_mount_and_its_daemon_ends_with_the_last_user(casfs: Casfs, mounted: Path) -> None:
    [lease] = casfs.leases()
    path = site_packages(mounted) / "demo/data.txt"
    with path.open("rb", buffering=0) as file:
        casfs.umount(mounted, "--lazy")
        assert not os.path.ismount(mounted)
        assert not path.exists()
        assert file.read() == b"some words\n"
        assert is_alive(lease["pid"])
        casfs.run("mount", mounted)  # there is room for the next one
        assert path.read_bytes() == b"some words\n"
    wait_for_end(lease["pid"])
    assert [one["pid"] for one in casfs.leases()] != [lease["pid"]]


@pytest.mark.parametrize("target", ["directory", "missing", "inside"])
def test_umount_of_what_is_no_mount_of_casfs_is_refused(casfs: Casfs, mounted: Path, target: str) -> None:
    path = {"directory": casfs.directory, "missing": casfs.directory / "none", "inside": mounted / "bin"}[target]
    done = casfs.run("umount", path, code=1)
    assert done.stderr == f"casfs: {path}: is not a mount of casfs\n"
    assert os.path.ismount(mounted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_foreground_mount_ends_by_signal_and_unmounts(casfs: Casfs, tmp_path: Path, number: signal.Signals) -> None:
    casfs.add(casfs.wheel("demo"))
    mountpoint = tmp_path / "front"
    command = casfs.command("mount", "--foreground", mountpoint)
    with subprocess.Popen(command, env=casfs.environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            assert is_readable(process.stderr.fileno(), 60)
            assert process.stderr.readline() == f"{mountpoint} shows environment 'default'; Ctrl-C ends it\n"
            assert (site_packages(mountpoint) / "demo").is_dir()
            process.send_signal(number)
            assert process.communicate(timeout=240)[1] == ""
        finally:
            process.kill()
    assert process.returncode == 0
    assert not os.path.ismount(mountpoint)
    assert os.listdir(casfs.store / "run") == []


def test_background_daemon_keeps_nothing_of_its_starter(casfs: Casfs, mounted: Path) -> None:
    """No terminal, no pipe that a script would wait for, no working directory that can't be unmounted."""
    [pid] = casfs.daemons()
    descriptors = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    assert not [one for one in descriptors if one.startswith("pipe:") and one in {os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)}]
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)] == ["/dev/null"] * 3
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) == pid


def test_status_says_what_is_mounted_where_since_when_and_what_was_asked(casfs: Casfs, mounted: Path) -> None:
    (site_packages(mounted) / "demo/data.txt").read_bytes()
    [status] = casfs.status()
    assert status["mountpoint"] == str(mounted)
    assert status["environment"] == "default"
    assert status["generation"] == casfs.generation()
    assert status["answers"] is True
    assert is_alive(status["pid"])
    assert status["uptime_s"] >= 0
    assert status["requests"]["read"] >= 1
    text = casfs.run("status").stdout
    for shown in (str(mounted), "default", str(status["pid"]), str(casfs.store)):
        assert shown in text


def test_daemon_that_hangs_does_not_hang_the_commands_for_ever(casfs: Casfs, mounted: Path) -> None:
    """Both processes are stopped: if it were the worker alone, it would be replaced."""
    [daemon] = casfs.status()
    processes = (daemon["supervisor"], daemon["worker"])
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert [(one["mountpoint"], one["answers"]) for one in casfs.status()] == [(str(mounted), False)]
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
    assert [one["answers"] for one in casfs.status()] == [True]


def test_a_busy_mount_keeps_no_other_when_all_are_to_end(casfs: Casfs, mounted: Path) -> None:
    other = casfs.mount()
    with (mounted / "pyvenv.cfg").open("rb"):
        done = casfs.run("umount", "--all", code=1)
    assert done.stderr.startswith(f"casfs: {mounted}: is in use by ")
    assert done.stderr.count("\n") == 1
    assert [one["mountpoint"] for one in casfs.status()] == [str(mounted)]
    assert not os.path.ismount(other)


def test_upgrade_names_the_daemon_as_a_user_knows_it(casfs: Casfs) -> None:
    assert casfs.run("daemon", "upgrade").stderr == "no daemon runs, so there is nothing to upgrade\n"
    mountpoint = casfs.mount(data_path="")
    known = casfs.store if os.geteuid() == 0 else mountpoint
    assert casfs.run("daemon", "upgrade").stdout == f"upgraded: the daemon of {known}\n"


def test_a_list_mounts_many_and_names_all_that_fail(casfs: Casfs) -> None:
    (casfs.directory / "full").mkdir()
    (casfs.directory / "full/file").touch()
    paths = [casfs.directory / name for name in ("one", "two words", "full", "full/file")]
    listed = "# environments\n\n" + "".join(f"env{number} {path}\n" for number, path in enumerate(paths))
    done = casfs.run("mount", "--list", "-", input=listed, code=1)
    assert [str(path) in done.stderr for path in paths] == [False, False, True, True]
    assert {one["mountpoint"]: one["environment"] for one in casfs.status()} == {str(paths[0]): "env0", str(paths[1]): "env1"}


def test_a_list_with_a_line_that_makes_no_sense_mounts_nothing_and_names_it_by_its_number(casfs: Casfs) -> None:
    path = casfs.directory / "list"
    path.write_text(f"# a comment\n  # another\n\nenv {casfs.directory / 'one'}\nlonely\n")
    said = f"casfs: {path}: line 5 is not a name and a path: 'lonely'\n"
    assert casfs.run("mount", "--list", path, code=1).stderr == said
    assert casfs.status() == []
    path.write_text(f"  # a comment\n\tenv\t{casfs.directory / 'one'}\n")
    casfs.run("mount", "--list", path)
    assert [(one["mountpoint"], one["environment"]) for one in casfs.status()] == [(str(casfs.directory / "one"), "env")]


def test_home_in_a_list_is_the_users(casfs: Casfs) -> None:
    casfs.run("mount", "--list", "-", input="env ~/one\n", environ={"HOME": str(casfs.directory)})
    assert [one["mountpoint"] for one in casfs.status()] == [str(casfs.directory / "one")]


def test_a_mistyped_environment_is_not_made(casfs: Casfs) -> None:
    """Any other new name makes one, and so does this one for whoever insists."""
    casfs.run("--env", "website", "add", casfs.wheel("demo"))
    said = "there is no environment of this name; did you mean 'website'?"
    mountpoint = casfs.directory / "here"
    assert said in casfs.run("mount", "--env", "wesbite", mountpoint, code=1).stderr
    assert said in casfs.run("mount", mountpoint, environ={"CASFS_ENV": "Website"}, code=1).stderr
    assert said in casfs.run("mount", "--list", "-", input=f"webste {mountpoint}\n", code=1).stderr
    assert not mountpoint.exists()
    assert sorted(os.listdir(casfs.store / "environments")) == ["default", "website"]
    casfs.run("mount", "--env", "wesbite", "--python", sys.executable, mountpoint)
    assert [one["environment"] for one in casfs.status()] == ["wesbite"]


def test_an_environment_of_another_interpreter_is_refused(casfs: Casfs, mounted: Path) -> None:
    other = write_python(casfs.directory / "bin/python3", "3.12.1")
    done = casfs.run("mount", "--python", other, casfs.directory / "other", code=1)
    assert "can't be changed to" in done.stderr
    assert [mount["mountpoint"] for mount in casfs.status()] == [str(mounted)]
