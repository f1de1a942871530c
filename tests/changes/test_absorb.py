"""Absorb: what RECORD proves becomes part of the generation, what it does not prove stays, and what a mount shows never changes."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from packaging.pylock import Pylock

from casfs.changes.absorb import Absorption, absorb_upper
from casfs.changes.changes import remove_distributions
from casfs.digest import digest_bytes
from casfs.lockfiles.writing import format_pylock
from casfs.store.manifests import read_manifest
from casfs.store.uppers import current_upper
from casfs.venv.bytecode_names import is_bytecode
from casfs.venv.reading import read_direct_url
from tests.make_generations import Workshop
from tests.make_wheels import hash_field, make_wheel
from tests.upper.uppers import MOUNT, SITE, Files, MountedWorkshop

OTHER = make_wheel({"other/__init__.py": b"", "other/more.py": b"MORE = 1\n"}, "other")


@pytest.fixture
def mounted(workshop: Workshop) -> MountedWorkshop:
    workshop.add(OTHER)
    return MountedWorkshop(workshop)


def absorb(mounted: MountedWorkshop, *prefixes: str) -> Absorption:
    """Absorb, and hold it to its promise: the mount shows the same, bytecode and what RECORD says of launchers aside."""
    before = mounted.shown()
    done = absorb_upper(mounted.workshop.environment, prefixes)
    assert done is not None
    assert comparable(mounted.shown()) == comparable(before)
    return done


def comparable(files: Files) -> Files:
    return {path: facts for path, facts in files.items() if not is_bytecode(path) and not path.endswith("/RECORD") and path[:4] != "bin/"}


def installed(done: Absorption) -> dict[str, str]:
    return {one.project: one.version for one in done.after.distributions}


def reasons(done: Absorption) -> str:
    return "\n".join(map(str, done.refused))


def test_nothing_was_ever_written(workshop: Workshop):
    workshop.add(OTHER)
    assert absorb_upper(workshop.environment) is None


def test_what_a_tool_installed_becomes_part_of_the_generation(mounted: MountedWorkshop):
    mounted.install("demo", "2.0")
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0", "demo": "2.0"}
    assert (done.after.number, done.after.command) == (2, "absorb demo 2.0")
    assert mounted.written() == []
    assert (done.size_before > 0, done.size_after, done.refused) == (True, 0, ())


def test_installer_and_direct_url_stay_as_the_tool_wrote_them(mounted: MountedWorkshop):
    mounted.install("demo", tool="uv", own={"REQUESTED": b"", "direct_url.json": b'{"url": "file:///x", "dir_info": {}}'})
    done = absorb(mounted)
    shown = mounted.shown()
    assert shown[f"{SITE}/demo-1.0.dist-info/INSTALLER"][0] == b"uv\n"
    assert shown[f"{SITE}/demo-1.0.dist-info/direct_url.json"][0] == b'{"url": "file:///x", "dir_info": {}}'
    one = done.after.find("demo")
    assert one
    assert (one.origin, one.requested, one.wheel, one.wheel_size) == ("uv", True, "", 0)


def test_every_row_of_the_new_record_is_true(mounted: MountedWorkshop):
    files = {"demo/__init__.py": b"VALUE = 1\n", "../../../bin/demo": f"#!{MOUNT}/bin/python3\nimport sys\n".encode()}
    mounted.install(
        "demo",
        files=files,
        rows={"demo/__pycache__/__init__.cpython-311.pyc": ("", "")},
        entry_points="[console_scripts]\ndemo = demo:main\n",
    )
    mounted.write(f"{SITE}/demo/__pycache__/__init__.cpython-311.pyc", b"bytecode")
    absorb(mounted)
    shown = mounted.shown()
    rows = [row.split(",") for row in shown[f"{SITE}/demo-1.0.dist-info/RECORD"][0].decode().splitlines()]
    assert sorted(os.path.normpath(f"{SITE}/{row[0]}") for row in rows) == sorted(
        path for path in shown if path.startswith((f"{SITE}/demo", "bin/demo"))
    )
    for path, said, size in rows:
        content, _ = shown[os.path.normpath(f"{SITE}/{path}")]
        assert path.endswith("/RECORD") or (said, size) == (hash_field(content), str(len(content)))


def test_what_the_installer_itself_made_needs_no_hash(mounted: MountedWorkshop):
    """As with Poetry's direct_url.json."""
    unhashed = {f"demo-1.0.dist-info/{name}": ("", "") for name in ("INSTALLER", "direct_url.json")}
    mounted.install("demo", own={"direct_url.json": b"{}"}, rows=unhashed)
    assert installed(absorb(mounted)) == {"other": "1.0", "demo": "1.0"}


