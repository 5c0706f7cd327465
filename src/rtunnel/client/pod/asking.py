"""One question to a pod: a link, the answer as a whole, and the end."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.pod.link import PodLinkClient, PodLinkFailed, PodRefused
from rtunnel.podenv.variables import MAX_DOCUMENT, DocumentError, Variable, read_document
from rtunnel.settings import ServerConnectionSettings
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import PodRequest, PodService

__all__ = ["PodAskFailed", "ask_environment"]

STOP_TIMEOUT = 2.0
"""Seconds in which the link is closed cleanly."""
ANSWER_TIMEOUT = 30.0
"""Seconds that an answer may take."""


class PodAskFailed(Exception):
    """There is no answer; the text says why, and what to do."""


async def ask_environment(
    settings: ServerConnectionSettings, host: str, reactor: Any, *, values: bool, link: PodLinkClient | None = None
) -> list[Variable]:
    """The environment of a pod, as far as it is given out.

    :param settings: how the server is reached, and which tunnel.
    :param host: whose pod.
    :param values: whether the values are wanted, too.
    :param link: to the server; by default one of its own.
    :raises PodAskFailed: it is not to be had.
    :raises StartError: a file of the settings cannot be used.
    """
    link = link or PodLinkClient(settings, host, reactor=reactor)
    try:
        await link.start()
        whole = _Whole()
        stream: TunnelStream = await link.ask(PodRequest(PodService.ENV, values=values), whole)
        whole.transport = stream
        return read_document(await whole.within(ANSWER_TIMEOUT, reactor))
    except (PodLinkFailed, PodRefused) as error:
        raise PodAskFailed(str(error)) from None
    except DocumentError as error:
        raise PodAskFailed(f"the answer of the pod cannot be read: {error}; use the same version there") from None
    finally:
        await link.stop().addTimeout(STOP_TIMEOUT, reactor, onTimeoutCancel=lambda result, _: None)


@implementer(IHalfCloseableProtocol)
class _Whole(Protocol):
    """Collects what comes until its end.

    :ivar done: fires with all of it.
    """

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred()
        self._pieces: list[bytes] = []
        self._size = 0

    def within(self, seconds: float, reactor: Any) -> Deferred[bytes]:
        """All of it; fails with :class:`PodAskFailed` when it has not come in time."""
        late = f"the pod did not send all of its answer within {seconds:g} s; check its client, and the network"
        timer = reactor.callLater(seconds, self._end, PodAskFailed(late))

        def cancel_timer(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        self.done.addBoth(cancel_timer)
        return self.done

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_DOCUMENT:
            self._end(PodAskFailed(f"the answer of the pod is larger than {MAX_DOCUMENT >> 20} MiB"))

    def readConnectionLost(self) -> None:
        self._end()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(None if reason.check(ConnectionDone) else PodAskFailed("the link was lost before all of the answer was there"))

    def _end(self, error: Exception | None = None) -> None:
        if self.done.called:
            return
        if error is None:
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(Failure(error))
