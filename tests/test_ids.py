"""How much of an ID is shown."""

from __future__ import annotations

from uuid import UUID, uuid4

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ids import SHOWN, hide_ids, short_id

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")


class NamesTests(SynchronousTestCase):
    def test_short(self) -> None:
        self.assertEqual(short_id(TUNNEL), "10bc451e")
        self.assertEqual(len(short_id(uuid4())), SHOWN)

    def test_hidden_in_a_text(self) -> None:
        text = f"tunnel {TUNNEL} and ({str(TUNNEL).upper()}), not 10bc451e-59dc"
        self.assertEqual(hide_ids(text), "tunnel 10bc451e and (10BC451E), not 10bc451e-59dc")
