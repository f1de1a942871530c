from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import posixpath
from collections.abc import Iterable, Mapping
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casfs.digest import Digest, digest_bytes
from casfs.errors import EnvironmentRefused, StoreDamaged
from casfs.paths import SITE_PACKAGES
from casfs.store.manifests import Description, Kind, Manifest, NewFile, build_manifest
from casfs.venv.installation import build_installation, choose_launchers, format_record, iter_scripts
from casfs.venv.launchers import build_launcher, rewrite_script
from tests.interpreters.pythons import lay_out
from tests.make_generations import BASE, make_row
from tests.venv.stacks import Drawn, layers, show

DIST_INFO = "demo-1.0.dist-info"
INFO = f"{SITE_PACKAGES}/{DIST_INFO}"
SHOWN_SITE = show(SITE_PACKAGES)
WHEEL = digest_bytes(b"a wheel")
DIRECT_URL = b"{}"


class FakeBlobs:
    """Blobs in memory."""

    def __init__(self, contents: Iterable[bytes] = ()) -> None:
        self._contents = {digest_bytes(content): content for content in contents}
        self.fds: list[int] = []

    def open_blob(self, digest: Digest, size: int) -> int:
        if digest not in self._contents:
            raise StoreDamaged(digest, "the blob is missing")
        fd = os.memfd_create("blob")
        os.write(fd, self._contents[digest])
        os.lseek(fd, 0, os.SEEK_SET)
        self.fds.append(fd)
        return fd


def make_demo(files: Mapping[str, bytes], *entry_points: tuple[str, str, str]) -> Manifest:
    about = Description("demo", "demo", "1.0", WHEEL, dist_info=DIST_INFO, entry_points=entry_points)
    return build_manifest(about, [make_row(path, content) for path, content in files.items()])


def install(
    manifest: Manifest, contents: Iterable[bytes] = (), *, requested: bool = True, directory: str = BASE.directory
) -> list[NewFile]:
    scripts = iter_scripts(manifest, FakeBlobs(contents))
    return build_installation(manifest, scripts, direct_url=DIRECT_URL, requested=requested, python_directory=directory)


def content_of(made: Iterable[NewFile], path: str) -> bytes:
    [content] = [file.content for file in made if file.path == path]
    return content


