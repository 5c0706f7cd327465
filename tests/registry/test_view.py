"""The copy of what others have: in order, with gaps, while it is read, and at the end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.registry.messages import Change
from rtunnel.registry.records import ConnectorRecord, LeaseRecord, ServerRecord
from rtunnel.registry.view import MAX_AHEAD, MAX_STEP, SILENCE, Reading, View
from tests.registry.support import OTHER_TUNNEL, TUNNEL, Heard, connector, server, server_id

ME = server_id(99)


def written(number: int, *records: ConnectorRecord, at: int = 1) -> Change:
    return Change(server_id(at), number, written=records)


class ViewCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.heard = Heard()
        self.view = View(ME, self.heard)

    def know(self, at: int = 1, number: int = 1, *records: ConnectorRecord) -> None:
        """Have a server be known with some records."""
        self.view.receive(Change(server_id(at), number))
        reading = self.view.read(server_id(at), number, server(at))
        assert reading is not None
        reading.page(records)
        reading.over()
        self.heard.take()

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / MAX_STEP)):
            self.view.advance(MAX_STEP)


class OrderTests(ViewCase):
    def test_changes(self) -> None:
        self.know()
        self.view.receive(written(2, connector(7), connector(8)))
        self.view.receive(written(3, connector(7, avoided=True), connector(8)))
        self.view.receive(Change(server_id(1), 4, gone=(UUID(int=8), UUID(int=9))))
        self.view.receive(Change(server_id(1), 5, server_record=server(1, leaving=True)))
        self.assertEqual(
            self.heard.take(),
            [
                ("connector up", connector(7)),
                ("connector up", connector(8)),
                ("connector changed", connector(7, avoided=True)),
                ("connector gone", connector(8)),
                ("server changed", server(1, leaving=True)),
            ],
        )
        self.assertEqual(self.view.missing, ())

    def test_what_is_known(self) -> None:
        self.know(1, 1, connector(7), connector(8, tunnel=OTHER_TUNNEL))
        self.know(2, 1, connector(9, at=2))
        self.assertEqual(tuple(self.view.records(TUNNEL)), (connector(7), connector(9, at=2)))
        self.assertEqual(set(self.view.tunnels), {TUNNEL, OTHER_TUNNEL})
        self.assertEqual(self.view.connectors, 3)
        self.assertEqual(self.view.servers, (server(1), server(2)))
        self.assertEqual(self.view.server(server_id(2)), server(2))
        self.assertIsNone(self.view.server(server_id(3)))

    def test_another_tunnel(self) -> None:
        self.know(1, 1, connector(7))
        self.view.receive(written(2, connector(7, tunnel=OTHER_TUNNEL)))
        self.assertEqual(self.heard.take(), [("connector gone", connector(7)), ("connector up", connector(7, tunnel=OTHER_TUNNEL))])
        self.assertEqual(self.view.tunnels, (OTHER_TUNNEL,))

    def test_ones_own(self) -> None:
        self.view.receive(Change(ME, 1, gone=(UUID(int=7),)))
        self.view.found([ME])
        self.assertEqual(self.view.missing, ())

    def test_twice(self) -> None:
        self.know(1, 5)
        self.view.receive(written(6, connector(7)))
        self.view.receive(Change(server_id(1), 7, gone=(UUID(int=7),)))
        self.view.receive(written(6, connector(7)))
        self.assertEqual(self.view.tunnels, ())
        self.assertEqual(self.view.gaps, 0)


class GapTests(ViewCase):
    def test_a_change_is_missing(self) -> None:
        """What came after it waits until all is read."""
        self.know(1, 1, connector(7))
        self.view.receive(written(3, connector(9)))
        self.assertEqual((self.view.unread, self.view.gaps), ((server_id(1),), 1))
        self.view.receive(written(4, connector(10)))
        self.assertEqual(self.heard.take(), [])
        reading = self.view.read(server_id(1), 3, server(1))
        assert reading is not None
        reading.page([connector(8), connector(9)])
        self.assertEqual(self.view.missing, (server_id(1),))
        reading.over()
        self.assertEqual(set(self.heard.connectors.values()), {connector(8), connector(9), connector(10)})
        self.assertEqual(self.view.missing, ())

    def test_a_sign_of_life_tells(self) -> None:
        self.know(1, 1)
        self.view.receive(Change(server_id(1), 1))
        self.assertEqual(self.view.unread, ())
        self.view.receive(Change(server_id(1), 2))
        self.assertEqual(self.view.unread, (server_id(1),))

    def test_written_anew(self) -> None:
        self.know(1, 1, connector(7))
        self.view.receive(Change(server_id(1), 2, anew=True))
        self.assertEqual(self.view.unread, (server_id(1),))
        self.assertEqual(tuple(self.view.records(TUNNEL)), (connector(7),))

    def test_misunderstood(self) -> None:
        self.know(1, 1)
        self.view.misunderstood(server_id(1))
        self.view.misunderstood(server_id(2))
        self.assertEqual(self.view.missing, (server_id(1),))

    def test_changes_while_it_is_read(self) -> None:
        """They are newer than any page."""
        self.know(1, 1, connector(7), connector(8), connector(9))
        self.view.misunderstood(server_id(1))
        reading = self.view.read(server_id(1), 1, server(1))
        assert reading is not None
        self.view.receive(written(2, connector(7, avoided=True), connector(10)))
        self.view.receive(Change(server_id(1), 3, gone=(UUID(int=8),)))
        reading.page([connector(7), connector(8)])
        reading.over()
        self.assertEqual(set(self.heard.connectors.values()), {connector(7, avoided=True), connector(10)})

    def test_a_gap_while_it_is_read(self) -> None:
        self.know(1, 1, connector(7))
        self.view.misunderstood(server_id(1))
        reading = self.view.read(server_id(1), 1, server(1))
        assert reading is not None
        self.view.receive(written(3, connector(8)))
        self.assertTrue(reading.void)
        reading.page([connector(9)])
        reading.over()
        self.assertEqual(tuple(self.view.records(TUNNEL)), (connector(7),))
        self.assertEqual(self.view.unread, (server_id(1),))

    def test_too_much_ahead(self) -> None:
        self.view.receive(Change(server_id(1), 1))
        for number in range(2, MAX_AHEAD + 4):
            self.view.receive(written(number, connector(number)))
        self.view.read(server_id(1), 1, server(1))
        self.assertEqual((self.view.unread, self.view.connectors), ((server_id(1),), 0))
        self.view.read(server_id(1), MAX_AHEAD, server(1))
        self.assertEqual(self.view.connectors, 3)


class LifeTests(ViewCase):
    def test_silence(self) -> None:
        self.know(1, 1, connector(7))
        self.know(2, 1)
        self.pass_time(SILENCE - MAX_STEP)
        self.view.receive(Change(server_id(2), 1))
        self.pass_time(MAX_STEP)
        self.assertEqual(self.heard.take(), [("connector gone", connector(7)), ("server gone", server_id(1))])
        self.assertEqual(self.view.servers, (server(2),))

    def test_a_process_that_was_stopped_has_not_listened(self) -> None:
        self.know()
        self.view.advance(3600)
        self.assertEqual(self.view.servers, (server(1),))

    def test_end(self) -> None:
        self.know(1, 1, connector(7))
        self.view.receive(Change(server_id(1), 2, stops=True))
        self.view.receive(Change(server_id(2), 2, stops=True))
        self.assertEqual(self.heard.take(), [("connector gone", connector(7)), ("server gone", server_id(1))])

    def test_back(self) -> None:
        self.know(1, 1, connector(7))
        self.pass_time(SILENCE)
        self.heard.take()
        self.view.receive(Change(server_id(1), 1))
        self.assertEqual(self.view.unread, (server_id(1),))

    def test_listening_again(self) -> None:
        """All is read again; nobody is gone for what was not heard."""
        self.know(1, 1, connector(7))
        self.pass_time(SILENCE - MAX_STEP)
        self.view.found([server_id(2)])
        self.assertEqual(self.view.unread, (server_id(1), server_id(2)))
        self.pass_time(SILENCE - MAX_STEP)
        self.assertEqual(self.heard.take(), [])
        self.pass_time(MAX_STEP)
        self.assertEqual(self.view.missing, ())

    def test_absent(self) -> None:
        """One that was never read is gone; one that is known will write all anew, if it lives."""
        self.know(1, 1, connector(7))
        self.view.found([server_id(1), server_id(2)])
        self.view.absent(server_id(1))
        self.view.absent(server_id(2))
        self.view.absent(server_id(3))
        self.assertEqual(self.view.unread, (server_id(1),))
        self.assertEqual(tuple(self.view.records(TUNNEL)), (connector(7),))
        self.assertIsNone(self.view.read(server_id(2), 1, server(2)))

    def test_clear(self) -> None:
        self.know(1, 1, connector(7))
        self.view.clear()
        self.assertEqual((self.view.servers, self.view.tunnels), ((), ()))


class _Server:
    """A server as it is in truth."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.id = server_id(number)
        self.changes = 0
        self.record = server(number)
        self.stored: dict[UUID, ConnectorRecord] = {}


