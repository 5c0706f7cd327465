"""The private details of autobahn and Twisted that we rely on: their list, what follows when one is gone, and what each is."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

from twisted.internet import abstract, endpoints, reactor, tcp
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.private_details import AUTOBAHN, EPOLL, SOCKETS, TLS, Detail, available
from rtunnel.transport.websocket_endpoints import WebSocketClientEndpoint, WebSocketServerEndpoint
from tests.support.logs import logged
from tests.support.pipe import Pipe, connect

ROOT = Path(__file__).parents[2]


class _Under:
    """Hands out the factory that an endpoint puts on it."""

    factory: ClassVar[Any] = None

    def listen(self, factory: Any) -> Deferred[Any]:
        type(self).factory = factory
        return Deferred()

    connect = listen


class ListTests(SynchronousTestCase):
    """The list, and how it is checked."""

    def test_all_there(self) -> None:
        """A release without one of them is slower: see what replaces it."""
        for details in (AUTOBAHN, SOCKETS, TLS, EPOLL if sys.platform.startswith("linux") else ()):
            for detail in details:
                self.assertIsNone(detail.missing, f"gone: {detail.name}, which {detail.reason}")

    def test_missing(self) -> None:
        here = f"{__name__}._Under"
        for detail, missing in (
            (Detail(here, "is there"), None),
            (Detail(f"{here}.listen", "takes so much", ("self", "factory"), ("Deferred", "factory")), None),
            (Detail(f"{here}.gone", "is gone"), f"{here}.gone"),
            (Detail(f"{__name__}.gone.too", "is gone"), f"{__name__}.gone.too"),
            (Detail("no_such_package.at_all", "is gone"), "no_such_package.at_all"),
            (Detail(f"{here}.listen", "takes another", ("self", "other")), f"{here}.listen(self, other)"),
            (Detail(f"{here}.factory", "cannot be called", ("self",)), f"{here}.factory"),
            (Detail(f"{here}.listen", "uses another", uses=("Deferred", "other")), f"other in {here}.listen"),
            (Detail(f"{here}.factory", "has no code", uses=("other",)), f"other in {here}.factory"),
        ):
            self.assertEqual(detail.missing, missing)

    def test_available(self) -> None:
        """What is missing is said in one line, whatever it is."""
        with logged() as lines:
            self.assertTrue(available([Detail("sys.path", "is there")], "it is slow"))
            self.assertEqual(lines, [])
            self.assertFalse(available([Detail("sys.gone", "is gone"), Detail("os.gone", "is gone")], "it is slow"))
        self.assertEqual(lines, ["it is slow, which is slower: sys.gone, os.gone not found in this version"])


class FallbackTests(SynchronousTestCase):
    """A library whose details have changed: each time in a process of its own, since they are checked at import."""

    def run_script(self, otherwise: str, missing: str, script: str) -> list[str]:
        """Run a script, which logs one warning; return what it printed."""
        finished = subprocess.run(
            [sys.executable, "-c", _PREAMBLE + dedent(script)], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
        )
        self.assertEqual(finished.returncode, 0, finished.stderr)
        *said, warning = finished.stdout.splitlines()
        self.assertEqual(warning, f"{otherwise}, which is slower: {missing} not found in this version")
        return said

    def test_autobahn(self) -> None:
        """The WebSocket works, with autobahn's own frames."""
        said = self.run_script(
            "binary frames pass through autobahn",
            "autobahn.websocket.protocol.WebSocketProtocol.sendCloseFrame(self, code, reasonUtf8, isReply)",
            """
            from autobahn.websocket.protocol import WebSocketProtocol
            original = WebSocketProtocol.sendCloseFrame
            WebSocketProtocol.sendCloseFrame = lambda self, *arguments, **keywords: original(self, *arguments, **keywords)
            from rtunnel.transport import websocket
            print(websocket.FAST)
            from tests.transport.test_websocket import World
            world = World().join()
            client, server = world.clients.one, world.servers.one
            client.stream.write(b"question")
            client.ping()
            world.pipe.pump()
            server.stream.write(b"answer")
            server.stream.loseConnection()
            world.pipe.pump()
            print(bytes(server.received), bytes(client.received), client.pongs)
            print(client.lost[0].type.__name__, server.lost[0].type.__name__, world.clock.getDelayedCalls())
            """,
        )
        self.assertEqual(
            said,
            [
                "False",
                "b'question' b'answer' 1",
                "ConnectionDone ConnectionDone []",
            ],
        )

    def test_sockets(self) -> None:
        """Connections work, with Twisted's own transports."""
        said = self.run_script(
            "sockets write when the reactor says so",
            "twisted.internet.tcp.Connection.__init__(self, skt, protocol, reactor)",
            """
            from twisted.internet import tcp
            original = tcp.Connection.__init__
            tcp.Connection.__init__ = lambda self, *arguments: original(self, *arguments)
            from rtunnel.transport import sockets
            from rtunnel.transport.connecting import SocketClientEndpoint
            print(sockets.AT_ONCE)
            from twisted.internet import reactor
            from twisted.internet.protocol import Factory, Protocol
            class Echo(Protocol):
                def dataReceived(self, data):
                    self.transport.write(data)
            class Asking(Protocol):
                def connectionMade(self):
                    self.transport.write(b"question")
                def dataReceived(self, data):
                    print(type(self.transport).__name__, data)
                    reactor.stop()
            port = sockets.listen_tcp(reactor, "127.0.0.1", 0, Factory.forProtocol(Echo))
            SocketClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(Factory.forProtocol(Asking))
            reactor.run()
            """,
        )
        self.assertEqual(
            said,
            [
                "False",
                "Client b'question'",
            ],
        )

    def test_tls(self) -> None:
        """TLS works, with Twisted's own class."""
        said = self.run_script(
            "TLS is Twisted's own, without half-close",
            "twisted.protocols.tls.TLSMemoryBIOProtocol._tlsShutdownFinished(self, reason)",
            """
            from twisted.protocols.tls import TLSMemoryBIOProtocol
            original = TLSMemoryBIOProtocol._tlsShutdownFinished
            TLSMemoryBIOProtocol._tlsShutdownFinished = lambda self, *arguments: original(self, *arguments)
            from rtunnel.transport.certificates import client_context, self_signed_context
            from tests.transport.test_tls import Ends
            ends = Ends(server=self_signed_context()[0], client=client_context(verify=False)).shake()
            ends.client.transport.write(b"question")
            ends.server.transport.write(b"answer")
            ends.server.transport.loseConnection()
            ends.pipe.pump()
            print(type(ends.client.transport).__name__, bytes(ends.server.received), bytes(ends.client.received))
            print(ends.client.lost[0].type.__name__, ends.server.lost[0].type.__name__, ends.clock.getDelayedCalls())
            """,
        )
        self.assertEqual(
            said,
            [
                "StockTlsProtocol b'question' b'answer'",
                "ConnectionDone ConnectionDone []",
            ],
        )

    def test_reactor(self) -> None:
        """Turns end, with a timer each."""
        if not sys.platform.startswith("linux"):
            self.skipTest("this system has no epoll")
        said = self.run_script(
            "the reactor is Twisted's",
            "twisted.internet.epollreactor.EPollReactor._doReadOrWrite(self, selectable, fd, event)",
            """
            from twisted.internet.epollreactor import EPollReactor
            original = EPollReactor._doReadOrWrite
            EPollReactor._doReadOrWrite = lambda self, *arguments: original(self, *arguments)
            from rtunnel.reactor import install
            from rtunnel.tunnel.turn import end_of_turn
            reactor = install()
            print(type(reactor).__name__)
            reactor.callLater(0, lambda: end_of_turn(reactor)(lambda: (print("end"), reactor.stop())))
            reactor.run()
            """,
        )
        self.assertEqual(
            said,
            [
                "EPollReactor",
                "end",
            ],
        )


