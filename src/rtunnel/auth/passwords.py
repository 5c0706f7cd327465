"""Password hashes: Argon2id only (RFC 9106), in the text form of its reference implementation."""

from __future__ import annotations

import os
import re
from typing import Final

from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type, hash_secret, verify_secret
from attrs import field, frozen

__all__ = ["PasswordHash", "hash_password"]

# The first set of parameters in OWASP's Password Storage Cheat Sheet: 17 ms where it was measured, and 19 MiB, so that a server
# in a small pod can verify two at a time.
TIME: Final = 2
MEMORY: Final = 19456
LANES: Final = 1
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32

# Hashes from other programs may cost more, but not so much that one client can stop the server.
MAX_TIME: Final = 16
MAX_MEMORY: Final = 262144
MAX_LANES: Final = 16

_FORM = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,10})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}", re.ASCII
)
_OTHERS = {"$2": "bcrypt", "$apr1$": "MD5", "$1$": "MD5", "$5$": "SHA-256", "$6$": "SHA-512", "{SHA}": "SHA-1", "$y$": "yescrypt"}
_HINT = 'generate the line with "rtunnel user NAME"'


def _check(_instance: object, _attribute: object, text: str) -> None:
    match = _FORM.fullmatch(text)
    if match is None:
        for start, name in _OTHERS.items():
            if text.startswith(start):
                raise ValueError(f"holds a hash of the kind {name}, but only Argon2id is read; {_HINT}")
        if text.startswith(("$argon2i$", "$argon2d$")):
            raise ValueError(f"holds another kind of Argon2 than Argon2id; {_HINT}")
        raise ValueError(f"holds no Argon2id hash after the colon; {_HINT}")
    for name, value, maximum in zip(("m", "t", "p"), match.groups(), (MAX_MEMORY, MAX_TIME, MAX_LANES), strict=True):
        if not 1 <= int(value) <= maximum:
            raise ValueError(f"holds a hash that costs too much, {name}={value} where {maximum} is the maximum; {_HINT}")


@frozen
class PasswordHash:
    """A hash, with its salt and its parameters.

    :param text: ``$argon2id$v=19$m=...,t=...,p=...$SALT$HASH``.
    :raises ValueError: the text is not such a hash; the message has a hint and does not repeat the text.
    """

    text: str = field(validator=_check, repr=False)

    def matches(self, password: str) -> bool:
        """Tell whether a password matches; takes tens of milliseconds and releases the GIL meanwhile.

        :raises argon2.exceptions.VerificationError: verification failed for another reason, e.g. a lack of memory.
        """
        try:
            return verify_secret(self.text.encode(), password.encode(), Type.ID)
        except VerifyMismatchError:
            return False


def hash_password(password: str) -> PasswordHash:
    """Hash a password with a new salt."""
    salt = os.urandom(SALT_BYTES)
    return PasswordHash(hash_secret(password.encode(), salt, TIME, MEMORY, LANES, HASH_BYTES, Type.ID).decode())
