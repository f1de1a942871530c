"""Changes: what `add`, `remove`, `compile` and `rollback` make of an environment. Each publishes a generation, under the lock."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from casfs.changes.rebuilt import as_before
from casfs.digest import Digest, checksum_bytes
from casfs.errors import EnvironmentRefused, InvalidValue, WheelRefused
from casfs.interpreters.interpreter import Interpreter, requires_python_problem, tags_problem
from casfs.store.environments import Environment
from casfs.store.generations import BaseInterpreter, Distribution, Generation, Layer, build_layer
from casfs.store.ingest import INSTALLING, Ingested, KnownWheel, MadeFiles, Progress, Request, ingest_files, ingest_wheels
from casfs.store.installations import Remembered, Wanted, find_installation, remember
from casfs.store.manifests import Description, read_manifest
from casfs.store.runtime_files import now_utc
from casfs.store.shared import shared_store_lock
from casfs.store.store import Store
from casfs.store.uppers import current_upper
from casfs.upper.differences import Conflict, iter_conflicts
from casfs.upper.upper_conflicts import refuse_changed_by_tools, refuse_touched
from casfs.venv.bytecode.bytecode import MakeBytecode, Stored, leave_as_they_are
from casfs.venv.installation import INSTALLATION_FORM, build_installation, iter_scripts
from casfs.venv.origins import SourceKind, format_direct_url
from casfs.venv.reading import LayerReader
from casfs.venv.similar import did_you_mean
from casfs.venv.skeleton import build_skeleton
from casfs.venv.tree import Tree
from casfs.wheels.source import MAX_WHEEL_SIZE

SKELETON_PROJECT = "casfs-skeleton"


@dataclass(frozen=True, slots=True)
class WheelToAdd:
    """A wheel to add, and what the environment is to remember of it."""

    wheel: str | KnownWheel  # path of its file, or what the store knows of it
    origin: str  # what it came from (see `origins`)
    is_requested: bool = True  # and not only needed by another one
    is_direct: bool = True  # asked for by path or URL, and not found in an index
    form: SourceKind = SourceKind.WHEEL  # of what it came from
    revision: str = ""  # a tag or branch: what was asked for of a repository


@dataclass(frozen=True, slots=True)
class AddOptions:
    """How to add."""

    is_strict: bool = False
    allow_record_mismatch: bool = False
    max_wheel_size: int = MAX_WHEEL_SIZE
    progress: Progress = lambda name, done, total: None
    only: frozenset[str] | None = None  # projects that may stay; all others go
    command: str = ""  # what the generation says made it (default: "add" and what was added)
    base: Generation | None = None  # what a new environment begins with (default: nothing)
    make_bytecode: MakeBytecode = leave_as_they_are
    wanted: Wanted | None = None  # which bytecode `make_bytecode` gives; None: nothing that is remembered is taken


@dataclass(frozen=True, slots=True)
class Change:
    """What a command did to an environment."""

    before: Generation | None
    after: Generation
    ingested: tuple[Ingested, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


Check = Callable[[str, Description], None]


def create_environment(environment: Environment, interpreter: Interpreter) -> Generation:
    """The environment's current generation; an empty one is published if it has none."""
    with shared_store_lock(environment.store), environment.locked():
        if (current := environment.current()) is not None:
            return current
        generation = next_generation(environment, first_generation(environment, interpreter), "create", ())
        environment.publish(generation)
        return generation


def set_interpreter(environment: Environment, interpreter: Interpreter, *, with_pip: bool | None = None) -> Change:
    """Publish a generation of the same distributions for another interpreter, which must be of the same release unless there are none.

    `with_pip` says whether something stands in for a pip of its own; None leaves that as it is. Raises EnvironmentRefused.
    """
    environment.require()  # an environment that does not exist gets no lock, and so no directory
    with shared_store_lock(environment.store), environment.locked():
        before = environment.require()
        _refuse_misfit(environment, before, interpreter)
        base = first_generation(environment, interpreter, with_pip=has_stand_in(before) if with_pip is None else with_pip)
        if (base.interpreter, base.skeleton.manifest) == (before.interpreter, before.skeleton.manifest):
            return Change(before, before)
        what = f"set-python {interpreter.executable}" if with_pip is None else f"mount {'--pip' if with_pip else '--no-pip'}"
        after = next_generation(environment, base, what, before.distributions)
        environment.publish(after)
    return Change(before, after)


