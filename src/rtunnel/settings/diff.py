"""What to do so that what runs becomes what is wanted; pure data, made before anything is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from rtunnel.settings import Address

__all__ = ["BindKey", "Difference", "changed_fields", "compare", "numbered"]

K = TypeVar("K", bound=Hashable)


@attrs.frozen
class BindKey:
    """A place to listen: an address, and the how many-th of its kind, since port 0 can be asked for several times."""

    address: Address
    number: int = 1

    @classmethod
    def counter(cls) -> Callable[[Address], BindKey]:
        """Give each address its key, in order."""
        counts: Counter[Address] = Counter()

        def key(address: Address) -> BindKey:
            counts[address] += 1
            return cls(address, counts[address])

        return key

    def __str__(self) -> str:
        return str(attrs.evolve(self.address, host=self.address.host or "*"))


@attrs.frozen
class Difference(Generic[K]):
    """Between what runs and what is wanted, by key, each in its order.

    :ivar start: wanted and not there.
    :ivar stop: there and not wanted.
    :ivar change: there, and wanted otherwise.
    """

    start: tuple[K, ...]
    stop: tuple[K, ...]
    change: tuple[K, ...]


def compare(running: Mapping[K, object], wanted: Mapping[K, object]) -> Difference[K]:
    """Tell the difference."""
    return Difference(
        start=tuple(key for key in wanted if key not in running),
        stop=tuple(key for key in running if key not in wanted),
        change=tuple(key for key in wanted if key in running and wanted[key] != running[key]),
    )


def numbered(values: Iterable[K]) -> dict[tuple[K, int], K]:
    """Values as keys of themselves; one that is there twice has two keys."""
    counts: Counter[K] = Counter()
    found: dict[tuple[K, int], K] = {}
    for value in values:
        counts[value] += 1
        found[value, counts[value]] = value
    return found


def changed_fields(before: Any, after: Any) -> list[str]:
    """The names of the fields in which two settings differ."""
    return [field.name for field in attrs.fields(type(after)) if getattr(before, field.name) != getattr(after, field.name)]
