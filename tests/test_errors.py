from __future__ import annotations

import inspect
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs import errors
from casfs.errors import CasfsError, WheelRefused

KINDS = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, CasfsError)]
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)


def test_one_reason_makes_one_line():
    assert str(WheelRefused("demo.whl", "is not a regular file")) == "demo.whl: is not a regular file"


def test_more_reasons_make_one_line_each_below_their_count():
    assert str(WheelRefused("demo.whl", "is bad", "is late")) == "demo.whl: 2 problems\n  is bad\n  is late"


@given(LINES, st.lists(LINES, min_size=1))
def test_the_message_holds_the_subject_and_every_reason(subject: str, reasons: list[str]):
    error = CasfsError(subject, *reasons)
    assert error.subject == subject
    assert tuple(error.reasons) == tuple(reasons)
    lines = str(error).split("\n")
    assert lines[0].startswith(f"{subject}: ")
    assert len(lines) == (1 if len(reasons) == 1 else 1 + len(reasons))
    assert [line[-len(reason) :] for line, reason in zip(lines[-len(reasons) :], reasons, strict=True)] == reasons


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_caught_as_a_casfs_error_and_keeps_its_fields_when_it_travels(kind: type[CasfsError]):
    error = pickle.loads(pickle.dumps(kind("subject", "one", "two")))
    assert isinstance(error, CasfsError)
    assert (type(error), error.subject, tuple(error.reasons)) == (kind, "subject", ("one", "two"))


def test_the_subject_may_be_anything_that_has_a_text():
    assert CasfsError(7, "is odd").subject == "7"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not CasfsError])
def test_no_kind_is_an_os_error_or_a_value_error(kind: type[CasfsError]):
    """`except OSError` and `except ValueError` are for what others raise."""
    assert not issubclass(kind, (OSError, ValueError))