_PREAMBLE = """
import atexit
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
lines = []
globalLogPublisher.addObserver(lambda event: event["log_level"] is LogLevel.warn and lines.append(formatEvent(event)))
atexit.register(lambda: print(*lines, sep="\\n"))
"""


class AutobahnTests(SynchronousTestCase):
    """What rtunnel.transport.websocket_autobahn takes for granted in autobahn's protocols."""

    pipe: Pipe

    def setUp(self) -> None:
        under: Any = _Under()
        WebSocketServerEndpoint(under, reactor=Clock()).listen(Factory.forProtocol(Protocol))
        server = under.factory.buildProtocol(None)
        endpoint = WebSocketClientEndpoint(under, reactor=Clock(), host="2001:db8::1", port=80)
        self.opened = endpoint.connect(Factory.forProtocol(Protocol))
        client = under.factory.buildProtocol(None)
        self.pipe = connect(client, server)
        self.client, self.server = client._speaker, server._speaker

    def open(self) -> tuple[Any, Any]:
        """Finish the upgrade; return both protocols."""
        self.pipe.pump()
        self.successResultOf(self.opened)
        return self.client, self.server

    def test_send_close_frame(self) -> None:
        """Every close frame passes ``sendCloseFrame``, also autobahn's answer and after a violation."""
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

    def test_after_a_violation(self) -> None:
        client, _ = self.open()
        calls: list[int] = []
        client.sendCloseFrame = lambda code, **keywords: calls.append(code)
        client.dataReceived(b"\xff\x00")
        self.assertEqual(calls[:1], [1002], "autobahn: a violation is told by another way than sendCloseFrame")

    def test_fail_handshake(self) -> None:
        """``failHandshake`` of a client is told why an upgrade failed; without it the text of the error says less."""
        self.client.dataReceived(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.assertIn("Upgrade", self.client.connection.fault, "autobahn: failHandshake is not told why")
        self.pipe.pump()
        self.failureResultOf(self.opened)

    def test_host(self) -> None:
        """The client factory's ``host`` is what the Host of the upgrade shows: an IPv6 address needs its brackets."""
        self.assertIn(
            b"\r\nHost: [2001:db8::1]:80\r\n",
            bytes(self.pipe.client._buffer),
            "autobahn: the factory's host is not the Host of the request",
        )
        self.pipe.pump()
        self.successResultOf(self.opened)


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
