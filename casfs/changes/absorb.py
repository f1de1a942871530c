"""Absorb: what tools installed into an upper layer becomes part of a new generation, and what they uninstalled leaves it.

A mount shows the same files at each point, and whoever is interrupted can begin again:

    1. blobs and manifests are published; nothing refers to them yet
    2. the new generation becomes current; the upper layer still covers it with equal files
    3. the next upper layer is built beside the present one, and becomes current when it is whole

Distributions that are not as their RECORD says, edited files and what belongs to no distribution stay in the upper layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from casfs.changes.absorbed import Absorbed, AbsorbOptions, absorb_staged, launcher_names, stage_installed
from casfs.changes.changes import next_generation, replace_distributions, with_bytecode
from casfs.errors import EnvironmentRefused
from casfs.store.clock import held_clock
from casfs.store.environments import Environment
from casfs.store.generations import Distribution, Generation
from casfs.store.manifests import Kind
from casfs.store.store import Store
from casfs.store.uppers import Upper, current_upper
from casfs.upper.copying import replace_upper
from casfs.upper.differences import Conflict, iter_conflicts
from casfs.upper.installed import Installed, named_within, read_installed, site_packages, written_dist_infos
from casfs.upper.merged import MergedView, merged_view
from casfs.upper.next_upper import plan_next_upper
from casfs.upper.summary import gone_distributions
from casfs.upper.written import UpperEntry, UpperEntryKind
from casfs.venv.bytecode.bytecode import MakeBytecode, leave_as_they_are
from casfs.venv.bytecode_names import is_bytecode
from casfs.venv.launchers import parse_script
from casfs.venv.tree import STAND_INS, DirectoryNode, FileEntry, Tree

_MAX_LAUNCHER = 1 << 16


@dataclass(frozen=True, slots=True)
class Absorption:
    """What `absorb_upper` did."""

    before: Generation
    after: Generation
    refused: tuple[EnvironmentRefused, ...]  # distributions that stay in the upper layer
    conflicts: tuple[Conflict, ...]
    upper: Upper  # the current one
    size_before: int  # bytes of files in the upper layer
    size_after: int
    notes: tuple[str, ...]


@dataclass(slots=True)
class Decision:
    """What is taken over and what leaves, by project; both shrink while reasons against them are found."""

    found: tuple[Installed, ...]  # all that a tool installed and that could be read
    absorbed: dict[str, Absorbed]
    gone: dict[str, Distribution]
    refused: list[EnvironmentRefused]

    def give_bytecode(self, store: Store, make_bytecode: MakeBytecode) -> None:
        made = with_bytecode(store, [one.distribution for one in self.absorbed.values()], make_bytecode)
        self.absorbed = {
            distribution.project: replace(self.absorbed[distribution.project], distribution=distribution) for distribution in made
        }

    def notes(self) -> tuple[str, ...]:
        """What is to be told of what was taken over."""
        return tuple(f"{one.distribution.name} {one.distribution.version}: {note}" for one in self.absorbed.values() for note in one.notes)

    def refuse(self, project: str, subject: str, reason: str) -> None:
        self.absorbed.pop(project, None)
        self.gone.pop(project, None)
        self.refused.append(EnvironmentRefused(subject, reason))


def prepare_absorption(environment: Environment, prefixes: Collection[str], make_bytecode: MakeBytecode) -> None:
    """Publish what `absorb_upper` would take over now, and its bytecode. Nothing refers to it yet, and people may go on to write.

    What takes long is done then. Raises as `absorb_upper`.
    """
    generation = environment.require()
    if (upper := current_upper(environment)) is not None:
        with merged_view(environment, generation, upper) as view:
            decision = decide(environment.store, view, AbsorbOptions(prefixes))
            with_bytecode(environment.store, [one.distribution for one in decision.absorbed.values()], make_bytecode)


def absorb_upper(
    environment: Environment, prefixes: Collection[str] = (), make_bytecode: MakeBytecode = leave_as_they_are
) -> Absorption | None:
    """Take over what tools did; None if nobody ever wrote into a mount. `prefixes` are paths where the environment is or was mounted.

    Nobody may write into the mounts meanwhile. Raises EnvironmentRefused, StoreDamaged, OSError; the mounts then show what they showed.
    """
    environment.require()  # an environment that does not exist gets no lock, and so no directory
    with environment.locked():
        before = environment.require()
        if (upper := current_upper(environment)) is None:
            return None
        with merged_view(environment, before, upper) as view:
            _refuse_without_site(view, environment)
            decision = decide(environment.store, view, AbsorbOptions(prefixes))
            decision.give_bytecode(environment.store, make_bytecode)
            after, tree = _settle(environment, before, view, decision)
            conflicts = _conflicts(tree, view, decision)
            if after is not before:
                environment.publish(after)
            paths = frozenset(path for one in decision.absorbed.values() for path in one.paths)
            back = STAND_INS if after.find("pip") is None and before.find("pip") is not None else ()  # pip removed its own, not these
            plan = plan_next_upper(view, tree, paths.union(back))
            if plan:
                upper = replace_upper(environment, view.upper_directory, plan)
            size = _file_size(view.upper_directory.entries.values())
            kept = _file_size(plan.kept) if plan else size
    return Absorption(before, after, tuple(decision.refused), conflicts, upper, size, kept, decision.notes())


def _refuse_without_site(view: MergedView, environment: Environment) -> None:
    """Where everything is gone at once, somebody broke the environment rather than uninstalled all that was in it."""
    site, shown = site_packages(view), view.find(site_packages(view))
    if not isinstance(shown, DirectoryNode) and not (isinstance(shown, UpperEntry) and shown.kind is UpperEntryKind.DIRECTORY):
        raise EnvironmentRefused(environment.name, f"{site} is not a directory any more in its mounts; `casfs reset` brings it back")


def _file_size(entries: Collection[UpperEntry]) -> int:
    return sum(entry.size for entry in entries if entry.kind is UpperEntryKind.FILE)


def decide(store: Store, view: MergedView, options: AbsorbOptions) -> Decision:
    """Publish the files of every distribution that a tool installed and that is as its RECORD says; nothing refers to them yet."""
    read, refused = _read_all(view)
    with held_clock(store) as clock:
        time = clock.next_times(1) if read else 0  # one for all: each of their files is at one place
    options = replace(options, prefixes={*options.prefixes, *_iter_prefixes(view, read)}, time=time)
    found = [named_within(one, options.prefixes) for one in read]
    gone = {distribution.project: distribution for distribution in gone_distributions(view)}
    decision = Decision(tuple(found), {}, gone, refused)
    staged = []
    with store.batch() as batch:
        for one in found:
            if reason := _obstacle(view, one, found, gone):
                decision.refuse(one.project, str(one), reason)
                continue
            try:
                staged.append(stage_installed(store, batch, view, one, options))
            except EnvironmentRefused as error:
                decision.refuse(one.project, error.subject, "; ".join(error.reasons))
        batch.commit()
    for absorbed in absorb_staged(store, staged):
        project = absorbed.distribution.project
        decision.absorbed[project] = _keep_origin(view.tree.generation.find(project), absorbed)
    return decision


def _obstacle(view: MergedView, one: Installed, found: Sequence[Installed], gone: Collection[str]) -> str | None:
    """Why a distribution can't be taken over, whatever its files are."""
    before = view.tree.generation.find(one.project)
    if [other.project for other in found].count(one.project) > 1:
        return "is installed twice, in different versions"
    if before is not None and one.project not in gone:
        return f"lies over {before.version}, which is still installed beside it"
    return None


