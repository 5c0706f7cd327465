"""Slows down password guessing without locking out users.

Only wrong passwords are delayed: the more of them came from an address, or for a user name, the longer. A login attempt occupies a
slot of its address and a slot of its user name while it is verified and while its rejection is delayed; when all slots are taken no
password is checked. So there are at most :data:`MAX_GUESSES` guesses per :data:`MAX_DELAY` seconds from an address, and for a user
name, however many connections are opened, and a right password is accepted at once as soon as there is a slot. Attempts are counted
by what they guess: a hundred clients with the same password take one slot.

A user that was admitted from an address before has :data:`OWN_GUESSES` slots of its own there, for when the others are taken:
guesses from elsewhere at the user name, and guesses from that address at other names, cannot keep the user out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from rtunnel.addresses import counted_as

__all__ = ["GuessThrottle", "LoginAttempt"]

MIN_DELAY: Final = 0.25
"""Seconds that the rejection of the first wrong password is delayed; doubled for each further one."""
MAX_DELAY: Final = 5.0
"""Seconds that a rejection is delayed at most."""
FORGET_AFTER: Final = 600.0
"""Seconds after the last wrong password after which the count starts again."""
MAX_GUESSES: Final = 32
"""Concurrent attempts with different passwords from one address, and for one user name."""
OWN_GUESSES: Final = 4
"""The same for a user that was admitted from that address before, when all others are taken."""
MAX_RECORDS: Final = 10_000
"""Addresses, user names, and users at their address, that are remembered; then the least recently used one is forgotten."""


K = TypeVar("K", bound=Hashable)


class _Record:
    """The attempts of an address or a user name."""

    __slots__ = ("attempts", "failures", "last_failure")

    def __init__(self) -> None:
        self.failures = 0
        self.last_failure = 0.0
        self.attempts: dict[bytes, int] = {}

    def has_slot(self, digest: bytes, slots: int = MAX_GUESSES) -> bool:
        return digest in self.attempts or len(self.attempts) < slots

    def fail(self, now: float) -> None:
        if now - self.last_failure > FORGET_AFTER:
            self.failures = 0
        self.failures += 1
        self.last_failure = now


class _Records(Generic[K]):
    """The records of addresses, of user names, or of users at their address; bounded."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: OrderedDict[K, _Record] = OrderedDict()

    def get(self, key: K) -> _Record:
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
            if len(self._records) > MAX_RECORDS:
                self._records.popitem(last=False)
        else:
            self._records.move_to_end(key)
        return record

    def __contains__(self, key: K) -> bool:
        return key in self._records

    def __len__(self) -> int:
        return len(self._records)


class LoginAttempt:
    """A password that is being verified. Its owner ends it with :meth:`succeed`, or with :meth:`fail` and later :meth:`release`."""

    __slots__ = ("_digest", "_pair", "_records", "_throttle")

    def __init__(self, throttle: GuessThrottle, records: tuple[_Record, ...], digest: bytes, pair: tuple[str, str]) -> None:
        self._throttle = throttle
        self._records = records
        self._digest = digest
        self._pair = pair
        for record in records:
            record.attempts[digest] = record.attempts.get(digest, 0) + 1

    def succeed(self) -> None:
        """The password was right."""
        self._throttle.remember(self._pair)
        self.release()

    def fail(self) -> float:
        """The password was wrong; the attempt keeps its slots until :meth:`release`.

        :returns: the seconds by which to delay the rejection.
        """
        now = self._throttle.seconds()
        for record in self._records:
            record.fail(now)
        failures = max(record.failures for record in self._records)
        return MAX_DELAY if failures > 16 else min(MIN_DELAY * 2 ** (failures - 1), MAX_DELAY)

    def release(self) -> None:
        """Free the slots."""
        for record in self._records:
            left = record.attempts[self._digest] - 1
            if left:
                record.attempts[self._digest] = left
            else:
                del record.attempts[self._digest]


class GuessThrottle:
    """The attempts by address and by user name; in memory only.

    :param seconds: the clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.seconds = seconds
        self._addresses: _Records[str] = _Records()
        self._names: _Records[str] = _Records()
        self._known: _Records[tuple[str, str]] = _Records()

    def begin(self, address: str, name: str, digest: bytes) -> LoginAttempt | None:
        """Begin a login attempt.

        :param digest: of the name and the password.
        :returns: None when there is no slot for it; its password must not be checked then.
        """
        pair = (counted_as(address), name)
        by_address, by_name = self._addresses.get(pair[0]), self._names.get(name)
        if by_address.has_slot(digest) and by_name.has_slot(digest):
            return LoginAttempt(self, (by_address, by_name), digest, pair)
        if pair in self._known and (known := self._known.get(pair)).has_slot(digest, OWN_GUESSES):
            return LoginAttempt(self, (known,), digest, pair)
        return None

    def elsewhere(self, address: str, name: str, digest: bytes) -> LoginAttempt:
        """A password was tried at another server; the attempt counts as if it were made here, whether or not there is a slot.

        :param digest: the same for the same password at that server.
        """
        pair = (counted_as(address), name)
        return LoginAttempt(self, (self._addresses.get(pair[0]), self._names.get(name)), digest, pair)

    def remember(self, pair: tuple[str, str]) -> None:
        """Note that a user was admitted from an address."""
        self._known.get(pair)
