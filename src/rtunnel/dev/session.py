"""The client and the command of ``rtunnel dev`` together: both are brought up, and both are gone at the end."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.client.service import ClientService, wants_lines
from rtunnel.client.watch_lines import WatchLines, lines_on
from rtunnel.dev.overview import Overview
from rtunnel.dev.screen import Screen
from rtunnel.isolation.tiers import Wish
from rtunnel.ops.start import StartError
from rtunnel.podenv.merging import Choice
from rtunnel.podenv.sources import SourceError, read_dotenv
from rtunnel.roles.admin import add_admin
from rtunnel.running.session import RunPlan, RunSession
from rtunnel.settings import ClientSettings, DevSettings, EnvironmentWishes

__all__ = ["DevSession"]

PATIENCE: Final = 5.0
"""Seconds after which it is said what a command waits for."""


class DevSession:
    """One run of ``rtunnel dev``; owned by the command.

    :param settings: what is wanted.
    :param reactor: of sockets, processes and time.
    """

    _log = Logger()

    def __init__(self, settings: DevSettings, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        # a command is the target, and starts later
        self.client = ClientService(settings.client, reactor, self._lines, target_follows=bool(settings.run))
        self._command = RunSession(settings.client.connectors[0], settings.pod_host, _plan(settings), reactor)
        self._services = MultiService()
        add_admin("client", settings.client, self.client, reactor, self._services)
        self.client.setServiceParent(self._services)  # type: ignore[no-untyped-call]
        self._screen: Screen | None = None
        if _has_terminal(settings):
            self._screen = Screen(Overview(settings, self.client, self._command), reactor)

    def _lines(self, settings: ClientSettings) -> WatchLines | None:
        """Where each request is shown: never on stdout, which is the command's."""
        if self._screen is not None:
            return WatchLines(self._screen.show, self._screen.sum_up)
        return lines_on(sys.stderr) if wants_lines(settings, 2) else None

    async def run(self) -> int:
        """Run it.

        :returns: the exit status: that of the command, if there is one.
        :raises CommandError: the pod cannot be reached, or the command not be started.
        """
        try:
            await self._command.start()
            self._start()
            return await (self._run_command() if self._settings.run else self._wait_for_end())
        finally:
            await self._stop()

    def _start(self) -> None:
        """Join the tunnel."""
        if self._screen is not None:
            self._screen.start()
        try:
            self._services.privilegedStartService()
            self._services.startService()
        except StartError as error:
            raise CommandError(str(error)) from None

    async def _run_command(self) -> int:
        if self._settings.wait:
            hint = self._reactor.callLater(PATIENCE, self._say_waiting)
            try:
                await self.client.when_ready()
            finally:
                if hint.active():
                    hint.cancel()
        return await self._command.run(self._settings.run)

    def _say_waiting(self) -> None:
        self._log.info("the command is started when the requests come here; with --no-wait at once")

    async def _wait_for_end(self) -> int:
        """Wait until the lease has ended, or it is cancelled."""
        over: Deferred[None] = Deferred()
        self.client.on_over = lambda: None if over.called else over.callback(None)
        await over
        return ExitStatus.LEASE_ENDED

    async def _stop(self) -> None:
        """Leave the tunnel, and take everything down."""
        self.client.on_over = lambda: None
        if self._screen is not None:
            self._screen.stop()
        if self._services.running:
            if any(connector.forwarder.open for connector in self.client.members):
                hint = "leaving the tunnel; what is in progress gets up to {drain:g} s, and another Ctrl-C ends it at once"
                self._log.info(hint, drain=self._settings.client.drain)
            await maybeDeferred(self._services.stopService)
        await self._command.stop()


def _has_terminal(settings: DevSettings) -> bool:
    """Whether there is a terminal for us alone: a screen would fight with the output of a command."""
    free = not settings.run or settings.output is not None
    return free and not settings.plain and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _plan(settings: DevSettings) -> RunPlan:
    """What the command is to get.

    :raises CommandError: the dotenv file cannot be read.
    """
    connectors = settings.client.connectors
    return RunPlan(
        choice=_choice(settings.env),
        files=settings.copied_files,
        cover=settings.cover,
        isolate=Wish(settings.isolate),
        proxy=settings.reach.proxy,
        forwards=settings.reach.forwards,
        publish=settings.publish,
        restart_on_change=settings.restart_on_change,
        session=connectors[0].session,
        without_pod=True,
        output=settings.output,
    )


def _choice(wishes: EnvironmentWishes) -> Choice:
    try:
        file = {} if wishes.file is None else read_dotenv(wishes.file)
    except SourceError as error:
        raise CommandError(f"--env-file {error}") from None
    return Choice(
        include=wishes.include or Choice().include,
        exclude=wishes.exclude,
        rename=dict(wishes.rename),
        file=file,
        sets=dict(wishes.sets),
        unset=frozenset(wishes.unset),
        local_wins=wishes.local_wins,
    )
