"""What a virtual environment says of itself, whoever made it and however it lies."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from casfs.changes import trust
from casfs.changes.existing import Existing, find_base, find_left, read_existing, require_existing
from casfs.changes.trust import trust_problem
from casfs.errors import EnvironmentRefused
from casfs.upper.written import UpperDirectory

SITE = "lib/python3.11/site-packages"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / ".venv"
    (root / SITE).mkdir(parents=True)
    (root / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")
    return root


def read(root: Path) -> Existing:
    require_existing(str(root))
    with UpperDirectory(str(root)) as upper_directory:
        return read_existing(upper_directory)


def test_what_venv_writes(root: Path):
    assert read(root) == Existing(str(root), "python3.11", "/usr/bin", False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("home = /opt/bin\nversion_info = 3.11.7\nuv = 0.13.9\n", ("/opt/bin", False)),
        ("HOME=/opt/bin\r\nInclude-System-Site-Packages = True\r\n", ("/opt/bin", True)),
        ("home = /a = b\n", ("/a = b", False)),
        ("nonsense\n", ("", False)),
        ("", ("", False)),
    ],
)
def test_pyvenv_cfg_is_read_as_python_reads_it(root: Path, text: str, expected: tuple[str, bool]):
    (root / "pyvenv.cfg").write_text(text)
    found = read(root)
    assert (found.home, found.has_base_packages) == expected


def test_of_several_pythons_the_one_that_it_names_counts(root: Path):
    (root / "lib/python3.9/site-packages").mkdir(parents=True)
    assert read(root).python_directory == "python3.11"
    (root / "pyvenv.cfg").write_text("home = /usr/bin\n")
    with pytest.raises(EnvironmentRefused, match=r"has the packages of several Pythons: python3\.11, python3\.9"):
        read(root)


def test_a_free_threaded_python_is_known_by_its_directory(root: Path):
    (root / "lib/python3.11").rename(root / "lib/python3.13t")
    (root / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.13.0\n")
    assert read(root).python_directory == "python3.13t"


def remove_configuration(root: Path) -> None:
    (root / "pyvenv.cfg").unlink()


def replace_configuration(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        remove_configuration(root)
        make(root / "pyvenv.cfg")

    return harm


def link_site(root: Path) -> None:
    (root / SITE).rmdir()
    (root / SITE).symlink_to("/usr/lib/python3/dist-packages")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (remove_configuration, "is not a virtual environment: it has no pyvenv.cfg"),
        (replace_configuration(os.mkfifo), "its pyvenv.cfg is not a regular file"),
        (replace_configuration(os.mkdir), "its pyvenv.cfg is not a regular file"),
        (replace_configuration(lambda path: os.symlink("/dev/zero", path)), "its pyvenv.cfg is not a regular file"),
        (lambda root: os.truncate(root / "pyvenv.cfg", 1 << 42), "has a pyvenv.cfg of more than 65536 bytes"),
        (lambda root: (root / SITE).rmdir(), "has no lib/pythonX.Y/site-packages"),
        (link_site, "has no lib/pythonX.Y/site-packages"),
    ],
)
def test_what_is_no_virtual_environment_is_refused(root: Path, harm: Callable[[Path], object], words: str):
    harm(root)
    with pytest.raises(EnvironmentRefused) as caught:
        read(root)
    assert str(caught.value).startswith(f"{root}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(("path", "words"), [("nowhere", "is not there"), ("file", "can't be read: not a directory")])
def test_what_is_no_directory_is_refused(tmp_path: Path, path: str, words: str):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentRefused, match=f"{path}: {words}"):
        require_existing(str(tmp_path / path))


def make_program(path: Path) -> None:
    """As a Python lies: with its library beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o755)
    library = path.parent.parent / "lib/python3.11"
    library.mkdir(parents=True, exist_ok=True)
    (library / "os.py").touch()


def test_the_base_interpreter_is_the_one_of_its_version(root: Path, tmp_path: Path):
    existing = Existing(str(root), "python3.11", str(tmp_path / "home"), False)
    for name in ("python", "python3", "python3.11"):
        make_program(tmp_path / "home" / name)
        assert find_base(existing) == f"{tmp_path}/home/{name}"


