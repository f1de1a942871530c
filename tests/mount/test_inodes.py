from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from casfs.mount.inodes import ROOT, ROW_BITS, decode, encode_directory, encode_file, is_directory
from casfs.store.numbers import NUMBER_BITS
from casfs.venv.tree import Identity
from casfs.wheels.directory import MAX_MEMBERS
from casfs.wheels.entrypoints import MAX_ENTRY_POINTS

LAST = (2**NUMBER_BITS - 1, 2**ROW_BITS - 1)
IDENTITIES = st.tuples(st.integers(1, LAST[0]), st.integers(0, LAST[1]))


@given(IDENTITIES)
@example((1, 0))
@example(LAST)
def test_a_number_gives_back_what_it_was_made_of(identity: Identity):
    assert decode(encode_file(identity)) == identity
    assert decode(encode_directory(identity)) == identity
    assert not is_directory(encode_file(identity))
    assert is_directory(encode_directory(identity))


@given(IDENTITIES)
@example((1, 0))
@example(LAST)
def test_numbers_are_positive_for_programs_with_signed_ones_and_leave_room_for_the_kernels_own(identity: Identity):
    for ino in (encode_file(identity), encode_directory(identity)):
        assert 2**ROW_BITS <= ino < 2**63


@given(IDENTITIES, IDENTITIES)
def test_different_things_have_different_numbers(one: Identity, other: Identity):
    assert encode_file(one) != encode_directory(other)
    assert (encode_file(one) == encode_file(other)) == (one == other)
    assert (encode_directory(one) == encode_directory(other)) == (one == other)


def test_the_root_is_a_directory_and_nothing_else_has_its_number():
    assert is_directory(ROOT)
    assert encode_file((1, 0)) > ROOT


def test_every_row_that_a_wheel_can_make_has_a_number():
    shortest_launcher = len("a=b:c\n")
    assert MAX_MEMBERS < 2**ROW_BITS
    assert MAX_MEMBERS + MAX_ENTRY_POINTS // shortest_launcher < 2**ROW_BITS  # the installation: launchers, rewritten scripts, four more
