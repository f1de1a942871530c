"""Generations whose publisher failed or died before they became current: nobody has seen them, and nobody may return to them."""

from __future__ import annotations

import errno
import os

import pytest

from casfs.store.environments import Environment
from casfs.store.store import Store
from tests.store.making import publish_generation


class Died(BaseException):
    """The publisher is gone, with no chance to clean up."""


def fail_to_link(error: BaseException):
    def symlink(points_to: str, name: str) -> None:
        raise error

    return symlink


def die_before_it_is_current(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", fail_to_link(Died()))
        patch.setattr(Environment, "_withdraw", lambda self, number: None)
        with pytest.raises(Died):
            publish_generation(environment)


def test_generation_that_failed_to_become_current_is_not_listed(store: Store, monkeypatch: pytest.MonkeyPatch):
    environment = Environment(store, "default")
    publish_generation(environment)
    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", fail_to_link(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            publish_generation(environment)
    assert environment.numbers() == [1]
    assert environment.current_number() == 1


def test_first_generation_that_failed_to_become_current_is_not_listed(store: Store, monkeypatch: pytest.MonkeyPatch):
    environment = Environment(store, "default")
    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", fail_to_link(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            publish_generation(environment)
    assert environment.numbers() == []
    assert environment.current_number() is None


def test_generation_of_a_publisher_that_died_is_withdrawn_by_the_next(store: Store, monkeypatch: pytest.MonkeyPatch):
    environment = Environment(store, "default")
    publish_generation(environment)
    die_before_it_is_current(environment, monkeypatch)
    assert environment.numbers() == [1, 2]
    publish_generation(environment)
    assert environment.numbers() == [1, 3], "and its number is not given again"
    assert environment.current_number() == 3


def test_generations_stay_when_nobody_knows_which_one_was_current(store: Store):
    environment = Environment(store, "default")
    publish_generation(environment)
    publish_generation(environment)
    os.unlink(f"{environment.directory}/current")
    publish_generation(environment)
    assert environment.numbers() == [1, 2, 3]