def test_any_other_file_needs_a_hash(mounted: MountedWorkshop):
    mounted.install("demo", rows={"demo/__init__.py": ("", "")})
    assert "has no hash in RECORD that could be compared" in reasons(absorb(mounted))


def test_launchers_find_their_interpreter_beside_themselves(mounted: MountedWorkshop):
    launcher, script = f"#!{MOUNT}/bin/python3\nimport sys\n".encode(), f"#!{MOUNT}/bin/python\nprint('script')\n".encode()
    files = {"../../../bin/demo": launcher, "../../../bin/demo-script": script, "../../../bin/alien": b"#!/usr/bin/python3\nprint()\n"}
    mounted.install("demo", files=files, entry_points="[console_scripts]\ndemo = demo:main\n")
    absorb(mounted)
    shown = mounted.shown()
    for name in ("demo", "demo-script"):
        content, is_executable = shown[f"bin/{name}"]
        assert content.startswith(b"#!/bin/sh -\n")
        assert is_executable
    assert b"from demo import main" in shown["bin/demo"][0]
    assert shown["bin/demo-script"][0].endswith(b"\nprint('script')\n")
    assert shown["bin/alien"][0] == b"#!/usr/bin/python3\nprint()\n"


def test_a_script_that_names_the_mount_by_a_link_finds_its_interpreter_beside_itself(mounted: MountedWorkshop, tmp_path: Path):
    (tmp_path / "mounts").mkdir()
    (tmp_path / "link").symlink_to("mounts")
    script = f"#!/bin/sh\n'''exec' '{tmp_path}/link/.venv/bin/python' \"$0\" \"$@\"\n' '''\nprint()\n"
    mounted.install("demo", files={"../../../bin/script": script.encode()}, tool="uv")
    assert absorb_upper(mounted.workshop.environment, {f"{tmp_path}/mounts/.venv"}) is not None
    content = mounted.lower()["bin/script"][0]
    assert content.startswith(b"#!/bin/sh -\n")
    assert content.endswith(b"\nprint()\n")


def test_pip_takes_the_place_of_what_stands_in_for_it_and_gives_it_back(mounted: MountedWorkshop):
    stand_in = mounted.lower()["bin/pip"]
    points, script = "[console_scripts]\npip = pip:main\n", b"#!/usr/bin/python3\n"
    mounted.install("pip", files={"pip/__init__.py": b"", "../../../bin/pip": script, "../../../bin/pip3": script}, entry_points=points)
    assert installed(absorb(mounted))["pip"] == "1.0"
    assert b"from pip import main" in mounted.shown()["bin/pip"][0]
    mounted.uninstall("pip")
    assert "bin/pip" not in mounted.shown()
    assert "pip" not in installed(absorb(mounted))
    assert mounted.shown()["bin/pip"] == mounted.shown()["bin/pip3"] == stand_in
    assert mounted.written() == []


def test_bytecode_of_what_is_absorbed_leaves_and_other_bytecode_stays(mounted: MountedWorkshop):
    mounted.install("demo")
    for path in ("demo/__pycache__/__init__.cpython-311.pyc", "other/__pycache__/more.cpython-311.pyc"):
        mounted.write(f"{SITE}/{path}", b"bytecode")
    absorb(mounted)
    assert mounted.written() == [f"{SITE}/other/__pycache__/more.cpython-311.pyc"]


def test_bytecode_without_its_source_leaves(mounted: MountedWorkshop):
    """Its directory alone would let `import` find something."""
    mounted.write(f"{SITE}/removed/__pycache__/__init__.cpython-311.pyc", b"bytecode")
    mounted.write(f"{SITE}/other/__pycache__/more.cpython-311.opt-1.pyc", b"bytecode")
    absorb(mounted)
    assert mounted.written() == [f"{SITE}/other/__pycache__/more.cpython-311.opt-1.pyc"]


def test_a_wheel_that_is_known_is_shared(mounted: MountedWorkshop):
    wheel = make_wheel(None, "demo")
    [known] = mounted.workshop.add(wheel).ingested
    remove_distributions(mounted.workshop.environment, ["demo"])
    mounted.install("demo")
    one = absorb(mounted).after.find("demo")
    assert one
    assert (one.wheel, one.files.manifest) == (known.wheel, known.manifest)


def test_a_wheel_of_the_same_version_with_other_bytes_is_not_taken_for_it(mounted: MountedWorkshop):
    mounted.workshop.add(make_wheel({"demo/__init__.py": b"VALUE = 2\n"}, "demo"))
    remove_distributions(mounted.workshop.environment, ["demo"])
    mounted.install("demo")
    one = absorb(mounted).after.find("demo")
    assert one
    assert one.wheel == ""


