"""Sound archives that must be refused for what they hold: RECORD, places, entry points, another project's name."""

from __future__ import annotations

from collections.abc import Iterable

from tests.make_wheels import DATA, DEMO, INFO, Hostile, Row, demo_members, edit, hash_field, pack, with_record
from tests.wheels.zip_writer import ZipMember

PROJECTS: list[Hostile] = []
"""`read_wheel` refuses these."""


def _add(kind: str, members: list[ZipMember], *words: str, filename: str = "demo-1.0-py3-none-any.whl") -> None:
    PROJECTS.append(Hostile(kind, pack(members, filename=filename), words))


def _add_name(kind: str, name: str, *words: str) -> None:
    """A member with a name that can't be, and a RECORD that is true."""
    _add(kind, demo_members(ZipMember(name)), repr(name), *words)


def _add_own(kind: str, name: str, content: str, *words: str) -> None:
    """A file of the .dist-info with other content."""
    _add(kind, edit(demo_members(), f"{INFO}/{name}", content=content.encode()), f"'{INFO}/{name}'", *words)


def _add_rows(kind: str, rows: Iterable[tuple[str, ...]], *words: str) -> None:
    """RECORD with `rows` after (or for demo/__init__.py, in place of) the true ones."""
    rows = list(rows)
    replaced = {row[0] for row in rows}
    _add_record(kind, with_record(lambda true: [*(row for row in true if row[0] not in replaced), *rows]), *words)


def _add_record(kind: str, members: list[ZipMember], *words: str) -> None:
    PROJECTS.append(Hostile(kind, pack(members), words, record_only=True))


def _add_script(kind: str, text: str, *words: str) -> None:
    members = demo_members(entry_points=f"[console_scripts]\n{text}\n")
    _add(kind, members, f"{INFO}/entry_points.txt", *words)


# --- what a wheel is ---

_add("no dist-info", [DEMO], "must have one .dist-info directory, but has 0")
_add("two dist-infos", demo_members(ZipMember("other-1.0.dist-info/METADATA")), "but has 2", "'other-1.0.dist-info'")
_add("two spellings of one dist-info", demo_members(ZipMember("Demo-1.0.dist-info/METADATA")), "but has 2")
_add("another project's dist-info", demo_members(), f"'{INFO}'", "is not of other 1.0", filename="other-1.0-py3-none-any.whl")
_add("another version's dist-info", demo_members(), f"'{INFO}'", "is not of demo 1.1", filename="demo-1.1-py3-none-any.whl")
_add("dist-info without a version", [ZipMember("demo.dist-info/METADATA")], "'demo.dist-info'", "is not of demo 1.0")
_add_own("another project's METADATA", "METADATA", "Name: pip\nVersion: 1.0\n", "is about 'pip 1.0'")
_add_own("METADATA with two names", "METADATA", "Name: demo\nName: pip\nVersion: 1.0\n", "must have one Name, but has 2")
_add_own("METADATA without a version", "METADATA", "Name: demo\n", "must have one Version, but has 0")
_add_own("METADATA with an empty name", "METADATA", "Name:\nVersion: 1.0\n", "has an empty Name")
_add_own("METADATA with its name in the text", "METADATA", "Version: 1.0\n\nName: demo\n", "must have one Name")
for _missing in ("METADATA", "WHEEL", "RECORD"):
    _members = [member for member in demo_members() if member.name != f"{INFO}/{_missing}"]
    _add(f"no {_missing}", _members, f"'{INFO}/{_missing}'", "is missing")
for _version in ("2.0", "0.9", "1", "1.0.0", "one", "1.٣"):
    _add_own(f"Wheel-Version {_version}", "WHEEL", f"Wheel-Version: {_version}\n", "has Wheel-Version", "only 1.x is known")
_add_own("no Wheel-Version", "WHEEL", "Generator: x\n", "must have one Wheel-Version")
for _filename in ("demo.whl", "demo-1.0.whl", "demo-1.0-py3-none-any.zip", "demo-one-py3-none-any.whl", "-1.0-py3-none-any.whl"):
    _add(f"called {_filename}", demo_members(), "is not named as a wheel is", filename=_filename)
_add("called by a path", demo_members(), "leaves its directory", filename="../demo-1.0-py3-none-any.whl")
_add("called by a path below", demo_members(), "is not a file name", filename="x/demo-1.0-py3-none-any.whl")
_add("called with a control character", demo_members(), "control character", filename="demo-1.0-py3-none-any\x1b.whl")

