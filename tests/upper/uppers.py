"""Writes into upper layers as tools do through a mount, and says what a mount would show: an overlay without a kernel."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from casfs.store.manifests import Kind
from casfs.store.uppers import current_upper, require_upper
from casfs.upper.merged import MergedView
from casfs.upper.summary import Summary, summarise
from casfs.upper.written import UpperDirectory
from casfs.venv.reading import LayerReader
from casfs.venv.tree import DirectoryNode, Tree, read_entries, read_file
from tests.make_generations import BASE, Workshop
from tests.make_wheels import format_rows, hash_field

SITE = f"lib/{BASE.directory}/site-packages"
MOUNT = "/srv/project/.venv"

Files = dict[str, tuple[bytes, bool]]
"""Path -> content and executable bit; the target of a symbolic link is its content."""


@dataclass
class MountedWorkshop:
    """An environment whose upper layer is written by hand."""

    workshop: Workshop

    @property
    def site(self) -> str:
        """Where the environment shows its site-packages."""
        return f"lib/{self.workshop.environment.require().interpreter.directory}/site-packages"

    @property
    def upper(self) -> Path:
        return Path(require_upper(self.workshop.environment).files)

    def write(self, path: str, content: bytes, mode: int = 0o644) -> Path:
        target = self.upper / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
        return target

    def delete(self, path: str) -> None:
        """What the kernel leaves of a file or directory of a lower layer that is deleted."""
        target = self.upper / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))

    def make_opaque(self, path: str) -> None:
        """A directory that was deleted and made again."""
        (self.upper / path).mkdir(parents=True, exist_ok=True)
        os.setxattr(self.upper / path, "user.overlay.opaque", b"y")

    def install(
        self,
        name: str,
        version: str = "1.0",
        files: Mapping[str, bytes] | None = None,
        *,
        tool: str = "pip",
        own: Mapping[str, bytes] | None = None,
        rows: Mapping[str, tuple[str, str]] | None = None,
        entry_points: str | None = None,
    ) -> None:
        """As a tool installs: `files` are relative to site-packages, `own` to the .dist-info; `rows` replace or add rows of RECORD."""
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nSome words about it.\n".encode()
        wheel = b"Wheel-Version: 1.0\nGenerator: casfs tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        inside = {"METADATA": metadata, "WHEEL": wheel, "INSTALLER": f"{tool}\n".encode(), **(own or {})}
        if entry_points is not None:
            inside["entry_points.txt"] = entry_points.encode()
        content = {f"{name}/__init__.py": b"VALUE = 1\n"} if files is None else dict(files)
        content |= {f"{info}/{path}": text for path, text in inside.items()}
        for path, text in content.items():
            self.write(os.path.normpath(f"{self.site}/{path}"), text, 0o755 if "/bin/" in path else 0o644)
        record = (
            {path: (hash_field(text), str(len(text))) for path, text in content.items()} | {f"{info}/RECORD": ("", "")} | dict(rows or {})
        )
        self.write(f"{self.site}/{info}/RECORD", format_rows([(path, *facts) for path, facts in record.items()], "\r\n"))

    def uninstall(self, name: str) -> None:
        """As a tool uninstalls a distribution of the generation: every file, then the directories that are empty."""
        with self.view() as view:
            record = next(path for path in self.lower() if path.startswith(f"{self.site}/{name}-") and path.endswith(".dist-info/RECORD"))
            rows = (view.read_small(record, 1 << 20) or b"").decode().splitlines()
        self.delete(f"{self.site}/{name}")
        self.delete(os.path.dirname(record))
        for row in rows:
            path = os.path.normpath(f"{self.site}/{row.split(',')[0]}")
            if not path.startswith((f"{self.site}/{name}/", os.path.dirname(record))):
                self.delete(path)

    @contextmanager
    def view(self) -> Iterator[MergedView]:
        store = self.workshop.store
        with UpperDirectory(str(self.upper)) as upper_directory:
            tree = Tree(self.workshop.environment.require())
            yield MergedView(upper_directory, tree, LayerReader(store).fill, store.pool)

    def summary(self) -> Summary:
        with self.view() as view:
            return summarise(view)

    def lower(self) -> Files:
        """What the generation alone shows."""
        store = self.workshop.store
        tree, fill, found = Tree(self.workshop.environment.require()), LayerReader(store).fill, {}

        def visit(path: str, directory: DirectoryNode) -> None:
            for name, entry in read_entries(tree, directory, fill).items():
                below = f"{path}/{name}" if path else name
                if isinstance(entry, DirectoryNode):
                    visit(below, entry)
                else:
                    node = read_file(tree, entry, fill)
                    found[below] = (store.pool.read_blob(node.digest, node.size), node.kind is Kind.EXECUTABLE)

        visit("", tree.root)
        return found

    def shown(self) -> Files:
        """What a mount shows."""
        shown = self.lower()
        if current_upper(self.workshop.environment) is None:
            return shown
        root = self.upper
        for path in sorted(root.rglob("*")):
            name, found = str(path.relative_to(root)), path.lstat()
            is_directory = stat.S_ISDIR(found.st_mode)
            is_opaque = is_directory and "user.overlay.opaque" in os.listxattr(path)
            if not is_directory or is_opaque or name in shown:
                for below in [one for one in shown if one == name or one.startswith(f"{name}/")]:
                    del shown[below]
            if stat.S_ISREG(found.st_mode):
                shown[name] = (path.read_bytes(), bool(found.st_mode & 0o111))
            elif stat.S_ISLNK(found.st_mode):
                shown[name] = (os.readlink(path).encode(), False)
        return shown

    def written(self) -> list[str]:
        """What the current upper layer holds, directories aside unless they are empty."""
        root = self.upper
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or not any(path.iterdir()))