def test_the_lock_file_is_one_that_every_tool_can_read(mounted: MountedWorkshop):
    mounted.install("demo")
    done = absorb(mounted)
    environment = mounted.workshop.environment
    lock = Path(environment.path(done.after.number))
    pylock = Pylock.from_dict(tomllib.loads(lock.read_text()))
    pylock.validate()
    [package] = [one for one in pylock.packages if one.name == "demo"]
    assert package.archive
    assert package.archive.path
    manifest = lock.parent / package.archive.path
    assert package.archive.hashes == {"sha256": digest_bytes(manifest.read_bytes())}
    assert manifest.resolve() == Path(environment.store.path("manifests")).resolve() / manifest.parent.name / manifest.name
    os.unlink(environment.index_path(done.after.number))  # so that the lock file itself is read
    assert environment.require() == done.after


def test_what_a_tool_uninstalled_leaves_the_generation(mounted: MountedWorkshop):
    mounted.uninstall("other")
    done = absorb(mounted)
    assert installed(done) == {}
    assert done.after.command == "absorb -other 1.0"
    assert mounted.written() == []


def test_an_upgrade_is_both(mounted: MountedWorkshop):
    mounted.uninstall("other")
    (mounted.upper / SITE / "other").unlink()
    mounted.make_opaque(f"{SITE}/other")
    mounted.install("other", "2.0", {"other/__init__.py": b"", "other/new.py": b"NEW = 1\n"})
    done = absorb(mounted)
    assert installed(done) == {"other": "2.0"}
    assert done.after.command == "absorb other 2.0"
    assert mounted.written() == []
    assert f"{SITE}/other/more.py" not in mounted.shown()


def test_edited_files_and_files_of_nobody_stay(mounted: MountedWorkshop):
    mounted.install("demo")
    mounted.write(f"{SITE}/other/more.py", b"MORE = 2\n")
    mounted.write(f"{SITE}/mine.py", b"mine")
    mounted.delete(f"{SITE}/other/__init__.py")
    (mounted.upper / "share").mkdir()
    (mounted.upper / "share/link").symlink_to("/etc/passwd")
    absorb(mounted)
    assert mounted.written() == sorted([f"{SITE}/mine.py", f"{SITE}/other/__init__.py", f"{SITE}/other/more.py", "share/link"])
    assert os.readlink(mounted.upper / "share/link") == "/etc/passwd"


