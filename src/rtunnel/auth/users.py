"""The users of a tunnel listener and the hashes of their passwords."""

from __future__ import annotations

from collections.abc import Mapping

from rtunnel.auth.passwords import PasswordHash
from rtunnel.routing.lines import LineError, lines_of

__all__ = ["Users", "check_name"]

MAX_BYTES = 255  # on the wire, a length byte precedes the name
_SEPARATORS = frozenset(",*?[]!\"'\\")


def check_name(name: str) -> None:
    """Check a user name: a users file and a permissions file must be able to contain it.

    :raises ValueError: the message has a hint.
    """
    if not 0 < len(name.encode()) <= MAX_BYTES:
        raise ValueError(f"must have a name of 1 to {MAX_BYTES} bytes")
    if not name.isprintable() or " " in name or ":" in name or name.startswith("#") or _SEPARATORS & set(name):
        raise ValueError("has a name with a space, a colon, a comma, a quote or a wildcard; use letters, digits and . _ @ + -")


class Users:
    """Names and hashes; immutable (a reload creates a new one).

    :param hashes: by name.
    """

    __slots__ = ("_hashes", "_names")

    def __init__(self, hashes: Mapping[str, PasswordHash]) -> None:
        self._hashes = dict(hashes)
        self._names = tuple(hashes)

    @classmethod
    def parse(cls, text: str) -> Users:
        """Parse a users file: ``name:hash`` lines.

        :raises LineError: for the first line with an error.
        """
        hashes: dict[str, PasswordHash] = {}
        for number, line in lines_of(text):
            name, colon, hashed = line.partition(":")
            try:
                if not colon:
                    raise ValueError('is not NAME:HASH; generate the line with "rtunnel user NAME"')
                check_name(name)
                if name in hashes:
                    raise ValueError(f'names the user "{name}" again; keep one of the lines')
                hashes[name] = PasswordHash(hashed)
            except ValueError as error:
                raise LineError(number, str(error)) from None
        if not hashes:
            # most likely the file is just being written
            raise LineError(1, 'the file contains no user; generate a line with "rtunnel user NAME"')
        return cls(hashes)

    def with_user(self, name: str, hashed: PasswordHash) -> Users:
        """Return the users with another one added, or with another password for one."""
        return Users({**self._hashes, name: hashed})

    def get(self, name: str) -> PasswordHash | None:
        """Return the hash of a user, None if there is no such user."""
        return self._hashes.get(name)

    def decoy(self, number: int) -> PasswordHash:
        """Return some user's hash, to verify an unknown user's password against, so that it takes as long as a known user's."""
        return self._hashes[self._names[number % len(self._names)]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Users) and self._hashes == other._hashes

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._names)