def _refuse_misfit(environment: Environment, before: Generation, interpreter: Interpreter) -> None:
    """Raises EnvironmentRefused if an interpreter can't use what is in an environment."""
    was = before.interpreter
    if (interpreter.python_directory, interpreter.cache_tag) != (was.directory, was.cache_tag):
        upper = current_upper(environment)
        if before.distributions or (upper is not None and not upper.is_empty):
            reason = f"holds what was installed for {was.directory}, and {interpreter.executable} is {interpreter.python_directory}"
            raise EnvironmentRefused(environment.name, f"{reason}; add the same to another environment, with --env and --python")
    problems = []
    for distribution in before.distributions:
        about = read_manifest(environment.store, distribution.files.manifest).description
        found = [about.tags and tags_problem(interpreter, about.tags), requires_python_problem(interpreter, about.requires_python)]
        problems += [f"{distribution.name} {distribution.version} {problem}" for problem in found if problem]
    if problems:
        raise EnvironmentRefused(environment.name, *problems)


def add_wheels(
    environment: Environment, interpreter: Interpreter, wheels: Sequence[str | WheelToAdd], check: Check, options: AddOptions
) -> Change:
    """Publish a generation that has these wheels. Nothing changes unless all of them are good. `check` refuses what does not fit."""
    with environment.store.syncs.once():
        return _add_wheels(environment, interpreter, wheels, check, options)


def _add_wheels(
    environment: Environment, interpreter: Interpreter, wheels: Sequence[str | WheelToAdd], check: Check, options: AddOptions
) -> Change:
    wheels_to_add = [wheel if isinstance(wheel, WheelToAdd) else WheelToAdd(wheel, os.path.abspath(wheel)) for wheel in wheels]
    request = Request(check, options.allow_record_mismatch, options.max_wheel_size, options.progress, options.wanted)
    beside = () if environment.current() or options.base else (_skeleton(interpreter),)
    ingested = ingest_wheels(environment.store, [wheel_to_add.wheel for wheel_to_add in wheels_to_add], request, beside)
    _refuse_twins(ingested)
    files = _make_files(ingested, options.make_bytecode)
    with environment.locked():
        before = environment.current()
        base = before or options.base or first_generation(environment, interpreter)
        present = {distribution.project: distribution for distribution in base.distributions}
        gone = [project for project in present if options.only is not None and project not in options.only]
        kept = [one for one in base.distributions if options.only is None or one.project in options.only]
        coming = [*zip(ingested, wheels_to_add, files, strict=True)]
        added = _install(environment.store, coming, present, base.interpreter, options)
        changed = [one.project for one in added if _facts(present.get(one.project)) != _facts(one)]
        if before and not changed and not gone:
            refuse_changed_by_tools(environment, before, [one.project for one in added])
            return Change(before, before, tuple(ingested))
        _refuse_touched(environment, before, added, [*changed, *gone])
        distributions = replace_distributions(kept, added)
        command = options.command or "add " + ", ".join(f"{one.name} {one.version}" for one in added)
        after = next_generation(environment, base, command, distributions)
        conflicts = _conflicts(environment.store, after, added, options)
        environment.publish(after)
    return Change(before, after, tuple(ingested), conflicts)


def _make_files(ingested: Sequence[Ingested], make_bytecode: MakeBytecode) -> list[Layer]:
    """The files of each wheel with what bytecode they have."""
    made = map(_layer, make_bytecode([(one.manifest, one.content, one.number) for one in ingested if one.remembered is None]))
    return [next(made) if one.remembered is None else one.remembered.files for one in ingested]


def _refuse_twins(ingested: Sequence[Ingested]) -> None:
    """Two different wheels of one project in one command: nobody can mean both."""
    seen: dict[str, Ingested] = {}
    for one in ingested:
        other = seen.setdefault(one.about.project, one)
        if other.wheel != one.wheel:
            raise WheelRefused(one.path, f"is another wheel of the same project as {other.path}")


def _facts(distribution: Distribution | None) -> object:
    """What makes an installed distribution the same."""
    return distribution and (distribution.wheel, distribution.files.manifest, distribution.installation.manifest, distribution.requested)


def _refuse_touched(environment: Environment, before: Generation | None, wanted: Sequence[Distribution], changed: Collection[str]) -> None:
    """Raises EnvironmentRefused if something of the projects that change was changed in a mount.

    Bytecode may come and go beneath a source that somebody edited: it holds for the source that it was made from, and for no other.
    """
    if before is not None:
        present = {distribution.project: distribution for distribution in before.distributions}
        alike = {one.project for one in wanted if one.project in changed and _sources(one) == _sources(present.get(one.project))}
        refuse_touched(environment, before, [project for project in changed if project not in alike])
        refuse_changed_by_tools(environment, before, alike)


def _sources(distribution: Distribution | None) -> object:
    """What is the same of a distribution with and without bytecode. The RECORD that its installation has lists every file."""
    return distribution and (distribution.version, distribution.wheel, distribution.installation.manifest, distribution.requested)


_Coming = tuple[Ingested, WheelToAdd, Layer]
"""A wheel, what is to be remembered of it, and its files with what bytecode they have."""


