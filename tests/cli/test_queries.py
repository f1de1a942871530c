"""list, show, generations, status: the text holds what the JSON holds."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from casfs.cli.output import local_time
from casfs.digest import digest_bytes
from tests.mounted.harness import PYTHON_DIRECTORY, Casfs

FILES = {
    "demo/__init__.py": b"def main(): pass\n",
    "demo/Gr\u00fc\u00dfe.txt": b"hello",
    "demo-1.0.data/scripts/demo-script": b"#!python\nprint(1)\n",
    "demo-1.0.data/data/share/demo.txt": b"x",
}


@pytest.fixture
def filled(casfs: Casfs) -> Casfs:
    entry_points = "[console_scripts]\ndemo = demo:main\n"
    casfs.add(casfs.wheel("demo", files=FILES, entry_points=entry_points, metadata="Requires-Python: >=3.8"))
    casfs.add(casfs.wheel("a-other".replace("-", "_")))
    return casfs


def read_json(casfs: Casfs, *words: str) -> Any:
    return json.loads(casfs.run(*words, "--json").stdout)


def test_list_tells_name_version_size_and_where_from(filled: Casfs) -> None:
    found = read_json(filled, "list")
    assert [(one["name"], one["version"]) for one in found] == [("a_other", "1.0"), ("demo", "1.0")]
    text = filled.run("list").stdout.split("\n")
    assert text[0].split() == ["Distribution", "Version", "Size"]
    for one, line in zip(found, text[2:], strict=False):
        assert line.split()[:2] == [one["name"], one["version"]]
        assert Path(one["origin"]).is_file()
        assert one["wheel"] == digest_bytes(Path(one["origin"]).read_bytes())
        assert one["bytes"] > 0


def test_list_of_an_empty_environment(casfs: Casfs) -> None:
    assert read_json(casfs, "list") == []
    assert casfs.run("list").stdout == ""


def test_show_tells_every_file_as_the_environment_shows_it(filled: Casfs) -> None:
    facts = read_json(filled, "show", "demo", "--files")
    site = f"lib/{PYTHON_DIRECTORY}/site-packages"
    files = {one["path"]: one for one in facts["files"]}
    assert {"bin/demo", "bin/demo-script", "share/demo.txt", f"{site}/demo/__init__.py", f"{site}/demo-1.0.dist-info/RECORD"} <= {*files}
    assert files[f"{site}/demo/__init__.py"]["sha256"] == digest_bytes(FILES["demo/__init__.py"])
    assert files[f"{site}/demo/__init__.py"]["bytes"] == len(FILES["demo/__init__.py"])
    assert {files[f"bin/{name}"]["kind"] for name in ("demo", "demo-script")} == {"executable"}
    assert facts["file_count"] == len(files)
    text = filled.run("show", "demo", "--files").stdout
    for one in facts["files"]:
        [line] = [line for line in text.split("\n") if line.endswith(f"  {one['path']}")]
        assert line.split()[:2] == [one["sha256"], str(one["bytes"])]


def test_show_is_a_page_about_a_distribution(casfs: Casfs) -> None:
    about = """Requires-Python: >=3.8
Summary: says what it is
Requires-Dist: low>=1
Requires-Dist: absent; sys_platform == "linux"
Requires-Dist: old; python_version < "3"
Requires-Dist: extra; extra == "all\""""
    casfs.add(casfs.wheel("low"))
    demo = casfs.wheel("demo", files=FILES, entry_points="[console_scripts]\ndemo = demo:main\n", metadata=about)
    casfs.add(demo)
    casfs.add(casfs.wheel("top", metadata="Requires-Dist: demo\nRequires-Dist: low; extra == 'all'"))
    facts = read_json(casfs, "show", "demo")
    created, entered = facts.pop("added"), facts.pop("entered_store")
    assert created == next(one["created"] for one in read_json(casfs, "generations") if one["command"] == "add demo 1.0")
    [listed] = [one for one in read_json(casfs, "list") if one["name"] == "demo"]
    count = len(read_json(casfs, "show", "demo", "--files")["files"])
    wheel = digest_bytes(Path(listed["origin"]).read_bytes())
    assert facts == {
        "name": "demo",
        "version": "1.0",
        "summary": "says what it is",
        "requires": [
            {"requirement": "low>=1", "project": "low", "version": "1.0"},
            {"requirement": "absent", "project": "absent", "version": None},
        ],
        "required_by": [{"name": "top", "version": "1.0"}],
        "requires_python": ">=3.8",
        "entry_points": ["demo = demo:main"],
        "bytes": listed["bytes"],
        "origin": listed["origin"],
        "wheel": wheel,
        "tags": ["py3-none-any"],
        "is_requested": True,
        "generation": 3,
        "command": "add demo 1.0",
        "record_mismatches": [],
        "file_count": count,
    }
    *lines, size, files, origin, digest, tags, added, since = casfs.run("show", "demo").stdout.splitlines()
    assert lines == [
        "name: demo",
        "version: 1.0",
        "summary: says what it is",
        "requires: low>=1, absent (not in this environment)",
        "required by: top",
        "requires Python: >=3.8",
        "entry point: demo = demo:main",
    ]
    assert size.startswith("size: ")
    assert (files, origin, digest, tags) == (f"files: {count}", f"from: {listed['origin']}", f"wheel: {wheel}", "tags: py3-none-any")
    assert added == f"added: {local_time(created)}, by generation 3: add demo 1.0"
    assert since == f"in the store since: {local_time(entered)}"
    assert "required by: demo\n" in casfs.run("show", "low").stdout