def test_a_file_that_was_merely_copied_up_leaves(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/other/more.py", b"MORE = 1\n")
    done = absorb(mounted)
    assert done.after is done.before
    assert mounted.written() == []


def test_a_file_with_another_mode_stays(mounted: MountedWorkshop):
    mounted.write(f"{SITE}/other/more.py", b"MORE = 1\n", 0o600)
    absorb(mounted)
    assert mounted.written() == [f"{SITE}/other/more.py"]


def test_bytes_that_do_not_match_their_record_stay_and_are_named(mounted: MountedWorkshop):
    mounted.install("demo")
    mounted.install("good")
    mounted.write(f"{SITE}/demo/__init__.py", b"VALUE = 9\n")
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0", "good": "1.0"}
    assert reasons(done) == "demo 1.0: 'demo/__init__.py': its sha256 is not the one in RECORD"
    assert any(path.endswith("demo-1.0.dist-info/RECORD") for path in mounted.written())


def test_only_the_first_few_reasons_are_told(mounted: MountedWorkshop):
    rows = {f"demo/{name}.py": (hash_field(b""), "0") for name in "abcdef"}
    mounted.install("demo", rows=rows)
    done = absorb(mounted)
    assert reasons(done).count("is not there") == 3
    assert reasons(done).endswith("and 3 more")


def test_an_uninstalled_distribution_of_which_files_are_left_stays(mounted: MountedWorkshop):
    mounted.delete(f"{SITE}/other-1.0.dist-info")
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0"}
    assert reasons(done) == f"other 1.0: was uninstalled, but 2 of its files are still there, such as {SITE}/other/__init__.py"
    assert mounted.written() == [f"{SITE}/other-1.0.dist-info"]


def test_an_upgrade_that_is_refused_keeps_the_old_version_in_the_generation(mounted: MountedWorkshop):
    mounted.uninstall("other")
    (mounted.upper / SITE / "other").unlink()
    mounted.make_opaque(f"{SITE}/other")
    mounted.install("other", "2.0")
    mounted.write(f"{SITE}/other/__init__.py", b"edited")
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0"}
    assert "other 2.0" in reasons(done)


def test_an_editable_install_is_taken_over_as_what_leads_to_its_project(mounted: MountedWorkshop):
    """The lock then names the project's directory, as it does after `casfs add -e`."""
    direct = b'{"url": "file:///home/me/demo", "dir_info": {"editable": true}}'
    mounted.install("demo", files={"__editable__.demo.pth": b"/home/me/demo\n"}, own={"direct_url.json": direct})
    done = absorb(mounted)
    assert installed(done) == {"demo": "1.0", "other": "1.0"}
    assert mounted.shown()[f"{SITE}/__editable__.demo.pth"][0] == b"/home/me/demo\n"
    lock = tomllib.loads(format_pylock(done.after, lambda one: read_direct_url(mounted.workshop.store, one)))
    [package] = [one for one in lock["packages"] if one["name"] == "demo"]
    assert package["directory"] == {"path": "/home/me/demo", "editable": True}


def test_rows_that_name_files_by_the_path_of_the_mount_are_understood(mounted: MountedWorkshop):
    """Poetry writes those of an editable project so."""
    mounted.install("demo", files={"demo.pth": b"/home/me/demo\n"})
    record = mounted.upper / SITE / "demo-1.0.dist-info/RECORD"
    rows = record.read_text()
    record.write_text("".join(f"{MOUNT}/{SITE}/{row}\n" for row in rows.splitlines()))
    assert "is an absolute path" in reasons(absorb(mounted))
    assert installed(absorb(mounted, MOUNT)) == {"demo": "1.0", "other": "1.0"}
    assert sorted(path for path in mounted.shown() if "demo" in path) == sorted(f"{SITE}/{row.split(',')[0]}" for row in rows.splitlines())


def test_absorbing_again_changes_nothing(mounted: MountedWorkshop):
    mounted.install("demo")
    first = absorb(mounted)
    again = absorb(mounted)
    assert again.after == again.before == first.after
    assert again.upper == first.upper == current_upper(mounted.workshop.environment)


def test_files_of_the_manifest_lie_where_any_python_shows_them(mounted: MountedWorkshop):
    mounted.install("demo")
    one = absorb(mounted).after.find("demo")
    assert one
    paths = [file.path for file in read_manifest(mounted.workshop.store, one.files.manifest).iter_files()]
    assert "lib/{python}/site-packages/demo/__init__.py" in paths


def test_an_older_upper_layer_is_never_written_to(mounted: MountedWorkshop):
    mounted.install("demo")
    old = mounted.upper
    before = {path: path.lstat() for path in sorted(old.rglob("*"))}
    absorb(mounted)
    assert {path: path.lstat() for path in sorted(old.rglob("*"))} == before
    assert mounted.upper != old


def test_two_that_claim_one_path_with_different_bytes_are_told_as_add_tells_it(mounted: MountedWorkshop):
    mounted.workshop.add(make_wheel({"first/__init__.py": b"", "shared/a.txt": b"first"}, "first"))
    mounted.install("demo", files={"demo/__init__.py": b"", "shared/a.txt": b"demo"})
    done = absorb(mounted)
    assert [str(one) for one in done.conflicts] == [
        "lib/python3.11/site-packages/shared/a.txt is claimed by first 1.0 and by demo 1.0 with different contents"
    ]
    assert mounted.shown()[f"{SITE}/shared/a.txt"][0] == b"demo"


def test_a_file_in_place_of_anothers_directory_stays(mounted: MountedWorkshop):
    mounted.delete(f"{SITE}/other")
    mounted.install("demo", files={"demo/__init__.py": b"", "other": b"a file"})
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0"}
    assert "as a file and as a directory" in reasons(done)


def test_a_file_that_uninstalling_took_from_another_stays_deleted(mounted: MountedWorkshop):
    mounted.workshop.add(make_wheel({"first/__init__.py": b"", "shared/a.txt": b"same"}, "first"))
    mounted.workshop.add(make_wheel({"second/__init__.py": b"", "shared/a.txt": b"same"}, "second"))
    mounted.uninstall("second")
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0", "first": "1.0"}
    assert mounted.written() == [f"{SITE}/shared/a.txt"]


def test_two_versions_of_one_project_stay(mounted: MountedWorkshop):
    mounted.install("demo", "1.0")
    mounted.install("demo", "2.0")
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0"}
    assert reasons(done).count("is installed twice") == 2


def test_a_version_beside_the_one_of_the_generation_stays(mounted: MountedWorkshop):
    mounted.install("other", "2.0", {"other/new.py": b""})
    done = absorb(mounted)
    assert installed(done) == {"other": "1.0"}
    assert reasons(done) == "other 2.0: lies over 1.0, which is still installed beside it"


def test_files_that_lie_below_the_upper_layer_are_part_of_what_is_absorbed(mounted: MountedWorkshop):
    """A tool need not write what is there already."""
    mounted.install("demo", files={"demo/__init__.py": b""}, rows={"other/more.py": (hash_field(b"MORE = 1\n"), "9")})
    assert installed(absorb(mounted)) == {"other": "1.0", "demo": "1.0"}
