"""One distribution that a tool installed, taken over: its files become blobs and manifests, if all that RECORD says of them is true.

The digest of a blob is computed from the bytes that are stored, and RECORD is compared with it; nothing is published of a distribution that
is refused. Bytecode is left out: it belongs to the times that its sources had in the upper layer. Launchers and scripts that name the
interpreter by the path of a mount become launchers that find it beside themselves, and RECORD is written anew to say so.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from casfs.descriptors import closing_fd
from casfs.digest import ContentHasher, Digest
from casfs.errors import EnvironmentRefused, reason_of
from casfs.paths import SITE_PACKAGES, path_problem
from casfs.store.blob_stamps import stamp_new_blobs
from casfs.store.generations import Distribution, Layer, build_layer
from casfs.store.ingest import MadeFiles, Progress, ingest_files
from casfs.store.known_wheels import iter_wheels
from casfs.store.manifests import Description, Kind, Manifest, ManifestFile, NewFile, build_manifest
from casfs.store.numbers import assign_numbers
from casfs.store.publish import Batch
from casfs.store.store import Store
from casfs.store.times import stage_dated
from casfs.store.wheel_stamps import file_facts
from casfs.upper.installed import MAX_OWN, OWN_NAMES, Installed, manifest_path_of, site_packages
from casfs.upper.merged import CHUNK, MergedView
from casfs.upper.written import UpperEntry, UpperEntryKind
from casfs.venv.bytecode_names import is_bytecode
from casfs.venv.installation import choose_launchers, format_record, iter_scripts
from casfs.venv.launchers import build_launcher, is_relocatable, parse_script
from casfs.venv.tree import STAND_INS, DirectoryNode, FileEntry
from casfs.wheels.problems import quote
from casfs.wheels.record import RecordEntry, is_unhashed, record_problem

_SHOWN_REASONS = 3
"""More files that are wrong say no more."""

_WHOLE_SIZE = 32 << 20  # as for the members of a wheel: larger ones are streamed
_MAX_SCRIPT = 16 << 20
_MAX_CONTENT = 64 << 30  # as for a wheel
_FREE_CONTENT = 64 << 20
_MAX_RATIO = 200  # of bytes to bytes on the disk: what is sparser was made to fill the pool


@dataclass(frozen=True, slots=True)
class Absorbed:
    """A distribution that was taken over, and the paths of its files as the mount shows them."""

    distribution: Distribution
    paths: frozenset[str]
    notes: tuple[str, ...]  # what is not as whoever takes it over may expect


def launcher_names(installed: Installed, python_directory: str) -> dict[str, tuple[str, str]]:
    """What each launcher in bin/ calls that the distribution declares: also those that a tool makes for every Python, as pip3.12."""
    declared = (*installed.entry_points, *choose_launchers(installed.entry_points, python_directory))
    return {f"bin/{name}": (module, attribute) for name, module, attribute in declared}


@dataclass(frozen=True, slots=True)
class Staged:
    """A distribution that will be taken over: its blobs and its manifest are in a batch."""

    installed: Installed
    wheel: Digest  # empty: no known wheel has just these files
    digest: Digest  # of the manifest
    manifest: Manifest
    new: frozenset[Digest]  # blobs that were written
    made: MadeFiles
    paths: frozenset[str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AbsorbOptions:
    """How to take over."""

    prefixes: Collection[str] = ()  # where the environment is or was: scripts for an interpreter below are made to find it themselves
    may_be_linked: bool = False  # files may have more names than one, as those have that uv links from its cache
    progress: Progress = lambda name, done, total: None
    time: int = 0  # that the store's clock gave for all of them


def stage_installed(store: Store, batch: Batch, view: MergedView, installed: Installed, options: AbsorbOptions) -> Staged:
    """Stage a distribution that a tool installed.

    Raises EnvironmentRefused that names the distribution and the first few things that are wrong; nothing of it is in the batch then.
    """
    with batch.undoing():
        return _Absorption(store, batch, view, installed, options).run()


def absorb_staged(store: Store, staged: Sequence[Staged]) -> list[Absorbed]:
    """Publish what installing makes of distributions whose batch is committed. So many at once cost hardly more syncs than one."""
    numbers = assign_numbers(store, [(one.digest, one.manifest) for one in staged])
    layers = [build_layer(one.digest, number, one.manifest) for one, number in zip(staged, numbers, strict=True)]
    made = ingest_files(store, [one.made for one in staged])
    installations = [build_layer(digest, number, content) for digest, content, number in made]
    for one in staged:
        stamp_new_blobs(store, one.digest, one.manifest, one.new)
    return [_finish(*one) for one in zip(staged, layers, installations, strict=True)]


def _finish(one: Staged, files: Layer, installation: Layer) -> Absorbed:
    about = one.installed
    facts = (about.project, about.name, about.version, one.wheel, 0, about.installer, about.is_requested)
    return Absorbed(Distribution(*facts, files, installation), one.paths, one.notes)


class _Absorption:
    """The work on one distribution."""

    def __init__(self, store: Store, batch: Batch, view: MergedView, installed: Installed, options: AbsorbOptions) -> None:
        self._store = store
        self._batch = batch
        self._view = view
        self._installed = installed
        self._options = options
        self._new: set[Digest] = set()  # blobs that were written
        self._notes: list[str] = []
        self._python = view.tree.generation.interpreter.directory
        self._information = f"{site_packages(view)}/{installed.dist_info}"
        self._own = {f"{self._information}/{name}" for name in OWN_NAMES}
        self._owner = os.stat(view.upper_directory.directory).st_uid

    def run(self) -> Staged:
        shown = self._match_rows()
        own = self._read_own(shown)
        made = self._replaced_scripts(shown)
        rows, problems = self._stage(shown, self._own | made.keys())
        if problems:
            self._refuse(problems)
        wheel, digest, manifest = self._find_wheel(rows, made) or ("", None, None)
        if digest is None or manifest is None:
            undated, time = build_manifest(self._describe(), rows), self._options.time
            [(digest, manifest)] = stage_dated(self._store, self._batch, [undated], lambda count: time)
        taken = (f"{self._information}/{os.path.basename(file.path)}" for file in own)
        paths = frozenset((*shown, *taken, f"{self._information}/RECORD"))
        files = self._made_files(manifest, [*made.values(), *own])
        return Staged(self._installed, Digest(wheel), digest, manifest, frozenset(self._new), files, paths, (*self._notes,))

    def _refuse(self, problems: list[str]) -> None:
        more = len(problems) - _SHOWN_REASONS
        said = "; ".join(problems[:_SHOWN_REASONS]) + (f"; and {more} more" if more > 0 else "")
        raise EnvironmentRefused(str(self._installed), said)

    def _describe(self) -> Description:
        about = self._installed
        return Description(
            about.project,
            about.name,
            about.version,
            requires_python=about.requires_python,
            dist_info=about.dist_info,
            entry_points=about.entry_points,
        )

    def _match_rows(self) -> dict[str, UpperEntry | FileEntry]:
        """What each row of RECORD is about, bytecode aside. Raises EnvironmentRefused."""
        shown: dict[str, UpperEntry | FileEntry] = {}
        problems = []
        for path, entry in self._installed.rows.items():
            if is_bytecode(path) and path_problem(path) is None:
                continue
            found = self._match_row(path, entry)
            if isinstance(found, str):
                problems.append(f"{quote(path)} {found}")
            else:
                shown[path] = found
        if problems:
            self._refuse(problems)
        self._refuse_size(shown)
        return shown

    def _match_row(self, path: str, entry: RecordEntry | None) -> UpperEntry | FileEntry | str:
        """What a row is about, or why it can't be taken."""
        if problem := path_problem(path):
            return problem
        lower = self._view.find_lower(path)
        if isinstance(lower, FileEntry) and self._view.tree.distribution(lower) is None and path not in STAND_INS:
            return "belongs to the environment itself"
        shown = self._view.find(path)
        if shown is None:
            return "is listed in RECORD but is not there"
        if isinstance(shown, DirectoryNode):
            return "is a directory"
        if entry is None and path not in self._own and not is_unhashed(self._in_site(path), self._installed.dist_info):
            return "has no hash in RECORD that could be compared"  # Poetry gives none to direct_url.json
        if isinstance(shown, UpperEntry):
            return _written_problem(shown, self._owner, self._options.may_be_linked) or shown
        return shown if self._view.file(shown).kind is not Kind.SYMLINK else "is a symbolic link"

    def _in_site(self, path: str) -> str:
        return path.removeprefix(f"{site_packages(self._view)}/")

    def _refuse_size(self, shown: Mapping[str, UpperEntry | FileEntry]) -> None:
        written = [one for one in shown.values() if isinstance(one, UpperEntry)]
        if (total := sum(entry.size for entry in written)) > _MAX_CONTENT:
            self._refuse([f"has {total} bytes; the limit is {_MAX_CONTENT}"])

    def _read_own(self, shown: Mapping[str, UpperEntry | FileEntry]) -> list[NewFile]:
        """What the tool wrote beside the wheel's files: kept as it is. RECORD is not among it."""
        files = []
        for name in OWN_NAMES[:-1]:
            path = f"{self._information}/{name}"
            content = self._view.read_small(path, MAX_OWN)
            if content is not None:
                files.append(NewFile(f"{SITE_PACKAGES}/{self._installed.dist_info}/{name}", content))
            elif path in shown:
                self._refuse([f"{name} has more than {MAX_OWN} bytes"])
        return files

    def _replaced_scripts(self, shown: Mapping[str, UpperEntry | FileEntry]) -> dict[str, NewFile]:
        """Launchers and scripts that a tool made for one mount, as casfs makes them; by path."""
        launchers = launcher_names(self._installed, self._python)
        made: dict[str, NewFile] = {}
        for path, one in shown.items():
            if not path.startswith("bin/"):
                continue
            if path in launchers:
                made[path] = NewFile(path, build_launcher(path.removeprefix("bin/"), *launchers[path], self._python), Kind.EXECUTABLE)
            elif isinstance(one, UpperEntry) and (script := self._rewrite(path)) is not None:
                made[path] = NewFile(path, script, Kind.EXECUTABLE)
        return made

    def _rewrite(self, path: str) -> bytes | None:
        content = self._view.read_small(path, _MAX_SCRIPT) or b""
        if is_relocatable(content):
            return content
        script = parse_script(content)
        if script is None:
            return None
        if script.prefix is None or self._is_ours(script.prefix):
            return script.make_relocatable()
        if not os.path.isdir(f"{script.prefix}/bin"):  # what is there is a wheel's own choice, such as /usr
            self._notes.append(f"{quote(path)} is for the Python below {quote(script.prefix)}, which is not there, and stays so")
        return None

    def _is_ours(self, prefix: str) -> bool:
        """Whether a script for an interpreter below `prefix` was made for this environment, or for one that this is a copy of."""
        prefixes = self._options.prefixes
        return prefix in prefixes or os.path.realpath(prefix) in prefixes or os.path.lexists(f"{prefix}/pyvenv.cfg")

    def _stage(self, shown: Mapping[str, UpperEntry | FileEntry], unstored: Collection[str]) -> tuple[list[ManifestFile], list[str]]:
        """The rows of its manifest, their blobs staged, and what RECORD says wrongly. What is `unstored` is only compared."""
        rows, problems, done = [], [], 0
        total = sum(one.size for one in shown.values() if isinstance(one, UpperEntry))
        for path, one in shown.items():
            try:
                row, problem = self._stage_one(None if path in unstored else self._batch, one, self._installed.rows[path])
            except OSError as error:
                row, problem = None, f"{quote(path)} can't be read: {reason_of(error)}"
            if problem:
                problems.append(problem)
            elif row is not None and path not in unstored:
                rows.append(row)
            done += one.size if isinstance(one, UpperEntry) else 0
            self._options.progress(str(self._installed), done, total)
        return rows, problems

    def _stage_one(
        self, batch: Batch | None, one: UpperEntry | FileEntry, entry: RecordEntry | None
    ) -> tuple[ManifestFile | None, str | None]:
        if isinstance(one, UpperEntry):
            return self._stage_written(batch, one, entry)
        content = self._view.tree.layers[one.layer].require()
        row = content.row(one.row, one.directory)
        hasher = ContentHasher(entry.algorithm if entry else "sha256")
        for chunk in self._view.iter_content(one):
            hasher.update(chunk)
        return row, record_problem(entry, hasher.size, hasher.record_hash) if entry else None

    def _stage_written(self, batch: Batch | None, one: UpperEntry, entry: RecordEntry | None) -> tuple[ManifestFile | None, str | None]:
        if entry and (problem := record_problem(entry, one.size, entry.digest)):
            return None, problem  # what has the wrong size need not be read
        hasher = ContentHasher(entry.algorithm if entry else "sha256")
        with closing_fd(self._view.upper_directory.open_file(one.path)) as fd:
            facts, status = file_facts(fd), os.fstat(fd)
            if status.st_size > _FREE_CONTENT and status.st_size > 512 * status.st_blocks * _MAX_RATIO:
                return None, f"{quote(one.path)} has {status.st_size} bytes, but hardly any on the disk"
            self._store_chunks(batch, _iter_chunks(fd, one.size), hasher, one.size)
            if file_facts(fd) != facts or hasher.size != one.size:
                return None, f"{quote(one.path)} changed while it was read"
        kind = Kind.EXECUTABLE if one.is_executable else Kind.FILE
        row = ManifestFile(manifest_path_of(one.path, self._python), hasher.digest, hasher.checksum, hasher.size, kind)
        return row, record_problem(entry, hasher.size, hasher.record_hash) if entry else None

    def _store_chunks(self, batch: Batch | None, chunks: Iterator[bytes], hasher: ContentHasher, size: int) -> None:
        is_new = False
        if batch is not None and size > _WHOLE_SIZE:
            is_new = self._store.pool.stage_stream(batch, chunks, hasher)
        elif batch is not None:
            content = b"".join(chunks)
            hasher.update(content)
            is_new = self._store.pool.stage(batch, content, hasher.digest)
        else:
            for chunk in chunks:
                hasher.update(chunk)
        if is_new:
            self._new.add(hasher.digest)

    def _find_wheel(self, rows: list[ManifestFile], made: Mapping[str, NewFile]) -> tuple[str, Digest, Manifest] | None:
        """A known wheel that brings just these files, and its manifest. A script that installing rewrites must be rewritten to the same."""
        for wheel, digest, manifest in iter_wheels(self._store, self._installed.project, self._installed.version):
            rewritten = {file.path: file.content for file in iter_scripts(manifest, self._store.pool)}
            brought = {(file.path, file.digest, file.kind) for file in manifest.iter_files() if not _is_left_out(file.path, rewritten)}
            is_rewritten = all(path in made and made[path].content == content for path, content in rewritten.items())
            if is_rewritten and brought == {(row.path, row.digest, row.kind) for row in rows}:
                return wheel, digest, manifest
        return None

    def _made_files(self, manifest: Manifest, made: list[NewFile]) -> MadeFiles:
        """What installing adds to the files of the wheel, and a RECORD that says so."""
        about, dist_info = manifest.description, self._installed.dist_info
        record = format_record(manifest, made, f"{dist_info}/RECORD", self._python)
        files = [*made, NewFile(f"{SITE_PACKAGES}/{dist_info}/RECORD", record)]
        return MadeFiles(Description(about.project, about.name, about.version), files)


def _is_left_out(path: str, rewritten: Collection[str]) -> bool:
    """What a wheel brings and the rows of an installed one don't show as it is."""
    return path in rewritten or is_bytecode(path)


def _written_problem(entry: UpperEntry, owner: int, may_be_linked: bool) -> str | None:
    """Why a file of an upper layer can't be a file of a distribution."""
    if entry.kind is not UpperEntryKind.FILE:
        return f"is {entry.kind.value}"
    if entry.mode & 0o7000:
        return "has a setuid, setgid or sticky bit"
    if entry.links != 1 and not may_be_linked:
        return "has more than one name (hard links)"
    if entry.owner != owner and not entry.mode & 0o004:
        return "belongs to another user, and the owner of the environment can't read it"
    return None


def _iter_chunks(fd: int, size: int) -> Iterator[bytes]:
    """The bytes of a file, and at most one more than it should have."""
    left = size + 1
    while left and (chunk := os.read(fd, min(CHUNK, left))):
        left -= len(chunk)
        yield chunk