def test_show_does_not_say_when_a_distribution_came_if_that_generation_was_collected(filled: Casfs) -> None:
    filled.run("collect", "--keep", "1")
    facts = read_json(filled, "show", "demo")
    assert (facts["added"], facts["generation"], facts["command"]) == (None, None, None)
    assert "added" not in filled.run("show", "demo").stdout


def test_a_file_has_no_files(filled: Casfs) -> None:
    assert "--files is for a distribution" in filled.run("show", "./x", "--files", code=2).stderr


def test_files_that_show_tells_are_those_of_the_mount(filled: Casfs) -> None:
    mountpoint = filled.mount()
    for one in read_json(filled, "show", "demo", "--files")["files"]:
        assert digest_bytes((mountpoint / one["path"]).read_bytes()) == one["sha256"]


def test_show_takes_any_spelling_and_refuses_what_is_not_there(filled: Casfs) -> None:
    assert read_json(filled, "show", "A.Other")["name"] == "a_other"
    assert filled.run("show", "none", code=1).stderr == "casfs: default: none is not in the environment\n"


def test_generations_tells_each_with_its_command(filled: Casfs) -> None:
    found = read_json(filled, "generations")
    assert [one["command"] for one in found] == ["create", "add demo 1.0", "add a_other 1.0"]
    assert [one["is_current"] for one in found] == [False, False, True]
    assert found[-1]["distributions"] == [{"name": "demo", "version": "1.0"}, {"name": "a_other", "version": "1.0"}]
    lines = filled.run("generations").stdout.rstrip("\n").split("\n")[2:]
    for one, line in zip(found, lines, strict=True):
        assert line.startswith("*") == one["is_current"]
        expected = [str(one["generation"]), *local_time(one["created"]).split(), str(len(one["distributions"])), *one["command"].split()]
        assert line.removeprefix("*").split() == expected


def test_status_of_a_store_with_nothing_mounted(casfs: Casfs) -> None:
    scrub: dict[str, object] = {"rate": 10_000_000, "position": 0, "began": None, "ended": None, "bytes": 0, "damaged": []}
    assert read_json(casfs, "status") == {"store": str(casfs.store), "daemons": [], "mounts": [], "runs": [], "scrub": scrub}
    assert casfs.run("status").stdout == f"store {casfs.store}\nnothing is mounted\n"


def test_status_text_holds_what_the_json_holds(casfs: Casfs) -> None:
    mountpoint = casfs.mount()
    assert (mountpoint / "pyvenv.cfg").read_bytes()
    [one] = read_json(casfs, "status")["mounts"]
    assert one["requests"]["read"] == 1
    lines = casfs.run("status").stdout.split("\n")
    assert lines[1].split() == ["Mountpoint", "Environment", "Generation", "Mode", "Data", "path", "Process"]
    assert lines[3].split() == [str(mountpoint), "default", str(one["generation"]), "read-only", one["data_path"], str(one["pid"])]
    assert {line.split()[0] for line in lines[5:] if line} >= one["requests"].keys()


def test_moments_are_shown_by_the_clock_of_the_reader(filled: Casfs) -> None:
    shown = [
        filled.run("generations", environ={"TZ": zone}, capture_output=True).stdout.splitlines()[2].split()[1:3]
        for zone in ("UTC0", "XYZ-1")
    ]
    there, here = (datetime.fromisoformat(" ".join(one)) for one in shown)
    assert here - there == timedelta(hours=1)
