"""Hashes that somebody gives are compared, wherever they stand: what pip or uv would refuse is refused, and nothing has changed then.

What each case does with pip and with uv was found by running them; where they differ, the stricter one is followed.
"""

from __future__ import annotations

import hashlib
import re
import sys

import pytest

from tests.cli.package_index import PackageIndex
from tests.cli.projects import make_editable, make_project, pack_project
from tests.cli.test_changes import listed
from tests.cli.test_names import casfs, facts, index, leftovers
from tests.make_wheels import make_wheel
from tests.mounted.harness import Casfs

__all__ = ["casfs", "index"]

ZEROS = "0" * 64
WHEEL = "one-1.0-py3-none-any.whl"


def hash_of(index: PackageIndex, name: str, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, index.files[name]).hexdigest()}"


@pytest.fixture
def scene(casfs: Casfs, index: PackageIndex) -> dict[str, str]:
    """What the texts of cases name: a wheel in an index and on the disk, and files that give a wrong hash and the right one."""
    index.offer("one")
    index.offer("two")
    (casfs.directory / WHEEL).write_bytes(index.files[WHEEL])
    right, wrong = hash_of(index, WHEEL), f"sha256:{ZEROS}"
    for name, said in (("right.txt", right), ("wrong.txt", wrong)):
        (casfs.directory / name).write_text(f"one==1.0 --hash={said}\n")
        index.files[name] = (casfs.directory / name).read_bytes()
    casfs.environ["PLACE"] = str(casfs.directory)
    return {
        "right": right,
        "wrong": wrong,
        "two": hash_of(index, "two-1.0-py3-none-any.whl"),
        "sha512": hash_of(index, WHEEL, "sha512"),
        "sha384": hash_of(index, WHEEL, "sha384"),
        "md5": hash_of(index, WHEEL, "md5"),
        "path": str(casfs.directory / WHEEL),
        "url": index.file_url(WHEEL),
        "files": index.file_url(""),
    }


NONE_OF = "is not one of th|Hash mismatch"  # uv says the latter of what it has to open itself
NO_HASH = "no hash is given for it"
FILES = {
    "path": ("./" + WHEEL + " --hash={wrong}", NONE_OF),
    "path, right": ("./" + WHEEL + " --hash={right}", ""),
    "URL": ("{url} --hash={wrong}", NONE_OF),
    "URL, right": ("{url} --hash={right}", ""),
    "BOM": ("\ufeffone==1.0 --hash={wrong}", NONE_OF),
    "nested by variable": ("-r ${{PLACE}}/wrong.txt", NONE_OF),
    "nested in quotes": ('-r "wrong.txt"', NONE_OF),
    "nested by URL": ("-r {files}wrong.txt", NONE_OF),
    "nested by URL, right": ("-r {files}right.txt", ""),
    "constraint": ("one\n-c wrong.txt", NONE_OF),
    "constraint, right": ("one\n-c right.txt", ""),
    "constraint beside": ("one==1.0 --hash={right}\n-c wrong.txt", NONE_OF),
    "twice": ("one==1.0 --hash={right}\none==1.0 --hash={wrong}", NONE_OF),
    "one of two": ("one==1.0 --hash={right} --hash={wrong}", ""),
    "other interpreter": ("one==1.0 ; python_version < '3' --hash={wrong}\none==1.0 ; python_version > '3' --hash={right}", ""),
    "only some": ("one==1.0\ntwo==1.0 --hash={two}", NO_HASH),
    "required": ("--require-hashes\none==1.0", NO_HASH),
    "required of a path": ("--require-hashes\n./" + WHEEL, NO_HASH),
    "required, and in the URL": ("--require-hashes\none @ {url}#{right_}", ""),
    "required, and weak": ("--require-hashes\none @ {url}#{md5_}", NO_HASH),
    "in the URL of a file": ("one @ file://{path}#{wrong_}", NONE_OF),
    "in a URL": ("one @ {url}#{wrong_}", NONE_OF),
    "in a URL without a name": ("{url}#egg=one&{wrong_}", NONE_OF),
    "in a URL, weak": ("one @ {url}#md5=00000000000000000000000000000000", NONE_OF),
    "in a URL, weak and right": ("one @ {url}#{md5_}", ""),
    "in a URL and behind it": ("one @ {url}#{right_} --hash={wrong}", NONE_OF),
    "in a URL and beside": ("one @ {url}#{right_}\ntwo==1.0 --hash={two}", ""),
    "weak": ("one==1.0 --hash={md5}", "too weak"),
    "SHA-384": ("one==1.0 --hash={sha384}", ""),
    "SHA-512": ("one==1.0 --hash={sha512}", ""),
    "SHA-512, and another SHA-256": ("one==1.0 --hash={wrong} --hash={sha512}", ""),
    "SHA-512, wrong": ("one==1.0 --hash=sha512:" + 2 * ZEROS, NONE_OF),
}


