"""What a fuzz target is, and how its input is cut into pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from zlib import crc32

from attrs import frozen

__all__ = ["CORPUS", "Target", "cuts"]

CORPUS = Path(__file__).resolve().parents[1] / "data" / "fuzz"
"""A folder for each target, a file for each input."""

MAX_SINGLE = 64
"""Bytes up to which an input is also given byte by byte."""


@frozen
class Target:
    """A parser with its promises.

    :ivar name: of the target and of the folder of its corpus.
    :ivar run: fails, with any exception, when the input breaks a promise.
    :ivar covers: modules whose lines are to be covered.
    :ivar words: what inputs are made of; the fuzzer puts them in.
    :ivar max_size: of an input, in bytes.
    :ivar shares: the target whose corpus it starts from, if not its own.
    """

    name: str
    run: Callable[[bytes], None]
    covers: tuple[str, ...]
    words: Sequence[bytes] = ()
    max_size: int = 2048
    shares: str = ""

    @property
    def folder(self) -> Path:
        """Where its corpus is."""
        return CORPUS / (self.shares or self.name)

    def examples(self) -> dict[str, bytes]:
        """Its corpus, by file name."""
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Ways to cut an input into pieces; always the same ones, so that a failure can be repeated."""
    if len(data) <= MAX_SINGLE:
        yield [data[index : index + 1] for index in range(len(data))]
    random = Random(crc32(data))
    for most in (3, 100):
        pieces, start = [], 0
        while start < len(data):
            end = start + random.randint(1, most)
            pieces.append(data[start:end])
            start = end
        yield pieces
