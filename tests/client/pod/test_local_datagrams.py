"""Datagrams of a local program, from its socket at the proxy to a destination of the pod, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError

from rtunnel.client.pod.local_datagrams import COOLDOWN, IDLE, MAX_DESTINATIONS, LocalDatagrams
from rtunnel.client.pod.local_programs import LocalProgram, LocalPrograms
from rtunnel.outcomes import DatagramLoss, StreamOutcome
from rtunnel.routing.reach import ReachRules
from rtunnel.transport.datagrams import MAX_DATAGRAMS
from rtunnel.wire.pod import PodRequest
from rtunnel.wire.proxy_datagrams import take_datagram, wrap_datagram
from rtunnel.wire.proxy_server import ProxyServer
from tests.client.harness import Peer, PlayedSocket
from tests.client.test_datagram_targets import DatagramTarget
from tests.server.pods import PodCase
from tests.support.pipe import connect

ASSOCIATE = b"\x05\x01\x00\x05\x03\x00\x01\0\0\0\0"
DNS = ("10.0.0.9", 53)
PROGRAM = ("192.0.2.1", 4711)
"""What the program's connection says that its address is."""


class Socket(PlayedSocket):
    """The socket for a program's datagrams."""

    def __init__(self, protocol: LocalDatagrams) -> None:
        super().__init__()
        self.protocol = protocol
        protocol.transport = self


class LocalDatagramsCase(PodCase):
    rules = "10.0.0.9:53/udp,10.0.1.*:1-65535/udp,10.0.0.7:5432,127.0.0.1:*"

    def setUp(self) -> None:
        super().setUp()
        self.target = DatagramTarget()
        self.client_in_pod = self.pod(targets=self.target, reach=ReachRules.parse(self.rules))
        self.target.clock, self.target.stats = self.clock, self.client_in_pod.forwarder.stats
        self.link = self.machine()
        self.sockets: list[Socket] = []
        self.programs = LocalPrograms(self.link, self.clock, self.listen)

    def listen(self, reactor: Any, host: str, port: int, protocol: Any) -> Socket:
        self.sockets.append(Socket(protocol))
        return self.sockets[-1]

    def program(self, port: int = 0) -> Peer:
        """A program that has asked to send datagrams."""
        program = Peer()
        self.way_of_machine.pipes.append(connect(program, LocalProgram(self.programs, ProxyServer())))
        program.transport.write(ASSOCIATE + port.to_bytes(2))
        self.settle()
        return program

    def send(self, data: bytes, to: tuple[str, int] = DNS, program: tuple[str, int] = PROGRAM, socket: int = -1) -> None:
        self.sockets[socket].protocol.datagramReceived(wrap_datagram(*to, data), program)
        self.settle()

    def associate(self) -> None:
        """The client in the pod has got its socket for the destination that waited longest."""
        self.target.associate()
        self.settle()

    def answer(self, data: bytes) -> None:
        self.target.association.received(data)
        self.settle()

    def answers(self) -> list[Any]:
        """What the program got."""
        sent, self.sockets[-1].sent = self.sockets[-1].sent, []
        self.assertEqual({address for _, address in sent} - {PROGRAM}, set())
        return [take_datagram(datagram) for datagram, _ in sent]

    def destinations(self) -> dict[Any, Any]:
        return self.sockets[-1].protocol.destinations


