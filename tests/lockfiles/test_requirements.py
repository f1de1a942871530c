"""What requirement lines ask for, and which lines are refused since a part of them could be passed over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from casfs.errors import LockRefused
from casfs.lockfiles.hashes import Asked
from casfs.lockfiles.lines import Kind
from casfs.lockfiles.requirements import Reader, Requirements

Z = "0" * 64
HASH = f"--hash=sha256:{Z}"
ONE = frozenset({("sha256", Z)})


def read(files: Mapping[str, bytes], *words: str, first: str = "/r/first.txt", environ: Mapping[str, str] | None = None) -> Requirements:
    reader = Reader(files.__getitem__, environ or {}, str)
    for word in words:
        reader.add_word(word, word)
    if first in files:
        reader.add_file(first)
    return reader.found


def read_text(text: str) -> Requirements:
    return read({"/r/first.txt": text.encode()})


def ask(*words: str) -> Asked:
    return Asked(read({}, *words).lines, {})


@pytest.mark.parametrize(
    ("lines", "allowed"),
    [
        ([], True),
        (["other>5"], True),
        (["Demo"], True),
        (["demo[more]>=1,<2"], True),
        (["demo>=1.0rc1", "demo<2"], True),
        (["demo>1"], False),
        (["demo>=1", "demo>1"], False),
        (["demo @ https://host.example/demo.whl"], False),
        (["demo", "demo @ https://host.example/demo.whl", "demo"], False),
    ],
)
def test_version_will_do_if_every_line_allows_it(lines: list[str], *, allowed: bool) -> None:
    assert ask(*lines).allows("demo", "1.0") is allowed


def test_pre_release_that_is_there_will_do() -> None:
    assert ask("demo>=1").allows("demo", "2.0rc1")


def test_paths_and_urls_are_places_and_no_projects() -> None:
    found = read_text("./there[more]  # words\n-e ./editable\n--no-index\nhttps://host.example/demo.zip#egg=demo\n")
    asked = Asked([*found.lines, *read({}, "./here", "demo").lines], {})
    assert asked.projects.keys() == {"demo"}
    assert asked.places == {os.path.abspath(one) for one in ("here", "there", "editable")} | {"https://host.example/demo.zip"}
    assert found.options == ["--no-index"]


# --- one meaning


HASHED = {
    "as pip-compile writes it": f"demo==1.0 \\\n    {HASH}\n    # via other\n".encode(),
    "line ends of Windows": f"demo==1.0 \\\r\n    {HASH}\r\n".encode(),
    "BOM of UTF-8": b"\xef\xbb\xbf" + f"demo==1.0 {HASH}".encode(),
    "UTF-16": f"demo==1.0 {HASH}\n".encode("utf-16"),
    "UTF-32": f"demo==1.0 {HASH}\n".encode("utf-32"),
    "PEP 263": f"# -*- coding: latin-1 -*-\n# \xe9\ndemo==1.0 {HASH}".encode("latin-1"),
    "tab": f"demo==1.0\t{HASH}".encode(),
    "no equals sign": f"demo==1.0 --hash sha256:{Z}".encode(),
    "quotes": f'demo==1.0 --hash="sha256:{Z}"'.encode(),
    "variable": b"demo==1.0 --hash=sha256:${ZEROS}",
    "comment behind": f"demo==1.0 {HASH} # words".encode(),
    "no end of line": f"demo==1.0 {HASH} \\".encode(),
    "-r": b"-r second.txt",
    "-r with quotes": b'-r "second.txt"',
    "-r with a variable": b"-r ${PLACE}/second.txt",
    "-r with an equals sign": b"--requirement=second.txt",
    "-r of itself": b"-r first.txt\n-r second.txt",
    "-r of a file URL": b"-r file:///r/second.txt",
    "-r of a URL": b"-r https://host.example/a/third.txt",
    "-c": b"demo\n-c second.txt",
}


@pytest.mark.parametrize("content", HASHED.values(), ids=HASHED)
def test_hash_is_seen_however_it_is_written(content: bytes) -> None:
    files = {
        "/r/first.txt": content,
        "/r/second.txt": f"demo==1.0 {HASH}\n".encode(),
        "https://host.example/a/third.txt": b"-r fourth.txt",
        "https://host.example/a/fourth.txt": f"demo==1.0 {HASH}\n".encode(),
    }
    found = read(files, environ={"ZEROS": Z, "PLACE": "/r"})
    assert [(line.project, line.hashes) for line in found.lines if line.hashes] == [("demo", ONE)]
    assert not any("hash" in text for text in [*found.options, *(line.text for line in found.lines)])


REFUSED = {
    "hash on a line of its own": f"demo==1.0\n{HASH}",
    "hash behind a comment": f"demo==1.0 \\\n# words\n {HASH}",
    "comment that goes on": f"demo==1.0 # words \\\n {HASH}",
    "space behind the backslash": f"demo==1.0 \\ \n {HASH}",
    "hash without a space": f"demo==1.0{HASH}",
    "hash in the quotes": f'demo==1.0 "{HASH}"',
    "hash before the requirement": f"{HASH} demo==1.0",
    "abbreviation": f"demo==1.0 --has=sha256:{Z}",
    "capital letters": f"demo==1.0 --HASH=sha256:{Z}",
    "no value": "demo==1.0 --hash",
    "short value": "demo==1.0 --hash=sha256:00",
    "weak": f"demo==1.0 --hash=md5:{'0' * 32}",
    "unknown": f"demo==1.0 --hash=crc32:{'0' * 8}",
    "quote that does not end": f'demo==1.0 --hash="sha256:{Z}',
    "space of no width": f"demo==1.0 \u200b{HASH}",
    "space that breaks no line": f"demo==1.0\u00a0{HASH}",
    "line end of Unicode": f"demo==1.0 \u2028{HASH}",
    "line end of Unicode in a comment": f"# words \u2028demo==1.0 {HASH}",
    "page end": f"demo==1.0 \f{HASH}",
    "no characters": f"demo==1.0 \0{HASH}",
    "hash of a project": f"-e ./demo {HASH}",
    "hash of a repository": f"demo @ git+https://host.example/demo {HASH}",
    "hash in the URL of a repository": f"demo @ git+https://host.example/demo#sha256={Z}",
    "hash in a URL that is none": "demo @ https://host.example/demo.whl#sha256=00",
    "variable that is not set": "demo==${NOBODY}1.0",
    "option that nobody knows": "--frobnicate\ndemo",
    "abbreviated option": "--req second.txt",
    "option and value in one": "-rsecond.txt",
    "option of a requirement": "demo==1.0 --config-settings=a=b",
    "requirements in constraints": "-c third.txt",
    "nothing editable": "-e",
    "editable behind another option": "--no-index -e ./demo",
    "no requirement": "demo==\n",
    "two requirements": "demo other",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_refused_with_file_and_line(text: str) -> None:
    files = {"/r/first.txt": text.encode(), "/r/second.txt": b"demo", "/r/third.txt": b"-r second.txt"}
    with pytest.raises(LockRefused) as caught:
        read(files)
    assert caught.value.subject.startswith(("/r/first.txt, line ", "/r/third.txt, line 1"))


@pytest.mark.parametrize(
    "content", [b"demo # \xe9", b"# coding: no-such\ndemo", "demo".encode("utf-16-le")], ids=["none", "unknown", "no BOM"]
)
def test_file_that_can_not_be_decoded_is_refused(content: bytes) -> None:
    with pytest.raises(LockRefused):
        read({"/r/first.txt": content})


@pytest.mark.parametrize("word", ["-r x.txt", "--index-url https://host.example", "# words", "demo other", f"demo {HASH} --pre"])
def test_word_that_is_no_requirement_is_refused(word: str) -> None:
    with pytest.raises(LockRefused):
        read({}, word)


@pytest.mark.parametrize("text", ["-e ./there", "--editable=./there", '-e "./there"', "-e file:./there"])
def test_editable_project_is_seen_however_it_is_written(text: str) -> None:
    [line] = read_text(text).lines
    assert line.text == f"-e file://{os.path.abspath('there')}"
    assert line.is_editable


def test_options_are_kept_for_the_resolver(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    place = str(tmp_path / "r.txt")
    text = "-i https://h.example/s --no-index\n-f ./there\n-f https://h.example/f\n"
    text += "--pre\n--trusted-host h\n--require-hashes\n--prefer-binary\n"
    found = read({place: text.encode()}, first=place)
    links = [f"--find-links file://{tmp_path}/there", "--find-links https://h.example/f"]
    assert found.options == ["--index-url https://h.example/s", "--no-index", *links]
    assert (found.is_pre_allowed, found.trusted_hosts, found.are_hashes_required) == (True, ["h"], True)


def test_hash_of_a_url_is_no_part_of_what_the_resolver_gets() -> None:
    value = hashlib.md5(b"").hexdigest()
    [line] = read_text(f"demo[b,a] @ https://h.example/d.zip#egg=demo&MD5={value}&subdirectory=x ; python_version > '3'").lines
    assert line.text == 'demo[a,b] @ https://h.example/d.zip#egg=demo&subdirectory=x ; python_version > "3"'
    assert line.fragments == (("md5", value),)
    assert (line.place, line.kind) == ("https://h.example/d.zip", Kind.ASKED)


@pytest.mark.parametrize("text", ["dir/demo-1.0-py3-none-any.whl", "demo-1.0-py3-none-any.whl", "demo @ dir/demo-1.0-py3-none-any.whl"])
def test_relative_paths_are_relative_to_the_working_directory(text: str) -> None:
    [line] = read_text(f"{text} {HASH}").lines
    path = os.path.abspath(text.rpartition(" ")[2])
    assert (line.project, line.place, line.hashes) == ("demo", path, ONE)
    assert line.text.endswith(f"file://{path}")
