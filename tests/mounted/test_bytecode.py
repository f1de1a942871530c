"""Bytecode of the pool in real mounts: Python takes it, says the mounted path, sees what people edit, and tools uninstall it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, Interpreter, clean_environ, site_packages

TAG = sys.implementation.cache_tag
DEMO = {
    "demo/__init__.py": b"from demo.more import fail, twice\n",
    "demo/more.py": b'"""Words."""\n\n\ndef twice(x):\n    assert x\n    return 2 * x\n\n\ndef fail():\n    raise ValueError\n',
    "demo/broken.py": b"print 'no'\n",
}


@pytest.fixture(params=["fuse", ""], ids=["fuse", "kernel"])
def demo(request: pytest.FixtureRequest, casfs: Casfs) -> Path:
    """A mount on each data path, of an environment with the bytecode of one distribution."""
    casfs.add(casfs.wheel("demo", files=DEMO))
    return casfs.mount(data_path=request.param)


def python(mountpoint: Path, *words: str, writes: bool = False) -> str:
    """What a process prints; it keeps the bytecode that it makes if `writes`."""
    environ = clean_environ(PYTHONDONTWRITEBYTECODE="" if writes else "1")
    done = subprocess.run([mountpoint / "bin/python", *words], capture_output=True, text=True, check=True, env=environ, timeout=240)
    return done.stdout + done.stderr


def run_python(mountpoint: Path, source: str) -> str:
    """What a process prints that may write bytecode, as users have it."""
    return python(mountpoint, "-c", source, writes=True).strip()


def pip(mountpoint: Path, *words: str | Path) -> None:
    """pip, as a user runs it on a mount."""
    command = [sys.executable, "-m", "pip", "--python", mountpoint / "bin/python", *words]
    subprocess.run(command, env=clean_environ(PYTHONDONTWRITEBYTECODE=""), check=True, capture_output=True, timeout=240)


def shown(mountpoint: Path) -> list[str]:
    """Bytecode that the mount shows of demo."""
    return sorted(path.name for path in (site_packages(mountpoint) / "demo").rglob("*.pyc"))


def test_no_source_is_compiled_on_import(demo: Path) -> None:
    said = python(demo, "-v", "-c", "import demo")
    for name in ("__init__", "more"):
        assert f"demo/__pycache__/{name}.{TAG}.pyc matches {site_packages(demo)}/demo/{name}.py" in said
    assert f"code object from {site_packages(demo)}/demo" not in said  # as opposed to: code object from '...pyc'
    assert shown(demo) == [f"__init__.{TAG}.pyc", f"more.{TAG}.pyc"]


@pytest.mark.parametrize("mode", ["default", "always", "never"])
def test_every_way_to_check_bytecode_takes_it(demo: Path, mode: str) -> None:
    said = python(demo, "--check-hash-based-pycs", mode, "-v", "-c", "import demo")
    assert f"# code object from '{site_packages(demo)}/demo/__pycache__/more.{TAG}.pyc'" in said


def test_tracebacks_and_inspect_show_the_mounted_path(demo: Path) -> None:
    source = "import demo, inspect; print(inspect.getsource(demo.twice), inspect.getsourcefile(demo.fail), demo.twice.__code__.co_filename)"
    path = f"{site_packages(demo)}/demo/more.py"
    assert python(demo, "-c", source).split("\n", 1)[1].strip() == f"assert x\n    return 2 * x\n {path} {path}"
    done = subprocess.run([demo / "bin/python", "-c", "import demo; demo.fail()"], capture_output=True, text=True, check=False, timeout=240)
    assert f'File "{path}", line 10, in fail\n    raise ValueError' in done.stderr


def test_the_bytecode_is_what_compileall_makes_but_for_the_name_in_it(demo: Path, tmp_path: Path) -> None:
    compare = """if True:
        import _imp, marshal, py_compile, sys, pathlib
        for source in pathlib.Path(sys.argv[1]).glob('*.py'):
            made = source.parent / '__pycache__' / f'{source.stem}.{sys.implementation.cache_tag}.pyc'
            try:
                py_compile.compile(str(source), cfile=sys.argv[2], doraise=True)
            except py_compile.PyCompileError:
                print(source.name, made.exists())
                continue
            ours, theirs = made.read_bytes(), open(sys.argv[2], 'rb').read()
            code = marshal.loads(ours[16:])
            _imp._fix_co_filename(code, str(source))
            print(source.name, ours[:16] == theirs[:16], code == marshal.loads(theirs[16:]))
    """
    lines = python(demo, "-c", compare, f"{site_packages(demo)}/demo", str(tmp_path / "made")).splitlines()
    assert sorted(lines) == ["__init__.py True True", "broken.py False", "more.py True True"]


def test_optimised_levels_are_there_once_they_are_asked_for(casfs: Casfs, demo: Path) -> None:
    source = "import demo; print(demo.twice(0)); print(demo.more.__cached__, demo.more.__doc__)"
    with Interpreter(demo) as running:
        running.ask("import demo")
        for level in ("1", "2"):
            casfs.run("compile", "--optimize", level)
        assert running.ask("demo.twice(2)") == 4
    for flag, words in (("-O", f"more.{TAG}.opt-1.pyc Words."), ("-OO", f"more.{TAG}.opt-2.pyc None")):
        said = python(demo, flag, "-v", "-c", source)
        assert words in said
        assert f"# code object from '{site_packages(demo)}/demo/__pycache__/{words.split(' ')[0]}'" in said
    assert len(shown(demo)) == 6


def test_without_compiling_nothing_is_shown_until_it_is(casfs: Casfs) -> None:
    said = casfs.run("add", "--no-compile", casfs.wheel("demo", files=DEMO)).stderr
    mountpoint = casfs.mount()
    assert (shown(mountpoint), "bytecode" in said) == ([], False)
    assert "2 compiled now; 1 source can't be compiled" in casfs.run("compile").stderr
    assert len(shown(mountpoint)) == 2
    assert "every source that compiles has bytecode" in casfs.run("compile").stderr
    casfs.run("rollback")
    assert shown(mountpoint) == []


@pytest.fixture
def writable(casfs: Casfs) -> Path:
    """A mount that tools may write into, of an environment with bytecode."""
    casfs.add(casfs.wheel("demo", files=DEMO), casfs.wheel("other"))
    return casfs.mount(data_path="")


def test_overlays_show_the_bytecode(casfs: Casfs, writable: Path) -> None:
    [mount] = casfs.status()
    assert (mount["data_path"], mount["metadata"]) == ("kernel", "image")
    said = python(writable, "-v", "-c", "import demo, other")
    for package, name in (("demo", "__init__"), ("demo", "more"), ("other", "__init__")):
        directory = site_packages(writable) / package
        assert f"# {directory}/__pycache__/{name}.{TAG}.pyc matches {directory}/{name}.py\n" in said
    assert f"code object from {site_packages(writable)}" not in said


def test_what_a_tenant_compiles_stays_with_that_tenant(casfs: Casfs) -> None:
    wheel = casfs.wheel("demo", files=DEMO)
    for name in ("one", "two"):
        casfs.run("--env", name, "add", "--no-compile", "--python", sys.executable, wheel)
    one, two = (casfs.mount("--env", name, data_path="") for name in ("one", "two"))
    run_python(one, "import demo")
    assert (shown(one), shown(two)) == ([f"__init__.{TAG}.pyc", f"more.{TAG}.pyc"], [])
    assert len(list((casfs.store / "environments/one/upper").rglob("*.pyc"))) == 2
    assert not (casfs.store / "bytecode").exists()
    casfs.run("--env", "two", "compile")
    assert shown(two) == shown(one)
    assert len(list((casfs.store / "environments/one/upper").rglob("*.pyc"))) == 2
    assert not (casfs.store / "environments/two/upper").exists() or not list((casfs.store / "environments/two/upper").rglob("*.pyc"))


def test_bytecode_comes_beneath_an_edit_and_goes_again(casfs: Casfs) -> None:
    casfs.run("add", "--no-compile", casfs.wheel("demo", files=DEMO))
    writable = casfs.mount(data_path="")
    path = site_packages(writable) / "demo/more.py"
    path.write_bytes(path.read_bytes().replace(b"2 * x", b"3 * x"))
    for words in (("compile",), ("rollback",), ("add", casfs.wheel("demo", files=DEMO))):
        casfs.run(*words)
        assert run_python(writable, "import demo; print(demo.twice(2))") == "6"
    assert "a file of demo was edited" in casfs.run("remove", "demo", code=1).stderr


@pytest.mark.parametrize("is_compiled", [True, False])
def test_what_pip_installed_has_bytecode_of_the_pool_once_it_is_absorbed(casfs: Casfs, writable: Path, is_compiled: bool) -> None:
    path = casfs.wheel("fresh", files={"fresh/__init__.py": b"VALUE = 7\n", "fresh/broken.py": b"print 'never'\n"})
    pip(writable, "install", "--no-index", path)
    done = casfs.run("absorb", *([] if is_compiled else ["--no-compile"]))
    assert ("bytecode: 1 file, " in done.stderr and "1 source can't be compiled" in done.stderr) == is_compiled
    assert not list((casfs.store / "environments/default/upper").rglob("*.pyc"))
    assert len(list((site_packages(writable) / "fresh").rglob("*.pyc"))) == is_compiled
    assert run_python(writable, "import fresh; print(fresh.VALUE)") == "7"
    assert len(list((casfs.store / "environments/default/upper").rglob("*.pyc"))) == (not is_compiled)
    casfs.run("rollback")
    assert run_python(writable, "import importlib.util; print(importlib.util.find_spec('fresh'))") == "None"


def test_a_wheel_that_is_installed_again_by_a_tool_keeps_its_bytecode(casfs: Casfs, writable: Path) -> None:
    """Tools remove it with the sources; what hides it goes when the sources are absorbed."""
    path = casfs.wheel("demo", files=DEMO)
    pip(writable, "install", "--no-index", "--no-compile", "--force-reinstall", path)
    assert shown(writable) == []
    assert "bytecode" not in casfs.run("absorb").stderr
    assert shown(writable) == [f"__init__.{TAG}.pyc", f"more.{TAG}.pyc"]
    assert casfs.run("diff").stderr == "nothing was written into a mount of default\n"


def test_an_edited_source_is_what_runs(casfs: Casfs, writable: Path) -> None:
    path = site_packages(writable) / "demo/more.py"
    path.write_bytes(path.read_bytes().replace(b"2 * x", b"3 * x"))
    for _ in range(2):
        assert run_python(writable, "import demo; print(demo.twice(2))") == "6"
    casfs.run("reset", "--yes")
    assert run_python(writable, "import demo; print(demo.twice(2))") == "4"


def test_a_copy_of_a_package_that_is_edited_is_what_runs(writable: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", site_packages(writable) / "demo", tmp_path / "demo"], check=True)
    path = tmp_path / "demo/more.py"
    path.write_bytes(path.read_bytes().replace(b"2 * x", b"3 * x"))
    assert run_python(writable, f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import demo; print(demo.twice(2))") == "6"


def test_importing_writes_no_bytecode_into_the_mount(casfs: Casfs, writable: Path) -> None:
    run_python(writable, "import demo, other")
    assert not list((casfs.store / "environments/default/upper").rglob("*.pyc"))


def test_compiling_all_in_the_mount_writes_only_what_is_missing(casfs: Casfs, writable: Path) -> None:
    command: list[str | Path] = [writable / "bin/python", "-m", "compileall", "-q", site_packages(writable)]
    subprocess.run(command, env=clean_environ(PYTHONDONTWRITEBYTECODE=""), check=False, capture_output=True, timeout=240)
    assert not list((casfs.store / "environments/default/upper").rglob("*.pyc"))


def test_pip_uninstalls_a_distribution_with_its_bytecode(casfs: Casfs, writable: Path) -> None:
    pip(writable, "uninstall", "-y", "demo")
    assert not (site_packages(writable) / "demo").exists()
    assert run_python(writable, "import importlib.util; print(importlib.util.find_spec('demo'))") == "None"
    assert "demo" in casfs.run("absorb").stdout
    assert not (site_packages(writable) / "demo").exists()
    assert run_python(writable, "import other; print(other.__cached__)").endswith(f".{TAG}.pyc")


def test_what_goes_takes_its_bytecode_with_it(casfs: Casfs, writable: Path) -> None:
    run_python(writable, "import demo")
    casfs.run("remove", "demo")
    assert not (site_packages(writable) / "demo").exists()


def test_bytecode_that_is_never_compared_does_not_outlive_its_source(casfs: Casfs, writable: Path) -> None:
    python(
        writable, "-m", "compileall", "-qf", "--invalidation-mode", "unchecked-hash", str(site_packages(writable) / "other"), writes=True
    )
    assert list((casfs.store / "environments/default/upper").rglob("*.pyc"))
    casfs.run("add", casfs.wheel("other", version="2.0", files={"other/__init__.py": b"VALUE = 'new'\n"}))
    assert run_python(writable, "import other; print(other.VALUE)") == "new"


def test_another_distribution_over_it_without_bytecode_is_what_runs(casfs: Casfs, writable: Path) -> None:
    files = {"demo/more.py": DEMO["demo/more.py"].replace(b"2 * x", b"5 * x"), "later/__init__.py": b""}
    casfs.run("add", "--no-compile", casfs.wheel("later", files=files))
    assert run_python(writable, "import demo; print(demo.twice(2))") == "10"