def test_a_link_to_the_base_stays_unless_somebody_else_could_change_it(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_program(tmp_path / "3.11.7/bin/python3.11")
    (tmp_path / "current").symlink_to("3.11.7")
    existing = Existing(str(root), "python3.11", str(tmp_path / "current/bin"), False)
    assert find_base(existing) == f"{tmp_path}/current/bin/python3.11"
    link = os.lstat(tmp_path / "current").st_ino
    monkeypatch.setattr(trust, "_belongs_to_another", lambda found: found.st_ino == link)
    assert find_base(existing) == f"{tmp_path}/3.11.7/bin/python3.11"


def test_the_base_interpreter_is_named_without_links_to_it(root: Path, tmp_path: Path):
    """Beside a link there may be a pyvenv.cfg, and with it a library of somebody's making."""
    make_program(tmp_path / "real" / "python")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/python3").symlink_to("../real/python")
    assert find_base(Existing(str(root), "python3.11", str(tmp_path / "home"), False)) == f"{tmp_path}/real/python"


def test_an_interpreter_of_somebody_else_is_not_run_unasked(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_program(tmp_path / "home" / "python3")
    if os.geteuid() == 0:
        os.chown(tmp_path / "home" / "python3", 1234, 1234)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(EnvironmentRefused, match="belongs to another user; name it with --python if you trust it"):
        find_base(Existing(str(root), "python3.11", str(tmp_path / "home"), False))


def refusal(root: Path, base: Path) -> str | None:
    """Why the Python of a prefix is not run, after its path."""
    make_program(base / "bin/python3.11")
    return trust_problem(str(base / "bin/python3.11"))


PLACES = ["", "bin", "lib", "lib/python3.11", ".."]
"""Of a prefix: who may write there chooses what its Python runs."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_base_that_others_may_write_to_is_not_run_unasked(root: Path, tmp_path: Path, place: str, mode: int):
    base = tmp_path / "above/base"
    assert refusal(root, base) is None
    changed = (base / place).resolve()
    changed.chmod(mode)
    assert refusal(root, base) == f"depends on '{changed}', which others may write to"
    with pytest.raises(EnvironmentRefused) as caught:
        find_base(Existing(str(root), "python3.11", str(base / "bin"), False))
    [line] = str(caught.value).splitlines()
    assert line.endswith("which others may write to; name it with --python if you trust it")


@pytest.mark.parametrize("place", PLACES)
def test_a_base_within_what_belongs_to_somebody_else_is_not_run_unasked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    base = tmp_path / "above/base"
    assert refusal(root, base) is None
    changed = os.stat(base / place).st_ino
    monkeypatch.setattr(trust, "_belongs_to_another", lambda found: found.st_ino == changed)
    assert refusal(root, base) == f"depends on '{(base / place).resolve()}', which belongs to another user"


def test_a_sticky_directory_is_unsafe_for_what_is_looked_for_in_it(root: Path, tmp_path: Path):
    """Such as /tmp: others can't replace what is ours in it, but put a library or a pyvenv.cfg there."""
    above = tmp_path / "above"
    assert refusal(root, above / "base") is None
    above.chmod(0o1777)
    assert refusal(root, above / "base") is None
    assert refusal(root, above) == f"depends on '{above}', which others may write to"
    shutil.rmtree(above / "lib")
    (above / "base/lib/python3.11/os.py").unlink()
    assert trust_problem(f"{above}/base/bin/python3.11") == f"depends on '{above}', which others may write to"


def test_a_library_behind_a_link_is_looked_at_where_it_lies(root: Path, tmp_path: Path):
    base, library = tmp_path / "base", tmp_path / "open/lib"
    assert refusal(root, base) is None
    library.parent.mkdir()
    (base / "lib").rename(library)
    (base / "lib").symlink_to(library)
    library.parent.chmod(0o777)
    assert refusal(root, base) == f"depends on '{library.parent}', which others may write to"


def test_a_group_of_others_may_not_write_and_our_own_may(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = tmp_path / "base"
    assert refusal(root, base) is None
    (base / "lib").chmod(0o775)
    monkeypatch.setattr(trust, "_is_our_group", lambda group: group != os.stat(base / "lib").st_gid)
    assert refusal(root, base) == f"depends on '{base}/lib', which others may write to"
    monkeypatch.setattr(trust, "_is_our_group", lambda group: True)
    assert refusal(root, base) is None


@pytest.mark.parametrize(
    ("home", "words"),
    [
        ("/nowhere/bin", "its base interpreter is not in '/nowhere/bin'"),
        ("bin", "its base interpreter is not in 'bin'"),
        ("/a\0b", r"its base interpreter is not in '/a\\x00b'"),
        ("", "its pyvenv.cfg names no base interpreter"),
    ],
)
def test_a_base_interpreter_that_is_gone(root: Path, monkeypatch: pytest.MonkeyPatch, home: str, words: str):
    """What a relative name would mean depends on where one stands; nothing of the environment itself is ever started."""
    make_program(root / "bin/python3.11")
    monkeypatch.chdir(root)
    with pytest.raises(EnvironmentRefused, match=f"{words}; name one with --python"):
        find_base(Existing(str(root), "python3.11", home, False))


@pytest.mark.parametrize(
    "path",
    [
        *(
            "bin/activate",
            "bin/activate.fish",
            "bin/activate.nu",
            "bin/activate_this.py",
            "bin/Activate.ps1",
            "bin/deactivate.bat",
            "bin/pydoc.bat",
        ),
        *(
            "bin/python",
            "bin/python3",
            "bin/python3.11",
            "bin/python3.13t",
            "bin/𝜋thon",
            "lib64",
            "pyvenv.cfg",
            ".gitignore",
            "CACHEDIR.TAG",
            ".lock",
        ),
        *(f"{SITE}/_virtualenv.py", f"{SITE}/_virtualenv.pth"),
    ],
)
def test_what_the_makers_of_environments_put_in_is_nobodys_loss(root: Path, path: str):
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).touch()
    with UpperDirectory(str(root)) as upper_directory:
        assert find_left(upper_directory, SITE, ()) == []


@pytest.mark.parametrize("path", ["bin/pythonic", "bin/activate-me", "bin/marathon", f"{SITE}/virtualenv.py", "lib65"])
def test_what_only_looks_like_it_is_told(root: Path, path: str):
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).touch()
    with UpperDirectory(str(root)) as upper_directory:
        assert [one.path for one in find_left(upper_directory, SITE, ())] == [path]


@pytest.mark.parametrize(
    ("group", "members", "is_ours"),
    [("me", [], True), ("me", ["me"], True), ("me", ["me", "other"], False), ("users", [], False), ("users", ["me"], False)],
)
def test_our_own_group_is_named_as_we_are_and_has_nobody_else(
    monkeypatch: pytest.MonkeyPatch, group: str, members: list[str], is_ours: bool
):
    user = pwd.struct_passwd(("me", "x", os.geteuid(), 1234, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", {os.geteuid(): user}.__getitem__)
    monkeypatch.setattr(grp, "getgrgid", {1234: grp.struct_group((group, "x", 1234, members))}.__getitem__)
    assert trust._is_our_group(1234) is is_ours
    assert trust._is_our_group(1235) is False
    assert trust._is_our_group(0) is True