# --- RECORD ---

_HASH = hash_field(DEMO.content).removeprefix("sha256=")
_TRUE: Row = (DEMO.name, f"sha256={_HASH}", "10")
_LEFT_OUT = f"{INFO}/INSTALLER"
_add_record("unlisted file", with_record(lambda rows: rows[1:]), repr(DEMO.name), "is not listed in RECORD")
_add_rows("ghost row", [("demo/secret", hash_field(b"secret"), "6")], "'demo/secret'", "is not in the archive")
_add_rows("ghost row elsewhere", [("../../../etc/passwd", "", "")], "'../../../etc/passwd'", "has no hash")
_add_rows("row listed twice", [_TRUE, _TRUE], repr(DEMO.name), "is listed in RECORD twice")
_add_rows("row listed twice with two hashes", [_TRUE, (DEMO.name, hash_field(b""), "0")], repr(DEMO.name), "is listed in RECORD twice")
_add_rows("wrong size", [(DEMO.name, f"sha256={_HASH}", "11")], repr(DEMO.name), "has 10 bytes, but RECORD says 11")
_add_rows("no hash", [(DEMO.name, "", "10")], repr(DEMO.name), "has no hash in RECORD")
_add_rows("two columns", [_TRUE[:2]], repr(DEMO.name), "has 2 columns")
_add_rows("four columns", [(*_TRUE, "x")], repr(DEMO.name), "has 4 columns")
_add_record(
    "byte order mark", with_record(lambda rows: [("\ufeff" + DEMO.name, *rows[0][1:]), *rows[1:]]), repr(DEMO.name), "is not listed"
)
for _size in ("-1", "ten", "1e1", "٣", " 10", "1" * 19):
    _add_rows(f"size {_size}", [(DEMO.name, f"sha256={_HASH}", _size)], repr(DEMO.name), "which is not a number")
for _algorithm in ("md5", "sha1", "sha224", "SHA256", "blake2b", "none"):
    _add_rows(_algorithm, [(DEMO.name, f"{_algorithm}={_HASH}", "10")], repr(DEMO.name), f"has a hash of kind {_algorithm!r}")
_BAD_HASHES = {
    "short hash": _HASH[:-1],
    "hash of another length": f"{_HASH}AA",
    "hash with loose bits": _HASH[:-1] + chr(ord(_HASH[-1]) + 1),
    "hash with a space": f"{_HASH} ",
    "hash in upper-case hexadecimal": "AB" * 32,
    "hash in short hexadecimal": "ab" * 31,
    "hash beyond ASCII": "é" * 43,
    "empty hash": "",
}
for _kind, _value in _BAD_HASHES.items():
    _add_rows(_kind, [(DEMO.name, f"sha256={_value}", "10")], repr(DEMO.name), "is not a sha256 in unpadded URL-safe base64")
_add_record(
    "another normalisation",
    with_record(lambda rows: [rows[0], ("demo/e\u0301", *rows[1][1:]), *rows[2:]], ZipMember("demo/é")),
    "'demo/é': is not listed",
)
_add_record(
    "INSTALLER with another hash",
    with_record(lambda rows: [rows[0], (_LEFT_OUT, hash_field(b"uv"), "3"), *rows[2:]], ZipMember(_LEFT_OUT, b"pip")),
    repr(_LEFT_OUT),
    "is not the one in RECORD",
)
for _kind, _record, _reason in (
    ("RECORD that is not UTF-8", b"\xff,,\n", "is not UTF-8"),
    ("RECORD with a quote that never ends", b'"demo/__init__.py,,\n', "is not CSV"),
    ("RECORD with an endless field", b"x" * 200_000 + b",,\n", "is not CSV"),
):
    _add(_kind, edit(demo_members(), f"{INFO}/RECORD", content=_record), f"'{INFO}/RECORD'", _reason)

# --- places ---

_add_name("unknown scheme", f"{DATA}/etc/evil.conf", "is for the scheme 'etc'")
_add_name("no scheme", f"{DATA}/evil", "lies directly in a .data directory")
_add("another project's data", demo_members(ZipMember("other-1.0.data/scripts/x")), "'other-1.0.data'", "is not of demo 1.0")
for _script in ("python", "python3", "python3.11", "python3.13t", "activate", "activate.fish", "Activate.ps1", "activate_this.py"):
    _add_name(f"script {_script}", f"{DATA}/scripts/{_script}", f"would overwrite bin/{_script}")
