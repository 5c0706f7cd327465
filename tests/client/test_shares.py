"""What a client says of its share, and of who would have had its requests."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.shares import TunnelView
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.settings import Address, ConnectorSettings, UdpAddress
from rtunnel.wire.control import Member, Share
from tests.support.ids import TUNNEL

POD = Member("pod/shop", "weight 1", 1)
BOB = Member("bob", "weight 1", 1)
GREEDY = Member("carol", "weight 255", 255)
ALICE = Member("alice", "header:x-user=alice")


def view(share: Share | None, *others: Member, **settings: Any) -> TunnelView:
    known = TunnelView(
        ConnectorSettings(**{"server": Address("s", 1), "tunnel": TUNNEL, "target": Address("localhost", 9), **settings})
    )
    for other in others:
        assert not known.hear(other)
    if share is not None:
        assert known.hear(share)
    return known


class TextTests(SynchronousTestCase):
    def test_what_comes_here(self) -> None:
        filters = (InterceptFilter.parse("path^=/a"),)
        for known, text in [
            (view(Share(1, 2, 1), POD), "you get 1 of 2 requests (50 %)"),
            (view(Share(2, 3, 1), POD, weight=2), "you get 2 of 3 requests (66.7 %)"),
            (view(Share(50, 150, 1), POD, weight=50), "you get 1 of 3 requests (33.3 %)"),
            (view(Share(1, 1)), "you get all requests"),
            (view(Share(255, 255, 1), POD, weight=255), "you get all requests (weight 255)"),
            (view(Share(255, 510, 1), GREEDY, weight=255), "you get 1 of 2 requests (50 %)"),
            (view(Share(0, 255, 2), POD, GREEDY), "you get no requests: they go to carol (weight 255)"),
            (view(Share(0, 1, 1), POD), "you get no requests: the server avoids this client, which does not answer"),
            (view(Share(1, 2, 2), POD, ALICE), "you get 1 of 2 requests (50 %), but for those that others intercept"),
            (view(Share(1, 2, 1, sticky=True), POD), "you get 1 of 2 visitors (50 %)"),
            (view(Share(1, 2, 1), POD, target=UdpAddress("localhost", 53)), "you get 1 of 2 associations (50 %)"),
            (view(Share(0, 0, 1), POD, intercept=filters), 'you get the requests with "path^=/a"'),
            (view(None, weight=7), "you get a share of the requests (weight 7)"),
            (view(None, weight=255), "you get all requests (weight 255)"),
        ]:
            self.assertEqual(known.describe().replace('"', ""), text.replace('"', ""))

    def test_who_would_have_had_it(self) -> None:
        crowd = [Member(f"pod{number}", "weight 1", 1) for number in range(5)]
        for known, text in [
            (view(Share(1, 2, 1), POD), "pod/shop"),
            (view(Share(1, 3, 2), POD, BOB), "pod/shop or bob"),
            (view(Share(0, 0, 2), POD, ALICE), "pod/shop"),
            (view(Share(0, 0, 2), POD, GREEDY), "carol"),
            (view(Share(255, 255, 1), POD, weight=255), "pod/shop"),
            (view(Share(1, 1)), "nobody"),
            (view(Share(1, 6, 5), *crowd), "pod0 or pod1 or pod2 or 2 more"),
            (view(Share(1, 100, 99), *crowd), "one of 99 others"),
            (view(None), ""),
        ]:
            self.assertEqual(known.instead(), text)

    def test_split_pages(self) -> None:
        """Where parts of a page come from two versions of a service."""
        for share, splits in [
            (Share(1, 2, 1), True),
            (Share(1, 2, 1, sticky=True), False),
            (Share(1, 1), False),
            (Share(0, 255, 1), False),
            (Share(), False),
            (None, False),
        ]:
            self.assertEqual(view(share).splits, splits)

    def test_one_snapshot_after_another(self) -> None:
        known = view(Share(1, 2, 1), POD)
        self.assertFalse(known.hear(BOB))
        self.assertEqual(known.others, (POD,))
        self.assertTrue(known.hear(Share(1, 2, 1)))
        self.assertEqual(known.others, (BOB,))
        known.hear(POD)
        known.forget()
        self.assertEqual((known.share, known.others, known.hosts), (None, (), ""))
        known.hear(Share(1, 1, hosts="a, b"))
        self.assertEqual((known.others, known.hosts), ((), "a, b"))
