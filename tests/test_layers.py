"""The house rules that imports and calls can show: layers, reserved imports, who may print, sizes.

Each rule is a function from modules to the lines that break it; each is shown to fail on a made-up module, and to pass on its nearest
innocent neighbour. The last test holds casfs itself to all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "casfs"

LAYERS = (
    ("casfs", "casfs.errors", "casfs.descriptors", "casfs.digest", "casfs.paths"),
    ("casfs.wheels",),
    ("casfs.store",),
    ("casfs.interpreters",),
    ("casfs.venv",),
    ("casfs.lockfiles",),
    ("casfs.upper",),
    ("casfs.changes",),
    ("casfs.resolve",),
    ("casfs.overlay",),
    ("casfs.fuse",),
    ("casfs.daemon",),
    ("casfs.mounts",),
    ("casfs.cli", "casfs.__main__"),
)
"""In the order in which data flows: a module imports from its own layer and from those above it in this list."""

INNER = ("casfs.store.fsck", "casfs.store.gc", "casfs.venv.bytecode", "casfs.venv.image", "casfs.cli.commands")

RESERVED = {
    "pyfuse3": ("casfs.fuse", "casfs.daemon.worker"),
    "trio": ("casfs.fuse", "casfs.daemon.worker"),
    "hashlib": ("casfs.digest",),
    "xxhash": ("casfs.digest",),
    "zipfile": ("casfs.wheels",),
    "requests": ("casfs.resolve",),
    "uv": ("casfs.resolve",),
}

FRONT_DOOR = ("casfs.cli", "casfs.__main__")
FRONT_DOOR_ONLY = frozenset(
    {"print", "input", "exit", "quit", "SystemExit", "sys.exit", "sys.stdout", "sys.stderr", "sys.stdin"}
    | {"os._exit", "os.environ", "os.environb", "os.getenv", "os.getenvb"}
)
FORKED = {"casfs.store.workers": {"os._exit"}, "casfs.daemon.start": {"os._exit"}}
"""Who forks, and so has to end what it has forked."""

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 40


@dataclass(frozen=True, slots=True)
class Module:
    """One parsed source file; `name` is dotted, a folder's `__init__.py` has the folder's name."""

    name: str
    source: str
    is_package: bool = False

    def parse(self) -> ast.Module:
        return ast.parse(self.source)


Rule = Callable[[Mapping[str, Module]], Iterator[str]]


def read_modules(package: Path) -> dict[str, Module]:
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, path.read_text(encoding="utf-8"), is_package)
    return modules


def is_below(name: str, *folders: str) -> bool:
    return any(name == folder or name.startswith(folder + ".") for folder in folders)


def iter_imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, wherever it stands: in functions, under TYPE_CHECKING, by import_module("name").

    `from a import b` gives `a.b`, since b may be a module.
    """
    for node in ast.walk(module.parse()):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_base(module, node)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
            yield from ((node.lineno, str(arg.value)) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def resolve_base(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def layer_of(name: str) -> int | None:
    """The layer of a module, or of a name inside one; what stands in `casfs/__init__.py` itself belongs to the first."""
    for number, folders in enumerate(LAYERS):
        if is_below(name, *(folder for folder in folders if folder != "casfs")):
            return number
    parent, _, last = name.rpartition(".")
    is_in_init = name == "casfs" or (parent == "casfs" and last in {"__version__", "*"})
    return 0 if is_in_init else None


def rule_layers(modules: Mapping[str, Module]) -> Iterator[str]:
    for module in modules.values():
        own = layer_of(module.name)
        if own is None:
            yield f"{module.name}: stands in no layer"
            continue
        for line, name in iter_imports(module):
            if is_below(name, "casfs") and ((layer := layer_of(name)) is None or layer > own):
                yield f"{module.name}:{line}: imports {name}, which is not above it"


def rule_reserved_imports(modules: Mapping[str, Module]) -> Iterator[str]:
    for module in modules.values():
        for line, name in iter_imports(module):
            owners = RESERVED.get(name.split(".")[0])
            if owners and not is_below(module.name, *owners):
                yield f"{module.name}:{line}: {name} is reserved to {' and '.join(owners)}"


def rule_front_door(modules: Mapping[str, Module]) -> Iterator[str]:
    for module in modules.values():
        if is_below(module.name, *FRONT_DOOR):
            continue
        reserved = FRONT_DOOR_ONLY - FORKED.get(module.name, set())
        for node in ast.walk(module.parse()):
            if isinstance(node, ast.Name | ast.Attribute) and (name := ast.unparse(node)) in reserved:
                yield f"{module.name}:{node.lineno}: only cli uses {name}"
        for line, name in iter_imports(module):
            if name in FRONT_DOOR_ONLY:
                yield f"{module.name}:{line}: only cli uses {name}"


def rule_no_cycles(modules: Mapping[str, Module]) -> Iterator[str]:
    graph = {}
    for module in modules.values():
        targets = {find_module(modules, name) for _, name in iter_imports(module)}
        graph[module.name] = targets - {None, module.name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "import cycle: " + " -> ".join(reversed(error.args[1]))


def find_module(modules: Mapping[str, Module], name: str) -> str | None:
    """The module that holds `name`: itself, or the one that it is imported from."""
    if name in modules:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in modules else None


def rule_docstrings(modules: Mapping[str, Module]) -> Iterator[str]:
    for module in modules.values():
        tree = module.parse()
        if tree.body and not ast.get_docstring(tree):
            yield f"{module.name}: has no docstring"


def rule_module_size(modules: Mapping[str, Module]) -> Iterator[str]:
    for module in modules.values():
        if (lines := len(module.source.splitlines())) > MAX_MODULE_LINES:
            yield f"{module.name}: {lines} lines, at most {MAX_MODULE_LINES}"


def rule_function_size(modules: Mapping[str, Module]) -> Iterator[str]:
    for module in modules.values():
        for node in ast.walk(module.parse()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := count_lines(node)) > MAX_FUNCTION_LINES:
                yield f"{module.name}:{node.lineno}: {node.name} has {lines} lines, at most {MAX_FUNCTION_LINES}"


def count_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, the docstring aside: explaining more is never a reason to split."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def rule_maps(modules: Mapping[str, Module]) -> Iterator[str]:
    """Every folder's docstring is its map: one line for each module and sub-folder, and no other."""
    for package in modules.values():
        if not package.is_package or package.name == "casfs":
            continue
        there = {name.removeprefix(f"{package.name}.") for name in modules if name.startswith(f"{package.name}.")}
        there = {name for name in there if "." not in name}
        lines = (ast.get_docstring(package.parse(), clean=False) or "").splitlines()
        named = {line.split()[0].rstrip("/") for line in lines[1:] if line.startswith("    ") and line[4:5].strip()}
        yield from (f"{package.name}: its map misses {name}" for name in sorted(there - named))
        yield from (f"{package.name}: its map names {name}, which is not there" for name in sorted(named - there))


def rule_inner_folders(modules: Mapping[str, Module]) -> Iterator[str]:
    """What stands in a sub-folder is built of its folder, which does not know of it."""
    for module in modules.values():
        for line, name in iter_imports(module):
            for folder in INNER:
                if is_below(name, folder) and is_below(module.name, folder.rpartition(".")[0]) and not is_below(module.name, folder):
                    yield f"{module.name}:{line}: imports {name}, which is built of it"


RULES: tuple[Rule, ...] = (
    rule_maps,
    rule_inner_folders,
    rule_layers,
    rule_reserved_imports,
    rule_front_door,
    rule_no_cycles,
    rule_docstrings,
    rule_module_size,
    rule_function_size,
)


def make_modules(sources: Mapping[str, str]) -> dict[str, Module]:
    """Modules from name -> source; a name that ends in `/` is a folder's `__init__.py`."""
    return {name.rstrip("/"): Module(name.rstrip("/"), source, name.endswith("/")) for name, source in sources.items()}


LONG_BODY = "".join(f"    x = {number}\n" for number in range(MAX_FUNCTION_LINES))

VIOLATIONS: list[tuple[Rule, dict[str, str], str]] = [
    (rule_layers, {"casfs.store.pool": "from casfs.daemon import worker"}, "casfs.store.pool:1: imports casfs.daemon.worker"),
    (rule_layers, {"casfs.wheels.record": "import casfs.store.blobs as b"}, "imports casfs.store.blobs"),
    (rule_layers, {"casfs.errors": "from casfs.wheels.record import Row"}, "imports casfs.wheels.record.Row"),
    (rule_layers, {"casfs.venv.tree": "def f():\n    from casfs import cli"}, "casfs.venv.tree:2: imports casfs.cli"),
    (rule_layers, {"casfs.venv.tree": "from ..fuse import inodes"}, "imports casfs.fuse.inodes"),
    (rule_layers, {"casfs.venv/": "from ..fuse import inodes"}, "imports casfs.fuse.inodes"),
    (rule_layers, {"casfs.store.pool": "if TYPE_CHECKING:\n    from casfs.venv.tree import Tree"}, "casfs.store.pool:2: imports"),
    (rule_layers, {"casfs.store.pool": "importlib.import_module('casfs.cli.main')"}, "imports casfs.cli.main"),
    (rule_layers, {"casfs.daemon.worker": "import casfs.__main__"}, "imports casfs.__main__"),
    (rule_layers, {"casfs.utils": ""}, "casfs.utils: stands in no layer"),
    (rule_layers, {"casfs.cli.main": "from casfs import utils"}, "imports casfs.utils"),
    (rule_layers, {"casfs.storehouse": ""}, "stands in no layer"),
    (rule_reserved_imports, {"casfs.venv.tree": "import pyfuse3"}, "pyfuse3 is reserved to casfs.fuse and casfs.daemon.worker"),
    (rule_reserved_imports, {"casfs.cli.main": "def f():\n    from trio.lowlevel import x"}, "casfs.cli.main:2: trio.lowlevel.x"),
    (rule_reserved_imports, {"casfs.store.blobs": "from hashlib import sha256"}, "hashlib.sha256 is reserved to casfs.digest"),
    (rule_reserved_imports, {"casfs.store.blobs": "import xxhash"}, "xxhash is reserved to casfs.digest"),
    (rule_reserved_imports, {"casfs.store.ingest": "import zipfile"}, "zipfile is reserved to casfs.wheels"),
    (rule_front_door, {"casfs.store.pool": "print(1)"}, "casfs.store.pool:1: only cli uses print"),
    (rule_front_door, {"casfs.daemon.worker": "def f():\n    sys.exit(1)"}, "casfs.daemon.worker:2: only cli uses sys.exit"),
    (rule_front_door, {"casfs.daemon.worker": "raise SystemExit"}, "only cli uses SystemExit"),
    (rule_front_door, {"casfs.daemon.worker": "os._exit(0)"}, "only cli uses os._exit"),
    (rule_front_door, {"casfs.venv.skeleton": "os.environ['A']"}, "only cli uses os.environ"),
    (rule_front_door, {"casfs.venv.skeleton": "from os import getenv"}, "only cli uses os.getenv"),
    (rule_front_door, {"casfs.venv.skeleton": "sys.stderr.write('x')"}, "only cli uses sys.stderr"),
    (
        rule_no_cycles,
        {"casfs.store.a": "from casfs.store import b", "casfs.store.b": "from casfs.store.a import f"},
        "import cycle: casfs.store.",
    ),
    (
        rule_no_cycles,
        {"casfs.store/": "from casfs.store.a import f", "casfs.store.a": "def f():\n    from casfs.store import g"},
        "import cycle: casfs.store",
    ),
    (rule_docstrings, {"casfs.paths": "X = 1"}, "casfs.paths: has no docstring"),
    (rule_docstrings, {"casfs.store/": "# a comment\nX = 1"}, "casfs.store: has no docstring"),
    (rule_module_size, {"casfs.paths": "\n" * (MAX_MODULE_LINES + 1)}, "casfs.paths: 401 lines"),
    (rule_maps, {"casfs.store/": '"""Bytes.\n\n    pool  blobs\n"""', "casfs.store.pool": "", "casfs.store.other": ""}, "misses other"),
    (rule_maps, {"casfs.store/": '"""Bytes.\n\n    pool  blobs\n"""'}, "casfs.store: its map names pool, which is not there"),
    (rule_maps, {"casfs.store/": "", "casfs.store.pool": ""}, "casfs.store: its map misses pool"),
    (
        rule_inner_folders,
        {"casfs.store.pool": "from casfs.store.fsck.check import x"},
        "casfs.store.pool:1: imports casfs.store.fsck.check.x",
    ),
    (rule_function_size, {"casfs.paths": "def f():\n" + LONG_BODY}, "casfs.paths:1: f has 41 lines"),
    (rule_function_size, {"casfs.paths": "class A:\n  async def f(self):\n" + LONG_BODY}, "casfs.paths:2: f has 41 lines"),
]

INNOCENT: list[tuple[Rule, dict[str, str]]] = [
    (rule_layers, {"casfs.daemon.worker": "from casfs.store import blobs\nfrom casfs.fuse.inodes import Ino\nimport os"}),
    (rule_layers, {"casfs.errors": "from casfs.paths import parse_path"}),
    (rule_layers, {"casfs.wheels.record": "from casfs import __version__, errors"}),
    (rule_layers, {"casfs.store.pool": "from .blobs import Blob\nimport casfstore"}),
    (rule_layers, {"casfs.store/": "from .blobs import Blob"}),
    (rule_layers, {"casfs.__main__": "from casfs.cli.main import main"}),
    (rule_reserved_imports, {"casfs.fuse.loop": "import pyfuse3, trio"}),
    (rule_reserved_imports, {"casfs.digest": "import hashlib\nimport xxhash", "casfs.wheels.archive": "import zipfile"}),
    (rule_reserved_imports, {"casfs.store.pool": "import zipfiles"}),
    (rule_front_door, {"casfs.cli.main": "print(os.environ)\nsys.exit(1)"}),
    (rule_front_door, {"casfs.daemon.start": "os._exit(0)"}),
    (rule_front_door, {"casfs.store.pool": "console.print(1)\nlog('os.environ')\nself.exit()"}),
    (rule_no_cycles, {"casfs.store.a": "from casfs.store import b", "casfs.store.b": "from casfs import paths", "casfs.paths": ""}),
    (rule_no_cycles, {"casfs.store/": "from casfs.store.a import f", "casfs.store.a": "from casfs.store.b import g", "casfs.store.b": ""}),
    (
        rule_maps,
        {
            "casfs.store/": '"""Bytes.\n\n    pool  blobs,\n          whole\n    gc/   collects\n"""',
            "casfs.store.pool": "",
            "casfs.store.gc/": '"""G."""',
        },
    ),
    (rule_inner_folders, {"casfs.store.fsck.check": "from casfs.store.pool import x", "casfs.cli.main": "from casfs.store.gc import y"}),
    (rule_docstrings, {"casfs.store/": "", "casfs.paths": '"""Paths."""\nX = 1'}),
    (rule_module_size, {"casfs.paths": "\n" * MAX_MODULE_LINES}),
    (rule_function_size, {"casfs.paths": 'def f():\n    """One.\n\n    Two.\n    """\n' + LONG_BODY.removesuffix("    x = 39\n")}),
]


@pytest.mark.parametrize(("rule", "sources", "expected"), VIOLATIONS)
def test_a_violation_is_reported(rule: Rule, sources: dict[str, str], expected: str) -> None:
    problems = list(rule(make_modules(sources)))
    assert len(problems) == 1
    assert expected in problems[0]


@pytest.mark.parametrize(("rule", "sources"), INNOCENT)
def test_the_nearest_innocent_neighbour_passes(rule: Rule, sources: dict[str, str]) -> None:
    assert list(rule(make_modules(sources))) == []


def test_every_rule_is_shown_to_fail_and_to_pass() -> None:
    assert {rule for rule, _, _ in VIOLATIONS} == {rule for rule, _ in INNOCENT} == set(RULES)


def test_all_modules_of_casfs_are_read() -> None:
    modules = read_modules(PACKAGE)
    assert {"casfs", "casfs.errors", "casfs.store"} <= modules.keys()
    assert len(modules) == len(list(PACKAGE.rglob("*.py")))


@pytest.mark.parametrize("rule", RULES)
def test_casfs_keeps_the_rule(rule: Rule) -> None:
    assert list(rule(read_modules(PACKAGE))) == []
