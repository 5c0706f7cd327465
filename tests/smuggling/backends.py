"""What servers in Python make of the bytes of a connection: h11, httptools (llhttp, as in Node.js), Twisted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import h11
from attrs import frozen
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPFactory, Request

__all__ = ["BACKENDS", "Backend", "Seen", "agree"]


@frozen
class Seen:
    """A complete request.

    :ivar host: the value of Host.
    :ivar body: without chunk framing.
    """

    method: bytes
    target: bytes
    host: bytes
    body: bytes


Backend = Callable[[bytes], tuple[list[Seen], bool]]
"""Returns the requests that are complete, and whether the server would have read on."""


def agree(sent: list[Seen], seen: list[Seen], went_on: bool) -> bool:
    """Whether a backend saw what was sent: all of it, or the first ones before it refused or closed."""
    return seen == sent if went_on else seen == sent[: len(seen)]


def by_h11(data: bytes) -> tuple[list[Seen], bool]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found: list[Seen] = []
    try:
        for seen in _h11_requests(connection):
            found.append(seen)
            connection.send(h11.Response(status_code=200, headers=[(b"Content-Length", b"0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return found, False
            connection.start_next_cycle()
    except h11.ProtocolError:
        return found, False
    return found, True


def _h11_requests(connection: h11.Connection) -> Iterator[Seen]:
    request, body = None, b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            yield Seen(request.method, request.target, dict(request.headers).get(b"host", b""), body)
        else:
            return


class _Collected:
    """Callbacks of httptools."""

    parser: HttpRequestParser

    def __init__(self) -> None:
        self.found: list[Seen] = []
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self._target = self._host = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"host":
            self._host = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.found.append(Seen(self.parser.get_method(), self._target, self._host.strip(b" \t"), self._body))


def by_httptools(data: bytes) -> tuple[list[Seen], bool]:
    collected = _Collected()
    collected.parser = HttpRequestParser(collected)
    try:
        collected.parser.feed_data(data)
    except HttpParserUpgrade:
        # to llhttp the body of the request belongs to the other protocol already
        return collected.found[:-1], False
    except HttpParserError:
        return collected.found, False
    return collected.found, True


class _Recorded(Request):
    """A request of Twisted's server, which is answered at once."""

    found: list[Seen]

    def process(self) -> None:
        hosts = self.requestHeaders.getRawHeaders(b"host") or [b""]
        assert self.content is not None
        self.found.append(Seen(self.method, self.uri, hosts[0].strip(b" \t"), self.content.read()))
        self.finish()


class _Transport(StringTransport):
    """Says that it was closed, too."""

    def abortConnection(self) -> None:
        self.disconnecting = True


def by_twisted(data: bytes) -> tuple[list[Seen], bool]:
    found: list[Seen] = []
    factory = HTTPFactory(reactor=Clock())
    factory.log = lambda request: None  # type: ignore[method-assign]
    channel: Any = factory.buildProtocol(None)
    channel.requestFactory = lambda *args: _recorded(found, *args)
    transport = _Transport()
    channel.makeConnection(transport)
    channel.dataReceived(data)
    return found, not transport.disconnecting


def _recorded(found: list[Seen], *args: Any) -> _Recorded:
    request = _Recorded(*args)
    request.found = found
    return request


BACKENDS: dict[str, Backend] = {"h11": by_h11, "httptools": by_httptools, "twisted": by_twisted}
