"""A local port of UDP: the addresses that send to it and the visits that they lead to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.associations import RETRY_COOLDOWN, SINGLE_ANSWER_TIME, AssociationPort
from rtunnel.client.local_association import END_WITHIN, RESEND_WITHIN
from rtunnel.metrics.stats import ClientStats
from rtunnel.outcomes import DatagramLoss, LocalPortOutcome
from rtunnel.settings import Address, UdpAddress, UdpSettings, VisitorSettings
from rtunnel.transport.datagrams import LINGER
from rtunnel.wire.datagram import DatagramReader, frame_datagram
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, Response, Status, take_request
from tests.client.harness import Peer, PlayedEndpoint, PlayedSocket, aborted, settle
from tests.support.pipe import Pipe

TUNNEL = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")
ME, YOU, HER = (("192.0.2.1", port) for port in (4711, 4712, 4713))
OK = Response(status=Status.OK).encode()


class Visit:
    """The server's end of a visit, with the request that was made."""

    def __init__(self, case: AssociationPortCase) -> None:
        self._case = case
        self.server: Peer = case.server.accept()
        self.pipe: Pipe = case.server.pipe
        case.settle()
        taken = take_request(self.server.take())
        assert taken is not None
        self.request: Request = taken[0]

    def say(self, data: bytes) -> None:
        self.server.transport.write(data)
        self._case.settle()

    def answer(self, datagram: bytes) -> None:
        self.say(frame_datagram(datagram))

    def finish(self) -> None:
        """The server has no more."""
        self.server.transport.loseWriteConnection()
        self._case.settle()

    def lose(self) -> None:
        self.pipe.break_link()
        self._case.settle()

    def take(self) -> list[bytes]:
        """The datagrams that came since the last call."""
        return DatagramReader().receive(self.server.take())


class AssociationPortCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = ClientStats()
        self.server = PlayedEndpoint()
        self.port = AssociationPort(
            VisitorSettings(
                server=Address("server", 8421),
                tunnel=TUNNEL,
                listen=UdpAddress("127.0.0.1", 5353),
                to=Address("dns.svc", 0),
                udp=UdpSettings(associations=2),
            ),
            stats=self.stats,
            reactor=self.clock,
            endpoint=self.server,
        )
        self.port.start()
        self.socket = self.port._listening = PlayedSocket()

    def settle(self) -> None:
        settle(self.clock, self.server)

    def send(self, datagram: bytes, address: Any = ME) -> None:
        self.port.datagram(datagram, address, self.socket)
        self.settle()

    def admit(self) -> Visit:
        """The server lets the next visit in."""
        visit = Visit(self)
        visit.say(OK)
        return visit

    def dropped(self) -> dict[DatagramLoss, int]:
        return {reason: count for reason, count in self.stats.datagrams_dropped.items() if count}

    def outcomes(self) -> dict[LocalPortOutcome, int]:
        return {outcome: count for outcome, count in self.stats.visitors.items() if count}

    def ended(self, outcome: LocalPortOutcome) -> None:
        """All ended in one way, and nothing is left."""
        self.settle()
        self.assertEqual(self.outcomes(), {outcome: 1})
        self.assertEqual((self.stats.visitors_open, self.port.visits, self.port.associations), (0, set(), {}))
        self.port.cut()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AssociationPortTests(AssociationPortCase):
    def test_round_trip(self) -> None:
        """What the vector private-udp-visitor has; what came before the answer is not lost; one visit for one address."""
        self.send(b"one")
        self.send(b"two")
        visit = Visit(self)
        request = visit.request
        self.assertEqual((request.command, request.network), (Command.CONNECT, Network.UDP))
        self.assertEqual(request.addresses, (RelayAddress(*ME), RelayAddress("dns.svc", 0)))
        visit.say(OK + frame_datagram(b"eins"))
        self.send(b"three")
        self.assertEqual(visit.take(), [b"one", b"two", b"three"])
        for byte in frame_datagram(b"zwei"):
            visit.say(bytes([byte]))
        self.assertEqual(self.socket.sent, [(b"eins", ME), (b"zwei", ME)])
        self.assertEqual((self.server.waiting, self.dropped()), ([], {}))

    def test_addresses_apart(self) -> None:
        self.send(b"mine")
        mine = self.admit()
        self.send(b"yours", YOU)
        yours = self.admit()
        self.assertEqual((mine.take(), yours.take()), ([b"mine"], [b"yours"]))
        yours.answer(b"for you")
        self.assertEqual(self.socket.sent, [(b"for you", YOU)])

    def test_idle(self) -> None:
        """It ends cleanly after its limit; the next datagram is that of a new one."""
        self.send(b"one")
        visit = self.admit()
        self.clock.advance(59)
        visit.answer(b"answer")
        self.clock.advance(59)
        self.settle()
        self.assertFalse(visit.server.read_ended)
        self.clock.advance(1)
        self.settle()
        self.assertTrue(visit.server.read_ended)
        visit.finish()
        self.assertEqual(self.outcomes(), {LocalPortOutcome.DONE: 1})
        self.send(b"two")
        self.assertEqual(self.admit().take(), [b"two"])

    def test_next_one_before_the_last_has_ended(self) -> None:
        """An address that speaks again while its old association comes to its end has a new one; the end does not disturb it."""
        self.send(b"one")
        old = self.admit()
        self.clock.advance(60)
        self.send(b"two")
        new = self.admit()
        self.assertEqual(new.take(), [b"two"])
        old.finish()
        self.clock.advance(LINGER)
        self.send(b"three")
        self.assertEqual((new.take(), self.dropped()), ([b"three"], {}))

    def test_server_ends(self) -> None:
        """The far end is idle, or the server stops."""
        self.send(b"one")
        visit = self.admit()
        visit.answer(b"eins")
        visit.finish()
        self.ended(LocalPortOutcome.DONE)

    def test_server_is_lost(self) -> None:
        self.send(b"one")
        visit = self.admit()
        visit.answer(b"eins")
        visit.lose()
        self.ended(LocalPortOutcome.REMOTE_GONE)

    def test_refused(self) -> None:
        """The datagrams are counted, and the server is left alone for a moment."""
        self.send(b"one")
        Visit(self).say(Response(status=Status.SERVICE_UNAVAILABLE).encode())
        self.send(b"two")
        self.send(b"three", YOU)
        self.assertEqual(self.server.waiting, [])
        self.assertEqual(self.dropped(), {DatagramLoss.EXPIRED: 1, DatagramLoss.COOLDOWN: 2})
        self.clock.advance(RETRY_COOLDOWN)
        self.send(b"four")
        self.assertEqual(self.admit().take(), [b"four"])
        self.assertEqual(self.outcomes(), {LocalPortOutcome.REFUSED: 1})

    def test_too_many(self) -> None:
        """The one that was silent longest makes room, whoever spoke: its visitor, or the other end."""
        self.send(b"mine")
        mine = self.admit()
        self.send(b"yours", YOU)
        yours = self.admit()
        mine.answer(b"answer")
        self.send(b"hers", HER)
        self.assertEqual(set(self.port.associations), {ME, HER})
        self.assertTrue(aborted(yours.pipe.client))
        self.assertTrue(mine.pipe.client.connected)
        self.assertEqual(self.outcomes(), {LocalPortOutcome.EVICTED: 1})
        self.assertEqual(self.admit().take(), [b"hers"])

    def test_too_many_while_asking(self) -> None:
        self.send(b"mine")
        self.send(b"yours", YOU)
        self.send(b"hers", HER)
        self.assertEqual(set(self.port.associations), {YOU, HER})
        self.assertEqual((self.outcomes(), self.dropped()), ({LocalPortOutcome.EVICTED: 1}, {DatagramLoss.EXPIRED: 1}))

    def test_server_is_behind(self) -> None:
        """What waits for the connection is bounded; the oldest are dropped and counted."""
        self.send(b"first")
        for _ in range(10):
            self.send(b"x" * 60_000)
        self.assertLessEqual(sum(map(len, self.admit().take())), 262144)
        self.assertEqual(self.dropped(), {DatagramLoss.QUEUE_FULL: 7})

    def test_closed(self) -> None:
        """No new ones; those that are open go on until they are cut, and then the port is free."""
        self.send(b"one")
        visit = self.admit()
        closed: list[Any] = []
        self.port.close().addCallback(closed.append)
        self.send(b"yours", YOU)
        visit.answer(b"answer")
        self.assertEqual((self.socket.sent, self.dropped()), ([(b"answer", ME)], {DatagramLoss.COOLDOWN: 1}))
        self.assertTrue(self.port.poll_activity())
        self.assertFalse(self.port.poll_activity())
        self.assertEqual((closed, self.socket.open), ([], True))
        self.port.cut()
        self.settle()
        self.assertTrue(aborted(visit.pipe.client))
        self.assertEqual((len(closed), self.socket.open), (1, False))
        self.assertEqual((self.outcomes(), self.stats.visitors_open), ({LocalPortOutcome.STOPPED: 1}, 0))

    def test_closed_without_any(self) -> None:
        closed: list[Any] = []
        self.port.close().addCallback(closed.append)
        self.assertEqual((len(closed), self.socket.open), (1, False))
        self.port.cut()