WAYS = {"sync": ("sync",), "add": ("add", "-r"), "warm": ("pool", "warm", "-r")}
FEW = {"path", "URL", "nested by URL", "constraint", "only some", "required", "in a URL, weak", "SHA-512", "SHA-512, wrong"}
"""The ways share what reads and compares, so all of them are tried with these; with the rest only the first."""

TRIED = {f"{way}-{case}": (WAYS[way], *FILES[case]) for way in WAYS for case in FILES if way == "sync" or case in FEW}


@pytest.mark.parametrize(("command", "text", "problem"), TRIED.values(), ids=TRIED)
def test_hashes_of_a_file_are_compared(casfs: Casfs, scene: dict[str, str], command: tuple[str, ...], text: str, problem: str) -> None:
    fragments = {f"{name}_": value.replace(":", "=") for name, value in scene.items()}
    path = casfs.directory / "requirements.txt"
    path.write_text(text.format(**scene, **fragments) + "\n", encoding="utf-8")
    done = casfs.run(*command, path, code=1 if problem else 0, cwd=casfs.directory)
    assert re.search(problem, done.stderr)
    assert ("+ one 1.0" in done.stdout) is not bool(problem)
    assert leftovers(casfs) == []
    if problem and command[0] != "pool":
        assert listed(casfs) == {}


WORDS = {
    "URL of a file": "one @ file://{path}#sha256=" + ZEROS,
    "URL": "{url}#sha256=" + ZEROS,
    "weak": "one @ {url}#md5=00000000000000000000000000000000",
    "option": "one==1.0 --hash={wrong}",
}


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("command", [("add",), ("pool", "warm"), ("run", "--with")], ids=["add", "warm", "run"])
def test_hashes_of_what_was_typed_are_compared(casfs: Casfs, scene: dict[str, str], command: tuple[str, ...], word: str) -> None:
    rest = ("--", "true") if command[0] == "run" else ()
    assert re.search(NONE_OF, casfs.run(*command, word.format(**scene), *rest, code=1).stderr)


def test_known_wheel_is_compared_with_hashes_that_the_store_does_not_know(casfs: Casfs, scene: dict[str, str]) -> None:
    casfs.run("pool", "warm", "one")
    wrong = "one==1.0 --hash=sha512:" + 2 * ZEROS
    assert re.search(NONE_OF, casfs.run("add", wrong, code=1).stderr)
    assert casfs.run("add", "one==1.0 --hash={sha512}".format(**scene)).stdout == "+ one 1.0\n"


def test_what_is_there_is_not_believed_to_have_the_hash(casfs: Casfs, index: PackageIndex, scene: dict[str, str]) -> None:
    casfs.add(casfs.wheel("one"))  # with another content than that of the index
    assert casfs.run("add", "one==1.0").stdout == "= one 1.0\n"
    casfs.run("add", "one==1.0 --hash={right}".format(**scene))
    assert facts(casfs, "one")["origin"] == index.file_url(WHEEL)
    assert casfs.run("add", "one==1.0 --hash={right}".format(**scene)).stdout == "= one 1.0\n"


@pytest.mark.parametrize("variable", ["PIP_REQUIRE_HASHES", "UV_REQUIRE_HASHES"])
def test_variable_requires_hashes_of_everything(casfs: Casfs, scene: dict[str, str], variable: str) -> None:
    environ = {variable: "1"}
    for words in (["add", "one"], ["add", scene["path"]], ["add", "-r", "/dev/null", "one"], ["run", scene["path"], "--", "true"]):
        assert re.search(NO_HASH, casfs.run(*words, code=1, environ=environ).stderr)
    assert casfs.run("add", "-r", casfs.directory / "right.txt", environ=environ).stdout == "+ one 1.0\n"


