"""A port that stays bound while what answers at it is exchanged."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from rtunnel.transport.rebindable_port import RebindablePort


class Sayer(Factory):
    """Says one word to whoever connects, and closes."""

    noisy = False

    def __init__(self, word: bytes) -> None:
        self.word = word

    def buildProtocol(self, addr: Any) -> Protocol:
        word = self.word

        class Say(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(word)
                self.transport.loseConnection()

        return Say()


class DoorTests(TestCase):
    def setUp(self) -> None:
        self.door = RebindablePort(reactor, "127.0.0.1", 0)
        self.addCleanup(self.door.close)
        self.port: int = self.door.port.getHost().port

    def pong_received(self) -> Deferred[bytes]:
        def connect() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), 20) as connection:
                return connection.makefile("rb").read()

        return deferToThread(connect)

    async def test_exchange(self) -> None:
        verifyObject(IStreamServerEndpoint, self.door)
        for word in (b"one", b"two"):
            self.assertIs(self.successResultOf(self.door.listen(Sayer(word))), self.door.port)
            self.assertEqual(await self.pong_received(), word)

    async def test_nobody_answers_yet(self) -> None:
        self.assertEqual(await self.pong_received(), b"")

    def test_taken(self) -> None:
        self.assertRaises(CannotListenError, RebindablePort, reactor, "127.0.0.1", self.port)

    async def test_close(self) -> None:
        await self.door.close()
        RebindablePort(reactor, "127.0.0.1", self.port).close()
