from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casfs.digest import RECORD_ALGORITHMS, ContentHasher, checksum_bytes, checksum_chunks, digest_bytes, parse_digest
from casfs.errors import InvalidValue

CHUNKS = st.lists(st.binary(max_size=64), max_size=8)


@given(st.binary())
def test_a_digest_is_sha256_and_parses_as_itself(content: bytes):
    digest = digest_bytes(content)
    assert digest == hashlib.sha256(content).hexdigest()
    assert parse_digest(digest) == digest


def test_the_checksum_is_xxh3_128():
    """The value that xxHash's own documentation of the format gives for nothing: checksums stay readable for other tools."""
    assert checksum_bytes(b"") == "99aa06d3014798d86001c324468d497f"


@given(CHUNKS, st.sampled_from(RECORD_ALGORITHMS))
def test_hashing_a_stream_in_chunks_gives_what_hashing_it_whole_gives(chunks: list[bytes], algorithm: str):
    hasher = ContentHasher(algorithm)
    for chunk in chunks:
        hasher.update(chunk)
    whole = b"".join(chunks)
    assert hasher.size == len(whole)
    assert hasher.digest == digest_bytes(whole)
    assert hasher.checksum == checksum_bytes(whole) == checksum_chunks(chunks)
    assert hasher.record_hash == hashlib.new(algorithm, whole).digest()


@given(st.binary())
def test_a_view_of_bytes_hashes_as_the_bytes(content: bytes):
    assert digest_bytes(memoryview(content)) == digest_bytes(content)
    assert checksum_bytes(memoryview(content)) == checksum_bytes(content)


GOOD = digest_bytes(b"")


@pytest.mark.parametrize("text", ["", GOOD[:-1], GOOD + "0", GOOD.upper(), GOOD + "\n", " " + GOOD, "g" + GOOD[1:], "\u0661" + GOOD[1:]])
def test_what_only_looks_like_a_digest_is_refused_and_named(text: str):
    with pytest.raises(InvalidValue) as caught:
        parse_digest(text)
    assert caught.value.subject == repr(text)


@given(st.text())
def test_a_digest_has_64_hexadecimal_digits_and_nothing_else(text: str):
    is_one = len(text) == 64 and set(text) <= set(string.digits + "abcdef")
    try:
        assert parse_digest(text) == text
    except InvalidValue:
        assert not is_one
    else:
        assert is_one