class ResendTests(AssociationPortCase):
    """Visits that end while a datagram is on its way to them, as those of a gost's client do with their first answer."""

    def test_sent_again(self) -> None:
        """What has no answer when its visit ends goes into a new one, once."""
        self.send(b"one")
        first = self.admit()
        first.answer(b"eins")
        self.send(b"two")
        first.finish()
        second = self.admit()
        self.assertEqual((second.take(), self.dropped()), ([b"two"], {}))
        second.finish()
        self.assertEqual(self.server.waiting, [])

    def test_end_and_datagram_in_one_turn(self) -> None:
        """What comes when the visit is known to have ended has a new one already, which takes the rest as well."""
        self.send(b"one")
        first = self.admit()
        first.answer(b"eins")
        self.send(b"two")
        first.server.transport.loseWriteConnection()
        first.pipe.pump()
        self.port.datagram(b"three", ME, self.socket)
        self.settle()
        self.assertEqual(self.admit().take(), [b"three", b"two"])

    def test_answered(self) -> None:
        """Nothing is sent twice that has its answer."""
        self.send(b"one")
        visit = self.admit()
        visit.answer(b"eins")
        visit.finish()
        self.assertEqual(self.server.waiting, [])
        self.ended(LocalPortOutcome.DONE)

    def test_long_ago(self) -> None:
        """What was sent long before the end had its chance."""
        self.send(b"one")
        visit = self.admit()
        self.clock.advance(RESEND_WITHIN)
        visit.finish()
        self.assertEqual(self.server.waiting, [])

    def test_lost(self) -> None:
        """Also when the connection breaks."""
        self.send(b"one")
        self.admit().lose()
        self.assertEqual(self.admit().take(), [b"one"])

    def test_evicted(self) -> None:
        self.send(b"one")
        self.admit()
        self.send(b"yours", YOU)
        self.send(b"hers", HER)
        self.assertEqual(len(self.server.waiting), 2)


class SingleAnswerTests(AssociationPortCase):
    """A tunnel that was seen to end its visits with the first answer."""

    def exchange(self, question: bytes) -> Visit:
        """A question, its answer, and the end of the visit right behind it."""
        self.send(question)
        visit = self.admit()
        self.assertEqual(visit.take(), [question])
        visit.answer(question)
        visit.finish()
        return visit

    def test_each_gets_a_visit(self) -> None:
        """The visit is ended from here with its first answer, so that no datagram is on its way when it ends."""
        self.exchange(b"one")
        self.exchange(b"two")
        self.send(b"three")
        third = self.admit()
        third.answer(b"drei")
        self.assertTrue(third.server.read_ended)
        self.send(b"four")
        third.finish()
        self.assertEqual(self.admit().take(), [b"four"])
        self.assertEqual((self.socket.sent[-1], self.dropped()), ((b"drei", ME), {}))
        self.assertEqual(self.outcomes(), {LocalPortOutcome.DONE: 3})

    def test_looked_at_anew(self) -> None:
        """After a while a visit is left open again: another client may have joined."""
        self.exchange(b"one")
        self.exchange(b"two")
        self.clock.advance(SINGLE_ANSWER_TIME)
        self.send(b"three")
        visit = self.admit()
        visit.answer(b"drei")
        visit.answer(b"and more")
        self.assertFalse(visit.server.read_ended)
        self.assertEqual([datagram for datagram, _ in self.socket.sent[-2:]], [b"drei", b"and more"])

    def test_others(self) -> None:
        """An end later than with the first answer says nothing, nor does the first one of its kind."""
        for late, answers in [(END_WITHIN, 1), (0.0, 2)]:
            self.setUp()
            for _ in range(3):
                self.send(b"question")
                visit = self.admit()
                for _ in range(answers):
                    visit.answer(b"answer")
                self.clock.advance(late)
                visit.finish()
            self.assertFalse(self.port.single_answer)
        self.setUp()
        self.exchange(b"one")
        self.assertFalse(self.port.single_answer)
