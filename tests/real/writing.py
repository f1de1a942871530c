"""A tool changes an environment, once natively and once in a writable mount; what can be seen of both at each point of the way is kept."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.mounted.harness import Casfs
from tests.python_versions import find_python
from tests.real.environments import Environment, Maker, Pair, Said, without_numbers
from tests.real.trees import Meant, find_differences, read_tree
from tests.real.writers import BASE, MODULES, WRITERS, Command, Workplace
from tests.real.writing_trees import MEANT_AFTER_ABSORB, MEANT_AS_WRITTEN

ASKS = Path(__file__).parent / "asks"

_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        print(name)
    except ImportError as error:
        print(name, error)
"""

Questions = Callable[[Environment], Iterable[Command]]

_FACTS = ("st_mode", "st_uid", "st_gid", "st_nlink", "st_size", "st_mtime_ns", "st_ino")


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of the pair at one point."""

    differences: list[str]
    """Paths where the mounted environment is not as the native one, otherwise than meant."""
    tree: dict[str, str]
    """The mounted one."""
    said: list[tuple[Said, Said]]
    """What tool and interpreter answer: (native, mounted)."""


@dataclass(slots=True)
class Story:
    """The way of one environment; filled by `tell`."""

    tool: str
    metadata: str
    ends: list[tuple[str, Said]] = field(default_factory=list)
    """How each command ended that changed something, native and mounted."""
    looks: dict[str, Look] = field(default_factory=dict)
    store: list[dict[str, object]] = field(default_factory=list)
    """All files of the store but the upper layer, before the tool came and after."""
    neighbour: list[dict[str, str]] = field(default_factory=list)
    """The tree of another environment with the same wheels, before and after."""
    diffs: dict[str, dict[str, Any]] = field(default_factory=dict)
    upper: dict[str, dict[str, int]] = field(default_factory=dict)
    """Files of the upper layer, and their sizes."""
    said_by_absorb: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """A pair with `BASE`, and a neighbour that shows the same generation of another environment."""

    casfs: Casfs
    workplace: Workplace
    pair: Pair
    neighbour: Path
    metadata: str

    def remount(self) -> None:
        self.casfs.umount(self.pair.mounted.root)
        self.mount()

    def mount(self) -> None:
        mount(self.casfs, self.pair.mounted.root, self.metadata)

    def run(self, environment: Environment, command: Command) -> Said:
        return self.workplace.run(environment, command)

    def look(self, meant: Sequence[Meant] | None, questions: Questions | None = None) -> Look:
        """Both environments now, if what may differ is said; else the mounted one."""
        tree = read_tree(self.pair.mounted.root)
        differences = find_differences(self.pair, meant) if meant else []
        answers = [[normalised(self.run(one, command)) for command in questions(one)] for one in self._both()] if questions else []
        return Look(differences, tree, list(zip(*answers, strict=True)))

    def _both(self) -> tuple[Environment, Environment]:
        return self.pair.native, self.pair.mounted

    def questions(self, tool: str) -> Questions:
        return lambda one: [*WRITERS[tool].list(self.workplace, one), *self.short_questions(one)]

    def short_questions(self, one: Environment) -> Iterator[Command]:
        python = str(one.root / "bin/python")
        yield [python, str(ASKS / "metadata.py")]
        yield [python, "-c", _IMPORT, *MODULES]
        for name in ("jsonpointer", "normalizer", "invoke"):
            if (one.root / "bin" / name).exists():
                yield [str(one.root / "bin" / name), "--help"]

    def upper_files(self) -> Path:
        return self.casfs.store / "environments/default/upper/current/files"

    def upper_sizes(self) -> dict[str, int]:
        return {path: int(facts[4]) for path, facts in iter_files(self.upper_files())}

    def diff(self) -> dict[str, Any]:
        return dict(json.loads(self.casfs.run("diff", "--json").stdout))


def mount(casfs: Casfs, mountpoint: Path, metadata: str, name: str = "default") -> None:
    """Mount it on the kernel's data path with this kind of metadata, writable."""
    if metadata == "fuse":
        casfs.force_way("fuse")
    casfs.run("--env", name, "mount", mountpoint)
    [found] = [one for one in casfs.status() if one["mountpoint"] == str(mountpoint)]
    assert (found["data_path"], found["metadata"], found["writable"]) == ("kernel", metadata, True), found