def _install(
    store: Store, coming: Sequence[_Coming], present: Mapping[str, Distribution], base: BaseInterpreter, options: AddOptions
) -> list[Distribution]:
    """The distributions that these wheels become for an interpreter; what installing adds to them is published."""
    coming = [(one, _still_requested(wheel_to_add, present.get(one.about.project)), files) for one, wheel_to_add, files in coming]
    known = [
        find_installation(store, one.remembered, _key_of_installation(one, wheel_to_add, base)) if one.remembered else None
        for one, wheel_to_add, _ in coming
    ]
    missing = [one for one, layer in zip(coming, known, strict=True) if layer is None]
    made = [*map(_layer, ingest_files(store, _iter_made_files(store, missing, base, options.progress)))] if missing else []
    if options.wanted is not None:
        for (one, wheel_to_add, files), layer in zip(missing, made, strict=True):
            installations = {_key_of_installation(one, wheel_to_add, base): layer}
            remember(store, Remembered(one.manifest, one.number, one.about, one.count, one.size, files, installations))
    rest = iter(made)
    distributions = [
        _distribution(one, wheel_to_add, files, layer or next(rest))
        for (one, wheel_to_add, files), layer in zip(coming, known, strict=True)
    ]
    return [
        distribution if wheel_to_add.form is SourceKind.WHEEL else as_before(store, present.get(distribution.project), distribution)
        for distribution, (_, wheel_to_add, _) in zip(distributions, coming, strict=True)
    ]


def _iter_made_files(store: Store, coming: Sequence[_Coming], base: BaseInterpreter, progress: Progress) -> Iterator[MadeFiles]:
    for number, (one, wheel_to_add, _) in enumerate(coming, 1):
        yield _made_files(store, one, wheel_to_add, base)
        progress(INSTALLING, number, len(coming))


def _key_of_installation(one: Ingested, wheel_to_add: WheelToAdd, base: BaseInterpreter) -> str:
    """All on which it depends, beside the wheel, what installing adds."""
    place = _direct_url(one, wheel_to_add)
    facts = [INSTALLATION_FORM, base.directory, wheel_to_add.is_requested, place and place.decode()]
    return checksum_bytes(json.dumps(facts).encode())


def _still_requested(wheel_to_add: WheelToAdd, present: Distribution | None) -> WheelToAdd:
    """What was once asked for stays so, even if another version comes because something needs it."""
    return dataclasses.replace(wheel_to_add, is_requested=wheel_to_add.is_requested or (present is not None and present.requested))


def _direct_url(one: Ingested, wheel_to_add: WheelToAdd) -> bytes | None:
    """What direct_url.json says of it."""
    if not wheel_to_add.is_direct:
        return None
    return format_direct_url(wheel_to_add.origin, Digest(one.about.wheel), wheel_to_add.form, wheel_to_add.revision)


def _made_files(store: Store, one: Ingested, wheel_to_add: WheelToAdd, base: BaseInterpreter) -> MadeFiles:
    about = one.about
    scripts = iter_scripts(one.content, store.pool)
    requested, directory = wheel_to_add.is_requested, base.directory
    files = build_installation(
        one.content, scripts, direct_url=_direct_url(one, wheel_to_add), requested=requested, python_directory=directory
    )
    return MadeFiles(Description(about.project, about.name, about.version), files)


def _layer(stored: Stored) -> Layer:
    digest, manifest, number = stored
    return build_layer(digest, number, manifest)


def _distribution(one: Ingested, wheel_to_add: WheelToAdd, files: Layer, installation: Layer) -> Distribution:
    about = one.about
    facts = (about.project, about.name, about.version, one.wheel, one.wheel_size, wheel_to_add.origin, wheel_to_add.is_requested)
    return Distribution(*facts, files, installation)


def replace_distributions(old: Sequence[Distribution], added: Sequence[Distribution]) -> tuple[Distribution, ...]:
    """The distributions with those added at the end, in place of other versions of them: the last one installed wins, as with pip.

    One that is there already just as it is asked for keeps its place.
    """
    present = {distribution.project: distribution for distribution in old}
    latest = {one.project: one for one in added if _facts(present.get(one.project)) != _facts(one)}
    return (*(one for one in old if one.project not in latest), *latest.values())


def _conflicts(store: Store, after: Generation, added: Sequence[Distribution], options: AddOptions) -> tuple[Conflict, ...]:
    """The disputes in which an added distribution takes part. Raises EnvironmentRefused for those that can't be, or, if strict, any."""
    projects = {distribution.project for distribution in added}
    every = iter_conflicts(Tree(after), LayerReader(store).fill)
    conflicts = [one for one in every if {one.loser.project, one.winner.project} & projects]
    if refused := [str(conflict) for conflict in conflicts if conflict.is_impossible or options.is_strict]:
        raise EnvironmentRefused("conflict", *refused)
    return tuple(conflicts)


