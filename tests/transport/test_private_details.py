"""The private details of autobahn and Twisted that we rely on: each test names one, and fails when an upgrade has changed it."""

from __future__ import annotations

import inspect
import sys
from typing import Any, ClassVar

from autobahn.twisted.websocket import WebSocketClientProtocol, WebSocketServerProtocol
from twisted.internet import abstract, endpoints, reactor, tcp
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.websocket_endpoints import WebSocketClientEndpoint, WebSocketServerEndpoint
from tests.support.pipe import Pipe, connect


class _Under:
    """Hands out the factory that an endpoint puts on it."""

    factory: ClassVar[Any] = None

    def listen(self, factory: Any) -> Deferred[Any]:
        type(self).factory = factory
        return Deferred()

    connect = listen


class AutobahnTests(SynchronousTestCase):
    """What rtunnel.transport.websocket_frames takes for granted in autobahn's protocols."""

    pipe: Pipe

    def setUp(self) -> None:
        under: Any = _Under()
        WebSocketServerEndpoint(under, reactor=Clock()).listen(Factory.forProtocol(Protocol))
        self.server = under.factory.buildProtocol(None)
        endpoint = WebSocketClientEndpoint(under, reactor=Clock(), host="tunnel.local", port=80)
        self.opened = endpoint.connect(Factory.forProtocol(Protocol))
        self.client = under.factory.buildProtocol(None)
        self.pipe = connect(self.client, self.server)

    def open(self) -> tuple[Any, Any]:
        """Finish the upgrade; return both protocols."""
        self.pipe.pump()
        self.successResultOf(self.opened)
        return self.client, self.server

    def test_state(self) -> None:
        """``state`` is STATE_CONNECTING, then STATE_OPEN, STATE_CLOSING after our close frame, and STATE_CLOSED at the end."""
        for protocol in (self.client, self.server):
            self.assertEqual(protocol.state, protocol.STATE_CONNECTING, "autobahn: state before the upgrade is another")
        client, server = self.open()
        for protocol in (client, server):
            self.assertEqual(protocol.state, protocol.STATE_OPEN, "autobahn: state after the upgrade is not STATE_OPEN")
        client.sendClose(1000)
        self.assertEqual(client.state, client.STATE_CLOSING, "autobahn: state after sendClose is not STATE_CLOSING")
        self.pipe.pump()
        self.assertEqual(client.state, client.STATE_CLOSED, "autobahn: state at the end is not STATE_CLOSED")

    def test_data(self) -> None:
        """``data`` is the bytes not yet taken: the head before the upgrade, nothing between frames."""
        self.pipe.pump(max_bytes=10)
        self.assertEqual(len(self.server.data), 10, "autobahn: data does not hold the head that is being received")
        for protocol in self.open():
            self.assertEqual(protocol.data, b"", "autobahn: data is not empty when all was taken")

    def test_current_frame(self) -> None:
        """``current_frame`` is None between frames and not within."""
        client, _ = self.open()
        self.assertIsNone(client.current_frame, "autobahn: current_frame is not None between frames")
        client._dataReceived(b"\x82\x05ab")
        self.assertIsNotNone(client.current_frame, "autobahn: current_frame is None within a frame")
        client._dataReceived(b"cde")
        self.assertIsNone(client.current_frame, "autobahn: current_frame is not None after a frame")

    def test_inside_message(self) -> None:
        """``inside_message`` is true between the fragments of a message."""
        client, _ = self.open()
        self.assertIs(client.inside_message, False, "autobahn: inside_message is not False after the upgrade")
        client._dataReceived(b"\x02\x01a")
        self.assertIs(client.inside_message, True, "autobahn: inside_message is not True within a message")
        client._dataReceived(b"\x80\x01b")
        self.assertIs(client.inside_message, False, "autobahn: inside_message is not False after a message")

    def test_data_received(self) -> None:
        """``_dataReceived`` takes bytes as ``dataReceived`` does; it exists beside it, so that we can override the latter."""
        for protocol in (WebSocketServerProtocol, WebSocketClientProtocol):
            self.assertEqual(
                list(inspect.signature(protocol._dataReceived).parameters),
                ["self", "data"],
                "autobahn: _dataReceived takes other arguments",
            )

    def test_send_close_frame(self) -> None:
        """``sendCloseFrame`` is what every close frame goes through, also autobahn's answer and after a violation."""
        for protocol in (WebSocketServerProtocol, WebSocketClientProtocol):
            self.assertEqual(
                list(inspect.signature(protocol.sendCloseFrame).parameters),
                ["self", "code", "reasonUtf8", "isReply"],
                "autobahn: sendCloseFrame takes other arguments",
            )
        client, server = self.open()
        calls: list[bool] = []
        for protocol in (client, server):
            original = protocol.sendCloseFrame

            def noted(*arguments: Any, original: Any = original, isReply: bool = False, **keywords: Any) -> None:
                calls.append(isReply)
                original(*arguments, isReply=isReply, **keywords)

            protocol.sendCloseFrame = noted
        client.sendClose(1000)
        self.pipe.pump()
        self.assertEqual(calls, [False, True], "autobahn: close frames leave by another way than sendCloseFrame")

    def test_protocol_violation(self) -> None:
        """``_protocol_violation`` says 1002 and marks the connection as failed, after which autobahn delivers nothing."""
        client, _ = self.open()
        client._protocol_violation("for a test")
        self.assertEqual(client.localCloseCode, 1002, "autobahn: _protocol_violation does not close with 1002")
        self.assertTrue(client.failedByMe, "autobahn: _protocol_violation does not set failedByMe")

    def test_http_status_line(self) -> None:
        """``http_status_line`` is the first line of the answer."""
        client, _ = self.open()
        self.assertEqual(
            client.http_status_line, "HTTP/1.1 101 Switching Protocols", "autobahn: http_status_line is not the status line"
        )

    def test_was_not_clean_reason(self) -> None:
        """``wasNotCleanReason`` says why an upgrade failed."""
        self.assertIsNone(self.client.wasNotCleanReason, "autobahn: wasNotCleanReason is set from the start")
        self.client.dataReceived(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.assertIn("Upgrade", self.client.wasNotCleanReason, "autobahn: wasNotCleanReason does not say why")
        self.pipe.pump()
        self.failureResultOf(self.opened)

    def test_host(self) -> None:
        """The client factory's ``host`` is what the Host of the upgrade shows, and nothing else."""
        self.client.factory.host = "[2001:db8::1]"
        self.client.startHandshake()
        self.assertIn(
            b"\r\nHost: [2001:db8::1]:80\r\n",
            bytes(self.pipe.client._buffer),
            "autobahn: the factory's host is not the Host of the request",
        )


class TwistedSocketTests(SynchronousTestCase):
    """What rtunnel.transport.sockets takes for granted in Twisted's TCP transports."""

    def descriptor(self) -> Any:
        """A FileDescriptor that is connected to nothing."""

        class Descriptor(abstract.FileDescriptor):
            def startWriting(self) -> None:
                pass

            def writeSomeData(self, data: bytes) -> int:
                return 2

        descriptor: Any = Descriptor(reactor)
        descriptor.connected = 1
        return descriptor

    def test_data_buffer(self) -> None:
        """``dataBuffer`` and ``_tempDataLen`` are empty, one or the other, exactly when all was written."""
        descriptor = self.descriptor()
        self.assertEqual(descriptor.dataBuffer, b"", "twisted: FileDescriptor.dataBuffer is not empty at first")
        self.assertEqual(descriptor._tempDataLen, 0, "twisted: FileDescriptor._tempDataLen is not 0 at first")
        descriptor.write(b"abcd")
        self.assertEqual(descriptor._tempDataLen, 4, "twisted: write() does not count in FileDescriptor._tempDataLen")
        descriptor.doWrite()
        self.assertTrue(descriptor.dataBuffer, "twisted: what the kernel did not take is not in FileDescriptor.dataBuffer")
        descriptor.doWrite()
        self.assertEqual(
            (descriptor.dataBuffer, descriptor._tempDataLen),
            (b"", 0),
            "twisted: FileDescriptor.dataBuffer or _tempDataLen is not empty when all was written",
        )

    def test_write_disconnecting(self) -> None:
        """``_writeDisconnecting`` is set by loseWriteConnection, ``_writeDisconnected`` once it happened."""
        descriptor = self.descriptor()
        for name in ("_writeDisconnecting", "_writeDisconnected"):
            self.assertFalse(getattr(descriptor, name), f"twisted: FileDescriptor.{name} is set from the start")
        descriptor.loseWriteConnection()
        self.assertTrue(
            descriptor._writeDisconnecting, "twisted: loseWriteConnection does not set FileDescriptor._writeDisconnecting"
        )

    def test_disconnecting(self) -> None:
        """``disconnecting`` is set by loseConnection."""
        descriptor = self.descriptor()
        self.assertFalse(descriptor.disconnecting, "twisted: FileDescriptor.disconnecting is set from the start")
        descriptor.loseConnection()
        self.assertTrue(descriptor.disconnecting, "twisted: loseConnection does not set FileDescriptor.disconnecting")

    def test_streaming_producer(self) -> None:
        """``producer`` and ``streamingProducer`` tell a pull producer from others."""
        descriptor = self.descriptor()
        self.assertIsNone(descriptor.producer, "twisted: FileDescriptor.producer is not None at first")

        class Puller:
            def resumeProducing(self) -> None:
                pass

        descriptor.registerProducer(Puller(), False)
        self.assertIsNotNone(descriptor.producer, "twisted: registerProducer does not set FileDescriptor.producer")
        self.assertFalse(descriptor.streamingProducer, "twisted: FileDescriptor.streamingProducer is set for a pull producer")

    def test_tls(self) -> None:
        """``TLS`` is false until startTLS."""
        for transport in (tcp.Server, tcp.Client):
            self.assertIs(transport.TLS, False, "twisted: tcp.Connection.TLS is not False from the start")

    def test_port_transport(self) -> None:
        """``Port.transport`` is the class of accepted connections, and read for each."""
        self.assertIs(tcp.Port.transport, tcp.Server, "twisted: tcp.Port.transport is not the class of accepted connections")
        self.assertIn(
            "self.transport(", inspect.getsource(tcp.Port.doRead), "twisted: tcp.Port does not build connections by Port.transport"
        )

    def test_reading(self) -> None:
        """``doRead`` gives what one recv brought to the protocol, and CONNECTION_DONE for nothing."""
        source = inspect.getsource(tcp.Connection.doRead) + inspect.getsource(tcp.Connection._dataReceived)
        for part in ("self.socket.recv(", "self.protocol.dataReceived(data)", "main.CONNECTION_DONE"):
            self.assertIn(part, source, f"twisted: tcp.Connection.doRead works without {part}")

    def test_what_keeps_writes_back(self) -> None:
        """``disconnecting``, ``_writeDisconnecting`` and ``producer`` change in these calls."""
        for name in ("registerProducer", "loseConnection", "loseWriteConnection", "abortConnection", "connectionLost"):
            self.assertTrue(callable(getattr(tcp.Server, name, None)), f"twisted: tcp.Server.{name} is gone")

    def test_connector(self) -> None:
        """``Connector._makeTransport`` makes the Client, of these attributes."""
        connector: Any = tcp.Connector("127.0.0.1", 1, ClientFactory(), 30, None, reactor)
        for name in ("host", "port", "bindAddress", "reactor"):
            self.assertTrue(hasattr(connector, name), f"twisted: tcp.Connector.{name} is gone")
        self.assertIn(
            "self._makeTransport()",
            inspect.getsource(tcp.Connector.__mro__[1].connect),  # type: ignore[attr-defined]
            "twisted: connect() does not call tcp.Connector._makeTransport",
        )
        self.assertEqual(
            list(inspect.signature(tcp.Client.__init__).parameters),
            ["self", "host", "port", "bindAddress", "connector", "reactor"],
            "twisted: tcp.Client takes other arguments",
        )

    def test_wrapping_protocol(self) -> None:
        """Endpoints wrap the protocol, whose own transport is the socket's."""
        inner = Protocol()
        wrapping: Any = endpoints._WrappingProtocol(Deferred(), inner)
        transport = self.descriptor()
        wrapping.makeConnection(transport)
        self.assertIs(inner.transport, transport, "twisted: the protocol beneath _WrappingProtocol has another transport")


class TwistedReactorTests(SynchronousTestCase):
    """What rtunnel.reactor takes for granted in Twisted's epoll reactor."""

    def setUp(self) -> None:
        if not sys.platform.startswith("linux"):
            self.skipTest("this system has no epoll")

    def test_epoll_reactor(self) -> None:
        """``_poller``, ``_selectables`` and ``_doReadOrWrite`` are what doPoll works with; ``doIteration`` is doPoll."""
        from twisted.internet.epollreactor import EPollReactor

        source = inspect.getsource(EPollReactor.doPoll)
        for name in ("_poller.poll(", "_selectables", "_doReadOrWrite"):
            self.assertIn(name, source, f"twisted: EPollReactor.doPoll works without {name.rstrip('(')}")
        self.assertIs(EPollReactor.doIteration, EPollReactor.doPoll, "twisted: EPollReactor.doIteration is not doPoll")
        self.assertEqual(
            list(inspect.signature(EPollReactor._doReadOrWrite).parameters),
            ["self", "selectable", "fd", "event"],
            "twisted: EPollReactor._doReadOrWrite takes other arguments",
        )
        created: Any = EPollReactor()
        self.addCleanup(created._poller.close)
        self.addCleanup(created.removeAll)
        self.assertIsInstance(created._selectables, dict, "twisted: EPollReactor._selectables is no dict by descriptor")

    def test_main_loop(self) -> None:
        """``mainLoop`` runs what is due and polls, as long as ``_started``; these names say whether anything is due."""
        from twisted.internet.base import ReactorBase

        loop = inspect.getsource(ReactorBase.mainLoop)
        for part in ("self._started", "self.runUntilCurrent()", "self.timeout()", "self.running and", "self.doIteration("):
            self.assertIn(part, loop, f"twisted: ReactorBase.mainLoop works without {part}")
        due = inspect.getsource(ReactorBase.runUntilCurrent)
        for name in ("threadCallQueue", "_pendingTimedCalls[0].time", "_justStopped"):
            self.assertIn(name, due, f"twisted: ReactorBase.runUntilCurrent works without {name}")
        self.assertIn(
            "_newTimedCalls",
            inspect.getsource(ReactorBase._insertNewDelayedCalls),
            "twisted: new timed calls do not wait in ReactorBase._newTimedCalls",
        )

    def test_disconnect_selectable(self) -> None:
        """``_disconnectSelectable`` ends a descriptor whose doRead returned a reason; ``EPOLLIN`` alone means to read only."""
        from twisted.internet import epollreactor

        self.assertTrue(epollreactor.EPOLLIN, "twisted: twisted.internet.epollreactor.EPOLLIN is gone")
        self.assertEqual(
            list(inspect.signature(epollreactor.EPollReactor._disconnectSelectable).parameters)[:4],
            ["self", "selectable", "why", "isRead"],
            "twisted: EPollReactor._disconnectSelectable takes other arguments",
        )

    def test_errors_are_caught(self) -> None:
        """``_doReadOrWrite`` logs what a selectable raises: doPoll need not catch it."""
        from twisted.internet.epollreactor import EPollReactor

        self.assertIn(
            "except", inspect.getsource(EPollReactor._doReadOrWrite), "twisted: EPollReactor._doReadOrWrite catches no errors"
        )
