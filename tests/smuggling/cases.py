"""The heads: a corpus by name, and mutations of it."""

from __future__ import annotations

from random import Random

from tests.fuzz.table import TARGETS
from tests.fuzz.test_corpus import mutated

__all__ = ["EXAMPLES", "mutations"]

TARGET = TARGETS["smuggling"]
EXAMPLES = TARGET.examples()
"""By name: those that have been published, and what every server must get right."""


def mutations(count: int, seed: str) -> list[bytes]:
    """So many mutations; the same for the same seed."""
    random = Random(seed)
    examples = list(EXAMPLES.values())
    return [mutated(TARGET, examples, random) for _ in range(count)]