def remove_distributions(environment: Environment, names: Sequence[str]) -> Change:
    """Publish a generation without these projects (canonical names). Raises EnvironmentRefused for one that is not there."""
    environment.require()  # an environment that does not exist gets no lock, and so no directory
    with environment.locked():
        before = environment.require()
        present = {distribution.project: distribution for distribution in before.distributions}
        refuse_touched(environment, before, names)
        if missing := [name for name in names if name not in present]:
            raise EnvironmentRefused(
                environment.name, *(f"{name} is not in the environment{did_you_mean(name, present)}" for name in missing)
            )
        distributions = tuple(one for one in before.distributions if one.project not in names)
        summary = ", ".join(f"{present[name].name} {present[name].version}" for name in dict.fromkeys(names))
        after = next_generation(environment, before, f"remove {summary}", distributions)
        environment.publish(after)
    return Change(before, after)


def roll_back(environment: Environment, number: int | None) -> Change:
    """Publish a generation equal to generation `number`, by default to the one before the current one."""
    environment.require()  # an environment that does not exist gets no lock, and so no directory
    with environment.locked():
        before = environment.require()
        if number is None:
            number = max((one for one in environment.numbers() if one < before.number), default=None)
            if number is None:
                raise EnvironmentRefused(environment.name, f"there is no generation before {before.number}")
        if number not in environment.numbers():
            raise EnvironmentRefused(environment.name, f"there is no generation {number}; `casfs generations` lists them")
        wanted = environment.read(number)
        projects = {distribution.project for distribution in (*before.distributions, *wanted.distributions)}
        changed = [project for project in projects if _facts(before.find(project)) != _facts(wanted.find(project))]
        _refuse_touched(environment, before, wanted.distributions, changed)
        after = next_generation(environment, wanted, f"rollback to {number}", wanted.distributions)
        environment.publish(after)
    return Change(before, after)


def compile_distributions(environment: Environment, make_bytecode: MakeBytecode) -> Change:
    """Publish a generation in which every distribution has the bytecode that is made here; none if all have it. Each keeps its place."""
    with_bytecode(environment.store, environment.require().distributions, make_bytecode)  # so that under the lock all of it is known
    with environment.locked():
        before = environment.require()
        distributions = with_bytecode(environment.store, before.distributions, make_bytecode)
        changed = [
            distribution.project for distribution, other in zip(distributions, before.distributions, strict=True) if distribution != other
        ]
        if not changed:
            return Change(before, before)
        _refuse_touched(environment, before, distributions, changed)
        after = next_generation(environment, before, "compile", distributions)
        environment.publish(after)
    return Change(before, after)


def with_bytecode(store: Store, distributions: Sequence[Distribution], make_bytecode: MakeBytecode) -> tuple[Distribution, ...]:
    """The distributions with the bytecode that is made here. Raises StoreDamaged, and what making it raises."""
    layers = [distribution.files for distribution in distributions]
    made = make_bytecode([(layer.manifest, read_manifest(store, layer.manifest), layer.number) for layer in layers])
    return tuple(dataclasses.replace(one, files=_layer(files)) for one, files in zip(distributions, made, strict=True))


def next_generation(environment: Environment, base: Generation, command: str, distributions: tuple[Distribution, ...]) -> Generation:
    """A generation like `base` with these distributions. Call it with the environment's lock held."""
    return dataclasses.replace(base, number=environment.next_number(), created=now_utc(), command=command, distributions=distributions)


def has_stand_in(generation: Generation) -> bool:
    """Whether something stands in for a pip that the environment does not have."""
    outline = generation.skeleton.outline
    return "pip" in outline.directories[outline.paths["bin"]][1]


def first_generation(environment: Environment, interpreter: Interpreter, *, with_pip: bool = True) -> Generation:
    """What the first generation is made from: a skeleton and nothing else."""
    [(digest, manifest, number)] = ingest_files(environment.store, [_skeleton(interpreter, with_pip=with_pip)])
    skeleton = build_layer(digest, number, manifest)
    base = BaseInterpreter(interpreter.executable, interpreter.version, interpreter.cache_tag, interpreter.python_directory)
    return Generation(0, "", "", base, skeleton, ())


def _skeleton(interpreter: Interpreter, *, with_pip: bool = True) -> MadeFiles:
    files, directories = build_skeleton(interpreter, with_pip=with_pip)
    return MadeFiles(Description(SKELETON_PROJECT, SKELETON_PROJECT, interpreter.version), files, directories)


def parse_project(text: str) -> str:
    """Canonical name of a project as a user types it (PEP 503). Raises InvalidValue."""
    from packaging.utils import InvalidName, canonicalize_name

    try:
        return canonicalize_name(text, validate=True)
    except InvalidName:
        raise InvalidValue(repr(text), "is not the name of a project") from None
