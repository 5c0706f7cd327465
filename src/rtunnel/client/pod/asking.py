"""Questions to a pod: over a link, each answered with one document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.client.pod.link import PodLinkClient, PodLinkFailed, PodRefused
from rtunnel.podenv.variables import DocumentError, Variable, read_document
from rtunnel.podfiles.volumes import Volume, VolumesError, read_volumes
from rtunnel.routing.reach_list import ReachList, ReachListError, read_reach_list
from rtunnel.wire.pod import Cause, PodRequest, PodService, Reach

__all__ = ["PodAskFailed", "ask_environment", "ask_files", "ask_reach", "over_link"]

STOP_TIMEOUT = 2.0
"""Seconds in which the link is closed cleanly."""
ANSWER_TIMEOUT = 60.0
"""Seconds that an answer may take."""
MAX_ANSWER = 8 << 20
"""Bytes of an answer at most."""

T = TypeVar("T")


class PodAskFailed(Exception):
    """There is no answer; the text says why, and what to do.

    :ivar final: whether it makes no sense to ask again.
    """

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


async def over_link(link: PodLinkClient, reactor: Any, work: Callable[[PodLinkClient], Awaitable[T]]) -> T:
    """Do something with a link, which is closed then.

    :raises PodAskFailed: there is no link.
    :raises StartError: a file of the settings cannot be used.
    """
    try:
        await link.start()
        return await work(link)
    except PodLinkFailed as error:
        raise PodAskFailed(str(error)) from None
    finally:
        await link.stop().addTimeout(STOP_TIMEOUT, reactor, onTimeoutCancel=lambda result, _: None)


async def ask_environment(link: PodLinkClient, *, values: bool) -> list[Variable]:
    """The environment of a pod, as far as it is given out.

    :param values: whether the values are wanted, too.
    :raises PodAskFailed: it is not to be had.
    """
    data = await _ask(link, PodRequest(PodService.ENV, values=values))
    try:
        return read_document(data)
    except DocumentError as error:
        raise PodAskFailed(_unreadable(error)) from None


async def ask_files(link: PodLinkClient, path: str = "", *, contents: bool, have: str = "") -> list[Volume]:
    """Files of a pod, as far as they are given out.

    :param path: of a volume or file; ``""`` for all.
    :param contents: whether the contents are wanted, too.
    :param have: the revision that is there already: then there is no volume unless there is another one.
    :raises PodAskFailed: they are not to be had.
    """
    data = await _ask(link, PodRequest(PodService.FILES, values=contents, path=path, have=have))
    try:
        return read_volumes(data)
    except VolumesError as error:
        raise PodAskFailed(_unreadable(error)) from None


async def ask_reach(link: PodLinkClient) -> ReachList:
    """What may be reached from a pod.

    :raises PodAskFailed: it is not said: the server does not allow to reach anything, no client in a pod offers it, or one of both
        is older than this question.
    """
    data = await _ask(link, PodRequest(PodService.REACH, reach=Reach.RULES))
    try:
        return read_reach_list(data)
    except ReachListError as error:
        raise PodAskFailed(_unreadable(error)) from None


def _unreadable(error: Exception) -> str:
    return f"the answer of the pod cannot be read: {error}; use the same version there"


async def _ask(link: PodLinkClient, request: PodRequest) -> bytes:
    """Ask for a document.

    :raises PodAskFailed: there is none.
    """
    whole = _Whole()
    try:
        whole.transport = await link.ask(request, whole)
    except PodRefused as error:
        raise PodAskFailed(str(error), final=error.answer.cause is Cause.NOT_ALLOWED) from None
    return await whole.within(ANSWER_TIMEOUT, link.reactor)


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
        if self._size > MAX_ANSWER:
            self._end(PodAskFailed(f"the answer of the pod is larger than {MAX_ANSWER >> 20} MiB"))

    def readConnectionLost(self) -> None:
        self._end()

    def writeConnectionLost(self) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(None if reason.check(ConnectionDone) else PodAskFailed("the link was lost before all of the answer was there"))

    def _end(self, error: Exception | None = None) -> None:
        if self.done.called:
            return
        if self.transport is not None:
            # nothing is left to say
            self.transport.loseConnection()
        if error is None:
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(Failure(error))
