"""A summary of an upper layer by distribution: what tools installed, upgraded and uninstalled, what was edited, and what belongs to nobody.

Only what was written is looked at: the tree is asked about those paths alone. A file that was merely copied up, with the same bytes and a
usual mode, is no difference; it is remembered, since it would hide another version of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from casfs.errors import EnvironmentRefused
from casfs.store.generations import Distribution
from casfs.upper.installed import Installed, read_installed, site_packages, written_dist_infos
from casfs.upper.merged import MergedView
from casfs.upper.written import UpperEntry, UpperEntryKind
from casfs.venv.bytecode_names import is_bytecode
from casfs.venv.tree import DirectoryNode, FileEntry


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One path, and what was done to it: "added", "edited", "deleted", or "changed" if not its bytes but its mode, names or attributes."""

    path: str
    action: str
    size: int = 0


@dataclass(slots=True)
class ProjectSummary:
    """What was done to one project: `before` is what the generation has of it, `after` what a tool left of it."""

    project: str
    name: str
    before: str | None = None  # version
    after: str | None = None
    tool: str = ""
    files: int = 0
    size: int = 0
    edited: list[WrittenFile] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)  # just as in the generation
    paths: list[str] = field(default_factory=list)  # all that was written or deleted

    @property
    def is_edited_only(self) -> bool:
        """Whether no tool installed or uninstalled it."""
        return not self.tool


@dataclass(frozen=True, slots=True)
class Summary:
    """What an upper layer holds."""

    projects: dict[str, ProjectSummary]
    loose: list[WrittenFile]  # of no distribution
    unreadable: list[EnvironmentRefused]  # .dist-info directories that nobody understands; their files are loose
    bytecode_files: int
    bytecode_size: int
    size: int  # bytes of all files

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost with it but bytecode."""
        return not self.loose and not any(project.tool or project.edited for project in self.projects.values())

    @property
    def files_of_nobody(self) -> int:
        """Files that no tool installed: of no distribution, or somebody's edits of one."""
        return len(self.loose) + sum(len(project.edited) for project in self.projects.values() if not project.tool)


def summarise(view: MergedView) -> Summary:
    """The upper layer of a view. Raises OSError, StoreDamaged."""
    return _Summariser(view).run()


def gone_distributions(view: MergedView) -> list[Distribution]:
    """The distributions of the generation whose RECORD is shown no more, or is another one."""
    site = view.find_lower(site_packages(view))
    if not isinstance(site, DirectoryNode):
        return []
    gone = []
    for name, node in view.lower_names(site).items():
        if not name.endswith(".dist-info") or not isinstance(node, DirectoryNode):
            continue
        if isinstance(view.find(node.path), DirectoryNode):
            continue  # nobody wrote into it
        record = view.find(f"{node.path}/RECORD")
        if record is None or (isinstance(record, UpperEntry) and not view.is_same(record)):
            gone += [distribution for distribution in _owners(view, node) if distribution]
    return gone


def _owners(view: MergedView, lower: DirectoryNode | FileEntry | None) -> list[Distribution | None]:
    """Whose a file of the tree is, or to whom a directory of it belongs; None stands for the environment itself."""
    if isinstance(lower, FileEntry):
        return [view.tree.distribution(lower)]
    if isinstance(lower, DirectoryNode):
        layers = (view.tree.layers[part.layer].distribution for part in lower.parts)
        return [*{layer.project: layer for layer in layers if layer}.values()] or [None]
    return []