_add_name("data over python", f"{DATA}/data/bin/python", "would overwrite bin/python")
_add_name("data below python", f"{DATA}/data/bin/python/x", "would overwrite bin/python")
_add_name("data over pyvenv.cfg", f"{DATA}/data/pyvenv.cfg", "would overwrite pyvenv.cfg")
for _place in ("bin", "lib64", "lib", "include", "lib/python3.11", "lib/python3.11/site-packages"):
    _add_name(f"data over {_place}", f"{DATA}/data/{_place}", "which is a directory")
_add_name("two schemes, one place", f"{DATA}/purelib/demo/__init__.py", "would be installed over 'demo/__init__.py'")
_add_name("purelib and its spelt place", f"{DATA}/data/lib/python3.11/site-packages/demo/__init__.py", "would be installed over")
_add("lib and lib64", demo_members(ZipMember(f"{DATA}/data/lib/x"), ZipMember(f"{DATA}/data/lib64/x")), "would be installed over")
_add_name("file and directory by scheme", f"{DATA}/purelib/demo", "which is a directory")
_add_name("data over RECORD", f"{DATA}/purelib/{INFO}/RECORD", f"would overwrite {INFO}/RECORD")
_add_name("data over INSTALLER", f"{DATA}/platlib/{INFO}/INSTALLER", f"would overwrite {INFO}/INSTALLER")
_add_name("another distribution in purelib", f"{DATA}/purelib/pip-1.dist-info/METADATA", "another distribution's 'pip-1.dist-info'")
_SPELT = f"{DATA}/data/lib/python3.12/site-packages"
_add_name("another distribution in data", f"{_SPELT}/pip-1.dist-info/RECORD", "another distribution's 'pip-1.dist-info'")

# --- entry points ---

_add_script("entry point with a path", "../../escape = demo:main", "'../../escape'", "has a path for a name")
_add_script("entry point with an absolute path", "/tmp/escape = demo:main", "'/tmp/escape'", "has a path for a name")
_add_script("entry point called ..", ".. = demo:main", "'..'", "leaves its directory")
_add_script("entry point called .", ". = demo:main", "'.'", "has an empty or '.'")
_add_script("entry point without a name", "= demo:main", "''", "has an empty or '.'")
_add_script("entry point with a backslash", "a\\b = demo:main", "has a backslash")
_add_script("entry point with a long name", "n" * 256 + " = demo:main", "longer than 255 bytes")
_add_script("entry point python", "python = demo:main", "would overwrite bin/python")
_add_script("entry point activate", "activate = demo:main", "would overwrite bin/activate")
_add_script("two entry points of one name", "a = demo:main\na = demo:other", "names two things 'a'")
_add_script("two groups, one name", "a = demo:main\n[gui_scripts]\na = demo:other", "names two things 'a'")
_add_script("entry point without a value", "a =", "'a' refers to ''")
_add_script("line that is no entry point", "a", "has a line that is not an entry point: 'a'")
_add_script("line that is no plugin", "[plugins]\nno value", "has a line that is not an entry point: 'no value'")
for _reference in ("demo", "demo:", ":main", "demo:main()", "demo;import os:x", "demo:x\\ny", "demo.:main", "1demo:main", "demo:import"):
    _add_script(f"entry point to {_reference}", f"a = {_reference}", "'a' refers to", "which is not MODULE:ATTRIBUTE")
_OVER = "[gui_scripts]\na=b:c\n"
_add("entry points that are not UTF-8", demo_members(ZipMember(f"{INFO}/entry_points.txt", b"\xff")), "is not UTF-8")
_add("entry point over a directory", demo_members(ZipMember(f"{DATA}/scripts/a/b"), entry_points=_OVER), "is a directory")
_add("entry point over data", demo_members(ZipMember(f"{DATA}/data/bin/a"), entry_points=_OVER), "over 'entry point a'")

# --- many at once ---

_ALL_WRONG = with_record(lambda rows: rows[1:], ZipMember("../evil"), ZipMember(f"{DATA}/etc/x"), entry_points="[gui_scripts]\n../x = y\n")
_add(
    "everything wrong at once",
    edit(_ALL_WRONG, DEMO.name, mode=0o120777),
    "'../evil': leaves",
    "'demo/__init__.py': is a symbolic link",
    "'demo/__init__.py': is not listed",
    "is for the scheme 'etc'",
    "'../x' has a path",
)
