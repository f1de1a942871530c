"""`casfs run`: what is a wheel, what is the command, and what is neither."""

from __future__ import annotations

import pytest

from casfs.cli.commands.run import split_words


@pytest.mark.parametrize(
    ("words", "wheels", "command"),
    [
        (["python", "-V"], [], ["python", "-V"]),
        (["--", "python", "-V"], [], ["python", "-V"]),
        (["a.whl", "b.whl", "python", "c.whl"], ["a.whl", "b.whl"], ["python", "c.whl"]),
        (["a.whl", "--", "b.whl", "x"], ["a.whl"], ["b.whl", "x"]),
        (["git", "log", "--", "file"], [], ["git", "log", "--", "file"]),
        (["a.whl", "sh", "-c", "x", "--", "y"], ["a.whl"], ["sh", "-c", "x", "--", "y"]),
        (["--", "env", "--", "true"], [], ["env", "--", "true"]),
        (["a.whl"], ["a.whl"], []),
        (["a.whl", "--"], ["a.whl"], []),
        ([], [], []),
    ],
)
def test_wheels_end_at_the_dashes_or_at_the_first_word_that_is_none(words: list[str], wheels: list[str], command: list[str]) -> None:
    assert split_words(words) == (wheels, command)