def read_record(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


@settings(max_examples=60)
@given(layers(), st.booleans())
def test_record_lists_every_installed_file_once_with_its_hash_and_size_and_itself_with_neither(drawn: Drawn, requested: bool):
    about = Description("demo", "demo", "1.0", WHEEL, dist_info=DIST_INFO, entry_points=(("tool", "demo", "main"),))
    files = [row for row in drawn.files if show(row.path) != "bin"]
    manifest = build_manifest(about, files)
    made = build_installation(manifest, (), direct_url=DIRECT_URL, requested=requested, python_directory=BASE.directory)
    expected = {show(row.path): (bytes.fromhex(row.digest), row.size) for row in files}
    expected |= {show(file.path): (hashlib.sha256(file.content).digest(), len(file.content)) for file in made}
    record = read_record(content_of(made, f"{INFO}/RECORD"))
    assert [row for row in record if not row[1]] == [[f"{DIST_INFO}/RECORD", "", ""]]
    listed = [posixpath.normpath(f"{SHOWN_SITE}/{row[0]}") for row in record]
    assert sorted(listed) == sorted(expected)
    for path, (_, field, size) in zip(listed, record, strict=True):
        if field:
            algorithm, _, encoded = field.partition("=")
            assert algorithm == "sha256"
            assert not encoded.endswith("=")
            assert (base64.urlsafe_b64decode(encoded + "="), int(size)) == expected[path]


def test_importlib_metadata_finds_every_file_where_record_says(tmp_path: Path):
    contents = {
        f"{SITE_PACKAGES}/demo/__init__.py": b"VALUE = 1\n",
        f'{SITE_PACKAGES}/demo/a, "b".txt': b"quoted",
        f"{SITE_PACKAGES}/demo/Lorem ipsum.txt": b"space",
        f"{SITE_PACKAGES}/demo/Gr\u00fc\u00dfe.txt": b"umlauts",
        f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        "bin/script": b"#!python\nprint(1)\n",
        "include/site/{python}/demo/demo.h": b"int x;\n",
        "share/man/man1/demo.1": b".TH",
        "lib/libdemo.so": b"\x7fELF",
    }
    manifest = make_demo(contents, ("tool", "demo", "main"))
    made = install(manifest, contents.values())
    files = {path: NewFile(path, content) for path, content in contents.items()} | {file.path: file for file in made}
    lay_out(tmp_path, [*files.values()], BASE.directory)
    found = PathDistribution(tmp_path / SHOWN_SITE / DIST_INFO).files
    assert found is not None
    assert len(found) == len(files)
    for one in found:
        content = Path(str(one.locate())).read_bytes()
        if one.hash is not None:
            assert one.size == len(content)
            assert one.hash.value == base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (f"{SITE_PACKAGES}/demo/x.py", "demo/x.py"),
        (f"{SITE_PACKAGES}/demo/{{python}}.py", "demo/{python}.py"),
        ("bin/tool", "../../../bin/tool"),
        ("include/site/{python}/demo/x.h", "../../../include/site/python3.11/demo/x.h"),
        ("share/man/man1/demo.1", "../../../share/man/man1/demo.1"),
        ('etc/demo, "old".ini', '../../../etc/demo, "old".ini'),
        ("lib/libdemo.so", "../../libdemo.so"),
        ("lib/{python}/extra.py", "../extra.py"),
        ("lib/python3.11/site-packages/extra.py", "extra.py"),
        ("lib/python3.12/site-packages/extra.py", "../../python3.12/site-packages/extra.py"),
        ("share/a{python}b/x", "../../../share/a{python}b/x"),
        ("README", "../../../README"),
    ],
)
def test_paths_are_relative_to_site_packages_as_pip_writes_them(path: str, written: str):
    record = read_record(format_record(make_demo({path: b"x"}), (), f"{DIST_INFO}/RECORD", "python3.11"))
    assert [row[0] for row in record if row[1]] == [written]


def test_nobody_needs_a_working_directory_to_write_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert b"../../../bin/tool," in format_record(make_demo({"bin/tool": b""}), (), f"{DIST_INFO}/RECORD", "python3.11")


def test_names_with_commas_quotes_and_line_separators_are_quoted_as_csv_asks():
    names = ['a, "b".txt', "a;b", "'", '"', "a\u2028b", "a b", "#", "é"]
    manifest = make_demo({f"{SITE_PACKAGES}/demo/{name}": b"" for name in names})
    record = read_record(format_record(manifest, (), f"{DIST_INFO}/RECORD", "python3.11"))
    assert {row[0] for row in record if row[1]} == {f"demo/{name}" for name in names}
    assert all(len(row) == 3 for row in record)


