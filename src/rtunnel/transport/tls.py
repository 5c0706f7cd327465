"""TLS over any connection: Twisted's, which ends each direction by itself and reads and writes in large pieces.

:class:`twisted.protocols.tls.TLSMemoryBIOProtocol` closes a connection as soon as the peer has ended its direction, which would
cut the answer off a request whose sender has finished; and it takes 32 KiB at a time. :class:`TlsProtocol` differs in that. It
overrides private methods of Twisted's (:data:`rtunnel.private_details.TLS`); where they are gone, :class:`StockTlsProtocol` takes
its place, which is Twisted's own but for what every transport here has to offer.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory, IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.private_details import TLS, available
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.tls_errors import CUT_OFF, TlsError, describe_reply, in_words

__all__ = ["ALERT_TIMEOUT", "PLAIN_HTTP", "StockTlsProtocol", "TlsFactory", "TlsProtocol"]

RECORD = 16384
"""Bytes of one record, at most (RFC 8446 5.1)."""
ALERT_TIMEOUT = 5.0
"""Seconds in which a peer may take the alert of a connection that has failed."""
PLAIN_HTTP = b"HTTP/1.1 400 this port speaks TLS, use wss or https\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""The answer to a client that speaks HTTP to a port with TLS."""
UNEXPECTED_MESSAGE = b"\x15\x03\x03\x00\x02\x02\x0a"
"""The answer to one that speaks anything else: the fatal alert unexpected_message (RFC 8446 6)."""


class StockTlsProtocol(TLSMemoryBIOProtocol):
    """Twisted's TLS as a transport whose protocol can be exchanged; it has no half-close."""

    transport: Any
    factory: Any
    begun = True
    """Whether the peer has sent anything; Twisted's cannot tell."""

    @property
    def protocol(self) -> Any:
        """Who gets the bytes; may be exchanged at any time once the handshake is done."""
        return self.wrappedProtocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self.wrappedProtocol = protocol

    def loseWriteConnection(self) -> None:
        """Close: Twisted would end the connection beneath without close_notify."""
        self.loseConnection()

    def abortConnection(self) -> None:
        """Cut the connection. Twisted would write a close_notify first, which says that the stream was whole."""
        self.disconnecting = True
        self.transport.abortConnection()


