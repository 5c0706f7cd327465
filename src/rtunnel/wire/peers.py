"""What two servers say to each other: the handshake of a peer link, and what precedes each of its streams.

One server dials, the other one listens. Three messages of fixed size, all numbers big endian:

- :class:`Challenge`, from the one that listens: who it is, and a nonce.
- :class:`Proof`, from the one that dials: who it is, whom it wants, a nonce, and an HMAC of all that with the secret of the peers.
- :class:`Verdict`: whether that was right, and then the HMAC of the one that listens.

The secret itself is never sent, a recorded handshake is worth nothing, and none of the two can be told what it has said itself,
since the two HMACs are of different texts. Where certificates prove who a peer is, the secret is empty. What follows is a smux
session, in which the one that dialed opens the streams. Each begins with :func:`stream_prefix`, which names the connector that it
is for; after that come the same bytes as on a stream to the client of that connector.
"""

from __future__ import annotations

import hmac
from enum import IntEnum
from struct import Struct
from typing import Final
from uuid import UUID

from attrs import frozen

from rtunnel.wire.relay_features import RelayError

__all__ = [
    "NONCE",
    "PREFIX",
    "Challenge",
    "Proof",
    "Refusal",
    "Verdict",
    "stream_prefix",
    "take_challenge",
    "take_prefix",
    "take_proof",
    "take_verdict",
]

MAGIC: Final = b"rtunnel peer 1\r\n"
"""Begins the messages of the version that this is; another version has another text of the same size."""
NONCE: Final = 32
"""Bytes of a nonce."""
_MAC: Final = 32

_challenge = Struct(f">{len(MAGIC)}s16s{NONCE}s")
_proof = Struct(f">{len(MAGIC)}s16s16s{NONCE}s{_MAC}s")
_verdict = Struct(f">B{_MAC}s")

_DIALS: Final = b"the one that dials"
_LISTENS: Final = b"the one that listens"

_STREAM: Final = b"\x01"
"""The version of what precedes a stream."""
PREFIX: Final = len(_STREAM) + 16
"""Bytes that precede a stream."""


class Refusal(IntEnum):
    """What a verdict says; of a number that is unknown, only that it is a refusal."""

    NONE = 0
    WRONG_SECRET = 1
    WRONG_SERVER = 2
    """Another server listens at the address than the one that was meant."""


@frozen
class Challenge:
    """The first message, of the server that listens.

    :ivar server: its ID.
    :ivar nonce: random bytes.
    """

    server: UUID
    nonce: bytes

    def encode(self) -> bytes:
        """As it is sent."""
        return _challenge.pack(MAGIC, self.server.bytes, self.nonce)


@frozen
class Proof:
    """The answer of the server that dials.

    :ivar server: its ID.
    :ivar wanted: the ID of the server that it means.
    :ivar nonce: random bytes of its own.
    :ivar mac: the HMAC of all that and of the challenge.
    """

    server: UUID
    wanted: UUID
    nonce: bytes
    mac: bytes

    @classmethod
    def of(cls, secret: bytes, challenge: Challenge, server: UUID, wanted: UUID, nonce: bytes) -> Proof:
        """Answer a challenge."""
        unsigned = cls(server, wanted, nonce, b"")
        return cls(server, wanted, nonce, unsigned._sign(secret, challenge, _DIALS))

    def is_right(self, secret: bytes, challenge: Challenge) -> bool:
        """Whether it answers a challenge with the secret."""
        return hmac.compare_digest(self.mac, self._sign(secret, challenge, _DIALS))

    def counter(self, secret: bytes, challenge: Challenge) -> bytes:
        """What the server that listens proves itself with."""
        return self._sign(secret, challenge, _LISTENS)

    def _sign(self, secret: bytes, challenge: Challenge, role: bytes) -> bytes:
        parts = (MAGIC, self.server.bytes, self.wanted.bytes, self.nonce, challenge.server.bytes, challenge.nonce, role)
        return hmac.digest(secret, b"".join(parts), "sha256")

    def encode(self) -> bytes:
        """As it is sent."""
        return _proof.pack(MAGIC, self.server.bytes, self.wanted.bytes, self.nonce, self.mac)


@frozen
class Verdict:
    """The last message, of the server that listens.

    :ivar refusal: why the one that dials is refused, None for a reason that is not known here.
    :ivar mac: see :meth:`Proof.counter`; empty bytes if it is refused.
    """

    refusal: Refusal | None
    mac: bytes = b""

    def encode(self) -> bytes:
        """As it is sent."""
        return _verdict.pack(255 if self.refusal is None else self.refusal, self.mac)


def take_challenge(data: bytes) -> tuple[Challenge, int] | None:
    """The challenge at the beginning of some bytes, and its length; None while it is not complete.

    :raises RelayError: these are not the bytes of a peer of this version.
    """
    if not _begins_well(data, _challenge.size):
        return None
    _, server, nonce = _challenge.unpack_from(data)
    return Challenge(UUID(bytes=server), nonce), _challenge.size


def take_proof(data: bytes) -> tuple[Proof, int] | None:
    """The same of a proof."""
    if not _begins_well(data, _proof.size):
        return None
    _, server, wanted, nonce, mac = _proof.unpack_from(data)
    return Proof(UUID(bytes=server), UUID(bytes=wanted), nonce, mac), _proof.size


def take_verdict(data: bytes) -> tuple[Verdict, int] | None:
    """The same of a verdict, which any bytes can be."""
    if len(data) < _verdict.size:
        return None
    number, mac = _verdict.unpack_from(data)
    refusal = Refusal(number) if number in Refusal.__members__.values() else None
    return Verdict(refusal, mac), _verdict.size


def _begins_well(data: bytes, size: int) -> bool:
    """Whether a message is complete.

    :raises RelayError: it is none.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise RelayError("not the handshake of a peer of this version; is it the address of --peer-listen?")
    return len(data) >= size


def stream_prefix(connector: UUID) -> bytes:
    """What precedes a stream for a connector."""
    return _STREAM + connector.bytes


def take_prefix(data: bytes) -> UUID:
    """The connector that a stream is for.

    :param data: at least its first :data:`PREFIX` bytes.
    :raises RelayError: the prefix is of another version.
    """
    if data[:1] != _STREAM:
        raise RelayError("a stream for a connector in another version than this one")
    return UUID(bytes=bytes(data[1:PREFIX]))
