"""Tools that change an environment: what each is told to do, so that the environment ends as `CHANGED` says whichever tool did it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.real.downloads import Tools
from tests.real.environments import Environment, Said

POETRY = ("poetry==2.5.1",)

BASE = ("pip==26.2", "idna==3.10", "invoke==3.0.3", "six==1.16.0")
"""What casfs added before the tool came: two to be upgraded, one with scripts to be uninstalled."""

CHANGED = {
    "certifi": "2026.10.18",
    "charset_normalizer": "3.5.2",
    "idna": "3.20",
    "jaraco.classes": "3.4.0",
    "jaraco.functools": "4.6.0",
    "jsonpointer": "3.1.1",
    "MarkupSafe": "3.0.4",
    "more_itertools": "11.2.1",
    "requests": "2.34.2",
    "six": "1.17.0",
    "urllib3": "2.8.0",
}
"""What is there afterwards, pip aside: launchers, a script of a wheel, a namespace of two distributions, a compiled module."""

WHEELHOUSE = (*BASE, "pip==26.3", *(f"{name}=={version}" for name, version in CHANGED.items()))

MODULES = (
    "certifi",
    "charset_normalizer",
    "idna.core",
    "jaraco.classes.properties",
    "jaraco.functools",
    "jsonpointer",
    "markupsafe._speedups",
    "more_itertools",
    "requests",
    "six",
    "urllib3",
)

Command = Sequence[str]


@dataclass(frozen=True, slots=True)
class Workplace:
    """What tools find around an environment: wheels and no index, and directories of their own."""

    tools: Tools
    poetry: Tools
    wheels: Mapping[str, Path]
    directory: Path

    @property
    def wheelhouse(self) -> Path:
        return self.directory / "wheelhouse"

    @property
    def uv_cache(self) -> Path:
        return self.directory / "uv-cache"

    def prepare(self) -> None:
        self.wheelhouse.mkdir()
        for path in self.wheels.values():
            os.link(path, self.wheelhouse / path.name)

    def run(self, environment: Environment, command: Command) -> Said:
        """Run a tool in the project's directory, away from every index and every user's settings."""
        paths = {"HOME": self.directory / "home", "UV_CACHE_DIR": self.uv_cache, "POETRY_CACHE_DIR": self.directory / "poetry-cache"}
        finds = {"PIP_FIND_LINKS": self.wheelhouse, "UV_FIND_LINKS": self.wheelhouse}
        refuses = {
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "UV_NO_INDEX": "1",
            "UV_OFFLINE": "1",
            "UV_PYTHON_DOWNLOADS": "never",
        }
        settings = {"POETRY_VIRTUALENVS_IN_PROJECT": "true", "POETRY_KEYRING_ENABLED": "false", "POETRY_NO_INTERACTION": "1"}
        environ = {**{name: str(path) for name, path in (paths | finds).items()}, **refuses, **settings}
        return environment.run(*command, cwd=None, **environ)

    def wheel(self, name: str) -> Path:
        return next(path for one, path in self.wheels.items() if one == f"{name}=={CHANGED[name]}")


@dataclass(frozen=True, slots=True)
class Writer:
    """A tool that changes environments."""

    change: Callable[[Workplace, Environment], list[Command]]
    """From `BASE` to `CHANGED`."""
    remove: Callable[[Workplace, Environment], list[Command]]
    """Uninstalls requests."""
    list: Callable[[Workplace, Environment], list[Command]]
    write_project: Callable[[Workplace, Environment], None] = lambda _workplace, _environment: None


def _pip(workplace: Workplace, environment: Environment, *words: str) -> Command:
    """The environment's own."""
    return [str(environment.root / "bin/python"), "-m", "pip", *words]


def _pip_command(workplace: Workplace, environment: Environment, *words: str) -> Command:
    return [str(environment.root / "bin/pip"), *words]


def _outer_pip(workplace: Workplace, environment: Environment, *words: str) -> Command:
    return workplace.tools.pip("--python", environment.root, *words)


def _uv_pip(workplace: Workplace, environment: Environment, *words: str) -> Command:
    return workplace.tools.uv("pip", *words, "--python", environment.root)


def _uv(workplace: Workplace, environment: Environment, *words: str) -> Command:
    return workplace.tools.uv(*words)


def _poetry(workplace: Workplace, environment: Environment, *words: str) -> Command:
    return [str(workplace.poetry.directory / "bin/poetry"), "--no-ansi", *words]


