"""What is to be written, in which order, and what becomes of it when writing fails."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.registry.messages import Change
from rtunnel.registry.outbox import MAX_BATCH, Batch, Outbox
from tests.registry.support import OTHER_TUNNEL, TUNNEL, connector, server, server_id


class OutboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.outbox = Outbox(server(1))
        list(self.outbox.pages())
        self.outbox.rewritten()

    def change(self) -> Change:
        """Write what there is to write."""
        change = Change.decode(self.outbox.take().message(server_id(1)))
        self.outbox.written()
        return change

    def test_at_the_beginning_all_is_written_anew(self) -> None:
        outbox = Outbox(server(1))
        self.assertTrue(outbox.anew)
        outbox.publish(connector(7))
        self.assertEqual(list(outbox.pages()), [{connector(7).id: connector(7).encode()}])
        outbox.rewritten()
        self.assertEqual((outbox.anew, outbox.pending, outbox.number), (False, False, 1))

    def test_batches(self) -> None:
        """What changes in a turn is one change, with the last state of each."""
        self.assertFalse(self.outbox.pending)
        self.outbox.publish(connector(7))
        self.outbox.publish(connector(8))
        self.outbox.publish(connector(7, avoided=True))
        self.outbox.withdraw(connector(8).id)
        self.outbox.withdraw(connector(9).id)
        self.outbox.announce(server(1, leaving=True))
        self.assertTrue(self.outbox.pending)
        self.assertEqual(self.change(), Change(server_id(1), 2, server(1, leaving=True), (connector(7, avoided=True),)))
        self.assertFalse(self.outbox.pending)
        self.assertEqual(len(self.outbox), 1)

    def test_what_is_the_same_is_not_written(self) -> None:
        self.outbox.publish(connector(7))
        self.change()
        self.outbox.publish(connector(7))
        self.outbox.announce(server(1))
        self.assertFalse(self.outbox.pending)

    def test_many(self) -> None:
        for number in range(MAX_BATCH + 1):
            self.outbox.publish(connector(number))
        self.assertEqual((len(self.change().written), len(self.change().written)), (MAX_BATCH, 1))
        self.assertEqual([len(page) for page in self.outbox.pages()], [MAX_BATCH, 1])

    def test_while_it_is_written(self) -> None:
        self.outbox.publish(connector(7))
        self.outbox.take()
        self.outbox.publish(connector(7, avoided=True))
        self.assertFalse(self.outbox.pending)
        self.outbox.written()
        self.assertEqual(self.change().written, (connector(7, avoided=True),))

    def test_what_nobody_knows_is_not_taken_back(self) -> None:
        """Very many may come and go while the registry is away."""
        for number in range(10, 1000):
            self.outbox.publish(connector(number))
            self.outbox.withdraw(connector(number).id)
        self.assertFalse(self.outbox.pending)

    def test_gone_while_it_is_written(self) -> None:
        self.outbox.publish(connector(7))
        self.outbox.take()
        self.outbox.withdraw(connector(7).id)
        self.outbox.written()
        self.assertEqual(self.change().gone, (connector(7).id,))

    def test_withdrawn_and_published_once_more(self) -> None:
        """As a lease that is held, and then ends: the others knew the connector before."""
        self.outbox.publish(connector(7))
        self.change()
        self.outbox.withdraw(connector(7).id)
        self.outbox.publish(connector(7, name="held"))
        self.outbox.withdraw(connector(7).id)
        self.assertEqual(self.change().gone, (connector(7).id,))

    def test_failed(self) -> None:
        """It is written once more, as it is by then, with the same number."""
        self.outbox.publish(connector(7))
        self.outbox.publish(connector(8))
        self.outbox.announce(server(1, leaving=True))
        batch = self.outbox.take()
        self.outbox.withdraw(connector(7).id)
        self.outbox.failed()
        change = self.change()
        self.assertEqual(change.number, batch.number)
        self.assertEqual(
            (change.gone, change.written, change.server_record), ((connector(7).id,), (connector(8),), server(1, leaving=True))
        )

    def test_contested(self) -> None:
        """Only where others may want the same, and only once."""
        self.outbox.publish(connector(7))
        self.outbox.publish(connector(8, tunnel=OTHER_TUNNEL, filters=("path^=/",)))
        self.assertEqual(self.outbox.take().contested, {OTHER_TUNNEL})
        self.outbox.failed()
        self.assertEqual(self.outbox.take().contested, {OTHER_TUNNEL})
        self.outbox.written()
        self.outbox.publish(connector(8, tunnel=OTHER_TUNNEL, filters=("path^=/",), avoided=True))
        self.assertEqual(self.outbox.take().contested, frozenset())

    def test_claimed(self) -> None:
        self.outbox.publish(connector(7))
        batch = self.outbox.take(connector(8))
        self.assertEqual((set(batch.written), batch.contested), ({connector(7).id, connector(8).id}, {TUNNEL}))
        self.assertIsNone(self.outbox.get(connector(8).id))
        self.outbox.written()
        self.assertEqual(self.outbox.get(connector(8).id), connector(8))

    def test_claimed_in_vain(self) -> None:
        """Nobody knows whether it was written, so it is taken back, or claimed once more."""
        self.outbox.take(connector(8))
        self.outbox.failed()
        self.assertEqual(self.change(), Change(server_id(1), 2, gone=(connector(8).id,)))
        self.outbox.take(connector(8))
        self.outbox.failed()
        self.assertEqual(self.outbox.take(connector(8)).gone, ())

    def test_back_while_its_removal_is_written(self) -> None:
        """If that fails, others know the record still, so another removal is not left out."""
        self.outbox.publish(connector(7))
        self.change()
        self.outbox.withdraw(connector(7).id)
        self.outbox.take()
        self.outbox.publish(connector(7))
        self.outbox.failed()
        self.outbox.withdraw(connector(7).id)
        self.assertEqual(self.change().gone, (connector(7).id,))

    def test_changes_while_all_is_written_anew(self) -> None:
        for number in range(MAX_BATCH + 1):
            self.outbox.publish(connector(number))
        pages = self.outbox.pages()
        next(pages)
        self.outbox.publish(connector(0, avoided=True))
        self.outbox.withdraw(UUID(int=1))
        self.outbox.withdraw(UUID(int=MAX_BATCH))
        self.assertEqual(list(pages), [])
        self.outbox.rewritten()
        change = self.change()
        self.assertEqual((change.written, change.gone), ((connector(0, avoided=True),), (UUID(int=1), UUID(int=MAX_BATCH))))


SELDOM = st.sampled_from([False] * 9 + [True])
OFTEN = st.sampled_from([True] * 3 + [False])


class WritingMachine(RuleBasedStateMachine):
    """Connectors come, change and go, while writes succeed, fail, or fail though they were done, and the registry loses all."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(server(1))
        list(self.outbox.pages())
        self.outbox.rewritten()
        self.number: int | None = self.outbox.number
        self.stored: dict[UUID, bytes] = {}
        self.batch: Batch | None = None
        self.pages: Iterator[dict[UUID, bytes]] | None = None
        self.beside: dict[UUID, bytes] = {}
        self.names = 0

    @rule(which=st.integers(1, 2))
    def publish(self, which: int) -> None:
        self.names += 1
        self.outbox.publish(connector(which, name=str(self.names)))

    @rule(which=st.integers(1, 2))
    def withdraw(self, which: int) -> None:
        self.outbox.withdraw(UUID(int=which))

    @rule(which=st.integers(1, 2))
    def hold(self, which: int) -> None:
        """The link of a connector is lost, and its lease is held: one record in place of the other, in the same turn."""
        if self.outbox.get(UUID(int=which)) is not None:
            self.withdraw(which)
            self.publish(which)

    @rule(really=SELDOM)
    def lose_everything(self, really: bool) -> None:
        if really:
            self.number, self.stored = None, {}

    @precondition(lambda self: self.batch is None and self.pages is None and not self.outbox.anew and self.outbox.pending)
    @rule()
    def take(self) -> None:
        self.batch = self.outbox.take()

    @precondition(lambda self: self.batch is None and self.pages is None and not self.outbox.anew)
    @rule(which=st.integers(5, 8))
    def claim(self, which: int) -> None:
        self.names += 1
        if self.outbox.get(UUID(int=which)) is None:
            self.batch = self.outbox.take(connector(which, name=str(self.names)))

    @precondition(lambda self: self.batch is not None)
    @rule(done=OFTEN, known=OFTEN)
    def write(self, done: bool, known: bool) -> None:
        """A batch arrives or does not; its answer does or does not."""
        assert self.batch is not None
        batch, self.batch = self.batch, None
        fits = self.number == batch.before
        if done and fits:
            self.number = batch.number
            self.stored.update(batch.written)
            for key in batch.gone:
                self.stored.pop(key, None)
        if done and known and fits:
            self.outbox.written()
        else:
            self.outbox.failed()
            self.outbox.anew = self.outbox.anew or (done and known)

    @precondition(lambda self: self.batch is None and self.pages is None and self.outbox.anew)
    @rule()
    def begin_anew(self) -> None:
        self.pages, self.beside = self.outbox.pages(), {}

    @precondition(lambda self: self.pages is not None)
    @rule(done=OFTEN)
    def write_page(self, done: bool) -> None:
        """A page of all records, or the end of them; if it fails, all is begun once more."""
        assert self.pages is not None
        page = next(self.pages, None)
        if not done:
            self.pages = None
        elif page is not None:
            self.beside.update(page)
        else:
            self.pages = None
            self.number, self.stored = self.outbox.number + 1, self.beside
            self.outbox.rewritten()

    def teardown(self) -> None:
        """When all is quiet, the registry has what the server has."""
        for _ in range(100):
            if self.batch is not None:
                self.write(True, True)
            elif self.pages is not None:
                self.write_page(True)
            elif self.outbox.anew:
                self.begin_anew()
            elif self.outbox.pending:
                self.take()
            elif self.number != self.outbox.number:
                # the next sign of life tells
                self.outbox.anew = True
            else:
                break
        else:
            raise AssertionError("it never ends")
        records = [record for which in range(1, 9) if (record := self.outbox.get(UUID(int=which))) is not None]
        known = {record.id: record.encode() for record in records}
        assert self.stored == known, (self.stored, known)


class WritingTests(SynchronousTestCase):
    def test_whatever_happens(self) -> None:
        run_state_machine_as_test(
            WritingMachine,
            settings=settings(max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
        )
