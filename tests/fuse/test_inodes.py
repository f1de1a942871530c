from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from casfs.fuse.inodes import (
    FIRST_POSITION,
    ROOT,
    ROW_BITS,
    decode,
    detach_directory,
    encode_directory,
    encode_file,
    is_directory,
    position_of,
)
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


@given(IDENTITIES)
@example(LAST)
def test_a_directory_has_two_numbers_that_mean_the_same(identity: Identity):
    """One for those who come through the tree, one for those who come through a directory that is not in it any more."""
    own = encode_directory(identity)
    detached = detach_directory(own)
    assert detached != own
    assert detach_directory(detached) == detached
    assert is_directory(detached)
    assert decode(detached) == identity
    assert detached < 2**63


@given(st.binary(max_size=255))
def test_a_position_comes_after_the_first_two_and_fits_a_signed_number(name: bytes):
    assert position_of(name) == position_of(bytes(name))
    assert FIRST_POSITION <= position_of(name) < 2**62


def test_names_of_a_large_directory_have_positions_of_their_own():
    assert len({position_of(b"module_%d.py" % number) for number in range(20_000)}) == 20_000


def test_the_root_is_a_directory_and_nothing_else_has_its_number():
    assert is_directory(ROOT)
    assert encode_file((1, 0)) > ROOT


def test_every_row_that_a_wheel_can_make_has_a_number():
    shortest_launcher = len("a=b:c\n")
    assert MAX_MEMBERS < 2**ROW_BITS
    assert MAX_MEMBERS + MAX_ENTRY_POINTS // shortest_launcher < 2**ROW_BITS  # the installation: launchers, rewritten scripts, four more