def test_variable_requires_hashes_of_a_lock(casfs: Casfs, scene: dict[str, str]) -> None:
    lock = casfs.directory / "pylock.toml"
    package = 'name = "one"\nversion = "1.0"\nwheels = [{{ url = "{url}", hashes = {{}} }}]'.format(**scene)
    lock.write_text(f'lock-version = "1.0"\ncreated-by = "a test"\n[[packages]]\n{package}\n')
    assert NO_HASH in casfs.run("sync", lock, code=1, environ={"UV_REQUIRE_HASHES": "1"}).stderr
    assert casfs.run("sync", lock).stdout == "+ one 1.0\n"


@pytest.mark.parametrize("name", ["PIP_CONSTRAINT", "UV_CONSTRAINT", "UV_OVERRIDE", "-c"])
def test_hashes_of_constraints_are_compared_wherever_these_are_named(casfs: Casfs, scene: dict[str, str], name: str) -> None:
    for file, code in (("wrong.txt", 1), ("right.txt", 0)):
        path = str(casfs.directory / file)
        words, environ = (["-c", path], {}) if name == "-c" else ([], {name: path})
        done = casfs.run("add", "one", *words, environ=environ, code=code)
        assert bool(re.search(NONE_OF, done.stderr)) is bool(code)


@pytest.mark.parametrize("reference", ["file://{path}#sha256=" + ZEROS, "{url}#md5=" + "0" * 32])
@pytest.mark.parametrize("option", [[], ["-e"]], ids=["built", "editable"])
def test_hashes_in_what_a_project_needs_are_compared(casfs: Casfs, scene: dict[str, str], option: list[str], reference: str) -> None:
    project = make_editable(casfs.directory / "project")
    table = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(table.replace("dependencies = []", f'dependencies = ["one @ {reference.format(**scene)}"]'))
    assert re.search(NONE_OF, casfs.run("add", *option, project, code=1).stderr)
    assert listed(casfs) == {}


@pytest.mark.parametrize(
    "text", ["{path} --hash={wrong}", "built @ {url}#{wrong_}", "built==1.0 --hash={wrong}", "--require-hashes\n{path}"]
)
@pytest.mark.parametrize("command", WAYS.values(), ids=WAYS)
def test_nothing_of_a_file_with_another_hash_is_run(casfs: Casfs, index: PackageIndex, command: tuple[str, ...], text: str) -> None:
    """To know what a source distribution needs, it has to be built."""
    project, trace = make_project(casfs.directory / "project", make_wheel(None, "built")), casfs.directory / "trace"
    (project / "backend.py").write_text(f"open({str(trace)!r}, 'w')\n" + (project / "backend.py").read_text())
    name = "built-1.0.tar.gz"
    index.offer_file(name, pack_project(project, "built"))
    (casfs.directory / name).write_bytes(index.files[name])
    path, said = casfs.directory / "requirements.txt", {"path": f"./{name}", "url": index.file_url(name)}
    path.write_text(text.format(**said, wrong=f"sha256:{ZEROS}", wrong_=f"sha256={ZEROS}"))
    assert re.search(f"{NONE_OF}|{NO_HASH}", casfs.run(*command, path, code=1, cwd=casfs.directory).stderr)
    assert not trace.exists()
    path.write_text(f"./{name} --hash={hash_of(index, name)}")
    casfs.run(*command, path, cwd=casfs.directory)
    assert trace.exists()


# --- which file


@pytest.mark.parametrize("kind", ["wheel", "source distribution"])
@pytest.mark.parametrize("command", WAYS.values(), ids=WAYS)
def test_hash_chooses_between_wheel_and_source_distribution(casfs: Casfs, index: PackageIndex, command: tuple[str, ...], kind: str) -> None:
    built = make_wheel({"both/built.py": b""}, "both")
    index.offer("both")
    index.offer_file("both-1.0.tar.gz", pack_project(make_project(casfs.directory / "project", built), "both"))
    name = "both-1.0-py3-none-any.whl" if kind == "wheel" else "both-1.0.tar.gz"
    path = casfs.directory / "requirements.txt"
    path.write_text(f"both==1.0 --hash={hash_of(index, name)}\n")
    assert casfs.run(*command, path).stdout == "+ both 1.0\n"
    assert index.fetched()[-1] == name


