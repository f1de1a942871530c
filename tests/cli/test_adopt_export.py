"""adopt and export: from a virtual environment to one of ours and back, as a user types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from casfs.store.environments import Environment
from casfs.store.store import open_store
from tests.changes.natives import NativeWorkshop, snapshot
from tests.make_generations import Workshop
from tests.mounted.harness import PYTHON_DIRECTORY, REPOSITORY, Casfs, clean_environ, site_packages
from tests.upper.uppers import MountedWorkshop

ENTRY_POINTS = "[console_scripts]\ndemo = demo:main\n"
SAY = b"import sys\n\ndef main():\n    print('demo of', sys.prefix)\n"


@pytest.fixture
def native(casfs: Casfs) -> NativeWorkshop:
    """A virtual environment of the interpreter that runs the tests, with demo 1.0 in it."""
    root = casfs.directory / "native" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    store = open_store(casfs.store, create=True)
    native = NativeWorkshop(Workshop(store, Environment(store, "default"), casfs.directory), root)
    launcher = f"#!{root}/bin/python\nfrom demo import main\nmain()\n".encode()
    native.install("demo", files={"demo.py": SAY, "../../../bin/demo": launcher}, entry_points=ENTRY_POINTS)
    return native


def listed(casfs: Casfs, *words: str) -> dict[str, str]:
    return {one["name"]: one["version"] for one in json.loads(casfs.run(*words, "list", "--json").stdout)}


def run(*command: str | Path) -> str:
    return subprocess.run(command, env=clean_environ(), capture_output=True, text=True, check=True, timeout=240).stdout


def test_adopt_makes_an_environment_that_works(casfs: Casfs, native: NativeWorkshop) -> None:
    before = snapshot(native.root)
    done = casfs.run("adopt", native.root)
    assert done.stdout == "+ demo 1.0\n"
    assert done.stderr.startswith("1 distribution, 7 files, ")
    assert snapshot(native.root) == before
    mountpoint = casfs.mount()
    assert run(mountpoint / "bin/demo") == f"demo of {mountpoint}\n"
    assert listed(casfs) == {"demo": "1.0"}
    assert "adopt " in casfs.run("generations").stdout


def test_adopt_takes_the_interpreter_of_the_virtual_environment(casfs: Casfs, native: NativeWorkshop) -> None:
    casfs.run("adopt", native.root)
    interpreter = Environment(open_store(casfs.store), "default").require().interpreter
    assert (interpreter.executable, interpreter.directory) == (os.path.realpath(sys.executable), PYTHON_DIRECTORY)


def test_adopt_names_what_it_leaves_alone(casfs: Casfs, native: NativeWorkshop) -> None:
    native.install("broken")
    native.write(f"{native.site}/broken/__init__.py", b"VALUE = 3\n")
    native.write(f"{native.site}/junk.py", b"")
    native.configure((native.root / "pyvenv.cfg").read_text().replace("= false", "= true"))
    done = casfs.run("adopt", native.root)
    assert done.stdout == "+ demo 1.0\n"
    assert done.stderr.splitlines()[:2] == [
        "casfs: warning: broken 1.0: 'broken/__init__.py': its sha256 is not the one in RECORD; it was left alone",
        f"casfs: warning: '{native.site}/junk.py': is a regular file, of no distribution; it was left alone",
    ]
    assert "also shows what is installed for" in done.stderr
    assert listed(casfs) == {"demo": "1.0"}


def test_adopt_into_an_environment_that_is_mounted_shows_at_once(casfs: Casfs, native: NativeWorkshop) -> None:
    mountpoint = casfs.mount("--python", sys.executable)
    casfs.run("adopt", native.root)
    assert (site_packages(mountpoint) / "demo.py").read_bytes() == SAY
    assert casfs.generation() == 2


def test_adopt_refuses_an_environment_that_has_something(casfs: Casfs, native: NativeWorkshop) -> None:
    casfs.add(casfs.wheel("other"))
    done = casfs.run("adopt", native.root, code=1)
    assert done.stderr == "casfs: default: has a distribution already; choose another environment with --env\n"
    casfs.run("adopt", native.root, "--env", "adopted")
    assert (listed(casfs), listed(casfs, "--env", "adopted")) == ({"other": "1.0"}, {"demo": "1.0"})


def test_adopt_refuses_what_is_no_virtual_environment(casfs: Casfs, native: NativeWorkshop) -> None:
    for path, reason in ((casfs.directory, "is not a virtual environment: it has no pyvenv.cfg"), (Path("/nowhere"), "is not there")):
        assert casfs.run("adopt", path, code=1).stderr == f"casfs: {path}: {reason}\n"
    native.configure("home = /nowhere\n")
    done = casfs.run("adopt", native.root, code=1)
    assert done.stderr == f"casfs: {native.root}: its base interpreter is not in '/nowhere'; name one with --python\n"
    assert casfs.generation() == 1
    casfs.run("adopt", native.root, "--python", sys.executable)


def test_adopt_refuses_an_interpreter_of_another_version(casfs: Casfs, native: NativeWorkshop) -> None:
    (native.root / "lib" / PYTHON_DIRECTORY).rename(native.root / "lib/python3.7")
    done = casfs.run("adopt", native.root, "--python", sys.executable, code=1)
    assert f"{native.root}: has packages for python3.7, but " in done.stderr
    assert casfs.generation() == 1


def test_export_works_without_casfs(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo.py": SAY}, entry_points=ENTRY_POINTS), casfs.wheel("other"))
    target = casfs.directory / "new" / "plain"
    done = casfs.run("export", target)
    assert done.stdout == ""
    assert done.stderr.startswith(f"{target}: generation 2, ")
    shutil.rmtree(casfs.store)
    assert run(target / "bin/demo") == f"demo of {target}\n"
    assert run(target / "bin/python", "-c", "import other; print(other.__file__)").startswith(str(target))
    assert run("sh", "-c", f". {target}/bin/activate; echo $VIRTUAL_ENV; demo") == f"{target}\ndemo of {target}\n"


def test_export_goes_where_a_link_leads(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    (casfs.directory / "link").symlink_to("real")
    casfs.run("export", casfs.directory / "link")
    assert (casfs.directory / "link").is_symlink()
    assert (casfs.directory / "real" / "pyvenv.cfg").is_file()


def test_export_refuses_a_place_that_is_taken(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    taken = casfs.directory / "taken"
    taken.mkdir()
    (taken / "mine").touch()
    assert casfs.run("export", taken, code=1).stderr == f"casfs: {taken}: is not empty (it holds 'mine')\n"
    assert os.listdir(taken) == ["mine"]


def test_export_refuses_a_place_within_the_store(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    (casfs.directory / "link").symlink_to(casfs.store)
    inside = casfs.store / "environments" / "plain"
    done = casfs.run("export", casfs.directory / "link/environments/plain", code=1)
    assert done.stderr == f"casfs: {inside}: is within the store {casfs.store}; choose another place\n"
    assert not inside.exists()


ENDED = """
import os, signal, sys
from casfs.cli.main import main
from casfs.changes import export