Prefix = Callable[..., Command]

_NEW = ("requests", "jaraco.functools", "jaraco.classes", "jsonpointer", "MarkupSafe")


def _pip_like(prefix: Prefix, yes: Sequence[str] = ("-y",), upgrades: Sequence[str] = ("six", "idna")) -> Writer:
    def change(workplace: Workplace, environment: Environment) -> list[Command]:
        return [
            prefix(workplace, environment, "install", *_NEW),
            prefix(workplace, environment, "install", "-U", *upgrades),
            prefix(workplace, environment, "uninstall", *yes, "invoke"),
        ]

    return Writer(
        change,
        lambda workplace, environment: [prefix(workplace, environment, "uninstall", *yes, "requests")],
        lambda workplace, environment: [
            prefix(workplace, environment, "list", "--format", "json"),
            prefix(workplace, environment, "show", "--files", "six", "invoke", "requests", "jaraco.classes"),
        ],
    )


def _pins(without: str = "") -> str:
    return "".join(f"{name}=={version}\n" for name, version in CHANGED.items() if name != without)


def _uv_pip_sync() -> Writer:
    def sync(workplace: Workplace, environment: Environment, without: str = "") -> list[Command]:
        requirements = environment.root.parent / "requirements.txt"
        requirements.write_text(_pins(without))
        return [_uv_pip(workplace, environment, "sync", str(requirements))]

    return Writer(sync, lambda workplace, environment: sync(workplace, environment, "requests"), _pip_like(_uv_pip, ()).list)


def _write_uv_project(workplace: Workplace, environment: Environment) -> None:
    version = environment.directory.removeprefix("python")
    names = [name for name in CHANGED if name not in {"jsonpointer", "MarkupSafe"}]
    dependencies = ", ".join(f'"{name}=={CHANGED[name]}"' for name in names)
    text = f"""
        [project]
        name = "project"
        version = "1.0"
        requires-python = "=={version}.*"
        dependencies = [{dependencies}]
        [tool.uv]
        package = false
        environments = ["sys_platform == 'linux'"]
    """
    (environment.root.parent / "pyproject.toml").write_text(textwrap.dedent(text))


def _uv_project() -> Writer:
    return Writer(
        lambda workplace, environment: [
            _uv(workplace, environment, "sync"),
            _uv(workplace, environment, "add", "jsonpointer", "MarkupSafe"),
            _uv(workplace, environment, "sync", "--frozen"),
        ],
        lambda workplace, environment: [_uv(workplace, environment, "remove", "requests")],
        lambda workplace, environment: [
            *_pip_like(_uv_pip, ()).list(workplace, environment),
            _uv(workplace, environment, "sync", "--check"),
        ],
        _write_uv_project,
    )


def _write_poetry_project(workplace: Workplace, environment: Environment) -> None:
    version = environment.directory.removeprefix("python")
    names = [name for name in CHANGED if name not in {"jsonpointer", "MarkupSafe"}]
    dependencies = "\n".join(f'"{name}" = {{ path = "{workplace.wheel(name)}" }}' for name in names)
    text = f'[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = "~{version}"\n{dependencies}\n'
    (environment.root.parent / "pyproject.toml").write_text(text)


def _poetry_project() -> Writer:
    def change(workplace: Workplace, environment: Environment) -> list[Command]:
        more = [str(workplace.wheel(name)) for name in ("jsonpointer", "MarkupSafe")]
        return [
            _poetry(workplace, environment, "install"),
            _poetry(workplace, environment, "add", *more),
            _poetry(workplace, environment, "sync"),
        ]

    return Writer(
        change,
        lambda workplace, environment: [_poetry(workplace, environment, "remove", "requests")],
        lambda workplace, environment: [
            _poetry(workplace, environment, "show"),
            _poetry(workplace, environment, "env", "info", "--path"),
        ],
        _write_poetry_project,
    )


WRITERS = {
    "python-m-pip": _pip_like(_pip),
    "bin-pip": _pip_like(_pip_command, upgrades=("six", "idna", "pip")),
    "outer-pip": _pip_like(_outer_pip),
    "uv-pip": _pip_like(_uv_pip, ()),
    "uv-pip-sync": _uv_pip_sync(),
    "uv-sync": _uv_project(),
    "poetry": _poetry_project(),
}