def make_scene(casfs: Casfs, workplace: Workplace, version: str, metadata: str, base: Sequence[str] = BASE) -> Scene:
    wheels = [[workplace.wheels[one] for one in base]]
    native, mounted = Maker(workplace.tools, casfs, workplace.directory).install("default", version, wheels)
    casfs.umount(mounted.root)
    casfs.run("--env", "neighbour", "add", "--no-compile", "--python", find_python(version), *wheels[0])
    mount(casfs, workplace.directory / "neighbour", metadata, "neighbour")
    scene = Scene(casfs, workplace, Pair(native, mounted, dict(workplace.wheels)), workplace.directory / "neighbour", metadata)
    scene.mount()
    return scene


def tell(scene: Scene, tool: str) -> Story:
    """Everything that happens to the environment, from `BASE` to `CHANGED`, absorbed, without requests, and back."""
    story, writer = Story(tool, scene.metadata), WRITERS[tool]
    for one in (scene.pair.native, scene.pair.mounted):
        writer.write_project(scene.workplace, one)
    story.looks["before"] = scene.look(MEANT_AS_WRITTEN)
    _let_change(scene, story)
    story.looks["changed"] = scene.look(MEANT_AS_WRITTEN, scene.questions(tool))
    scene.remount()
    story.looks["mounted again"] = scene.look(None)
    _absorb(scene, story)
    story.looks["absorbed"] = scene.look(MEANT_AFTER_ABSORB, scene.questions(tool))
    _run_both(scene, story, "remove")
    story.looks["removed"] = scene.look(MEANT_AFTER_ABSORB, scene.short_questions)
    story.diffs["removed"] = scene.diff()
    scene.casfs.run("absorb")
    story.upper["removed"] = scene.upper_sizes()
    scene.casfs.run("rollback", "2")
    story.looks["rolled back"] = scene.look(None)
    scene.casfs.run("rollback", "1")
    story.looks["rolled back to the start"] = scene.look(None)
    scene.casfs.run("fsck")
    return story


def _let_change(scene: Scene, story: Story) -> None:
    """The tool works, and all that it must not touch is looked at."""
    story.neighbour.append(read_tree(scene.neighbour))
    story.store.append(dict(iter_untouchable(scene.casfs.store)))
    _run_both(scene, story, "change")
    story.store.append(dict(iter_untouchable(scene.casfs.store)))
    story.neighbour.append(read_tree(scene.neighbour))
    scene.casfs.run("fsck")


def _absorb(scene: Scene, story: Story) -> None:
    story.diffs["changed"] = scene.diff()
    story.upper["changed"] = scene.upper_sizes()
    done = scene.casfs.run("absorb")
    story.said_by_absorb = done.stdout + done.stderr
    story.upper["absorbed"] = scene.upper_sizes()
    story.diffs["absorbed"] = scene.diff()


def _run_both(scene: Scene, story: Story, phase: str) -> None:
    writer = WRITERS[story.tool]
    for one in (scene.pair.native, scene.pair.mounted):
        for command in (writer.change if phase == "change" else writer.remove)(scene.workplace, one):
            story.ends.append((f"{one.root.parent.name}: {' '.join(command)}", scene.run(one, command)))


def iter_files(top: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(path below `top`, facts of its inode) of all but directories."""
    for directory, _, names in os.walk(top):
        for name in names:
            path = Path(directory, name)
            found = path.lstat()
            if not stat.S_ISCHR(found.st_mode):  # whiteouts
                yield str(path.relative_to(top)), tuple(getattr(found, name) for name in _FACTS)


def iter_untouchable(store: Path) -> Iterator[tuple[str, object]]:
    """All files of a store that a writer in a mount must not change; of blobs fsck reads the bytes."""
    for path, facts in iter_files(store):
        if not path.startswith(("run/", "locks/", "stamps/scrub", "environments/default/upper/", "environments/default/lock")):
            yield path, facts


def normalised(said: Said) -> Said:
    """Without durations, bytecode, the order of RECORD, and the digest of direct_url.json that Poetry leaves out and absorb fills in."""
    lines = [line for line in said.output.splitlines() if ".pyc" not in line and '/direct_url.json": ' not in line]
    if said.output.startswith('{\n "distributions"'):
        lines = sorted(line.rstrip(",") for line in lines)
    return Said(said.code, "\n".join(sorted(lines)), without_numbers(said.errors))
