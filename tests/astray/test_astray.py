"""The short form of ``python -m tests.astray``, with each client by itself, directly or behind nginx."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.astray.clients import CLIENTS, Result
from tests.astray.heads import Head
from tests.astray.run import CHANGES, Run, Stay
from tests.astray.site import Site

REQUESTS = 300


class AstrayTests(TestCase):
    """Alice stays, others join, leave and are killed: each request is answered by whom the rank says."""

    timeout = 300

    def check(self, name: str, *, nginx: bool) -> None:
        client = CLIENTS[name]()
        with Site() as site:
            port = site.ingress if nginx else site.entrypoint
            found = Run(site.join, site.left, 1).go(port, {name: client}, REQUESTS, CHANGES[::2])
        self.assertEqual(found.wrong, [])
        self.assertGreater(found.certain, found.total / 2)
        # what a client was working on when it was killed: as much as there are connections
        self.assertLessEqual(len(found.lost), 5)

    def test_curl(self) -> None:
        self.check("curl", nginx=True)

    def test_httpx(self) -> None:
        self.check("httpx", nginx=False)

    def test_node(self) -> None:
        self.check("fetch", nginx=True)

    def test_go(self) -> None:
        self.check("net/http", nginx=False)


class JudgeTests(TestCase):
    """What is astray is found."""

    def run_of(self, **stays: list[Stay]) -> Run:
        run = Run(self.fail, lambda times: None, 1)
        for name, theirs in stays.items():
            run._stays[name] = theirs
        return run

    def wrong(self, run: Run, takers: tuple[str, ...], name: str, start: float = 10.0, status: int = 200) -> bool:
        run._results = [Result("curl", Head("GET", "/", (), takers), start, start + 1, status, name)]
        found = run._judge()
        self.assertEqual(len(found.wrong) + len(found.lost), len(found.wrong) or (status != 200))
        return bool(found.wrong)

    def test_there(self) -> None:
        run = self.run_of(alice=[Stay(0, 1)], bob=[Stay(0, 1)])
        self.assertFalse(self.wrong(run, ("alice", "bob"), "alice"))
        for name in ("bob", "pod", "carol", ""):
            self.assertTrue(self.wrong(run, ("alice", "bob"), name))
        self.assertTrue(self.wrong(run, (), "alice"))
        self.assertTrue(self.wrong(run, ("alice",), "", status=502))

    def test_gone(self) -> None:
        run = self.run_of(bob=[Stay(0, 1, 2, 3), Stay(20, 21)])
        self.assertTrue(self.wrong(run, ("bob",), "bob"))
        self.assertFalse(self.wrong(run, ("bob",), "pod"))
        self.assertTrue(self.wrong(run, ("bob",), "dave"), "who has never come")

    def test_coming_or_going(self) -> None:
        run = self.run_of(bob=[Stay(0, 1, 10.5, 11, True)])
        for name in ("bob", "pod"):
            self.assertFalse(self.wrong(run, ("bob",), name))
        self.assertFalse(self.wrong(run, ("bob",), "", status=502), "lost")
        self.assertTrue(self.wrong(run, ("bob",), "", start=3, status=502), "before")