class DatagramTests(LocalDatagramsCase):
    def test_both_ways(self) -> None:
        """Whole, with the destination as the program calls it; the pod's and the server's log name it."""
        program = self.program()
        self.assertEqual(program.take(), b"\x05\x00" + b"\x05\x00\x00\x01\x7f\0\0\x01" + (5353).to_bytes(2))
        self.send(b"one")
        self.send(b"two")
        self.associate()
        self.assertEqual(self.target.sent, [b"one", b"two"])
        self.answer(b"eins")
        self.answer(b"zwei")
        self.assertEqual(self.answers(), [(*DNS, b"eins"), (*DNS, b"zwei")])
        self.send(b"")
        self.assertEqual(self.target.sent, [b"one", b"two", b""])
        self.heard("an anonymous user reaches 10.0.0.9:53/udp")
        self.heard("reach of an anonymous user", "10.0.0.9:53/udp")

    def test_the_program_leaves(self) -> None:
        """Nothing is left anywhere."""
        program = self.program()
        self.send(b"one")
        self.associate()
        joined = self.target.association
        self.send(b"waits", ("10.0.1.1", 1))
        program.transport.loseConnection()
        self.settle()
        self.associate()
        self.wait(1)
        self.assertTrue(joined.over)
        self.assertEqual(
            (self.sockets[0].open, self.programs.connections, self.client_in_pod.forwarder.open), (False, set(), set())
        )
        self.assertTrue(self.target.association.over)

    def test_the_command_ends(self) -> None:
        program = self.program()
        self.send(b"one")
        self.associate()
        self.programs.close()
        self.settle()
        self.assertIsNotNone(program.lost)
        self.assertEqual((self.sockets[0].open, self.client_in_pod.forwarder.open), (False, set()))

    def test_no_socket(self) -> None:
        def listen(*more: Any) -> Any:
            raise CannotListenError("127.0.0.1", 0, OSError("no more files"))

        self.programs.listen_udp = listen
        program = self.program()
        self.assertEqual(program.take()[2:4], b"\x05\x01")
        self.heard("cannot reach anything with datagrams: there is no socket for them")

    def test_malformed(self) -> None:
        """It is dropped, and nothing is asked for."""
        self.program()
        for data in (b"", b"\0\0\x01\x01\x0a\0\0\x09\0\x35fragment"):
            self.sockets[-1].protocol.datagramReceived(data, PROGRAM)
        self.assertEqual(self.destinations(), {})

    def test_a_name_that_cannot_be_sent(self) -> None:
        self.program()
        self.send(b"one", ("x" * 255, 53))
        self.assertEqual(self.target.waiting, [])
        self.assertIn("cannot reach", self.lines[-1])


class OtherProgramTests(LocalDatagramsCase):
    """The address of a program is that of its connection, and its port is one."""

    def test_other_addresses(self) -> None:
        self.program()
        self.send(b"one", program=("192.0.2.2", 4711))
        self.assertEqual(self.destinations(), {})

    def test_other_ports(self) -> None:
        """The first one counts where the program did not know it; answers go nowhere else."""
        self.program()
        self.send(b"one")
        self.associate()
        self.send(b"two", program=("192.0.2.1", 4712))
        self.answer(b"eins")
        self.assertEqual((self.target.sent, self.answers()), ([b"one"], [(*DNS, b"eins")]))

    def test_a_port_that_is_known(self) -> None:
        self.program(port=4711)
        self.send(b"two", program=("192.0.2.1", 4712))
        self.assertEqual(self.destinations(), {})
        self.send(b"one")
        self.associate()
        self.assertEqual(self.target.sent, [b"one"])


