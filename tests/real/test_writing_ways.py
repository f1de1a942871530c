"""Other ways in which tools write into a mount: links into a cache, bytecode, being killed, and beginning the environment anew."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.mounted.harness import Casfs, clean_environ, is_readable
from tests.python_versions import VERSIONS, find_python, needs_python
from tests.real.environments import Said
from tests.real.test_writing_tools import make_workplace
from tests.real.trees import read_tree
from tests.real.writers import BASE, WRITERS, Command
from tests.real.writing import Scene, make_scene
from tests.real.writing_trees import MEANT_AS_WRITTEN, is_valid_bytecode

VERSION, OTHER_VERSION = "3.11", "3.12"

pytestmark = [pytest.mark.network, needs_python(VERSION)]


def rarely(value: str) -> ParameterSet:
    return pytest.param(value, marks=pytest.mark.long)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, dict[str, str]]]:
    directory = tmp_path_factory.mktemp("ways")
    with Casfs(directory) as casfs:
        scene = make_scene(casfs, make_workplace(VERSION, directory), VERSION, "image")
        yield scene, read_tree(scene.pair.mounted.root)


@pytest.fixture
def scene(whole: tuple[Scene, dict[str, str]]) -> Iterator[Scene]:
    """A mount with `BASE`. After each test `casfs reset` and `casfs rollback` bring back just that, at the same mountpoint."""
    one, tree = whole
    yield one
    one.casfs.run("reset", "--yes")
    if one.casfs.generation() != 1:
        one.casfs.run("rollback", "1")
    assert read_tree(one.pair.mounted.root) == tree


def run(scene: Scene, command: Command) -> Said:
    """Run a tool on the mounted environment."""
    return scene.run(scene.pair.mounted, list(map(str, command)))


def do(scene: Scene, *command: str | Path) -> Said:
    said = run(scene, [str(word) for word in command])
    assert (said.code, "Traceback" in said.errors) == (0, False), said
    return said


def uv_install(scene: Scene, *words: str) -> Said:
    return do(scene, *scene.workplace.tools.uv("pip", "install", "requests", "MarkupSafe", "--python", scene.pair.mounted.root, *words))


def iter_inodes(top: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    for directory, _, names in os.walk(top):
        for path in (Path(directory, name) for name in names):
            found = path.lstat()
            yield str(path), (found.st_ino, found.st_nlink, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@pytest.mark.parametrize("mode", ["", "copy", "hardlink", "clone"])
def test_uv_shares_no_file_with_its_cache(scene: Scene, mode: str) -> None:
    said = uv_install(scene, *(["--link-mode", mode] if mode else []))
    assert ("falling back to full copy" in said.errors) == (mode != "copy")
    files = dict(iter_inodes(scene.upper_files()))
    assert {number for number, *_ in files.values()}.isdisjoint(
        number for number, *_ in dict(iter_inodes(scene.workplace.uv_cache)).values()
    )
    assert [path for path, facts in files.items() if facts[1] != 1 and not is_whiteout(path)] == []
    assert "requests 2.34.2" in scene.casfs.run("absorb").stdout
    assert set(scene.upper_sizes()) <= {".lock"}


def is_whiteout(path: str) -> bool:
    """The kernel links all whiteouts of an overlay to one device node."""
    return stat.S_ISCHR(os.lstat(path).st_mode)


def test_what_uv_installed_can_be_edited_and_its_cache_keeps_its_bytes(scene: Scene) -> None:
    uv_install(scene)
    before = dict(iter_inodes(scene.workplace.uv_cache / "archive-v0"))
    for path in scene.pair.mounted.site_packages.glob("requests/*.py"):
        with path.open("a") as file:
            file.write("# edited\n")
    assert dict(iter_inodes(scene.workplace.uv_cache / "archive-v0")) == before
    do(scene, scene.pair.mounted.root / "bin/python", "-c", "import requests")


def test_links_into_uvs_cache_work_and_are_not_absorbed(scene: Scene) -> None:
    uv_install(scene, "--link-mode", "symlink")
    assert (scene.pair.mounted.site_packages / "requests/api.py").is_symlink()
    do(scene, scene.pair.mounted.root / "bin/python", "-c", "import requests, markupsafe._speedups")
    before = scene.upper_sizes()
    refused = scene.casfs.run("absorb").stderr
    for name in ("requests", "markupsafe", "certifi"):
        assert f"{name}-" in refused
    assert scene.upper_sizes() == before
    do(scene, scene.pair.mounted.root / "bin/python", "-c", "import requests, markupsafe._speedups")
    do(scene, *scene.workplace.tools.uv("pip", "uninstall", "requests", "MarkupSafe", "--python", scene.pair.mounted.root))
    assert not (scene.pair.mounted.site_packages / "requests").exists()


@pytest.mark.parametrize("mode", ["timestamp", rarely("checked-hash"), rarely("unchecked-hash")])
def test_compiled_bytecode_stays_and_is_used(scene: Scene, mode: str) -> None:
    python = scene.pair.mounted.root / "bin/python"
    do(scene, python, "-m", "compileall", "-q", "--invalidation-mode", mode, scene.pair.mounted.site_packages)
    made = sorted(scene.pair.mounted.site_packages.rglob("*.pyc"))
    assert len(made) > 300
    assert mode != "timestamp" or all(map(is_valid_bytecode, made))
    scene.remount()
    said = do(scene, python, "-v", "-c", "import idna.core, invoke")
    assert f"{scene.pair.mounted.directory}/site-packages/idna/__pycache__" in said.errors
    taken = [line for line in said.errors.splitlines() if "code object from '" in line and "site-packages" in line]
    assert [line for line in taken if not line.rstrip("'").endswith(".pyc")] == []
    assert len(taken) > 10


@pytest.mark.parametrize("moment", ["idna-3.20.dist-info", rarely("requests")])
def test_pip_killed_while_it_installs_harms_nothing(scene: Scene, moment: str) -> None:
    mounted = scene.pair.mounted
    wheels = [path for one, path in scene.workplace.wheels.items() if one not in BASE]
    options = ["install", "--no-index", "--no-deps", "--force-reinstall"]
    environ = {**clean_environ(), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(word) for word in scene.workplace.tools.pip("--python", mounted.root, *options, *wheels)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ, start_new_session=True)
    fd = os.pidfd_open(process.pid)
    try:
        while not (mounted.site_packages / moment).exists():
            assert not is_readable(fd, 0.001), "pip has ended before it was killed"
        os.killpg(process.pid, 9)
        process.wait()
    finally:
        os.close(fd)
    do(scene, mounted.root / "bin/python", "-c", "import invoke, sys; open(f'{sys.prefix}/mine', 'w').close()")
    broken = without_bytecode(read_tree(mounted.root))
    scene.remount()
    assert without_bytecode(read_tree(mounted.root)) == broken
    scene.casfs.run("absorb")
    assert shown(read_tree(mounted.root)) == shown(broken)
    scene.casfs.run("fsck")


def without_bytecode(tree: dict[str, str]) -> dict[str, str]:
    return {path: what for path, what in tree.items() if not path.endswith((".pyc", "__pycache__"))}


def shown(tree: dict[str, str]) -> dict[str, str]:
    """What absorb must not change: all but launchers and RECORD, which it writes anew."""
    return {path: what for path, what in without_bytecode(tree).items() if not path.startswith("bin/") and not path.endswith("/RECORD")}


def beginnings(scene: Scene) -> dict[str, tuple[Command, int]]:
    """Commands that begin the environment anew or delete it, and their exit codes."""
    root, workplace = str(scene.pair.mounted.root), scene.workplace
    poetry = str(workplace.poetry.directory / "bin/poetry")
    venv = ("-m", "venv", "--without-pip")
    return {
        "venv": ((find_python(VERSION), *venv, root), 0),
        "venv --clear": ((find_python(VERSION), *venv, "--clear", root), 0),
        "uv venv --clear": (workplace.tools.uv("venv", "--clear", "--python", find_python(VERSION), root), 0),
        "uv venv of another Python": (workplace.tools.uv("venv", "--clear", "--python", find_python(OTHER_VERSION), root), 0),
        "poetry env use": ((poetry, "env", "use", find_python(OTHER_VERSION)), 0),
        "poetry env remove": ((poetry, "env", "remove", "--all"), 0),
        "rm -r": (("rm", "-rf", root), 1),
        "mv": (("mv", root, f"{root}-other"), 1),
    }


@pytest.mark.parametrize(
    "name",
    [
        rarely("venv"),
        "venv --clear",
        rarely("uv venv --clear"),
        pytest.param("uv venv of another Python", marks=needs_python(OTHER_VERSION)),
        pytest.param("poetry env use", marks=needs_python(OTHER_VERSION)),
        rarely("poetry env remove"),
        "rm -r",
        "mv",
    ],
)
def test_who_deletes_the_environment_empties_the_mount_and_reset_brings_all_back(scene: Scene, name: str) -> None:
    """The mountpoint itself is busy; Poetry, uv and venv know that and go on."""
    mounted = scene.pair.mounted
    (mounted.root.parent / "pyproject.toml").write_text("[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = '*'\n")
    command, code = beginnings(scene)[name]
    said = run(scene, command)
    assert (said.code, "Traceback" in said.errors) == (code, False), said
    assert code == 0 or "Device or resource busy" in said.errors
    assert os.path.ismount(mounted.root)
    if name not in {"mv", "rm -r", "poetry env remove"}:
        assert do(scene, mounted.root / "bin/python", "-c", "import sys; print(sys.prefix)").output == "ENVIRONMENT\n"
    assert (mounted.site_packages / "six.py").exists() == (name in {"venv", "mv"})


@pytest.mark.parametrize(
    "version",
    [pytest.param(one, marks=[needs_python(one), *([] if one == OTHER_VERSION else [pytest.mark.long])]) for one in VERSIONS],
)
def test_ensurepip_brings_a_pip_that_installs(tmp_path: Path, version: str) -> None:
    with Casfs(tmp_path) as casfs:
        scene = make_scene(casfs, make_workplace(version, tmp_path), version, "fuse", base=BASE[1:])
        for one in (scene.pair.native, scene.pair.mounted):
            python = str(one.root / "bin/python")
            assert scene.run(one, [python, "-m", "pip"]).code == 1
            for words in ("ensurepip --default-pip", "pip install MarkupSafe jsonpointer"):
                said = scene.run(one, [python, "-m", *words.split()])
                assert said.code == 0, said
        look = scene.look(MEANT_AS_WRITTEN, scene.short_questions)
        assert look.differences == []
        for native, mounted in look.said:
            assert mounted == native
        assert "stays in the upper layer" not in casfs.run("absorb").stderr
        assert scene.upper_sizes() == {}
        do(scene, scene.pair.mounted.root / "bin/pip", "check")


@pytest.mark.parametrize("tool", ["outer-pip", "uv-pip"])
def test_what_was_absorbed_and_imported_can_be_uninstalled_whole(scene: Scene, tool: str) -> None:
    mounted, writer = scene.pair.mounted, WRITERS[tool]
    uv_install(scene)
    scene.casfs.run("absorb")
    do(scene, mounted.root / "bin/python", "-m", "compileall", "-q", mounted.site_packages / "requests")
    assert list(mounted.site_packages.glob("requests/__pycache__/*.pyc"))
    for command in writer.remove(scene.workplace, mounted):
        do(scene, *command)
    assert list(mounted.site_packages.glob("requests*")) == []
    assert scene.casfs.run("absorb").stdout == "- requests 2.34.2\n"
    assert set(scene.upper_sizes()) <= {".lock"}
    assert list(mounted.site_packages.glob("requests*")) == []
    scene.casfs.run("rollback")
    do(scene, mounted.root / "bin/python", "-c", "import requests")


PROJECT = '[project]\nname = "mine"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
BACKENDS = {
    "uv": '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n',
    "poetry": '[tool.poetry]\npackages = [{ include = "mine", from = "src" }]\n',
}


@pytest.mark.parametrize("tool", BACKENDS)
def test_the_project_itself_stays_editable(scene: Scene, tool: str) -> None:
    mounted, workplace = scene.pair.mounted, scene.workplace
    package = mounted.root.parent / "src/mine/__init__.py"
    package.parent.mkdir(parents=True, exist_ok=True)
    package.write_text("VALUE = 1\n")
    (mounted.root.parent / "pyproject.toml").write_text(PROJECT + BACKENDS[tool])
    commands = {"uv": workplace.tools.uv("sync", "--inexact"), "poetry": [str(workplace.poetry.directory / "bin/poetry"), "install"]}
    do(scene, *commands[tool])
    package.write_text("VALUE = 'edited'\n")
    show = (mounted.root / "bin/python", "-c", "import mine; print(mine.VALUE)")
    assert do(scene, *show).output == "edited\n"
    assert "mine 1.0" in scene.casfs.run("diff").stdout
    done = scene.casfs.run("absorb")
    assert "+ mine 1.0" in done.stdout, done.stderr
    assert "mine" not in scene.casfs.run("diff").stdout
    assert "editable = true" in scene.casfs.run("lock").stdout
    scene.remount()
    assert do(scene, *show).output == "edited\n"
