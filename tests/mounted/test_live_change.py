"""A mounted environment changes when add, remove or rollback returns: in every mount, for every process."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, Interpreter, run_python, site_packages

DEMO = {"demo/__init__.py": b"VALUE = 1\n"}


@dataclass
class Pair:
    """Two mounts of one environment, and in each a Python process that lives on."""

    casfs: Casfs
    mounts: list[Path]
    interpreters: list[Interpreter]

    def listings(self) -> list[set[str]]:
        """site-packages as this process, the interpreters and a new `ls` see it; all must agree within each mount."""
        found = []
        for mount, interpreter in zip(self.mounts, self.interpreters, strict=True):
            site = site_packages(mount)
            names = {*os.listdir(site)}
            assert {*interpreter.ask(f"__import__('os').listdir({str(site)!r})")} == names
            assert {*subprocess.run(["ls", "-A", site], capture_output=True, text=True, check=True).stdout.split("\n")} - {""} == names
            found.append(names)
        return found

    def modules(self) -> set[str]:
        """The listing, the same in both mounts, without .dist-info and bytecode."""
        first, second = self.listings()
        assert first == second
        return {name for name in first if not name.endswith(".dist-info") and name != "__pycache__"}

    def ask(self, source: str) -> list[object]:
        return [one.ask(source) for one in self.interpreters]

    def fails(self, source: str) -> list[str]:
        return [one.fails(source) for one in self.interpreters]

    def run(self, source: str) -> list[str]:
        return [run_python(mount, source) for mount in self.mounts]


@pytest.fixture
def pair(casfs: Casfs) -> Iterator[Pair]:
    casfs.add(casfs.wheel("demo", files=DEMO))
    mounts = [casfs.mount(), casfs.mount()]
    with Interpreter(mounts[0]) as one, Interpreter(mounts[1]) as other:
        yield Pair(casfs, mounts, [one, other])


def test_added_distribution_is_seen_at_once_everywhere(pair: Pair) -> None:
    assert pair.modules() == {"demo"}
    assert pair.fails("import other") == ["ModuleNotFoundError"] * 2  # a negative entry, and importlib's cache of the directory
    pair.casfs.add(pair.casfs.wheel("other", files={"other.py": b"VALUE = 2\n"}))
    assert pair.modules() == {"demo", "other.py"}
    assert pair.ask("__import__('other').VALUE") == [2, 2]
    assert pair.run("import other; print(other.VALUE)") == ["2", "2"]


def test_added_module_of_a_known_package_is_seen_at_once(pair: Pair) -> None:
    pair.ask("import demo")
    assert pair.fails("import demo.more") == ["ModuleNotFoundError"] * 2
    pair.casfs.add(pair.casfs.wheel("demo", "2.0", {**DEMO, "demo/more.py": b"VALUE = 3\n"}))
    assert pair.ask("__import__('demo.more').more.VALUE") == [3, 3]
    assert pair.run("import demo.more; print(demo.more.VALUE)") == ["3", "3"]


def test_removed_distribution_is_gone_at_once_everywhere(pair: Pair) -> None:
    assert pair.ask("__import__('demo').__file__") == [str(site_packages(mount) / "demo/__init__.py") for mount in pair.mounts]
    pair.casfs.run("remove", "demo")
    assert pair.modules() == set()
    pair.ask("__import__('sys').modules.pop('demo') and None")
    assert pair.fails("import demo") == ["ModuleNotFoundError"] * 2
    assert pair.fails(f"open({str(site_packages(pair.mounts[0]) / 'demo/__init__.py')!r})") == ["FileNotFoundError"] * 2
    assert pair.run("import importlib.util as u; print(u.find_spec('demo'))") == ["None", "None"]


def test_rollback_is_seen_at_once_everywhere(pair: Pair) -> None:
    pair.casfs.add(pair.casfs.wheel("other", files={"other.py": b"VALUE = 2\n"}))
    generation = pair.casfs.generation()
    assert pair.ask("__import__('other').VALUE") == [2, 2]
    pair.casfs.run("rollback")
    pair.ask("__import__('sys').modules.pop('other') and None")
    assert pair.modules() == {"demo"}
    assert pair.fails("import other") == ["ModuleNotFoundError"] * 2
    pair.casfs.run("rollback", str(generation))
    assert pair.ask("__import__('other').VALUE") == [2, 2]
    assert pair.modules() == {"demo", "other.py"}


def test_upgrade_changes_bytes_size_time_and_metadata(pair: Pair) -> None:
    paths = [site_packages(mount) / "demo/__init__.py" for mount in pair.mounts]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    assert [content for content, _ in before] == [DEMO["demo/__init__.py"]] * 2
    version = "__import__('importlib.metadata').metadata.version('demo')"
    assert pair.ask(version) == ["1.0", "1.0"]
    pair.ask("import demo, importlib")
    pair.casfs.add(pair.casfs.wheel("demo", "2.0", {"demo/__init__.py": b"VALUE = 2\n"}))  # of the same size
    after = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    assert [content for content, _ in after] == [b"VALUE = 2\n"] * 2
    assert all(old[1] != new[1] for old, new in zip(before, after, strict=True))
    assert pair.ask("importlib.reload(demo).VALUE") == [2, 2]
    assert pair.ask(version) == ["2.0", "2.0"]
    assert pair.run(f"import importlib.metadata; print({version})") == ["2.0", "2.0"]


def test_launchers_come_and_go_with_their_distribution(pair: Pair) -> None:
    launchers = [mount / "bin/tool" for mount in pair.mounts]
    assert not any(path.exists() for path in launchers)
    wheel = pair.casfs.wheel(
        "tool", files={"tool.py": b"def main():\n    print('here')\n"}, entry_points="[console_scripts]\ntool = tool:main\n"
    )
    pair.casfs.add(wheel)
    assert [subprocess.run([path], capture_output=True, text=True, check=True).stdout for path in launchers] == ["here\n"] * 2
    pair.casfs.run("remove", "tool")
    assert not any(path.exists() for path in launchers)


def test_namespace_package_of_two_distributions_keeps_what_is_left(pair: Pair) -> None:
    one, two = (pair.casfs.wheel(f"ns_{name}", files={f"ns/{name}.py": f"VALUE = {name!r}\n".encode()}) for name in "ab")
    pair.casfs.add(one)
    assert pair.ask("__import__('ns.a').a.VALUE") == ["a", "a"]
    assert pair.fails("import ns.b") == ["ModuleNotFoundError"] * 2
    pair.casfs.add(two)
    assert pair.ask("__import__('ns.b').b.VALUE") == ["b", "b"]
    pair.casfs.run("remove", "ns-a")  # the directory now belongs to the other one alone
    assert pair.ask("sorted(__import__('os').listdir(list(__import__('ns').__path__)[0]))") == [["__pycache__", "b.py"]] * 2
    pair.ask("import sys; sys.modules.pop('ns.a'); del sys.modules['ns'].a")
    assert pair.fails("import ns.a") == ["ModuleNotFoundError"] * 2
    assert pair.run("import ns.b; print(ns.b.VALUE)") == ["b", "b"]
    assert pair.run("import importlib.util as u; print(u.find_spec('ns.a'))") == ["None", "None"]
    pair.casfs.add(one)
    assert pair.run("import ns.a, ns.b; print(ns.a.VALUE, ns.b.VALUE)") == ["a b", "a b"]
    pair.casfs.run("remove", "ns-a", "ns-b")
    assert pair.modules() == {"demo"}


def test_a_process_inside_a_directory_leaves_nothing_stale_behind(pair: Pair) -> None:
    """Its working directory is one that the kernel keeps while generations come and go, and that gets its place back with its number."""
    [mount, _], [inside, _] = pair.mounts, pair.interpreters
    directory = site_packages(mount) / "demo"
    every = ("__init__.py", "more.py", "sub/x.py", "sub/y.py")
    old = {"__init__.py": b"VALUE = 'old'\n", "sub/x.py": b"x = 'old'\n"}
    new = {"__init__.py": b"VALUE = 'new'\n", "more.py": b"VALUE = 'more'\n", "sub/y.py": b"y = 'new'\n"}

    def shown() -> dict[str, bytes]:
        # each name by itself: a listing would refresh what the kernel keeps
        return {name: (directory / name).read_bytes() for name in every if (directory / name).exists()}

    pair.casfs.add(pair.casfs.wheel("demo", "2.0", {f"demo/{name}": content for name, content in new.items()}))
    assert shown() == new
    generation = pair.casfs.generation()
    inside.ask(f"import os; os.chdir({str(directory)!r})")
    for words, expected in (
        (("add", pair.casfs.wheel("demo", "3.0", {f"demo/{name}": content for name, content in old.items()})), old),
        (("rollback",), new),
        (("remove", "demo"), {}),
        (("rollback", str(generation)), new),
        (("rollback", str(generation + 1)), old),
    ):
        pair.casfs.run(*words)
        assert shown() == expected, words
        # what the process asks for while its directory is not the one that has the name any more is what its path means now
        assert inside.ask(f"[name for name in {every} if os.path.exists(name)]") == sorted(expected)
        assert {*inside.ask("os.listdir()")} - {"__pycache__"} == {name.split("/")[0] for name in expected}


def test_a_reader_sees_old_or_new_bytes_and_never_an_error(casfs: Casfs, tmp_path: Path) -> None:
    swaps = 50
    contents = [random.Random(seed).randbytes(700_000) for seed in (1, 2)]  # several requests each
    for number, content in enumerate(contents, 1):
        casfs.add(casfs.wheel("demo", f"{number}.0", {"demo/__init__.py": b"", "demo/data.bin": content}))
    path = site_packages(casfs.mount()) / "demo/data.bin"
    reader = (
        "import hashlib, mmap, sys\n"
        "seen, count = set(), 0\n"
        "print('ready', flush=True)\n"
        "while not (count % 16 == 0 and __import__('select').select([0], [], [], 0)[0]):\n"
        "    with open(sys.argv[1], 'rb', buffering=0) as file:\n"
        "        parts = list(iter(lambda: file.read(50_000), b''))\n"
        "        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "    seen |= {hashlib.sha256(b''.join(parts)).hexdigest(), hashlib.sha256(mapped).hexdigest()}\n"
        "    count += 1\n"
        "print(count, *sorted(seen))\n"
    )
    command = [sys.executable, "-c", reader, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        with casfs.start_rollbacks(swaps) as changer:
            assert changer.communicate()[1].count("rollback to") == swaps
        told, error = process.communicate("end\n")
    assert error == ""
    count, *seen = told.split()
    assert {*seen} == {hashlib.sha256(content).hexdigest() for content in contents}
    assert int(count) >= swaps


@pytest.mark.parametrize("change", ["upgrade", "remove"])
def test_open_files_keep_their_content(casfs: Casfs, change: str) -> None:
    content = random.Random(3).randbytes(3_000_000)
    casfs.add(casfs.wheel("demo", files={"demo/data.bin": content}))
    path = site_packages(casfs.mount()) / "demo/data.bin"
    with path.open("rb", buffering=0) as file:
        assert file.read(10) == content[:10]  # most of it is not in the page cache yet
        if change == "upgrade":
            casfs.add(casfs.wheel("demo", "2.0", {"demo/data.bin": bytes(reversed(content))}))
            assert path.read_bytes() == bytes(reversed(content))
        else:
            casfs.run("remove", "demo")
            assert not path.exists()
        assert os.fstat(file.fileno()).st_size == len(content)
        assert file.read() == content[10:]