class _Read:
    """A reading in progress: which keys come with the next pages. It may miss what is written meanwhile, or not."""

    def __init__(self, owner: _Server, number: int, record: ServerRecord) -> None:
        self.owner = owner
        self.number = number
        self.record = record
        self.keys = list(owner.stored)
        self.reading: Reading | None = None
        self.begun = False


numbers = st.integers(0, 2)


class NetworkMachine(RuleBasedStateMachine):
    """Servers write and publish; messages are late or lost, pages are of different moments, servers fall silent."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = Heard()
        self.view = View(ME, self.heard)
        self.servers = [_Server(number) for number in range(1, 4)]
        self.way: list[Change] = []
        self.reads: list[_Read] = []
        self.names = 0

    def publish(self, owner: _Server, **more: Any) -> None:
        owner.changes += 1
        self.way.append(Change(owner.id, owner.changes, **more))

    @rule(at=numbers, which=st.integers(1, 5), tunnel=st.sampled_from([TUNNEL, OTHER_TUNNEL]))
    def write(self, at: int, which: int, tunnel: UUID) -> None:
        owner = self.servers[at]
        self.names += 1
        lease = LeaseRecord(id="1", held_until=1.0) if self.names % 3 == 0 else None
        record = connector(100 * owner.number + which, at=owner.number, tunnel=tunnel, name=str(self.names), lease=lease)
        owner.stored[record.id] = record
        self.publish(owner, written=(record,))

    @rule(at=numbers, which=st.integers(1, 5))
    def withdraw(self, at: int, which: int) -> None:
        owner = self.servers[at]
        key = UUID(int=100 * owner.number + which)
        owner.stored.pop(key, None)
        self.publish(owner, gone=(key,))

    @rule(at=numbers)
    def leave(self, at: int) -> None:
        owner = self.servers[at]
        owner.record = server(owner.number, leaving=not owner.record.leaving)
        self.publish(owner, server_record=owner.record)

    @rule(at=numbers)
    def write_anew(self, at: int) -> None:
        owner = self.servers[at]
        self.publish(owner, anew=True)

    @rule(at=numbers)
    def live(self, at: int) -> None:
        owner = self.servers[at]
        self.way.append(Change(owner.id, owner.changes))

    @rule(at=numbers)
    def start_again(self, at: int) -> None:
        """Another process, with another ID."""
        former = self.servers[at]
        self.way.append(Change(former.id, former.changes, stops=True))
        self.servers[at] = _Server(former.number + 10)

    @rule(count=st.integers(1, 8))
    def deliver(self, count: int) -> None:
        for change in self.way[:count]:
            self.view.receive(change)
        del self.way[:count]

    @precondition(lambda self: self.way)
    @rule(position=st.integers(0, 5))
    def lose(self, position: int) -> None:
        del self.way[position % len(self.way)]

    @precondition(lambda self: len(self.way) > 1)
    @rule(position=st.integers(0, 5))
    def swap(self, position: int) -> None:
        position %= len(self.way) - 1
        self.way[position], self.way[position + 1] = self.way[position + 1], self.way[position]

    @rule()
    def begin_to_read(self) -> None:
        """Redis is asked; the answer comes later."""
        asked = {read.owner.id for read in self.reads if not (read.reading is not None and read.reading.void)}
        for key in self.view.unread:
            if key not in asked:
                owner = next((one for one in self.servers if one.id == key), None)
                if owner is None:
                    self.view.absent(key)
                else:
                    self.reads.append(_Read(owner, owner.changes, owner.record))

    @precondition(lambda self: self.reads)
    @rule(count=st.integers(1, 4))
    def read_on(self, count: int) -> None:
        read = self.reads[0]
        if not read.begun:
            read.begun = True
            read.reading = self.view.read(read.owner.id, read.number, read.record)
        if read.reading is None or read.reading.void:
            self.reads.pop(0)
            return
        keys, read.keys = read.keys[:count], read.keys[count:]
        read.reading.page([read.owner.stored[key] for key in keys if key in read.owner.stored])
        if not read.keys:
            read.reading.over()
            self.reads.pop(0)

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.view.advance(seconds)

    @rule()
    def listen_again(self) -> None:
        self.view.found(one.id for one in self.servers)

    @invariant()
    def is_consistent(self) -> None:
        """What observers heard is what the view has."""
        assert {record.id: record for record in self.heard.servers.values()} == {record.id: record for record in self.view.servers}
        found = [record for tunnel in self.view.tunnels for record in self.view.records(tunnel)]
        assert {record.id: record for record in found} == self.heard.connectors
        assert len(found) == len(self.heard.connectors)
        assert self.view.connectors == sum(not record.held for record in found)

    def teardown(self) -> None:
        """When all is quiet, the view is what the servers have."""
        self.deliver(len(self.way))
        # those that were stopped, and whose last word was lost, fall silent
        for _ in range(int(SILENCE / MAX_STEP)):
            for owner in self.servers:
                self.view.receive(Change(owner.id, owner.changes))
            self.view.advance(MAX_STEP)
        for _ in range(100):
            if not self.view.missing and not self.reads:
                break
            self.begin_to_read()
            if self.reads:
                self.read_on(3)
        else:
            raise AssertionError(f"it never ends: {self.view.missing} {self.reads}")
        living = {owner.id: owner for owner in self.servers}
        self.is_consistent()
        assert {record.id: record for record in self.view.servers} == {key: owner.record for key, owner in living.items()}
        assert self.heard.connectors == {key: record for owner in self.servers for key, record in owner.stored.items()}


class NetworkTests(SynchronousTestCase):
    def test_whatever_happens(self) -> None:
        run_state_machine_as_test(
            NetworkMachine,
            settings=settings(max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)),
        )
