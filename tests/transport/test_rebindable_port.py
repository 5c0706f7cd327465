"""A port that stays bound while its factory is replaced."""

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


class RebindablePortTests(TestCase):
    def setUp(self) -> None:
        self.rebindable = RebindablePort(reactor, "127.0.0.1", 0)
        self.addCleanup(self.rebindable.close)
        self.port: int = self.rebindable.port.getHost().port

    def answer(self) -> Deferred[bytes]:
        def connect() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), 20) as connection:
                return connection.makefile("rb").read()

        return deferToThread(connect)

    async def test_replaced(self) -> None:
        verifyObject(IStreamServerEndpoint, self.rebindable)
        for word in (b"one", b"two"):
            self.assertIs(self.successResultOf(self.rebindable.listen(Sayer(word))), self.rebindable.port)
            self.assertEqual(await self.answer(), word)

    async def test_no_factory_yet(self) -> None:
        self.assertEqual(await self.answer(), b"")

    def test_taken(self) -> None:
        self.assertRaises(CannotListenError, RebindablePort, reactor, "127.0.0.1", self.port)

    async def test_close(self) -> None:
        await self.rebindable.close()
        RebindablePort(reactor, "127.0.0.1", self.port).close()
