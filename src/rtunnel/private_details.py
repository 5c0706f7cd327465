"""The private details of autobahn and Twisted that our speed relies on; all of them, each with its reason.

No release of theirs promises them, and we set no upper bounds. So they are checked where they are used, at import: when one of them
is not what it was, :func:`available` says so in one line and the plain way is taken, which is slower and relies on none.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from attrs import frozen
from twisted.logger import Logger
from twisted.python.reflect import namedAny

__all__ = ["AUTOBAHN", "EPOLL", "SOCKETS", "TLS", "UNIX_SOCKETS", "Detail", "available"]

_log = Logger()


@frozen
class Detail:
    """One detail.

    :param name: the dotted name of a class, function or attribute.
    :param reason: what it is for.
    :param parameters: its first parameters, where we call or override it.
    :param uses: attributes that its code uses, where these are the detail: instances have them, and no class.
    """

    name: str
    reason: str
    parameters: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()

    @property
    def missing(self) -> str | None:
        """What is not there any longer, None when everything is."""
        try:
            found = namedAny(self.name)
            parameters = tuple(inspect.signature(found).parameters) if self.parameters else ()
        except (ImportError, AttributeError, TypeError, ValueError):
            return self.name
        if parameters[: len(self.parameters)] != self.parameters:
            return f"{self.name}({', '.join(self.parameters)})"
        names = found.__code__.co_names if self.uses and hasattr(found, "__code__") else ()
        return next((f"{name} in {self.name}" for name in self.uses if name not in names), None)


def available(details: Iterable[Detail], otherwise: str) -> bool:
    """Whether all of some details are what they were; if not, that is logged.

    :param otherwise: what happens without them.
    """
    missing = [found for detail in details if (found := detail.missing)]
    if missing:
        _log.warn(
            "{otherwise}, which is slower: {missing} not found in this version",
            otherwise=otherwise,
            missing=", ".join(missing),
        )
    return not missing


AUTOBAHN = (
    Detail(
        "autobahn.websocket.protocol.WebSocketProtocol.sendCloseFrame",
        "sends every close frame, so that we know when the closing begins, and accepts the codes of the RFC, unlike sendClose",
        ("self", "code", "reasonUtf8", "isReply"),
    ),
)
"""For frames of our own, :mod:`rtunnel.transport.websocket`."""

_BUFFER = "tells whether Twisted still has bytes of its own to write"
_STATE = "tells whether something is between a write and the socket"

SOCKETS = (
    Detail("twisted.internet.abstract.FileDescriptor.write", _BUFFER, ("self", "data"), ("_tempDataLen",)),
    Detail(
        "twisted.internet.abstract.FileDescriptor.doWrite",
        _BUFFER,
        ("self",),
        ("_tempDataLen", "_tempDataBuffer", "dataBuffer", "offset"),
    ),
    Detail("twisted.internet.abstract.FileDescriptor.connected", _STATE),
    Detail("twisted.internet.abstract.FileDescriptor.disconnecting", _STATE),
    Detail("twisted.internet.abstract.FileDescriptor._writeDisconnecting", _STATE),
    Detail("twisted.internet.abstract.FileDescriptor._writeDisconnected", _STATE),
    Detail("twisted.internet.abstract.FileDescriptor.producer", _STATE),
    Detail("twisted.internet.abstract.FileDescriptor.streamingProducer", _STATE),
    Detail("twisted.internet.tcp.Connection.TLS", _STATE),
    Detail(
        "twisted.internet.tcp.Connection.doRead",
        "is replaced, with fewer calls",
        ("self",),
        ("socket", "recv", "_dataReceived"),
    ),
    Detail(
        "twisted.internet.tcp.Connection._dataReceived",
        "is bypassed",
        ("self", "data"),
        ("protocol", "dataReceived", "CONNECTION_DONE"),
    ),
    Detail("twisted.internet.tcp.Port.transport", "is the class of accepted connections"),
    Detail(
        "twisted.internet.tcp.Port.doRead",
        "is replaced, to accept within limits",
        ("self",),
        ("transport", "socket", "factory", "buildProtocol", "_buildAddr", "sessionno", "makeConnection"),
    ),
    Detail(
        "twisted.internet.tcp.Connection._closeWriteConnection", "ends a direction of which nothing waits", ("self",), ("shutdown",)
    ),
    Detail(
        "twisted.internet.tcp.Connection.connectionLost",
        "is called when nothing waits any more, and twice if need be",
        ("self", "reason"),
        ("_closeSocket", "socket"),
    ),
    Detail("twisted.internet.tcp._AbortingMixin._aborting", "tells whether it ends at once"),
    Detail("twisted.internet.tcp._SocketCloser._closeSocket", "is left out where there is nothing to do", ("self", "orderly")),
    Detail("twisted.internet.tcp.Connection.__init__", "is called", ("self", "skt", "protocol", "reactor")),
    Detail(
        "twisted.internet.tcp.BaseClient.failIfNotConnected",
        "fails a connect with the error of the socket",
        ("self", "err"),
        ("connected", "disconnected", "connector", "connectionFailed"),
    ),
    Detail(
        "twisted.internet.tcp.BaseClient.doConnect",
        "is replaced: an address is connected to once",
        ("self",),
        ("socket", "realAddress", "connect_ex", "_connectDone"),
    ),
    Detail(
        "twisted.internet.tcp.BaseClient._connectDone",
        "is done by it",
        ("self",),
        ("connector", "protocol", "buildProtocol", "connected", "startReading", "makeConnection"),
    ),
    Detail("twisted.internet.tcp.Client.getPeer", "is where it leads", ("self",), ("_addressType", "realAddress")),
)
"""For sockets that write at once, :mod:`rtunnel.transport.sockets` and :mod:`rtunnel.transport.connecting`."""

UNIX_SOCKETS = (
    Detail("twisted.internet.unix.Client.__init__", "is called", ("self", "filename", "connector", "reactor", "checkPID")),
    Detail(
        "twisted.internet.unix.Connector.__init__", "is called", ("self", "address", "factory", "timeout", "reactor", "checkPID")
    ),
    Detail(
        "twisted.internet.unix.Connector._makeTransport", "makes each connection that is opened", ("self",), ("address", "checkPID")
    ),
    Detail("twisted.internet.unix.Port.transport", "is the class of accepted connections"),
)
"""The same for unix sockets, :mod:`rtunnel.transport.unix_sockets`."""

_PROTOCOL = "twisted.protocols.tls.TLSMemoryBIOProtocol"
_TLS_STATE = "tells how far TLS has come"

TLS = (
    Detail(f"{_PROTOCOL}._handshakeDone", _TLS_STATE),
    Detail(f"{_PROTOCOL}._lostTLSConnection", _TLS_STATE),
    Detail(f"{_PROTOCOL}._reason", "is why the connection ends"),
    Detail(
        f"{_PROTOCOL}.dataReceived",
        "goes on with the handshake",
        ("self",),
        ("_handshakeDone", "_checkHandshakeStatus", "_flushReceiveBIO"),
    ),
    Detail(
        f"{_PROTOCOL}._checkHandshakeStatus",
        "tells how the handshake ended",
        ("self",),
        ("_handshakeDone", "handshakeCompleted", "_flushSendBIO", "_tlsShutdownFinished"),
    ),
    Detail(f"{_PROTOCOL}._flushReceiveBIO", "is replaced, for half-close and for large pieces", ("self",)),
    Detail(f"{_PROTOCOL}._flushSendBIO", "is replaced, for large pieces", ("self",)),
    Detail(f"{_PROTOCOL}._shutdownTLS", "is replaced: the peer's close_notify is not waited for", ("self",)),
    Detail(
        f"{_PROTOCOL}._tlsShutdownFinished",
        "is where every error of TLS ends, and put into words",
        ("self", "reason"),
        ("_reason", "_lostTLSConnection", "_flushSendBIO", "loseConnection"),
    ),
    Detail(
        f"{_PROTOCOL}.connectionLost",
        "tells the protocol why",
        ("self", "reason"),
        ("_lostTLSConnection", "_reason"),
    ),
    Detail(f"{_PROTOCOL}.unregisterProducer", "ends TLS by the method that is replaced", ("self",), ("_shutdownTLS",)),
)
"""For TLS that ends each direction by itself and works in large pieces, :mod:`rtunnel.transport.tls`."""

EPOLL = (
    Detail(
        "twisted.internet.epollreactor.EPollReactor.doPoll",
        "is replaced",
        ("self", "timeout"),
        ("_poller", "poll", "_selectables", "_doReadOrWrite"),
    ),
    Detail(
        "twisted.internet.epollreactor.EPollReactor._doReadOrWrite",
        "handles what is not only readable",
        ("self", "selectable", "fd", "event"),
    ),
    Detail(
        "twisted.internet.epollreactor.EPollReactor._disconnectSelectable",
        "ends a descriptor whose doRead gave a reason",
        ("self", "selectable", "why", "isRead"),
    ),
    Detail(
        "twisted.internet.base.ReactorBase.mainLoop",
        "is replaced",
        ("self",),
        ("_started", "runUntilCurrent", "timeout", "running", "doIteration"),
    ),
    Detail(
        "twisted.internet.base.ReactorBase.runUntilCurrent",
        "is left out where nothing is due, which these tell",
        ("self",),
        ("threadCallQueue", "_pendingTimedCalls", "_justStopped"),
    ),
    Detail(
        "twisted.internet.base.ReactorBase._insertNewDelayedCalls",
        "takes new timed calls from where these wait",
        ("self",),
        ("_newTimedCalls",),
    ),
)
"""For the reactor with an end-of-turn hook, :mod:`rtunnel.reactor`."""
