"""Checking environments: every generation is a lock file that any tool can read, and all that it refers to is there."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Iterator

from casfs.errors import InvalidValue, StoreDamaged
from casfs.store.environments import Environment
from casfs.store.fsck.damage import DamageKind, Findings, reading_problem
from casfs.store.fsck.manifests import ManifestFacts, ManifestTable
from casfs.store.fsck.numbers import NumbersCheck
from casfs.store.generations import NOTHING, Generation, Layer, parse_index, parse_lock
from casfs.store.regular_file import read_plain_file
from casfs.store.store import Store

_CURRENT = re.compile(r"generations/([1-9][0-9]*)\.toml")
_LOCK = re.compile(r"([1-9][0-9]*)\.toml")


class EnvironmentsCheck:
    """A check of all environments."""

    def __init__(self, store: Store, findings: Findings, table: ManifestTable, numbers: NumbersCheck) -> None:
        self.environments = 0
        self.generations = 0
        self._store = store
        self._findings = findings
        self._table = table
        self._numbers = numbers

    def run(self) -> None:
        """Check each environment."""
        for entry in self._findings.entries(self._store.path("environments")):
            try:
                environment = Environment(self._store, entry.name)
            except InvalidValue:
                self._findings.add_stranger(entry)
                continue
            if not entry.is_dir(follow_symlinks=False):
                self._findings.add_stranger(entry)
                continue
            self.environments += 1
            self._check_environment(environment)

    def _check_environment(self, environment: Environment) -> None:
        current = _read_current(f"{environment.directory}/current")  # before the generations, of which there may be more each moment
        numbers = sorted(
            int(match[1])
            for entry in self._findings.entries(f"{environment.directory}/generations")
            if (match := _LOCK.fullmatch(entry.name))
        )
        for number in numbers:
            self.generations += 1
            self._check_generation(environment, number)
        if problem := _current_problem(current, numbers):
            self._add(environment, f"{environment.directory}/current", problem)

    def _add(self, environment: Environment, path: str, reason: str, kind: DamageKind = DamageKind.ENVIRONMENT) -> None:
        self._findings.add(kind, path, reason, environments=[environment.name])

    def _check_generation(self, environment: Environment, number: int) -> None:
        path = environment.path(number)
        try:
            lock = read_plain_file(path)
            generation = parse_lock(lock, lambda digest: NOTHING)  # what the manifests say is compared later
        except (ValueError, OverflowError, RecursionError) as error:
            self._add(environment, path, f"{error}")
        except FileNotFoundError:
            return
        except (StoreDamaged, OSError) as error:
            self._add(environment, path, reading_problem(error))
        else:
            for layer in generation.layers:
                self._note_use(environment, layer)
            for problem in (*self._generation_problems(generation, number), *_standard_problems(lock)):
                self._add(environment, path, problem)
            self._check_index(environment, number, generation, lock)

    def _note_use(self, environment: Environment, layer: Layer) -> None:
        self._table.mention(layer.manifest)
        self._findings.users.setdefault(layer.manifest, set()).add(environment.name)
        self._findings.owners[layer.number] = layer.manifest

    def _generation_problems(self, generation: Generation, number: int) -> Iterator[str]:
        if generation.number != number:
            yield f"says that it is generation {generation.number!r}"
        for layer in generation.layers:
            if self._table.meet(layer.manifest) and self._numbers.has(layer.manifest, layer.number) is False:
                yield f"says that manifest {layer.manifest} has the number {layer.number:06x}, which it has not"
        for distribution in generation.distributions:
            facts = self._table.meet(distribution.files.manifest)
            if facts and (facts.project, facts.version, facts.wheel) != (distribution.project, distribution.version, distribution.wheel):
                yield f"has the manifest of {facts.project} {facts.version} for {distribution.project} {distribution.version}"

    def _check_index(self, environment: Environment, number: int, generation: Generation, lock: bytes) -> None:
        """An index may be missing, or belong to nothing; but one that readers would believe must be right."""
        path = environment.index_path(number)
        expected = self._complete(generation)
        try:
            indexed = parse_index(read_plain_file(path), lock)
        except (OSError, StoreDamaged):
            return
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self._add(environment, path, f"readers would believe it, but it makes no sense: {error!r}", DamageKind.INDEX)
            return
        if indexed is not None and expected is not None and indexed != expected:
            self._add(environment, path, "differs from the lock file and the manifests that it is made from", DamageKind.INDEX)

    def _complete(self, generation: Generation) -> Generation | None:
        """The generation with what its manifests say; None if one of them is damaged."""
        facts = {layer.manifest: self._table.meet(layer.manifest) for layer in generation.layers}
        if None in facts.values():
            return None

        def fill(layer: Layer) -> Layer:
            found = facts[layer.manifest]
            assert isinstance(found, ManifestFacts)
            return dataclasses.replace(layer, outline=found.outline, size=found.size, time=found.time)

        distributions = tuple(
            dataclasses.replace(distribution, files=fill(distribution.files), installation=fill(distribution.installation))
            for distribution in generation.distributions
        )
        return dataclasses.replace(generation, skeleton=fill(generation.skeleton), distributions=distributions)


def _read_current(path: str) -> str | None:
    """What `current` points to; nothing if it is something else than a link, None if there is none."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _current_problem(target: str | None, numbers: list[int]) -> str | None:
    """Why `current` is damaged. That it is missing is not damage: its environment was about to be made when somebody stopped it."""
    if target is None:
        return None
    if not target:
        return "is not a symbolic link"
    match = _CURRENT.fullmatch(target)
    if match is None or int(match[1]) not in numbers:
        return f"points to {target!r}, which is not a generation"
    return None


def _standard_problems(lock: bytes) -> list[str]:
    """Why a lock file is not what the standard says (PEP 751)."""
    from packaging.pylock import Pylock, PylockValidationError

    try:
        Pylock.from_dict(tomllib.loads(lock.decode())).validate()
    except PylockValidationError as error:
        return [f"is not a valid lock file: {error}"]
    return []