def _read_all(view: MergedView) -> tuple[list[Installed], list[EnvironmentRefused]]:
    found: list[Installed] = []
    refused: list[EnvironmentRefused] = []
    for name in written_dist_infos(view):
        try:
            found.append(read_installed(view, name))
        except EnvironmentRefused as error:
            refused.append(EnvironmentRefused(error.subject, "; ".join(error.reasons[:3])))
    return found, refused


def _iter_prefixes(view: MergedView, found: Sequence[Installed]) -> Iterator[str]:
    """Where the environment was mounted when tools made launchers."""
    for one in found:
        for path in launcher_names(one, view.tree.generation.interpreter.directory):
            written = view.upper_directory.entries.get(path)
            if path in one.rows and written is not None and written.kind is UpperEntryKind.FILE:
                content = view.read_small(path, _MAX_LAUNCHER)
                script = parse_script(content) if content else None
                if script is not None and script.prefix:
                    yield script.prefix


def _keep_origin(before: Distribution | None, absorbed: Absorbed) -> Absorbed:
    """If a tool installed the very wheel again that was added, where it came from is still known."""
    distribution = absorbed.distribution
    if before is None or not distribution.wheel or distribution.wheel != before.wheel:
        return absorbed
    return replace(absorbed, distribution=replace(distribution, origin=before.origin, wheel_size=before.wheel_size))


