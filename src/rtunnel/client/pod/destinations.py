"""Which destinations of local programs are the pod's, and which this machine connects to by itself."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from rtunnel.client.dialing import EndpointFor, Once, target_endpoint
from rtunnel.client.pod.asking import PodAskFailed, ask_reach
from rtunnel.client.pod.link import PodLinkClient, PodRefused
from rtunnel.client.pod.reaching import cause_of
from rtunnel.outcomes import DatagramLoss
from rtunnel.routing.reach_list import ReachList
from rtunnel.settings import Address
from rtunnel.transport.reasons import reason_of
from rtunnel.wire.pod import PodAnswer
from rtunnel.wire.proxy_server import Wanted

__all__ = ["COOLDOWN", "KEPT", "Destinations"]

KEPT = 30.0
"""Seconds after which the list of what may be reached is asked for again, by the next connection, which does not wait for it."""
COOLDOWN = 1.0
"""Seconds after a question without an answer in which it is not asked again."""
CONNECT_TIMEOUT = 10.0
"""Seconds that a connect to one address may take."""
MAX_KNOWN = 1000
"""Destinations that are remembered."""


class Destinations:
    """Decides where the connections of a proxy begin; owned by it.

    What the rules of the client in the pod allow begins there, and so does what can only be meant there: the program is told which
    rule is missing. All else begins at this machine, as without the proxy. As long as the rules are not known, everything begins in
    the pod.

    :param link: to the server.
    :param endpoint_for: how this machine reaches an address; by default its socket.
    """

    def __init__(self, link: PodLinkClient, reactor: Any, endpoint_for: EndpointFor | None = None) -> None:
        self._link = link
        self._reactor = reactor
        self._endpoint_for = endpoint_for or target_endpoint(reactor, CONNECT_TIMEOUT, 0, _no_datagrams)
        self._list: ReachList | None = None
        self._ask_at = 0.0
        self._asking: Deferred[Any] | None = None
        self._waiting: list[Deferred[None]] = []
        self._known: dict[Wanted, bool] = {}

    def is_pods(self, to: Wanted) -> bool | Deferred[bool]:
        """Whether a connection begins in the pod; a Deferred as long as the rules are awaited."""
        if self._asking is None and self._reactor.seconds() >= self._ask_at:
            self._ask()
        if self._list is not None or self._asking is None:
            return self._decide(to)
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiting)
        return waiting.addCallback(lambda _: self._decide(to))

    def _decide(self, to: Wanted) -> bool:
        known = self._known.get(to)
        if known is None:
            known = self._list is None or self._list.concerns(to.host, to.port)
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[to] = known
        return known

    def _ask(self) -> None:
        self._asking = asking = Deferred.fromCoroutine(ask_reach(self._link))
        asking.addCallbacks(self._answered, self._failed).addBoth(self._asked)

    def _answered(self, listed: ReachList) -> None:
        self._list = listed
        self._known.clear()
        self._ask_at = self._reactor.seconds() + KEPT

    def _failed(self, failure: Failure) -> None:
        """What is known stays."""
        failure.trap(PodAskFailed)
        self._ask_at = self._reactor.seconds() + COOLDOWN

    def _asked(self, result: Any) -> Any:
        self._asking = None
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)
        return result

    def _forget(self, waiting: Deferred[None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def connect(self, to: Wanted, protocol: Any) -> Deferred[Any]:
        """Connect from this machine.

        :returns: fires with the protocol; fails with :class:`~rtunnel.client.pod.link.PodRefused`, as a request to the pod does.
        """
        connecting: Deferred[Any] = self._endpoint_for(Address(to.host, to.port)).connect(Once(protocol))
        return connecting.addErrback(_refused, to)


def _refused(failure: Failure, to: Wanted) -> Failure:
    cause = cause_of(failure)
    if cause is None:
        return failure
    why = (
        f"{to} cannot be reached from this machine ({reason_of(failure)}), and no rule of the client in the pod (--reach) is for it"
    )
    return Failure(PodRefused(PodAnswer(cause, why)))


def _no_datagrams(loss: DatagramLoss) -> None:
    """No datagram is sent by these endpoints."""
