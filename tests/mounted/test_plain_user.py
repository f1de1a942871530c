"""A plain user has all of it through fusermount3, and root can end what they left."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pytest

from tests.make_wheels import make_wheel
from tests.mounted.harness import kill_daemon
from tests.mounted.plain_user import HOME, UID, PlainUser


@pytest.fixture(scope="module")
def store() -> Iterator[PlainUser]:
    with PlainUser() as one:
        for version in ("1.0", "2.0"):
            make_wheel({"demo.py": f"VALUE = {version!r}\n".encode()}, "demo", version).write_to(one.path(""))
        one.casfs("add", "--python", sys.executable, "demo-1.0-py3-none-any.whl")
        yield one
        assert one.casfs("fsck").returncode == 0


@pytest.fixture
def user(store: PlainUser) -> PlainUser:
    """With demo 1.0 mounted at ~/venv."""
    store.casfs("mount", "venv")
    return store


def imported(user: PlainUser) -> str:
    return user.run(f"{HOME}/venv/bin/python", "-c", "import demo; print(demo.VALUE)").stdout.strip()


def test_plain_user_adds_mounts_imports_and_changes_live(user: PlainUser) -> None:
    assert imported(user) == "1.0"
    user.casfs("add", "demo-2.0-py3-none-any.whl")
    assert imported(user) == "2.0"
    user.casfs("rollback")
    assert imported(user) == "1.0"


def test_store_of_a_plain_user_is_in_their_data_directory_and_private(user: PlainUser) -> None:
    [mount] = json.loads(user.casfs("status", "--json").stdout)["mounts"]
    assert mount["mountpoint"] == f"{HOME}/venv"
    assert mount["answers"] is True
    store = user.path(".local/share/casfs").stat()
    assert (store.st_uid, store.st_mode & 0o777) == (UID, 0o700)


def test_files_of_a_mount_are_the_users(user: PlainUser) -> None:
    found = user.run("stat", "-c", "%u %g %a", f"{HOME}/venv/pyvenv.cfg", f"{HOME}/venv/bin").stdout
    assert found == f"{UID} {UID} 644\n{UID} {UID} 755\n"


def test_plain_user_exports_and_adopts_what_they_may_read(user: PlainUser) -> None:
    user.casfs("export", "plain")
    assert user.run("plain/bin/python", "-c", "import demo; print(demo.__file__)").stdout.startswith(f"{HOME}/plain/lib/")
    user.run("sh", "-c", "chmod 0 plain/lib/*/site-packages/demo.py")
    done = user.casfs("--env", "again", "adopt", "plain", code=1)
    assert done.stderr.endswith("site-packages/demo.py' can't be read: permission denied\n")
    user.run("sh", "-c", "chmod 644 plain/lib/*/site-packages/demo.py; mkdir -m 0 plain/closed")
    done = user.casfs("--env", "again", "adopt", "plain", code=1)
    assert done.stderr == f"casfs: {HOME}/plain/closed: permission denied\n"
    user.run("rmdir", "plain/closed")
    assert user.casfs("--env", "again", "adopt", "plain").stdout.startswith("+ demo ")
    assert user.casfs("--env", "again", "export", "/usr/plain", code=1).stderr == "casfs: /usr/plain: permission denied\n"


def test_umount_of_a_plain_user_leaves_nothing_behind(user: PlainUser) -> None:
    user.casfs("umount", "venv")
    assert os.listdir(user.path(".local/share/casfs/run")) == []
    assert os.listdir(user.path("venv")) == []


def test_busy_umount_of_a_plain_user_names_the_process(user: PlainUser) -> None:
    command = f"cd {HOME}/venv; {sys.executable} -m casfs umount {HOME}/venv; echo $? $$"
    done = user.run("sh", "-c", command)
    code, pid = done.stdout.split()
    assert code == "1"
    assert f"is in use by sh (process {pid})" in done.stderr


def test_dead_mount_of_a_plain_user_is_cleaned_up_by_the_next_mount(user: PlainUser) -> None:
    [mount] = json.loads(user.casfs("status", "--json").stdout)["mounts"]
    kill_daemon(mount)
    user.casfs("mount", "venv")
    assert imported(user) == "1.0"


def test_root_ends_the_mount_of_a_plain_user(user: PlainUser) -> None:
    user.casfs("--store", f"{HOME}/.local/share/casfs", "umount", f"{HOME}/venv", as_root=True)
    assert os.listdir(user.path("venv")) == []
    assert os.listdir(user.path(".local/share/casfs/run")) in ([], ["dead.log"])  # the log of another test's daemon


def test_without_the_right_to_open_dev_fuse_the_reason_is_told(user: PlainUser) -> None:
    user.run("chmod", "600", "/dev/fuse", as_root=True)
    done = user.casfs("mount", "new/other", code=1)
    user.run("chmod", "666", "/dev/fuse", as_root=True)
    assert not os.path.exists(user.path("new"))
    assert "Traceback" not in done.stderr
    assert "/dev/fuse" in done.stderr
    assert done.stderr.count("casfs:") == 1


def test_owner_is_roots_to_choose_and_environments_are_the_users_to_remove(user: PlainUser) -> None:
    said = user.casfs("mount", "--owner", "root", "theirs", code=1).stderr
    assert said == f"casfs: {HOME}/theirs: only root can choose the owner of a mount's files (--owner)\n"
    user.casfs("--env", "own", "mount", "--python", sys.executable, "own")
    assert f"is in use: {HOME}/own" in user.casfs("env", "remove", "own", code=1).stderr
    user.casfs("umount", "own")
    assert user.casfs("env", "remove", "own").stdout == "- own\n"


def test_the_unit_of_the_whole_machine_is_roots_to_write(user: PlainUser) -> None:
    said = user.casfs("daemon", "install", code=1).stderr
    assert "`casfs daemon install --user`" in said
    assert said.count("\n") == 1


def test_commands_of_a_plain_user_are_run_beside_the_daemon_too(user: PlainUser) -> None:
    ask = "import sys; from casfs.cli.client import ask_servers; sys.exit(ask_servers(['list']) != 0)"
    for _ in range(1000):
        if user.run(sys.executable, "-c", ask, code=None).returncode == 0:
            break
    assert user.run(sys.executable, "-c", ask).stdout == user.casfs("--no-server", "list").stdout
