"""What a client says of its share of the requests: in the line of a join, and whenever it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from rtunnel.client.shares import TunnelView
from rtunnel.ids import short_id
from rtunnel.settings import ConnectorSettings
from rtunnel.wire.control import AskShare, Member, Message, Share

__all__ = ["ShareReport"]

TIMEOUT = 1.0
"""Seconds in which a server tells the share that a client gets; one that does not know of such things never does."""
FRESH = 0.2
"""Seconds for which the server is not asked again."""


class ShareReport:
    """Says where the requests of a tunnel go, and which of them; owned by the connector.

    :param settings: of the connector.
    :param say: tells the server something, if there is one that can be told; returns whether there is.
    :param reactor: the clock.
    :ivar view: what the server has told.
    """

    _log = Logger()

    def __init__(self, settings: ConnectorSettings, say: Callable[[Message], bool], reactor: Any) -> None:
        self.view = TunnelView(settings)
        self._settings = settings
        self._say = say
        self._reactor = reactor
        self._timer: Any = None
        self._endpoint = ""
        self._said = ""
        """What was said last."""
        self._asking: list[Deferred[None]] = []
        self._told_at = -FRESH

    def joined(self, endpoint: str) -> None:
        """The tunnel is joined. A line says so when the server has told the share, which it does at once, or never.

        :param endpoint: the host that was asked for; ``""`` for none.
        """
        self._stop()
        # another server may have told it
        self.view.forget()
        self._endpoint = endpoint
        self._timer = self._reactor.callLater(TIMEOUT, self._announce)

    def lost(self) -> None:
        """There is no link any more."""
        self._stop()
        self.view.forget()
        self._answer()

    def hear(self, message: Member | Share) -> None:
        """The server tells something of the tunnel."""
        if not self.view.hear(message):
            return
        self._told_at = self._reactor.seconds()
        self._answer()
        if self._timer is not None:
            self._announce()
        elif (share := self.view.describe()) != self._said:
            self._said = share
            self._log.info("tunnel {tunnel}: {share} now", tunnel=short_id(self._settings.tunnel), share=share)

    def ask(self) -> Deferred[None]:
        """Ask the server how it is now; fires when it has told it, or does not."""
        fresh = self._reactor.seconds() - self._told_at < FRESH
        if fresh or not (self._asking or self._say(AskShare())):
            return succeed(None)
        asked: Deferred[None] = Deferred()
        self._asking.append(asked)
        return asked.addTimeout(TIMEOUT, self._reactor, lambda _result, _seconds: None)

    def _answer(self) -> None:
        asking, self._asking = self._asking, []
        for asked in asking:
            if not asked.called:
                asked.callback(None)

    def _announce(self) -> None:
        self._stop()
        self._said = self.view.describe()
        hosts = self.view.hosts or self._endpoint
        self._log.info(
            "{where}: joined tunnel {tunnel}, {share}",
            where=f"{hosts} -> {self._settings.target}" if hosts else str(self._settings.target),
            tunnel=short_id(self._settings.tunnel),
            share=self._said,
        )

    def _stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
