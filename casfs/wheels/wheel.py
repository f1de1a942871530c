"""A wheel, checked: everything that is in it and where it goes, or a refusal that names all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from casfs.digest import ContentHasher
from casfs.errors import WheelRefused
from casfs.wheels.archive import Member, read_archive
from casfs.wheels.entrypoints import MAX_ENTRY_POINTS, EntryPoint, parse_entry_points
from casfs.wheels.filename import WheelFilename, parse_wheel_filename
from casfs.wheels.inflate import iter_content, read_content
from casfs.wheels.metadata import MAX_METADATA, MAX_WHEEL, Metadata, check_wheel_version, parse_metadata
from casfs.wheels.problems import Problems, quote
from casfs.wheels.record import MAX_RECORD, RecordEntry, match_record, parse_record, record_problem
from casfs.wheels.scheme import Placed, place_members
from casfs.wheels.source import WheelSource


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One member, checked and placed."""

    member: Member
    path: str
    """Below the environment, with {python} for pythonX.Y."""
    executable: bool
    record: RecordEntry | None
    """What RECORD says. None: it says nothing (signatures of RECORD, or what the user chose to tolerate)."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel whose structure, names and places are sound. Whether the bytes are what RECORD says shows when they are unpacked."""

    filename: str
    project: str
    """Name as the index normalises it."""
    name: str
    """Name as its authors spell it."""
    version: str
    tags: tuple[str, ...]
    requires_python: str | None
    dist_info: str
    files: tuple[WheelFile, ...]
    """Sorted by path. Without RECORD and other files that whoever installs writes, and without scripts that a launcher replaces."""
    entry_points: tuple[EntryPoint, ...]
    tolerated: tuple[str, ...]
    """Where RECORD and archive disagree, if the user allowed that."""
    remarks: tuple[str, ...] = ()
    """What is odd and changes nothing."""


def read_wheel(source: WheelSource, filename: str, *, allow_record_mismatch: bool = False) -> Wheel:
    """The wheel in `source`. Raises WheelRefused with all that was found wrong. Of contents, only what describes the wheel is read."""
    problems = Problems(filename, allow_record_mismatch=allow_record_mismatch)
    parsed = parse_wheel_filename(filename)
    members = read_archive(source, problems)
    dist_info = _find_dist_info(members, parsed, problems)
    return _Reader(source, parsed, members, {member.name: member for member in members}, dist_info, problems).read()


def _find_dist_info(members: Iterable[Member], filename: WheelFilename, problems: Problems) -> str:
    """Name of the one .dist-info directory. Raises WheelRefused when there is none or a choice."""
    tops = sorted({member.name.partition("/")[0] for member in members})
    found = [top for top in tops if top.endswith(".dist-info")]
    for top in tops:
        if top.endswith((".dist-info", ".data")) and not filename.is_stem(top.rpartition(".")[0]):
            problems.add(top, f"is not of {filename.project} {filename.version}, which the file name says")
    if len(found) != 1:
        problems.refuse(f"must have one .dist-info directory, but has {len(found)}: {', '.join(map(quote, found[:9]))}".removesuffix(": "))
    return found[0]


@dataclass(frozen=True, slots=True)
class _Reader:
    """What all steps of reading one wheel need."""

    source: WheelSource
    filename: WheelFilename
    members: Sequence[Member]
    by_name: Mapping[str, Member]
    dist_info: str
    problems: Problems

    def read(self) -> Wheel:
        metadata = self._read_metadata()
        entry_points = self._read_entry_points()
        rows = self._read_record()
        placed = place_members(self.members, self.dist_info, self.filename.project, entry_points, self.problems)
        self.problems.raise_any()  # before contents are unpacked that may be large
        self._check_left_out(placed, rows)
        self.problems.raise_any()
        files = (WheelFile(item.member, item.path, item.executable, rows.get(item.member.name)) for item in placed if item.path)
        return Wheel(
            filename=self.filename.filename,
            project=self.filename.project,
            name=metadata.name,
            version=self.filename.version,
            tags=self.filename.tags,
            requires_python=metadata.requires_python,
            dist_info=self.dist_info,
            files=tuple(sorted(files, key=lambda file: file.path)),
            entry_points=entry_points,
            tolerated=self.problems.tolerated,
            remarks=self.problems.remarks,
        )

    def _read_metadata(self) -> Metadata:
        name, content = self._read("WHEEL", MAX_WHEEL)
        if content is not None:
            check_wheel_version(content, name, self.problems)
        name, content = self._read("METADATA", MAX_METADATA)
        if content is None:
            return Metadata("", None)
        return parse_metadata(content, name, self.filename, self.problems)

    def _read_entry_points(self) -> tuple[EntryPoint, ...]:
        name, content = self._read("entry_points.txt", MAX_ENTRY_POINTS, required=False)
        return () if content is None else parse_entry_points(content, name, self.problems)

    def _read_record(self) -> dict[str, RecordEntry]:
        _, content = self._read("RECORD", MAX_RECORD)
        if content is None:
            return {}
        return match_record(parse_record(content, self.dist_info, self.problems), self.members, self.dist_info, self.problems)

    def _read(self, name: str, limit: int, *, required: bool = True) -> tuple[str, bytes | None]:
        """Full name and content of a member of the .dist-info directory; None if it is not there or can't be read."""
        name = f"{self.dist_info}/{name}"
        member = self.by_name.get(name)
        if member is None:
            if required:
                self.problems.add(name, "is missing")
            return name, None
        try:
            return name, read_content(self.source, member, limit)
        except WheelRefused as error:
            self.problems.extend(error.reasons)
            return name, None

    def _check_left_out(self, placed: Iterable[Placed], rows: dict[str, RecordEntry]) -> None:
        """Members that are not installed never reach the one who compares contents with RECORD, so they are compared here."""
        for item in placed:
            entry = rows.get(item.member.name)
            if item.path or entry is None:
                continue
            hasher = ContentHasher(entry.algorithm)
            try:
                for piece in iter_content(self.source, item.member):
                    hasher.update(piece)
            except WheelRefused as error:
                self.problems.extend(error.reasons)
                continue
            if problem := record_problem(entry, hasher.size, hasher.record_hash):
                self.problems.add_record_problem(problem)
