"""What commands say can be shown on any terminal, whatever names hold; and it holds no login."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from casfs.cli.output import note, say, say_json, say_table, warn
from casfs.errors import FetchFailed
from casfs.resolve.access import hide_logins, split_login
from tests.cli.test_names import casfs, index
from tests.mounted.harness import Casfs

__all__ = ["casfs", "index"]


def test_what_moves_the_cursor_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say("\x1b[31mred\x07 \u202e \udcff")
    note("\x9b31m\r")
    warn("\x1b]0;title\x07")
    said = capsys.readouterr()
    assert said.out == "\\u001b[31mred\\u0007 \\u202e \\udcff\n"
    assert said.err == "\\u009b31m\\u000d\ncasfs: warning: \\u001b]0;title\\u0007\n"


_LONG = """
from casfs.cli.output import progress_of_downloads, progress_of_wheels
with progress_of_downloads() as show:
    for number in (0, 10000, 20000):
        show(number, 20000, number, 20000)
with progress_of_wheels() as show:
    for name in ("wheels", "installing"):
        for number in (0, 10000, 20000):
            show(name, number, 20000)
    show("few", 1, 2)
"""


def test_a_terminal_is_told_how_far_many_wheels_are() -> None:
    ours, theirs = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", _LONG], check=True, stderr=theirs)
        said = os.read(ours, 1 << 16)
    finally:
        os.close(ours)
        os.close(theirs)
    for words in (b"downloading 20,000/20,000", b"wheels", b"installing", b"20000/20000"):
        assert words in said
    assert b"few" not in said


_WIDE = """
from casfs.cli.output import progress_of_wheels
with progress_of_wheels() as show:
    show("a-project-with-a-name-that-is-longer-than-many-a-line-of-a-terminal 2026.12.31.post1", 123_400_000, 987_600_000)
"""


def test_a_bar_fits_into_80_columns_whatever_the_name() -> None:
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        subprocess.run([sys.executable, "-c", _WIDE], check=True, stderr=theirs)
        said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(ours, 1 << 16).decode())
    finally:
        os.close(ours)
        os.close(theirs)
    drawn = [line for line in re.split(r"[\r\n]+", said) if line.strip()]
    assert "123.4/987.6 MB" in drawn[-1]
    for line in drawn:
        assert line.startswith("a-project-with-a-name-that-is")
        assert "/987.6 MB" in line
        assert len(line) <= 80


def test_letters_of_every_script_stay(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Grüße, мир, 世界, 🐍"
    say(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_line_feeds_stay_only_where_we_put_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Between reasons; a name with one begins no line of its own."""
    error = FetchFailed("a\ncasfs: all is well", "one", "two")
    note(f"casfs: {error}")
    assert capsys.readouterr().err == "casfs: a\\u000acasfs: all is well: 2 problems\n  one\n  two\n"
    say("a\nb")
    assert capsys.readouterr().out == "a\nb\n"


def test_json_means_what_it_meant(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"a\x1b\x7f\x9b\u200d": "ü\U000e0001\n"}
    say_json(value)
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("git+https://u:p@host/x@main", "git+https://host/x@main"),
        ("one @ https://u@host/x and http://a:b@other", "one @ https://host/x and http://other"),
        ("-e ./here@there", "-e ./here@there"),
        ("http://u:p@[::1/x", "http://[::1/x"),
    ],
)
def test_logins_are_hidden_wherever_they_stand(text: str, shown: str) -> None:
    assert hide_logins(text) == shown


def test_what_is_no_url_has_no_login() -> None:
    assert split_login("http://u:p@[::1/x") == ("http://[::1/x", None)


def test_login_of_an_editable_project_that_can_not_be_had_is_not_told(casfs: Casfs) -> None:
    done = casfs.run("add", "-e", "git+https://u:secret@127.0.0.1:9/x", code=1)
    assert "secret" not in done.stderr
    assert "casfs: git+https://127.0.0.1:9/x: " in done.stderr


def test_columns_are_aligned_for_letters_of_any_width(capsys: pytest.CaptureFixture[str]) -> None:
    say_table(("Name", "Size"), [("世界", "1"), ("e\u0301t", "2"), ("a\n", "3"), ("…", "4")])
    assert capsys.readouterr().out.split("\n") == [
        "Name     Size",
        "-------  ----",
        "世界     1",
        "e\u0301t       2",
        "a\\u000a  3",
        "…        4",
        "",
    ]
