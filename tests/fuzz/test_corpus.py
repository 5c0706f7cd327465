"""Every fuzz target with its corpus and with mutations of it, always the same ones; ``make fuzz`` goes on from there."""

from __future__ import annotations

from pkgutil import iter_modules
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rtunnel import wire
from tests.fuzz.table import TARGETS
from tests.fuzz.target import CORPUS, Target

READ_THROUGH_OTHERS = {f"rtunnel.wire.{name}" for name in ("http1", "http1_follow", "http1_rewrite")}
"""Names of other modules, the engine of exchanges once more, and changes of heads that were read."""
MUTATIONS = 150
"""For each target."""


class CorpusTests(SynchronousTestCase):
    def test_each_target_has_one(self) -> None:
        folders = {target.shares or target.name for target in TARGETS.values()}
        self.assertEqual(folders, {path.name for path in CORPUS.iterdir()})

    def test_each_engine_has_a_target(self) -> None:
        """Each module that reads what others send; the rest writes, or is read through one of them."""
        covered = {module for target in TARGETS.values() for module in target.covers}
        engines = {f"rtunnel.wire.{module.name}" for module in iter_modules(wire.__path__)}
        self.assertEqual(engines - covered, READ_THROUGH_OTHERS)

    def test_examples(self) -> None:
        for target in TARGETS.values():
            for name, data in target.examples().items():
                self.check(target, name, data)

    def test_mutations(self) -> None:
        for target in TARGETS.values():
            random = Random(target.name)
            examples = list(target.examples().values())
            for _ in range(MUTATIONS):
                data = mutated(target, examples, random)
                self.check(target, repr(data), data)

    def check(self, target: Target, name: str, data: bytes) -> None:
        try:
            target.run(data)
        except Exception as error:
            raise AssertionError(f"{target.name} fails with {name}") from error


def mutated(target: Target, examples: list[bytes], random: Random) -> bytes:
    """An example with some bytes removed, changed or put in; words and pieces of other examples among them."""
    data = random.choice(examples)
    for _ in range(random.randint(1, 4)):
        start = random.randint(0, len(data))
        end = min(len(data), start + random.choice((0, 0, 1, 1, 2, 8)))
        other = random.choice(examples)
        at = random.randint(0, len(other))
        piece = random.choice((b"", bytes([random.randrange(256)]), other[at : at + 20], random.choice((*target.words, b"\0"))))
        data = data[:start] + piece + data[end:]
    return data[: target.max_size]