def test_what_installing_adds():
    made = install(make_demo({f"{SITE_PACKAGES}/demo.py": b""}, ("tool", "demo", "main")))
    assert [file.path for file in made] == [
        "bin/tool",
        *(f"{INFO}/{name}" for name in ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")),
    ]
    assert {file.path: file.kind for file in made}["bin/tool"] is Kind.EXECUTABLE
    assert content_of(made, f"{INFO}/INSTALLER") == b"casfs\n"
    assert content_of(made, f"{INFO}/REQUESTED") == b""


def test_what_was_not_asked_for_is_not_marked_as_requested():
    made = install(make_demo({f"{SITE_PACKAGES}/demo.py": b""}), requested=False)
    assert not [file for file in made if file.path.endswith("REQUESTED")]
    assert b"REQUESTED" not in content_of(made, f"{INFO}/RECORD")


def test_equal_installations_are_equal_bytes():
    manifest = make_demo({f"{SITE_PACKAGES}/demo.py": b"", "bin/a": b"#!python\n"}, ("tool", "demo", "main"))
    assert install(manifest, [b"#!python\n", b""]) == install(manifest, [b"#!python\n", b""])


SCRIPT = b"#!python -E\nprint('hello')\n"


def test_scripts_that_ask_for_python_are_rewritten_and_others_left_alone():
    files = {
        "bin/asks": SCRIPT,
        "bin/window": b"#!pythonw\nx\n",
        "bin/shell": b"#!/bin/sh\nexit\n",
        "bin/program": b"\x7fELF" + bytes(1000),
        "bin/empty": b"",
        "bin/short": b"#!py",
        "share/asks": SCRIPT,
        f"{SITE_PACKAGES}/asks.py": SCRIPT,
    }
    blobs = FakeBlobs(files.values())
    made = list(iter_scripts(make_demo(files), blobs))
    assert {file.path: file.content for file in made} == {path: rewrite_script(files[path]) for path in ("bin/asks", "bin/window")}
    assert all(file.kind is Kind.EXECUTABLE for file in made)
    assert len(blobs.fds) == 6
    assert not any(os.path.exists(f"/proc/self/fd/{fd}") for fd in blobs.fds)


def test_record_holds_the_rewritten_script_and_not_what_was_in_the_wheel():
    made = install(make_demo({"bin/asks": SCRIPT}), [SCRIPT])
    rewritten = content_of(made, "bin/asks")
    [row] = [row for row in read_record(content_of(made, f"{INFO}/RECORD")) if row[0].endswith("bin/asks")]
    assert row[2] == str(len(rewritten))
    assert row[1] == "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(rewritten).digest()).rstrip(b"=").decode()


def test_a_launcher_takes_the_place_of_a_script_of_its_name():
    made = install(make_demo({"bin/tool": SCRIPT}, ("tool", "demo.cli", "main")), [SCRIPT])
    assert content_of(made, "bin/tool") == build_launcher("tool", "demo.cli", "main", BASE.directory)


def test_a_wheel_without_scripts_reads_no_blob():
    assert list(iter_scripts(make_demo({f"{SITE_PACKAGES}/bin/x": SCRIPT}), FakeBlobs())) == []


def test_a_script_of_which_the_blob_is_missing_is_damage():
    with pytest.raises(StoreDamaged, match="missing"):
        list(iter_scripts(make_demo({"bin/asks": SCRIPT}), FakeBlobs()))


def test_a_script_too_large_to_be_one_is_refused_by_its_path():
    blobs = FakeBlobs([SCRIPT])
    large = make_row("bin/asks", SCRIPT)
    row = type(large)(large.path, large.digest, large.checksum, 17 << 20, large.kind)
    with pytest.raises(EnvironmentRefused, match="bin/asks: is a script of more than"):
        list(iter_scripts(build_manifest(Description("demo", "demo", "1.0"), [row]), blobs))


@pytest.mark.parametrize(
    ("declared", "directory", "names"),
    [
        (["tool"], "python3.11", {"tool"}),
        (["pip", "pip3", "pip3.12"], "python3.11", {"pip", "pip3", "pip3.11"}),
        (["pip", "pip3"], "python3.13t", {"pip", "pip3", "pip3.13"}),
        (["pip-audit", "pip"], "python3.8", {"pip-audit", "pip", "pip3", "pip3.8"}),
        (["easy_install", "easy_install-3.8"], "python3.9", {"easy_install", "easy_install-3.9"}),
        (["pip3"], "python3.11", {"pip3"}),
    ],
)
def test_versioned_commands_are_those_of_the_environments_python(declared: list[str], directory: str, names: set[str]):
    chosen = choose_launchers([(name, "module", "main") for name in declared], directory)
    assert sorted(chosen) == sorted((name, "module", "main") for name in names)


def test_the_launchers_of_python_3_8_use_what_it_has():
    made = install(make_demo({}, ("tool", "demo", "main")), directory="python3.8")
    assert content_of(made, "bin/tool") == build_launcher("tool", "demo", "main", "python3.8")
    assert b"removesuffix" not in content_of(made, "bin/tool")
