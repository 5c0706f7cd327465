"""Slows down whoever guesses passwords, without locking out whoever knows one.

Only wrong answers wait: the more wrong guesses came from an address, or for a name, the longer. As long as a guess is under way or
its answer waits it takes a place in the room of its address and in the room of its name; where a room is full nobody is checked.
So an address, and a name, gets at most :data:`ROOM` guesses per :data:`MAX_DELAY` seconds, however many connections it opens, and a
right password is let in at once as soon as there is a place. What was guessed counts, not how often: a hundred clients with the
same password take one place.

Whoever was let in from an address before does not wait for a place in the room of the name: strangers elsewhere cannot keep a user
out by guessing at his name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

__all__ = ["GuessThrottle", "LoginAttempt"]

MIN_DELAY: Final = 0.25
"""Seconds that the answer to the first wrong guess waits; twice as long each time."""
MAX_DELAY: Final = 5.0
"""Seconds that an answer waits at most."""
FORGET: Final = 600.0
"""Seconds after the last wrong guess after which all is forgotten."""
ROOM: Final = 32
"""Different guesses under way from one address, and for one name."""
MOST: Final = 10_000
"""Addresses, and names, that are remembered; then the one that was longest quiet is forgotten."""


class _Record:
    """What is remembered of an address or a name."""

    __slots__ = ("failures", "guesses", "last")

    def __init__(self) -> None:
        self.failures = 0
        self.last = 0.0
        self.guesses: dict[bytes, int] = {}

    def has_room(self, digest: bytes) -> bool:
        return digest in self.guesses or len(self.guesses) < ROOM

    def fail(self, now: float) -> None:
        if now - self.last > FORGET:
            self.failures = 0
        self.failures += 1
        self.last = now


class _Records:
    """The records of addresses, or of names; bounded."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def get(self, key: str) -> _Record:
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
            if len(self._records) > MOST:
                self._records.popitem(last=False)
        else:
            self._records.move_to_end(key)
        return record

    def __len__(self) -> int:
        return len(self._records)


class LoginAttempt:
    """One password under way. Whoever entered it ends it: with :meth:`right`, or with :meth:`wrong` and then :meth:`over`."""

    __slots__ = ("_digest", "_pair", "_records", "_throttle")

    def __init__(self, throttle: GuessThrottle, records: tuple[_Record, ...], digest: bytes, pair: tuple[str, str]) -> None:
        self._throttle = throttle
        self._records = records
        self._digest = digest
        self._pair = pair
        for record in records:
            record.guesses[digest] = record.guesses.get(digest, 0) + 1

    def right(self) -> None:
        """It was the password."""
        self._throttle.remember(self._pair)
        self.over()

    def wrong(self) -> float:
        """It was not; its place is taken until :meth:`over`.

        :returns: the seconds that the answer has to wait.
        """
        now = self._throttle.seconds()
        for record in self._records:
            record.fail(now)
        failures = max(record.failures for record in self._records)
        return MAX_DELAY if failures > 16 else min(MIN_DELAY * 2 ** (failures - 1), MAX_DELAY)

    def over(self) -> None:
        """Give the place back."""
        for record in self._records:
            left = record.guesses[self._digest] - 1
            if left:
                record.guesses[self._digest] = left
            else:
                del record.guesses[self._digest]


class GuessThrottle:
    """What is remembered of those who guess; in memory only.

    :param seconds: the clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.seconds = seconds
        self._addresses = _Records()
        self._names = _Records()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def enter(self, address: str, name: str, digest: bytes) -> LoginAttempt | None:
        """Begin a guess.

        :param digest: of the name and the password.
        :returns: None when there is no place for it; nothing may be checked then.
        """
        pair = (_network(address), name)
        by_address, by_name = self._addresses.get(pair[0]), self._names.get(name)
        if not by_address.has_room(digest) or not (pair in self._known or by_name.has_room(digest)):
            return None
        return LoginAttempt(self, (by_address, by_name), digest, pair)

    def remember(self, pair: tuple[str, str]) -> None:
        """A user was let in from an address."""
        self._known[pair] = None
        self._known.move_to_end(pair)
        if len(self._known) > MOST:
            self._known.popitem(last=False)


def _network(address: str) -> str:
    """An address as it is counted: of IPv6 the first half, since whoever has one address has all of its second halves."""
    try:
        number = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(IPv6Address(int(number) >> 64 << 64)) if isinstance(number, IPv6Address) else address
