"""How much of an ID is shown."""

from __future__ import annotations

from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ids import SHOWN, hide_ids, mask_ids, short_id
from tests.support.ids import TUNNEL


class NamesTests(SynchronousTestCase):
    def test_short(self) -> None:
        self.assertEqual(short_id(TUNNEL), "10bc451e")
        self.assertEqual(len(short_id(uuid4())), SHOWN)

    def test_hidden_in_a_text(self) -> None:
        text = f"tunnel {TUNNEL} and ({str(TUNNEL).upper()}), not 10bc451e-59dc"
        self.assertEqual(hide_ids(text), "tunnel 10bc451e and (10BC451E), not 10bc451e-59dc")

    def test_request_ids_stay(self) -> None:
        text = "request 5d1f7c0a8a94b2e1000000001c2b3a4d of 2026-01-31 from nginx-5d59d67564-c7n8b"
        self.assertEqual(hide_ids(text), text)

    def test_what_was_typed(self) -> None:
        for text in (str(TUNNEL), str(TUNNEL)[:-1], str(TUNNEL)[:18], TUNNEL.hex, str(TUNNEL).replace("-", "", 1), f"{TUNNEL}0"):
            self.assertEqual(mask_ids(f'"a.local={text}"'), '"a.local=10bc451e..."')
            self.assertEqual(mask_ids(f"${text}"), "$10bc451e...")
        self.assertEqual(mask_ids("9" * 100), "9" * 100)
