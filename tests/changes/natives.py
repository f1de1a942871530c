"""Makes virtual environments as tools leave them, file by file; no interpreter is started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from casfs.changes.adopt import Adoption, adopt
from casfs.changes.existing import read_existing
from casfs.upper.written import UpperDirectory
from casfs.venv.bytecode_names import is_bytecode
from tests.make_generations import BASE, INTERPRETER
from tests.upper.uppers import SITE, Files, MountedWorkshop


@dataclass
class NativeWorkshop(MountedWorkshop):
    """A virtual environment on the disk, and a store with an environment that may adopt it. Tools install as they do into a mount."""

    root: Path

    @property
    def site(self) -> str:
        [found] = self.root.glob("lib/*/site-packages")
        return str(found.relative_to(self.root))

    @property
    def upper(self) -> Path:
        return self.root

    def make(self) -> None:
        """As `python -m venv` does."""
        (self.root / SITE).mkdir(parents=True)
        (self.root / "bin").mkdir()
        self.configure(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {BASE.version}\n")
        (self.root / "bin/python").symlink_to(BASE.executable)
        (self.root / "lib64").symlink_to("lib")
        self.write("bin/activate", b"# made by venv\n")

    def configure(self, text: str) -> None:
        (self.root / "pyvenv.cfg").write_text(text)

    def adopt(self) -> Adoption:
        """Adopt, and hold it to its promise: the virtual environment is as it was."""
        before = snapshot(self.root)
        try:
            with UpperDirectory(str(self.root)) as upper_directory:
                return adopt(self.workshop.environment, INTERPRETER, read_existing(upper_directory), upper_directory)
        finally:
            assert snapshot(self.root) == before

    def files(self) -> Files:
        """What distributions have in it."""
        found = {str(path.relative_to(self.root)): path for path in (self.root / SITE).rglob("*") if path.is_file()}
        return {name: (path.read_bytes(), os.access(path, os.X_OK)) for name, path in found.items() if not is_bytecode(name)}


def snapshot(root: Path) -> dict[str, tuple[int, ...]]:
    """All that a change would change."""
    found = {str(path): path.lstat() for path in (root, *root.rglob("*"))}
    return {name: (one.st_ino, one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in found.items()}
