"""What is to be written, in which order, and what becomes of it when writing fails."""

from __future__ import annotations

from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.registry.messages import Change
from rtunnel.registry.outbox import MAX_BATCH, Outbox
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
        change = self.change()
        self.assertEqual(
            change, Change(server_id(1), 2, server(1, leaving=True), (connector(7, avoided=True),), (connector(8).id,))
        )
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
