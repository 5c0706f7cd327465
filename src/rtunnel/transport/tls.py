"""TLS over any connection: a protocol that is a transport.

The library works on memory (``ssl.MemoryBIO``), so it does not matter what is beneath: sockets that write at once, inherited ones,
a connection through a proxy. What is written leaves as one write of the connection beneath, in records of 16 KiB; nothing waits
here, so that backpressure is that of the connection beneath.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.transport.certificates import CertificateFileError
from rtunnel.transport.interfaces import ITunnelTransport

__all__ = ["GOODBYE_TIME", "TlsConnection", "TlsFault"]

RECORD = 16384
"""Bytes of one record, at most (RFC 8446 5.1)."""
GOODBYE_TIME = 5.0
"""Seconds in which a peer may take the alert of a connection that has failed."""
CUT_OFF = "the connection was cut off in the middle (no close_notify)"


class TlsFault(ConnectionClosed):
    """TLS has failed or was cut off; the text is one line that says what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@implementer(ITransport, IConsumer, IPushProducer, IHalfCloseableProtocol)
class TlsConnection(Protocol):
    """One connection: the protocol of the connection beneath, and the transport of ``protocol`` once the handshake is done.

    It ends with ``connectionLost`` of ``protocol``: ConnectionDone after both goodbyes (close_notify), or ours; :class:`TlsFault`
    when the peer was cut off before its goodbye, so that a truncated stream never looks like a whole one; else the reason of the
    connection beneath. Each direction ends by itself (RFC 8446 6.1).
    """

    transport: Any

    def __init__(self, reactor: Any, seconds: float) -> None:
        self.protocol: Any = None
        """Who gets the bytes; may be exchanged at any time once the handshake is done."""
        self.disconnecting = False
        self._reactor = reactor
        self._seconds = seconds
        self._timer: Any = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._begun = False
        self._open = False
        self._paused = False
        self._read_ended = False
        self._write_ended = False
        self._nobody_reads = False
        self._fault: TlsFault | None = None

    # -- what the two ends do differently

    def wrap(self) -> ssl.SSLObject:
        """Make the engine."""
        raise NotImplementedError

    def begin(self, first: bytes) -> str | None:
        """Look at the first bytes of the peer; the words for what is no TLS."""
        raise NotImplementedError

    def verify(self, tls: ssl.SSLObject) -> str | None:
        """Look at the peer's certificate when the handshake is done; the words for one that is not good."""
        raise NotImplementedError

    def words(self, error: ssl.SSLError) -> str:
        """Say what an error means."""
        raise NotImplementedError

    def opened(self) -> None:
        """The handshake is done: put a protocol on, if anybody still wants it."""
        raise NotImplementedError

    def failed(self, reason: Failure) -> None:
        """The handshake failed; called when the connection is gone."""
        raise NotImplementedError

    # -- the connection beneath: IHalfCloseableProtocol

    def connectionMade(self) -> None:
        self._timer = self._reactor.callLater(self._seconds, self._expired)
        try:
            self._tls = self.wrap()
        except CertificateFileError as error:
            self._give_up(str(error))
            return
        self._shake()

    def dataReceived(self, data: bytes) -> None:
        if self._fault is not None or self._tls is None or self._read_ended:
            return
        if not self._open:
            self._shake_with(data)
            return
        self._incoming.write(data)
        self._receive()

    def readConnectionLost(self) -> None:
        """The peer ended the connection beneath: fine after its goodbye, an accident before."""
        self._nobody_reads = True
        if not self._read_ended:
            self._give_up(CUT_OFF if self._open else "the connection was closed during the TLS handshake")

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timer()
        if self._fault is not None:
            reason = Failure(self._fault)
        elif not (self._read_ended or self.disconnecting) and reason.check(ConnectionDone):
            reason = Failure(TlsFault(CUT_OFF))
        self.disconnecting = self._read_ended = self._write_ended = True
        self._tls = None
        if not self._open:
            self.failed(reason)
        elif self.protocol is not None:
            self.protocol.connectionLost(reason)

    # -- the handshake

    def _shake_with(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            fault = self.begin(data)
            if fault is not None:
                self._give_up(fault)
                return
        self._incoming.write(data)
        self._shake()
        if self._open:
            self._receive()

    def _shake(self) -> None:
        tls = cast(ssl.SSLObject, self._tls)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()
            self._give_up(self.words(error))
            return
        self._flush()
        fault = self.verify(tls)
        if fault is not None:
            self._give_up(fault)
            return
        self._stop_timer()
        self._open = True
        self.opened()

    def _expired(self) -> None:
        self._timer = None
        self._fault = TlsFault("the TLS handshake took too long")
        self._begun = True
        self.transport.abortConnection()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _give_up(self, words: str) -> None:
        """End it; an alert that says why, if there is one, has been written."""
        if self._fault is not None:
            return
        self._fault = TlsFault(words)
        self.disconnecting = self._write_ended = True
        self._stop_timer()
        self._timer = self._reactor.callLater(GOODBYE_TIME, self.transport.abortConnection)
        # a transport whose producer is paused would wait for it before it closes
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    # -- bytes in

    def _receive(self) -> None:
        """Decrypt all that is here, pass it on in one piece."""
        tls = self._tls
        if tls is None or self._paused or self.disconnecting:
            return
        incoming = self._incoming
        pieces = []
        ended = False
        fault = None
        try:
            while incoming.pending or tls.pending():
                piece = tls.read(RECORD)
                if not piece:
                    ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError as error:
            fault = self.words(error)
        if self._outgoing.pending:
            # an answer to a change of keys, or the alert of an error
            self._flush()
        if pieces:
            self.protocol.dataReceived(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if fault is not None:
            self._give_up(fault)
        elif ended and not self._read_ended:
            self._peer_ended()

    def _peer_ended(self) -> None:
        self._read_ended = True
        if not IHalfCloseableProtocol.providedBy(self.protocol):
            self._nobody_reads = True
            self.loseConnection()
        elif self._write_ended:
            self.loseConnection()
        else:
            self.protocol.readConnectionLost()

    # -- ITransport, IConsumer: bytes out

    def write(self, data: bytes) -> None:
        """Encrypt and write."""
        if self._write_ended or not data:
            return
        tls = cast(ssl.SSLObject, self._tls)
        try:
            sent = tls.write(data)
            while sent < len(data):
                sent += tls.write(data[sent:])
        except ssl.SSLError as error:
            self._give_up(self.words(error))
            return
        self.transport.write(self._outgoing.read())

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write several pieces as one."""
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """Say goodbye; the other direction goes on."""
        if self._write_ended:
            return
        if self._read_ended:
            self.loseConnection()
        else:
            self._say_goodbye()

    def loseConnection(self) -> None:
        """Write what was written, say goodbye, close."""
        if self.disconnecting:
            return
        self.disconnecting = True
        self._say_goodbye()
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Cut the connection."""
        self.disconnecting = self._write_ended = True
        self.transport.abortConnection()

    def _say_goodbye(self) -> None:
        if self._write_ended:
            return
        self._write_ended = True
        if self._nobody_reads:
            # it would be answered with a reset, which looks like an accident
            return
        with suppress(ssl.SSLError):
            # it wants to read the peer's goodbye, which comes in its time
            cast(ssl.SSLObject, self._tls).unwrap()
        self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self.transport.write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have a producer paused when the connection beneath is behind."""
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self.transport.unregisterProducer()

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self._paused = False
        if self._incoming.pending:
            # came with the end of the handshake, and was not wanted then
            self._reactor.callLater(0, self._receive)
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The consumer is gone."""
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Of the connection beneath."""
        self.transport.setTcpNoDelay(enabled)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Of the connection beneath."""
        self.transport.setTcpKeepAlive(enabled)

    def getPeer(self) -> Any:
        """The address of the other end of the connection."""
        return self.transport.getPeer()

    def getHost(self) -> Any:
        """The address of this end of the connection."""
        return self.transport.getHost()


def _beneath(connection: TlsConnection) -> ITunnelTransport:
    """TLS adds nothing to what the connection beneath can do."""
    return ITunnelTransport(connection.transport)


registerAdapter(_beneath, TlsConnection, ITunnelTransport)
