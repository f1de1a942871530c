"""absorb and reset below live mounts: processes keep what they have open, new ones see the new state, and the disk is free again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.make_wheels import format_rows, hash_field
from tests.mounted.harness import Casfs, Interpreter, run_python, site_packages


@pytest.fixture
def writable(casfs: Casfs) -> Path:
    """A mount of an environment with demo 1.0 and other 1.0, into which tools may write."""
    casfs.add(casfs.wheel("demo", files={"demo/__init__.py": b"VALUE = 1\n", "demo/data.txt": b"some words\n"}), casfs.wheel("other"))
    return casfs.mount(data_path="")


def install(mountpoint: Path, name: str, version: str) -> None:
    """As a tool writes it through the mount."""
    info, site = f"{name}-{version}.dist-info", site_packages(mountpoint)
    files = {
        f"{name}/__init__.py": f"VERSION = {version!r}\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/INSTALLER": b"pip\n",
    }
    rows = [(path, hash_field(content), str(len(content))) for path, content in files.items()]
    for path, content in {**files, f"{info}/RECORD": format_rows([*rows, (f"{info}/RECORD", "", "")])}.items():
        (site / path).parent.mkdir(exist_ok=True)
        (site / path).write_bytes(content)


def uppers(casfs: Casfs) -> list[str]:
    """Numbers of the upper layers on the disk."""
    return sorted(name for name in os.listdir(casfs.store / "environments/default/upper") if name.isdecimal())


def test_a_new_process_and_a_running_one_see_what_was_absorbed(casfs: Casfs, writable: Path) -> None:
    install(writable, "fresh", "3.0")
    with Interpreter(writable) as running:
        running.ask("import demo; data = open(demo.__path__[0] + '/data.txt')")
        assert casfs.run("absorb").stdout == "+ fresh 3.0\n"
        assert running.ask("data.read()") == "some words\n"
        assert running.ask("__import__('fresh').VERSION") == "3.0"
    assert run_python(writable, "import fresh; print(fresh.VERSION, fresh.__file__)").startswith("3.0 ")
    assert json.loads(casfs.run("diff", "--json").stdout)["distributions"] == []


def test_the_upper_layer_before_goes_with_its_last_user(casfs: Casfs, writable: Path) -> None:
    install(writable, "fresh", "3.0")
    with Interpreter(writable) as running:
        running.ask("import fresh; source = open(fresh.__file__)")
        casfs.run("absorb")
        assert uppers(casfs) == ["1", "2"]
        assert running.ask("source.read()") == "VERSION = '3.0'\n"
    casfs.run("absorb")
    assert uppers(casfs) == ["2"]


@pytest.mark.parametrize("command", [("absorb",), ("reset", "--yes")])
def test_somebody_who_is_writing_is_waited_for(casfs: Casfs, writable: Path, command: tuple[str, ...]) -> None:
    install(writable, "fresh", "3.0")
    with open(site_packages(writable) / "notes.txt", "w", encoding="utf-8") as file:
        done = casfs.run(*command, code=1)
        assert "somebody has a file there open for writing" in done.stderr
        file.write("still writable")
    assert casfs.generation() == 2  # the second, since the first is the empty one
    casfs.run(*command)
    assert (site_packages(writable) / "notes.txt").exists() == (command == ("absorb",))


def test_reset_shows_the_generation_alone(casfs: Casfs, writable: Path) -> None:
    install(writable, "fresh", "3.0")
    (site_packages(writable) / "demo/__init__.py").write_text("VALUE = 2\n")
    (site_packages(writable) / "other/__init__.py").unlink()
    casfs.run("reset", "--yes")
    assert run_python(writable, "import demo, other; print(demo.VALUE)") == "1"
    assert not (site_packages(writable) / "fresh").exists()


def test_what_stays_can_be_written_to_again(casfs: Casfs, writable: Path) -> None:
    (site_packages(writable) / "demo/__init__.py").write_text("VALUE = 2\n")
    install(writable, "fresh", "3.0")
    casfs.run("absorb")
    assert run_python(writable, "import demo; print(demo.VALUE)") == "2"
    (site_packages(writable) / "demo/__init__.py").write_text("VALUE = 30\n")  # another size, for bytecode of the same second
    assert run_python(writable, "import demo; print(demo.VALUE)") == "30"


def test_what_was_absorbed_can_be_upgraded_and_rolled_back(casfs: Casfs, writable: Path) -> None:
    install(writable, "fresh", "3.0")
    casfs.run("absorb")
    casfs.add(casfs.wheel("fresh", "4.0", {"fresh/__init__.py": b"VERSION = '4.0'\n"}))
    assert run_python(writable, "import fresh; print(fresh.VERSION)") == "4.0"
    casfs.run("rollback")
    assert run_python(writable, "import fresh; print(fresh.VERSION)") == "3.0"


def test_a_diff_needs_no_mount(casfs: Casfs, writable: Path) -> None:
    install(writable, "fresh", "3.0")
    while_mounted = casfs.run("diff", "--json").stdout
    casfs.umount(writable)
    assert casfs.run("diff", "--json").stdout == while_mounted
    assert casfs.run("absorb").stdout == "+ fresh 3.0\n"


@pytest.mark.parametrize("is_mounted", [True, False])
def test_bytecode_of_what_is_removed_goes_with_it(casfs: Casfs, writable: Path, is_mounted: bool) -> None:
    """Its directory alone would let `import` find an empty package."""
    for name in ("demo", "other"):
        cache = site_packages(writable) / name / "__pycache__"
        cache.mkdir(exist_ok=True)
        (cache / "__init__.cpython-311.pyc").write_bytes(b"bytecode")
    if not is_mounted:
        casfs.umount(writable)
    casfs.run("remove", "demo")
    if not is_mounted:
        casfs.run("mount", writable)
    assert sorted(path.name for path in site_packages(writable).iterdir()) == ["other", "other-1.0.dist-info"]
    assert (site_packages(writable) / "other/__pycache__/__init__.cpython-311.pyc").exists()
