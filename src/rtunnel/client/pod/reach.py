"""What a client in a pod offers of reach: connections and datagrams, and the list of what may be reached."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from rtunnel.client.dialing import EndpointFor
from rtunnel.client.pod.giving import Giver
from rtunnel.client.pod.reaching import Reacher
from rtunnel.client.pod.resolver import search_domains
from rtunnel.client.targets import Forwarder
from rtunnel.routing.reach import ReachRules
from rtunnel.routing.reach_list import ReachList, write_reach_list
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.pod import PodAnswer, PodRequest, Reach

__all__ = ["ReachService"]


class ReachService:
    """Serves what is asked of reach; owned by what a connector offers.

    :param rules: what may be reached.
    :param endpoint_for: how to reach an address.
    """

    _log = Logger()

    def __init__(self, rules: ReachRules, *, reactor: Any, endpoint_for: EndpointFor) -> None:
        self._rules = rules
        self._reacher = Reacher(rules, reactor=reactor, endpoint_for=endpoint_for)
        self._giver = Giver()

    def serve(self, request: PodRequest, user: str, forwarder: Forwarder, stream: TunnelStream, early: bytes) -> None:
        """Serve a stream of the server.

        :param request: what it is for.
        :param user: for whom.
        :param early: what came behind the request.
        """
        if request.reach is Reach.RULES:
            self._list(user, forwarder, stream)
        else:
            self._reacher.serve(request, user, forwarder, stream, early)

    def _list(self, user: str, forwarder: Forwarder, stream: TunnelStream) -> None:
        """Give the list out."""
        if self._giver.is_busy(forwarder, stream):
            return
        self._log.info("{who} gets the list of what may be reached", who=user or "an anonymous user")
        listed = ReachList(self._rules.rules, search_domains())
        self._giver.give(forwarder, stream, PodAnswer(), write_reach_list(listed))