def test_hash_chooses_between_wheels(casfs: Casfs, index: PackageIndex) -> None:
    for tag in ("py3-none-any", f"py3{sys.version_info.minor}-none-any"):  # the second fits better
        index.offer_file(f"both-1.0-{tag}.whl", make_wheel({f"both/{tag[:4]}.py": b""}, "both").content)
    name = "both-1.0-py3-none-any.whl"
    assert casfs.run("add", f"both==1.0 --hash={hash_of(index, name)}").stdout == "+ both 1.0\n"
    assert index.fetched()[-1] == name


# --- what has no file that could have a hash


def test_editable_project_stands_beside_hashes(casfs: Casfs, scene: dict[str, str]) -> None:
    """As `uv export` writes it; all that it needs must have hashes."""
    make_editable(casfs.directory / "project", needs="two")
    path = casfs.directory / "requirements.txt"
    for line, problem in (("two==1.0 --hash={wrong}", NONE_OF), ("one==1.0 --hash={right}", NO_HASH), ("two==1.0 --hash={two}", "")):
        path.write_text(f"-e ./project\n{line.format(**scene)}\n")
        done = casfs.run("add", "-r", path, cwd=casfs.directory, code=1 if problem else 0)
        assert re.search(problem, done.stderr)
    assert casfs.run("sync", path, cwd=casfs.directory).stdout == ""
    path.write_text(f"--require-hashes\n{path.read_text()}")
    assert "has no single file" in casfs.run("add", "-r", path, cwd=casfs.directory, code=1).stderr


def test_what_a_hashed_requirement_needs_must_have_a_hash(casfs: Casfs, index: PackageIndex, scene: dict[str, str]) -> None:
    index.offer("three", needs="two")
    path, line = casfs.directory / "requirements.txt", f"three==1.0 --hash={hash_of(index, 'three-1.0-py3-none-any.whl')}\n"
    path.write_text(line)
    for command in (["add", "-r"], ["run", "--with-requirements"]):
        rest = ["--", "true"] if command[0] == "run" else []
        assert casfs.run(*command, path, *rest, code=1).stderr
    path.write_text(line + "two --hash={two}".format(**scene))
    assert casfs.run("add", "-r", path).stdout == "+ three 1.0\n+ two 1.0\n"


# --- files that are no files


@pytest.mark.parametrize("command", WAYS.values(), ids=WAYS)
def test_requirements_come_from_urls_and_from_standard_input(
    casfs: Casfs, index: PackageIndex, scene: dict[str, str], command: tuple[str, ...]
) -> None:
    assert re.search(NONE_OF, casfs.run(*command, index.file_url("wrong.txt"), code=1).stderr)
    assert casfs.run(*command, index.file_url("right.txt")).stdout == "+ one 1.0\n"
    for place in ("-", "/dev/stdin"):
        assert re.search(NONE_OF, casfs.run(*command, place, code=1, input=index.files["wrong.txt"].decode()).stderr)
    assert "+ two 1.0" in casfs.run(*command, "-", input="two").stdout


@pytest.mark.parametrize("place", ["{files}nothing.txt", "-r {files}nothing.txt"])
def test_url_that_gives_nothing_is_named(casfs: Casfs, scene: dict[str, str], place: str) -> None:
    path = casfs.directory / "requirements.txt"
    path.write_text(place.format(**scene))
    done = casfs.run("add", "-r", path if " " in place else place.format(**scene), code=1)
    assert done.stderr == "casfs: {files}nothing.txt: can't be fetched: the server answered 404 Not Found\n".format(**scene)


def test_requirements_file_that_does_not_end_is_left(casfs: Casfs, index: PackageIndex) -> None:
    index.files["large.txt"] = b"# words\n" * (3 << 20)
    assert "is larger than" in casfs.run("add", "-r", index.file_url("large.txt"), code=1).stderr
    assert "is larger than" in casfs.run("add", "-r", "/dev/zero", code=1).stderr


def test_offline_means_no_url_of_requirements(casfs: Casfs, index: PackageIndex, scene: dict[str, str]) -> None:
    assert "stay offline" in casfs.run("add", "--offline", "-r", index.file_url("right.txt"), code=1).stderr
    assert index.asked == []