class DeniedTests(LocalDatagramsCase):
    """Each destination is checked, at each of the gates."""

    def test_no_rule(self) -> None:
        """A rule for TCP is none for UDP, nor the other way round; special addresses need one that names them."""
        self.program()
        for to, words in (
            (("10.0.0.9", 54), "no rule of the client in the pod (--reach) is for 10.0.0.9:54/udp"),
            (("10.0.0.7", 5432), "no rule of the client in the pod (--reach) is for 10.0.0.7:5432/udp"),
            (("127.0.0.1", 53), "no rule of the client in the pod (--reach) is for 127.0.0.1:53/udp"),
            (("10.0.1.1", 10250), "10.0.1.1:10250/udp is a port of the node's own services"),
        ):
            self.send(b"x", to)
            self.assertEqual(self.target.waiting, [])
            self.heard(f"192.0.2.1:4711 cannot reach {to[0]}:{to[1]}/udp: {words}")

    def test_rights(self) -> None:
        self.permit("bind,env,reach * pod.local")
        self.program()
        self.send(b"one")
        self.associate()
        self.permit("bind,env * pod.local")
        self.settle()
        self.assertTrue(self.target.association.over)

    def test_asked_once_in_a_while(self) -> None:
        """Of many datagrams each would be a question."""
        self.program()
        asked, ask = [], self.link.ask

        def count(request: PodRequest, protocol: Any) -> Any:
            asked.append(str(request))
            return ask(request, protocol)

        self.patch(self.link, "ask", count)
        for _ in range(5):
            self.send(b"x", ("10.0.0.9", 54))
        self.assertEqual(asked, ["10.0.0.9:54/udp"])
        self.wait(COOLDOWN)
        self.send(b"x", ("10.0.0.9", 54))
        self.assertEqual(len(asked), 2)


class LimitTests(LocalDatagramsCase):
    def test_idle(self) -> None:
        """A destination is over after a while of silence, on both machines; the next datagram gets a new stream."""
        self.program()
        self.send(b"one")
        self.associate()
        self.wait(IDLE - 1)
        self.send(b"two")
        self.wait(IDLE - 1)
        self.assertEqual(self.target.sent, [b"one", b"two"])
        self.wait(2)
        self.assertEqual((self.destinations(), self.client_in_pod.forwarder.open), ({}, set()))
        self.assertEqual(self.client_in_pod.forwarder.stats.streams[StreamOutcome.DONE], 1)
        self.send(b"three")
        self.associate()
        self.assertEqual(self.target.sent, [b"three"])

    def test_many_destinations(self) -> None:
        """A new one replaces the one that was silent longest."""
        self.program()
        for number in range(MAX_DESTINATIONS):
            self.send(b"x", ("10.0.1.1", 100 + number))
            self.associate()
        self.send(b"again", ("10.0.1.1", 100))
        self.send(b"x", ("10.0.1.2", 100))
        self.associate()
        self.wait(1)
        left = set(self.destinations())
        self.assertEqual(len(left), MAX_DESTINATIONS)
        self.assertEqual({("10.0.1.1", 100), ("10.0.1.2", 100)} - left, set())
        self.assertNotIn(("10.0.1.1", 101), left)
        self.assertEqual(len(self.client_in_pod.forwarder.open), MAX_DESTINATIONS)

    def test_a_slow_link(self) -> None:
        """The oldest datagrams are dropped, and the rest arrives."""
        self.program()
        for number in range(MAX_DATAGRAMS + 10):
            self.sockets[-1].protocol.datagramReceived(wrap_datagram(*DNS, b"%d" % number), PROGRAM)
        self.settle()
        self.associate()
        self.assertEqual(self.target.sent, [b"%d" % number for number in range(10, MAX_DATAGRAMS + 10)])

    def test_a_slow_program_of_the_pod(self) -> None:
        """What the destination sends while the stream takes no more is dropped there, and counted."""
        self.program()
        self.send(b"one")
        self.associate()
        self.target.association.pauseProducing()
        for number in range(MAX_DATAGRAMS + 10):
            self.target.association.received(b"%d" % number)
        self.assertEqual(self.client_in_pod.forwarder.stats.datagrams_dropped[DatagramLoss.QUEUE_FULL], 10)
        self.target.association.resumeProducing()
        self.settle()
        self.assertEqual(self.answers()[0], (*DNS, b"10"))

    def test_the_link_is_lost(self) -> None:
        """Datagrams wait for the next one, as connections do."""
        self.program()
        self.send(b"one")
        self.associate()
        self.way_of_machine.pipes[0].break_link()
        self.settle()
        self.assertTrue(self.target.association.over)
        self.send(b"two")
        self.wait(5)
        self.associate()
        self.assertEqual(self.target.sent, [b"two"])
