"""A command that is started again when files have changed, with real processes; no link is needed for that."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from rtunnel.isolation.tiers import Tier
from rtunnel.running import session as module
from rtunnel.running.isolating import isolate
from rtunnel.running.session import RunPlan, RunSession
from rtunnel.settings import Address, ServerConnectionSettings
from tests.support.ids import TUNNEL


class RestartTests(TestCase):
    timeout = 60

    async def session(self, *, restart: bool) -> RunSession:
        settings = ServerConnectionSettings(server=Address("server", 8421), transport="tcp", tunnel=TUNNEL)
        session = RunSession(settings, "pod.local", RunPlan(restart_on_change=restart), reactor)
        session._isolated = await isolate([Tier.NONE], reactor)
        session.environ = {"PATH": os.environ["PATH"]}
        self.addCleanup(session.stop)
        self.file = Path(self.mktemp()).absolute()
        return session

    async def starts(self, count: int) -> None:
        """Wait until the command has been started so often."""
        while not self.file.exists() or self.file.read_text().count("begun") < count:
            await deferLater(reactor, 0.01)

    def run_it(self, session: RunSession, script: str) -> Deferred[int]:
        return Deferred.fromCoroutine(
            session.run(["sh", "-c", f"{script}; echo begun >>{self.file}; while :; do sleep 0.01; done"])
        )

    async def test_again(self) -> None:
        """It is asked to end; what it says then does not matter."""
        session = await self.session(restart=True)
        ended = self.run_it(session, "trap 'exit 3' TERM")
        for count in (1, 2):
            await self.starts(count)
            session._changed()
        await self.starts(3)
        session.signal(signal.SIGTERM)
        self.assertEqual(await ended, 3)

    async def test_it_does_not_end(self) -> None:
        """It is killed after a while."""
        self.patch(module, "RESTART_PATIENCE", 0.1)
        session = await self.session(restart=True)
        ended = self.run_it(session, "trap '' TERM")
        await self.starts(1)
        session._changed()
        await self.starts(2)
        session.signal(signal.SIGKILL)
        self.assertEqual(await ended, 128 + signal.SIGKILL)

    async def test_ended_meanwhile(self) -> None:
        """Who ends it does not want it back, whatever has changed before."""
        session = await self.session(restart=True)
        ended = self.run_it(session, "trap '' TERM")
        await self.starts(1)
        session._changed()
        session.signal(signal.SIGKILL)
        self.assertEqual(await ended, 128 + signal.SIGKILL)
        self.assertEqual(self.file.read_text().count("begun"), 1)

    async def test_not_wanted(self) -> None:
        session = await self.session(restart=False)
        ended = self.run_it(session, "trap 'exit 3' TERM")
        await self.starts(1)
        session._changed()
        session.signal(signal.SIGKILL)
        self.assertEqual(await ended, 128 + signal.SIGKILL)
