"""What is known of a session, as lines."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.service import ClientService
from rtunnel.dev.arguments import parse
from rtunnel.dev.overview import Line, Overview
from rtunnel.running.session import RunPlan, RunSession
from rtunnel.wire.control import Ended
from tests.support.ids import TUNNEL


class OverviewTests(SynchronousTestCase):
    """Of a session that has not joined; how it is when it has, tests/process shows."""

    def setUp(self) -> None:
        words = (
            "shop.example.org",
            "--server",
            "ws://proxy:8421",
            "--tunnel",
            str(TUNNEL),
            "--target",
            ":3000",
            "--name",
            "laptop",
        )
        self.settings = parse((*words, "--output", "app.log", "--", "npm", "run", "my app"), {"RTUNNEL_AUTH": "alice:pw"}).settings
        clock = Clock()
        self.client = ClientService(self.settings.client, clock)
        command = RunSession(self.settings.client.connectors[0], "shop.example.org", RunPlan(), clock, environ={})
        self.overview = Overview(self.settings, self.client, command)

    def test_lines(self) -> None:
        self.assertEqual(self.overview.title, "shop.example.org -> localhost:3000")
        self.assertEqual(
            list(self.overview.lines()),
            [
                Line("who", "laptop, user alice"),
                Line("link", "not joined; connecting to proxy:8421", good=False),
                Line("pod", "the server allows nothing with it", good=False),
                Line("command", "npm run 'my app'; its output is in app.log"),
            ],
        )

    def test_the_lease_has_ended(self) -> None:
        (connector,) = self.client.members
        connector.lease.ended = Ended("revoked", by="root", text="done")
        _, line, *_ = self.overview.lines()
        self.assertEqual(line, Line("link", "the lease has ended (revoked); no more requests come", good=False))
