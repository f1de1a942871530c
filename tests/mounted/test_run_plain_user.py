"""`casfs run` takes no privilege."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from casfs.digest import digest_bytes
from tests.make_wheels import make_wheel
from tests.mounted.plain_user import HOME, UID, PlainUser
from tests.mounted.test_run import LIST

WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def home() -> Iterator[PlainUser]:
    with PlainUser() as one:
        make_wheel({"demo.py": b"VALUE = 1\n"}, "demo").write_to(one.path(""))
        one.casfs("add", "--python", sys.executable, WHEEL)
        one.run("mkdir", "tmp")
        yield one
        assert one.casfs("fsck").returncode == 0


@pytest.fixture
def user(home: PlainUser) -> Iterator[PlainUser]:
    """Nothing of a run is left when a test is over."""
    yield home
    assert os.listdir(home.path(".local/share/casfs/run")) == []
    assert os.listdir(home.path(".local/share/casfs/environments")) == ["default"]
    assert os.listdir(home.path("tmp")) == []


def run(user: PlainUser, *words: str, code: int = 0) -> str:
    done = user.run("env", f"TMPDIR={HOME}/tmp", sys.executable, "-m", "casfs", "run", *words, code=code)
    assert done.stderr == ""
    return done.stdout


def test_plain_user_has_the_kernel_data_path(user: PlainUser) -> None:
    source = 'stat -f -c %T "$VIRTUAL_ENV"; python -c "import demo; print(demo.VALUE)"; exit 3'
    assert run(user, "sh", "-c", source, code=3) == "overlayfs\n1\n"


def test_small_environment_is_the_same_as_where_a_daemon_answers(user: PlainUser) -> None:
    without = run(user, "sh", "-c", LIST)
    assert "demo.py" in without
    done = user.run("env", "CASFS_TEST_WAY=fuse", f"TMPDIR={HOME}/tmp", sys.executable, "-m", "casfs", "run", "sh", "-c", LIST)
    assert done.stdout == without


def test_file_tells_which_blob_and_distribution_it_is_of(user: PlainUser) -> None:
    source = "import demo, os; print(*(os.getxattr(demo.__file__, f'user.casfs.{name}').decode() for name in names))"
    said = run(user, "python", "-c", f"names = ('orig.digest', 'distribution', 'version'); {source}")
    assert said.split() == [digest_bytes(b"VALUE = 1\n"), "demo", "1.0"]


def test_file_whose_bytes_are_lost_is_an_error_and_no_other_is(user: PlainUser) -> None:
    make_wheel({"kept.py": b"KEPT = 1\n", "lost.py": b"LOST = 1\n"}, "other").write_to(user.path(""))
    store = ("--store", f"{HOME}/other")
    user.casfs(*store, "add", "--python", sys.executable, "other-1.0-py3-none-any.whl")
    digest = digest_bytes(b"LOST = 1\n")
    user.path(f"other/blobs/{digest[:2]}/{digest[2:]}").chmod(0o644)
    user.path(f"other/blobs/{digest[:2]}/{digest[2:]}").write_text("damaged")
    user.casfs(*store, "fsck", "--repair", code=3)
    source = 'cd "$VIRTUAL_ENV"/lib/python3*/site-packages; cat lost.py 2>&1 | grep -o "Input/output error"; cat kept.py'
    assert user.casfs(*store, "run", "sh", "-c", source).stdout.splitlines() == ["Input/output error", "KEPT = 1"]


def test_command_stays_who_it_is_and_has_no_rights(user: PlainUser) -> None:
    source = 'id -u; id -g; stat -c "%u %g" "$VIRTUAL_ENV" "$VIRTUAL_ENV/pyvenv.cfg"; grep -E "Cap(Inh|Prm|Eff|Amb)" /proc/self/status'
    uid, gid, *owners, inherited, permitted, effective, ambient = run(user, "sh", "-c", source).splitlines()
    assert (uid, gid, owners) == (str(UID), str(UID), [f"{UID} {UID}"] * 2)
    assert {line.split()[1] for line in (inherited, permitted, effective, ambient)} == {"0" * 16}


def test_plain_user_writes_what_is_gone_afterwards(user: PlainUser) -> None:
    assert run(user, "sh", "-c", 'echo words > "$VIRTUAL_ENV/new"; rm "$VIRTUAL_ENV/pyvenv.cfg"; cat "$VIRTUAL_ENV/new"') == "words\n"
    assert run(user, "sh", "-c", 'cd "$VIRTUAL_ENV"; ls new pyvenv.cfg 2>/dev/null; true') == "pyvenv.cfg\n"


def test_plain_user_runs_with_wheels(user: PlainUser) -> None:
    assert run(user, WHEEL, "python", "-c", "import demo; print(demo.VALUE)") == "1\n"


def test_without_user_namespaces_the_setting_that_forbids_them_is_named(user: PlainUser) -> None:
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces"  # of the namespace in which it is written, and those below
    lose = "exec setpriv --bounding-set=-all --inh-caps=-all"
    command = f"{forbid}; {lose} {sys.executable} -m casfs --store {HOME}/.local/share/casfs run true"
    done = user.run("unshare", "--user", "--map-root-user", "sh", "-c", command, code=1)
    assert done.stderr == "casfs: user namespace: can't be made: /proc/sys/user/max_user_namespaces is 0\n"