export.clone_file = lambda *arguments: os.kill(os.getpid(), signal.SIGTERM)
main(["export", sys.argv[1]])
"""


def test_what_an_export_that_was_ended_left_is_gone_after_the_next(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    target = casfs.directory / "beside" / "plain"
    ended = subprocess.run([sys.executable, "-c", ENDED, target], env=casfs.environ, cwd=REPOSITORY, check=False, timeout=240)
    assert ended.returncode in {-signal.SIGTERM, 128 + signal.SIGTERM}
    assert not target.exists()
    casfs.run("export", target)
    assert os.listdir(target.parent) == ["plain"]


def test_export_refuses_an_environment_that_does_not_exist(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    done = casfs.run("--env", "nowhere", "export", casfs.directory / "x", code=1)
    assert done.stderr == "casfs: nowhere: there is no environment of this name; `casfs add --env nowhere` makes one\n"


def test_export_of_a_damaged_store_leaves_nothing(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo.py": SAY}))
    [blob] = [path for path in (casfs.store / "blobs").rglob("*") if path.is_file() and path.read_bytes() == SAY]
    blob.chmod(0o644)
    blob.write_bytes(SAY.upper())
    done = casfs.run("export", casfs.directory / "x", code=1)
    assert done.stderr == f"casfs: {blob}: the blob does not have the bytes that its name promises\n"
    assert not [name for name in os.listdir(casfs.directory) if "x" in name]
    blob.write_bytes(SAY)
    blob.chmod(0o444)


def test_export_says_what_of_the_mounts_is_not_in_it(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo"))
    store = open_store(casfs.store)
    mounted = MountedWorkshop(Workshop(store, Environment(store, "default"), casfs.directory))
    mounted.install("fresh")
    mounted.write(f"{mounted.site}/mine.py", b"")
    done = casfs.run("export", casfs.directory / "x")
    assert done.stderr.splitlines()[0] == (
        "not part of it, because it was changed in a mount: 1 distribution and 1 file; "
        "`casfs diff` names them, `casfs absorb` keeps what tools installed"
    )
    assert not (casfs.directory / "x" / mounted.site / "fresh").exists()


def test_there_and_back_nothing_is_lost(casfs: Casfs) -> None:
    casfs.add(casfs.wheel("demo", files={"demo.py": SAY}, entry_points=ENTRY_POINTS))
    casfs.run("export", casfs.directory / "plain")
    casfs.run("--env", "again", "adopt", casfs.directory / "plain")
    store = open_store(casfs.store)
    before, after = (Environment(store, name).require() for name in ("default", "again"))
    assert before.layers == after.layers


def test_the_daemons_own_adopt_is_not_for_people(casfs: Casfs) -> None:
    assert "adopt" not in casfs.run("daemon", "--help").stdout