class _Summariser:
    """The work on one upper layer."""

    def __init__(self, view: MergedView) -> None:
        self._view = view
        self._projects: dict[str, ProjectSummary] = {}
        self._owner_of: dict[str, ProjectSummary] = {}  # path -> project that a tool installed
        self._loose: list[WrittenFile] = []
        self._unreadable: list[EnvironmentRefused] = []

    def run(self) -> Summary:
        for gone in gone_distributions(self._view):
            self._project(gone).tool = "a tool"
        for dist_info in written_dist_infos(self._view):
            try:
                self._add_installed(read_installed(self._view, dist_info))
            except EnvironmentRefused as error:
                self._unreadable.append(error)
        entries = self._view.upper_directory.entries.values()
        bytecode = [one for one in entries if one.kind is UpperEntryKind.FILE and is_bytecode(one.path)]
        for one in entries:
            self._add_entry(one)
        size = sum(entry.size for entry in entries if entry.kind is UpperEntryKind.FILE)
        return Summary(self._projects, self._loose, self._unreadable, len(bytecode), sum(one.size for one in bytecode), size)

    def _project(self, distribution: Distribution) -> ProjectSummary:
        return self._projects.setdefault(
            distribution.project, ProjectSummary(distribution.project, distribution.name, distribution.version)
        )

    def _add_installed(self, installed: Installed) -> None:
        before = self._view.tree.generation.find(installed.project)
        summary = self._projects.setdefault(
            installed.project, ProjectSummary(installed.project, installed.name, before.version if before else None)
        )
        summary.after, summary.tool = installed.version, installed.installer
        information = f"{site_packages(self._view)}/{installed.dist_info}"
        names = self._view.upper_directory.names.get(information, ())
        self._owner_of |= dict.fromkeys([*installed.rows, *(f"{information}/{name}" for name in names)], summary)

    def _add_entry(self, entry: UpperEntry) -> None:
        if entry.kind is UpperEntryKind.FILE and is_bytecode(entry.path):
            return
        if entry.kind is UpperEntryKind.DIRECTORY:
            for path, hidden in self._iter_hidden(entry):
                self._add_deleted(path, hidden)
            return
        lower = self._view.find_lower(entry.path)
        if entry.kind is UpperEntryKind.WHITEOUT:
            self._add_deleted(entry.path, lower)
        elif (summary := self._owner_of.get(entry.path)) is not None:
            summary.files += 1
            summary.size += entry.size
            summary.paths.append(entry.path)
        else:
            self._add_file(entry, lower)

    def _iter_hidden(self, directory: UpperEntry) -> Iterator[tuple[str, DirectoryNode | FileEntry]]:
        """What a directory of the upper layer hides without a whiteout for each name."""
        lower = self._view.find_lower(directory.path)
        if isinstance(lower, FileEntry):
            yield directory.path, lower
        elif directory.is_opaque and isinstance(lower, DirectoryNode):
            names = {*self._view.upper_directory.names.get(directory.path, ())}
            for name, entry in self._view.lower_names(lower).items():
                if name not in names:
                    yield f"{directory.path}/{name}", entry

    def _add_deleted(self, path: str, lower: DirectoryNode | FileEntry | None) -> None:
        if is_bytecode(path) or path.endswith("/__pycache__"):
            return
        for owner in _owners(self._view, lower):
            if owner is None:
                self._loose.append(WrittenFile(path, "deleted"))
                continue
            summary = self._project(owner)
            summary.paths.append(path)
            if summary.is_edited_only:
                summary.edited.append(WrittenFile(path, "deleted"))

    def _add_file(self, entry: UpperEntry, lower: DirectoryNode | FileEntry | None) -> None:
        owners = [owner for owner in _owners(self._view, lower) if owner]
        is_copy = self._view.is_mere_copy(entry)
        action = "added" if lower is None else "changed" if self._view.is_same(entry) else "edited"
        for owner in owners:
            summary = self._project(owner)
            summary.paths.append(entry.path)
            if is_copy:
                summary.copied.append(entry.path)
            elif summary.is_edited_only:
                summary.edited.append(WrittenFile(entry.path, action, entry.size))
        if not is_copy and not any(self._project(owner).is_edited_only for owner in owners):
            self._loose.append(WrittenFile(entry.path, action, entry.size))
