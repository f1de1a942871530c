"""Tools: the programs that compete, the interpreter they work for, and the wheels; installed and downloaded once, into a cache folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

WHEEL_SETS = {
    "django": ("--no-deps", "django"),
    "numpy": ("--no-deps", "numpy"),
    "tensorflow": ("--no-deps", "tensorflow-cpu"),
    "small": ("requests",),
    "web": ("django", "fastapi", "flask", "sqlalchemy", "boto3"),
    "science": ("numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "sympy"),
    "deep": ("tensorflow-cpu",),
}
"""What `pip download` is asked for, by name."""


def cache_folder() -> Path:
    """Where peers and wheels are kept: in the user's cache, for this kind of interpreter."""
    kind = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "casfs-bench" / kind


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs by path. `python` is the interpreter that environments are made for, `own_python` the one that runs casfs."""

    casfs: str
    own_python: str
    python: str
    uv: str
    peer_python: str
    uvl: str = ""
    """Empty where it can't be had."""

    @classmethod
    def install(cls, cache: Path) -> Tools:
        """Install pip, uv and uvl-fuse where they are missing. Casfs is that of the interpreter that runs this."""
        python = cls.base_python()
        own = Path(sys.executable).parent
        peers = make_venv(python, cache / "peers", "pip", "uv")
        uvl = ""
        with contextlib.suppress(subprocess.CalledProcessError):  # pip has told why
            uvl = f"{make_venv(python, cache / 'uvl', 'uvl-fuse')}/bin/uvl"
        return cls(str(own / "casfs"), sys.executable, python, f"{peers}/bin/uv", f"{peers}/bin/python", uvl)

    @staticmethod
    def base_python() -> str:
        """The interpreter behind the one that runs this."""
        return str(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]

    def versions(self) -> dict[str, str]:
        """What the programs say of themselves."""
        pip = _call(self.peer_python, "-m", "pip", "--version").split()[1]
        uv = _call(self.uv, "--version").split()[1]
        uvl = _call(self.uvl, "--version").split()[-1] if self.uvl else "can't be installed here"
        casfs = _call(self.casfs, "--version").split()[1]
        return {"casfs": casfs, "python": sys.version.split()[0], "pip": pip, "uv": uv, "uvl-fuse": uvl}


def make_venv(python: str, path: Path, *names: str) -> Path:
    """An environment that has the newest of some projects, by pip; made if that has not been done before. Raises CalledProcessError."""
    if not (path / "complete").exists():
        say(f"installing {' and '.join(names)}")
        shutil.rmtree(path, ignore_errors=True)
        _call(python, "-m", "venv", str(path))
        _call(str(path / "bin/python"), "-m", "pip", "install", "--quiet", "--upgrade", *names)
        (path / "complete").touch()
    return path


def download(tools: Tools, cache: Path, name: str) -> list[str]:
    """Paths of the wheels of a set, downloaded if that has not been done before."""
    folder = cache / "wheels" / name
    if not (folder / "complete").exists():
        say(f"downloading the wheels of {name}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pip = [tools.peer_python, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", str(folder)]
        _call(*pip, *WHEEL_SETS[name])
        (folder / "complete").touch()
    return sorted(map(str, folder.glob("*.whl")))


def _call(*command: str) -> str:
    """Output of a command that is not measured. It gets the user's environment: proxies, certificates, indexes."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, stdin=subprocess.DEVNULL).stdout


def say(*words: str) -> None:
    """Tell the user what is going on."""
    sys.stderr.write(f"bench: {' '.join(words)}\n")


def clean_environment(folder: Path) -> dict[str, str]:
    """All variables of a measured program: none of the user's PYTHON*, PIP_* or UV_* gets in, and it writes only below `folder`."""
    home = folder / "home"
    temporary = folder / "tmp"
    for path in (home, temporary):
        path.mkdir(exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "LC_ALL": "C.UTF-8",
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
        "UV_OFFLINE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def without_bytecode(env: dict[str, str]) -> dict[str, str]:
    """Python neither writes bytecode nor, in a tree that has none, finds any."""
    return {**env, "PYTHONDONTWRITEBYTECODE": "1"}


def with_bytecode(env: dict[str, str], folder: Path) -> dict[str, str]:
    """Python keeps bytecode in a folder of its own, for the mount can't be written to."""
    return {**env, "PYTHONPYCACHEPREFIX": str(folder)}
