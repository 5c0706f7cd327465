"""The difference between the settings that are running and those that are wanted: pure data, made before anything changes."""

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
    """An address to listen on, numbered, because port 0 can be wanted several times."""

    address: Address
    number: int = 1

    @classmethod
    def counter(cls) -> Callable[[Address], BindKey]:
        """A function that gives each address its key, in order."""
        counts: Counter[Address] = Counter()

        def key(address: Address) -> BindKey:
            counts[address] += 1
            return cls(address, counts[address])

        return key

    def __str__(self) -> str:
        return str(attrs.evolve(self.address, host=self.address.host or "*"))


@attrs.frozen
class Difference(Generic[K]):
    """What to start, stop and change, by key.

    :ivar start: wanted and not running.
    :ivar stop: running and not wanted.
    :ivar change: running, and wanted with other settings.
    """

    start: tuple[K, ...]
    stop: tuple[K, ...]
    change: tuple[K, ...]


def compare(running: Mapping[K, object], wanted: Mapping[K, object]) -> Difference[K]:
    """What to do with what is running, so that it is what is wanted."""
    return Difference(
        start=tuple(key for key in wanted if key not in running),
        stop=tuple(key for key in running if key not in wanted),
        change=tuple(key for key in wanted if key in running and wanted[key] != running[key]),
    )


def numbered(values: Iterable[K]) -> dict[tuple[K, int], K]:
    """Values by key, where equal values have different keys."""
    counts: Counter[K] = Counter()
    found: dict[tuple[K, int], K] = {}
    for value in values:
        counts[value] += 1
        found[value, counts[value]] = value
    return found


def changed_fields(before: Any, after: Any) -> list[str]:
    """The names of the fields in which two settings differ."""
    return [field.name for field in attrs.fields(type(after)) if getattr(before, field.name) != getattr(after, field.name)]