def _settle(environment: Environment, before: Generation, view: MergedView, decision: Decision) -> tuple[Generation, Tree]:
    """The generation that shows, below the upper layer, just what is shown now. What would change that is refused."""
    while True:
        added = [one.distribution for one in decision.absorbed.values()]
        stay = tuple(
            distribution
            for distribution in before.distributions
            if distribution.project not in decision.gone or distribution.project in decision.absorbed
        )
        distributions = replace_distributions(stay, added)
        after = before
        if distributions != before.distributions:
            after = next_generation(environment, before, _describe(decision), distributions)
        tree = Tree(after)
        problems = [*_iter_impossible(tree, view, decision), *_iter_leftovers(view, tree, decision)]
        if not problems:
            return after, tree
        for project, subject, reason in problems:
            if project in decision.absorbed or project in decision.gone:
                decision.refuse(project, subject, reason)


def _describe(decision: Decision) -> str:
    """The command as `casfs generations` shows it."""
    came = [f"{one.distribution.name} {one.distribution.version}" for one in decision.absorbed.values()]
    went = [
        f"-{distribution.name} {distribution.version}"
        for distribution in decision.gone.values()
        if distribution.project not in decision.absorbed
    ]
    return f"absorb {', '.join([*came, *went])}"


def _iter_impossible(tree: Tree, view: MergedView, decision: Decision) -> Iterator[tuple[str, str, str]]:
    """Distributions that can't be shown beside another one."""
    if not decision.absorbed:
        return
    for conflict in iter_conflicts(tree, view.read):
        for distribution in (conflict.winner, conflict.loser):
            if conflict.is_impossible and distribution.project in decision.absorbed:
                yield distribution.project, f"{distribution.name} {distribution.version}", str(conflict)


def _iter_leftovers(view: MergedView, after: Tree, decision: Decision) -> Iterator[tuple[str, str, str]]:
    """Distributions that would leave although files of them are still shown."""
    for project, distribution in decision.gone.items():
        left = [path for path in _iter_files(view, distribution) if not _is_shown_so(view, after, path)]
        if left:
            what = "was replaced" if project in decision.absorbed else "was uninstalled"
            yield (
                project,
                f"{distribution.name} {distribution.version}",
                f"{what}, but {len(left)} of its files are still there, such as {left[0]}",
            )


def _iter_files(view: MergedView, distribution: Distribution) -> Iterator[str]:
    """Paths at which the files of a distribution of the generation are shown now."""
    layers = [index for index, layer in enumerate(view.tree.layers) if layer.distribution is distribution]
    view.read(view.tree, layers)
    for index in layers:
        for row in view.tree.layers[index].require().iter_files():
            path = view.tree.shown_path(row.path)
            shown = None if is_bytecode(path) else view.find(path)
            if isinstance(shown, FileEntry) and view.tree.distribution(shown) is distribution:
                yield path


def _is_shown_so(view: MergedView, after: Tree, path: str) -> bool:
    """Whether another tree has at `path` what is shown there now."""
    shown, other = view.find_lower(path), view.over(after).find_lower(path)
    if not isinstance(shown, FileEntry) or not isinstance(other, FileEntry):
        return isinstance(shown, DirectoryNode) and isinstance(other, DirectoryNode)
    file, two = view.file(shown), view.over(after).file(other)
    return (file.digest, file.kind is Kind.EXECUTABLE) == (two.digest, two.kind is Kind.EXECUTABLE)


def _conflicts(tree: Tree, view: MergedView, decision: Decision) -> tuple[Conflict, ...]:
    if not decision.absorbed:
        return ()
    return tuple(
        conflict
        for conflict in iter_conflicts(tree, view.read)
        if {conflict.loser.project, conflict.winner.project} & decision.absorbed.keys()
    )
