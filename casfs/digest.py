"""Digest: the value that names a blob or a manifest; and the only place that computes hashes.

A SHA-256 names and authenticates. XXH3-128 only finds bit rot: it is fast, but anyone can make two contents that share one.

hashlib is imported where it is used: it loads OpenSSL, and many a command hashes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import BufferedReader
from typing import NewType

import xxhash

from casfs.errors import InvalidValue

Digest = NewType("Digest", str)
"""SHA-256 in 64 lower-case hexadecimal digits."""

_DIGEST = re.compile(r"[0-9a-f]{64}")

RECORD_ALGORITHMS = ("sha256", "sha384", "sha512")
"""What RECORD may use: "sha256 or better" (binary distribution format specification)."""


def parse_digest(text: str) -> Digest:
    """`text` as a digest. Raises InvalidValue."""
    if not _DIGEST.fullmatch(text):
        raise InvalidValue(repr(text), "is not a SHA-256 in lower-case hexadecimal")
    return Digest(text)


def shard_path(digest: str) -> str:
    """Where, below its directory, is what is named by a digest: ab/cdef..."""
    return f"{digest[:2]}/{digest[2:]}"


def is_hash_algorithm(name: str) -> bool:
    """Whether hashes of this name can be computed on every machine, and have one length."""
    import hashlib

    return name in hashlib.algorithms_guaranteed and not name.startswith("shake_")


def parse_hash(algorithm: str, text: str) -> str:
    """`text` as a hash of an algorithm that is_hash_algorithm knows. Raises InvalidValue."""
    import hashlib

    length = 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size
    if not re.fullmatch(f"[0-9a-f]{{{length}}}", text):
        raise InvalidValue(repr(text), f"is not a {algorithm} digest, which has {length} hexadecimal digits")
    return text


def is_collision_resistant(name: str) -> bool:
    """Whether nobody can make two contents with one hash of this algorithm."""
    return is_hash_algorithm(name) and name not in {"md5", "sha1"}


def digest_bytes(content: bytes | memoryview) -> Digest:
    """SHA-256 of `content`."""
    import hashlib

    return Digest(hashlib.sha256(content).hexdigest())


def digest_file(file: BufferedReader) -> Digest:
    """SHA-256 of what is left to read of `file`."""
    import hashlib

    return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def hash_file(file: BufferedReader, algorithm: str) -> str:
    """Hash of a whole file by any algorithm that is_hash_algorithm knows, in lower-case hexadecimal."""
    import hashlib

    file.seek(0)
    return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def checksum_bytes(content: bytes | memoryview) -> str:
    """XXH3-128 of `content` in 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(content)


def checksum_chunks(chunks: Iterable[bytes]) -> str:
    """XXH3-128 of a content that comes in chunks, in 32 hexadecimal digits."""
    state = xxhash.xxh3_128()
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


class ContentHasher:
    """Digest, XXH3-128, size and, if asked, RECORD's own hash of a stream, in one pass."""

    def __init__(self, record_algorithm: str = "sha256") -> None:
        import hashlib

        self._sha256 = hashlib.sha256()
        self._xxh3 = xxhash.xxh3_128()
        self._record = self._sha256 if record_algorithm == "sha256" else hashlib.new(record_algorithm)
        self.size = 0

    def update(self, chunk: bytes | memoryview) -> None:
        self._sha256.update(chunk)
        self._xxh3.update(chunk)
        if self._record is not self._sha256:
            self._record.update(chunk)
        self.size += len(chunk)

    @property
    def digest(self) -> Digest:
        return Digest(self._sha256.hexdigest())

    @property
    def checksum(self) -> str:
        return self._xxh3.hexdigest()

    @property
    def record_hash(self) -> bytes:
        """The hash that RECORD's row for these bytes must hold."""
        return self._record.digest()