@implementer(IHalfCloseableProtocol, IPushProducer)
class TlsProtocol(StockTlsProtocol):
    """The protocol of a connection, and the transport of what is spoken over TLS.

    It ends with ``connectionLost`` of ``protocol``: ConnectionDone after both ends' close_notify, or ours;
    :class:`~rtunnel.transport.tls_errors.TlsError` when TLS failed or the peer was cut off before its close_notify, so that a
    truncated stream never looks like a whole one; else the reason of the connection beneath. Each direction ends by itself
    (RFC 8446 6.1). What is written leaves as one write of the connection beneath; nothing waits here, so that backpressure is
    that of the connection beneath.
    """

    begun = False
    _read_ended = False
    _write_ended = False
    _peer_closed = False
    """Whether a close_notify would not be read: the peer would respond with a reset, which looks like an error."""
    _paused = False
    _held = False
    """Whether bytes wait to be decrypted until reading is resumed."""
    _alert_timer: Any = None

    # -- the connection beneath

    def dataReceived(self, data: bytes) -> None:
        if self._lostTLSConnection or self._read_ended:
            return
        if self._handshakeDone:
            self.getHandle().bio_write(data)
            self._flushReceiveBIO()
            return
        if not self.begun:
            self.begun = True
            fault = self.factory.answer_cleartext(self.transport, data)
            if fault is not None:
                self._fail(Failure(TlsError(fault)))
                return
        super().dataReceived(data)
        if not self._lostTLSConnection:
            # the end of the handshake
            self._flushSendBIO()

    def readConnectionLost(self) -> None:
        """The peer ended the connection beneath: fine after its close_notify, a truncation before."""
        self._peer_closed = True
        if not self._read_ended:
            self._fail(Failure(TlsError(self._cut_off())))

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._alert_timer is not None and self._alert_timer.active():
            self._alert_timer.cancel()
        if not (self._read_ended or self.disconnecting) and reason.check(ConnectionDone):
            reason = Failure(TlsError(self._cut_off()))
        self.disconnecting = self._read_ended = self._write_ended = self._lostTLSConnection = True
        super().connectionLost(reason)

    def _cut_off(self) -> str:
        return CUT_OFF if self._handshakeDone else "the connection was closed during the TLS handshake"

    # -- bytes in

    def _flushReceiveBIO(self) -> None:
        """Decrypt all that is here, and deliver it in one piece."""
        if self._paused:
            self._held = True
        if self._paused or self._lostTLSConnection:
            return
        receive = self.getHandle().recv
        pieces = []
        ended, failure = False, None
        try:
            while True:
                pieces.append(receive(RECORD))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            ended = True
        except SSL.Error:
            failure = Failure()
        if pieces and not self.disconnecting:
            self.protocol.dataReceived(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if failure is not None:
            self._fail(failure)
        elif ended:
            self._peer_ended()

    def _peer_ended(self) -> None:
        """The close_notify of the peer came."""
        self._read_ended = True
        if self.disconnecting:
            return
        half_closeable = IHalfCloseableProtocol.providedBy(self.protocol)
        if half_closeable and not self._write_ended:
            self.protocol.readConnectionLost()
        else:
            self._peer_closed = not half_closeable
            self.loseConnection()

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self._paused = False
        if self._held:
            # came with the end of the handshake, and was not wanted then
            self._held = False
            self.factory.reactor.callLater(0, self._flushReceiveBIO)
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The consumer is gone."""
        self.loseConnection()

    # -- bytes out

    def write(self, data: bytes) -> None:
        """Encrypt and write, at once; only once the handshake is done."""
        if self._write_ended or not data:
            return
        try:
            self.getHandle().sendall(data)
        except SSL.Error:
            self._fail(Failure())
            return
        self._flushSendBIO(len(data) + len(data) // 128 + 256)

    def _flushSendBIO(self, size: int = RECORD) -> None:
        """Write what was encrypted.

        :param size: bytes that are expected, at least.
        """
        read = self.getHandle().bio_read
        with suppress(SSL.WantReadError):
            while True:
                data = read(size)
                self.transport.write(data)
                if len(data) < size:
                    return

    # -- the end

    def loseWriteConnection(self) -> None:
        """Send close_notify; the other direction goes on."""
        if self._read_ended:
            self.loseConnection()
        else:
            self._shutdownTLS()

    def loseConnection(self) -> None:
        """Write what was written, send close_notify, close; the peer's is not waited for (RFC 8446 6.1)."""
        if self.disconnecting:
            return
        self.disconnecting = True
        self._shutdownTLS()
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Cut the connection."""
        self._write_ended = True
        super().abortConnection()

    def _shutdownTLS(self) -> None:
        """Send close_notify, once."""
        if self._write_ended:
            return
        self._write_ended = True
        if not self._peer_closed:
            with suppress(SSL.Error):
                self.getHandle().shutdown()
            self._flushSendBIO()

    def failVerification(self, reason: Failure) -> None:
        """Remember why the handshake fails; it does in a moment, with an alert that tells the peer."""
        self._reason = reason

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        self._fail(reason)

    def _fail(self, reason: Failure | None) -> None:
        """TLS is over. The alert that says why has been written; the peer has :data:`ALERT_TIMEOUT` to take it."""
        if self._lostTLSConnection:
            return
        if reason is not None and self._reason is None:
            self._reason = in_words(reason, is_client=self.factory.is_client)
        self.disconnecting = self._write_ended = True
        self._alert_timer = self.factory.reactor.callLater(ALERT_TIMEOUT, self.transport.abortConnection)
        # a transport whose producer is paused would wait for it before it closes
        self.transport.unregisterProducer()
        super()._tlsShutdownFinished(None)


def _beneath(connection: StockTlsProtocol) -> ITunnelTransport:
    """TLS adds nothing to what the connection beneath can do."""
    return ITunnelTransport(connection.transport)


registerAdapter(_beneath, StockTlsProtocol, ITunnelTransport)


class TlsFactory(TLSMemoryBIOFactory):
    """The factory of one end of TLS connections.

    :param creator: makes the OpenSSL connections.
    :param is_client: which end it is.
    :param upper: builds what is spoken over TLS.
    :param reactor: for timers.
    """

    protocol = TlsProtocol if available(TLS, "TLS is Twisted's own, without half-close") else StockTlsProtocol

    def __init__(self, creator: Any, is_client: bool, upper: IProtocolFactory, reactor: IReactorTime) -> None:
        super().__init__(creator, is_client, upper, clock=reactor)
        self.is_client = is_client
        self.reactor = reactor

    def answer_cleartext(self, transport: Any, first: bytes) -> str | None:
        """Look at the first bytes of the peer, and answer those that are not TLS.

        :returns: what is wrong with them; None when they are TLS.
        """
        if self.is_client:
            return describe_reply(first)
        if first[0] == 22:
            return None
        if first[:1].isalpha():
            transport.write(PLAIN_HTTP)
            return "the client speaks plain HTTP on a TLS port; it must use wss:// (tunnel+wss://)"
        transport.write(UNEXPECTED_MESSAGE)
        return "the client does not speak TLS on a TLS port; it must use tls:// (tunnel+tls://)"
