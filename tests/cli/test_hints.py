"""The commands that messages name can be copied: they are about the store and the environment that the message is about."""

from __future__ import annotations

import argparse
import re

import pytest

from casfs.cli.hints import complete_hints, hint_as_typed, hint_at
from tests.mounted.harness import Casfs


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CASFS_ENV", raising=False)
    yield
    hint_as_typed(argparse.Namespace(store=None, env=None))


def type_options(store: str | None = None, env: str | None = None) -> None:
    hint_as_typed(argparse.Namespace(store=store, env=env))


@pytest.mark.parametrize(
    ("hint", "completed"),
    [
        ("casfs absorb", "casfs --store 'my store' absorb --env proj"),
        ("casfs rollback 3", "casfs --store 'my store' rollback --env proj 3"),
        ("casfs mount --env other x", "casfs --store 'my store' mount --env other x"),
        ("casfs status", "casfs --store 'my store' status"),
        ("casfs pool add /srv/casfs", "casfs --store 'my store' pool add /srv/casfs"),
        ("casfs --store /srv/casfs fsck", "casfs --store /srv/casfs fsck"),
        ("casfs run --help", "casfs run --help"),
    ],
)
def test_a_hint_says_what_was_typed(hint: str, completed: str):
    type_options("my store", "proj")
    assert complete_hints(f"a: b; `{hint}` helps, `{hint}`") == f"a: b; `{completed}` helps, `{completed}`"


def test_a_hint_is_short_where_nothing_was_typed():
    type_options()
    assert complete_hints("`casfs absorb` keeps that") == "`casfs absorb` keeps that"


def test_a_hint_names_another_environment_than_a_command_would_take(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CASFS_ENV", "mine")
    type_options()
    assert complete_hints("`casfs absorb`") == "`casfs absorb`"
    type_options(env="default")
    assert complete_hints("`casfs absorb`") == "`casfs absorb --env default`"
    hint_at("theirs")
    assert complete_hints("`casfs absorb`") == "`casfs absorb --env theirs`"


def test_the_command_that_a_message_names_does_what_it_says(casfs: Casfs) -> None:
    casfs.run("--env", "proj", "add", casfs.wheel("demo"))
    said = casfs.run("rollback", "7", "--env", "proj", code=1).stderr
    [hint] = re.findall("`casfs (.*?)`", said)
    assert casfs.run(*hint.split()).stdout == casfs.run("generations", "--env", "proj").stdout != ""
