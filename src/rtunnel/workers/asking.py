"""Questions to a worker, at its admin socket."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import Agent, PartialDownloadError, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

__all__ = ["ask"]

TIMEOUT = 5.0
"""Seconds for an answer."""


@implementer(IAgentEndpointFactory)
class _At:
    """Every URL leads to one socket."""

    def __init__(self, path: str, reactor: Any) -> None:
        self._endpoint = UNIXClientEndpoint(reactor, path, TIMEOUT)

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        """The socket."""
        return self._endpoint


def ask(socket: str, question: bytes, reactor: Any) -> Deferred[tuple[int, bytes]]:
    """Ask a process.

    :param socket: the path of its admin socket.
    :param question: path and query, as ``/status``.
    :returns: status and body of the answer; it fails when there is none in time.
    """
    asked: Deferred[tuple[int, bytes]] = Deferred.fromCoroutine(_ask(socket, question, reactor))
    return asked.addTimeout(TIMEOUT, reactor)


async def _ask(socket: str, question: bytes, reactor: Any) -> tuple[int, bytes]:
    agent = Agent.usingEndpointFactory(reactor, _At(socket, reactor))
    response = await agent.request(b"GET", b"http://worker" + question)
    try:
        body: bytes = await readBody(response)
    except PartialDownloadError as error:
        body = error.response or b""
    return response.code, body
