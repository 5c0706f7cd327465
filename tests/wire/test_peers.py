"""What two servers say to each other before they trust each other."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.peers import (
    NONCE,
    PREFIX,
    Challenge,
    Proof,
    Refusal,
    Verdict,
    stream_prefix,
    take_challenge,
    take_prefix,
    take_proof,
    take_verdict,
)
from rtunnel.wire.relay import RelayError

SECRET = b"the secret of all servers"
ids = st.uuids()
nonces = st.binary(min_size=NONCE, max_size=NONCE)


class HandshakeTests(SynchronousTestCase):
    """The three messages."""

    @given(ids, ids, nonces, nonces)
    def test_round_trip(self, here: UUID, there: UUID, first: bytes, second: bytes) -> None:
        challenge = Challenge(there, first)
        proof = Proof.of(SECRET, challenge, here, there, second)
        verdict = Verdict(Refusal.NONE, proof.counter(SECRET, challenge))
        messages: list[tuple[Any, Any]] = [(challenge, take_challenge), (proof, take_proof), (verdict, take_verdict)]
        for message, take in messages:
            data = message.encode()
            self.assertEqual(take(data + b"more"), (message, len(data)))
            for cut in range(len(data)):
                self.assertIsNone(take(data[:cut]))
        self.assertTrue(proof.is_right(SECRET, challenge))

    def test_whatever_differs_is_wrong(self) -> None:
        here, there, nonce = uuid4(), uuid4(), bytes(NONCE)
        challenge = Challenge(there, nonce)
        proof = Proof.of(SECRET, challenge, here, there, nonce)
        self.assertFalse(proof.is_right(b"another secret", challenge))
        self.assertFalse(proof.is_right(SECRET, Challenge(uuid4(), nonce)))
        self.assertFalse(proof.is_right(SECRET, Challenge(there, b"1" * NONCE)))
        for forged in (
            Proof(uuid4(), there, nonce, proof.mac),
            Proof(here, uuid4(), nonce, proof.mac),
            Proof(here, there, b"1" * NONCE, proof.mac),
        ):
            self.assertFalse(forged.is_right(SECRET, challenge))

    def test_nobody_is_told_what_it_said(self) -> None:
        """A server that has no secret cannot send back what the other one has proved itself with."""
        challenge = Challenge(uuid4(), bytes(NONCE))
        proof = Proof.of(SECRET, challenge, uuid4(), challenge.server, bytes(NONCE))
        self.assertNotEqual(proof.mac, proof.counter(SECRET, challenge))

    def test_the_secret_is_not_sent(self) -> None:
        challenge = Challenge(uuid4(), bytes(NONCE))
        proof = Proof.of(SECRET, challenge, uuid4(), challenge.server, bytes(NONCE))
        sent = challenge.encode() + proof.encode() + Verdict(Refusal.NONE, proof.counter(SECRET, challenge)).encode()
        self.assertNotIn(SECRET[:8], sent)

    def test_something_else(self) -> None:
        for data in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"rtunnel peer 2\r\n"):
            for take in (take_challenge, take_proof):
                self.assertRaises(RelayError, take, data)

    def test_a_refusal_that_is_not_known_is_one(self) -> None:
        taken = take_verdict(b"\x63" + bytes(32))
        assert taken is not None
        self.assertIs(taken[0].refusal, None)
        self.assertEqual(take_verdict(Verdict(None).encode()), (Verdict(None, bytes(32)), 33))


class PrefixTests(SynchronousTestCase):
    """What precedes a stream."""

    def test_round_trip(self) -> None:
        connector = uuid4()
        prefix = stream_prefix(connector)
        self.assertEqual(len(prefix), PREFIX)
        self.assertEqual(take_prefix(prefix), connector)

    def test_another_version(self) -> None:
        self.assertRaises(RelayError, take_prefix, b"\x02" + bytes(16))
