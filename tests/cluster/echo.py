"""An application with a WebSocket, for pods with rtunnel's image and for laptops. ``python echo.py PORT NAME``.

It answers every request with its name and host, and echoes messages at ``/socket`` after them. At SIGTERM it says that it goes away
(a close frame with 1001), as an application should, and ends when it has heard the same of all.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import Site

GOING_AWAY = 1001


class Echo(WebSocketServerProtocol):  # type: ignore[misc]
    """A visitor's WebSocket."""

    everybody: set[Echo] = set()

    def onOpen(self) -> None:
        """It is there."""
        self.gone: Deferred[None] = Deferred()
        self.everybody.add(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Echo a message."""
        self.sendMessage(self.factory.name + b" " + payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """It is gone."""
        if self in self.everybody:
            self.everybody.discard(self)
            self.gone.callback(None)


class Page(Resource):
    """The answer to every request; its body is read before."""

    isLeaf = True

    def __init__(self, name: bytes) -> None:
        super().__init__()
        self._name = name

    def render(self, request: Any) -> bytes:
        """Answer it."""
        request.setHeader(b"content-type", b"text/plain")
        return self._name + b"\n"


class Root(Resource):
    """Everything but the WebSocket is one page."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        """The page."""
        return Page(self.name)

    def __init__(self, name: bytes) -> None:
        super().__init__()
        self.name = name
        factory = WebSocketServerFactory()
        factory.protocol = Echo
        factory.name = name
        self.putChild(b"socket", WebSocketResource(factory))


def say_goodbye() -> Deferred[Any]:
    """Close all WebSockets; fires when they are closed."""
    there = list(Echo.everybody)
    for one in there:
        # its sendClose() has codes for clients only
        one.sendCloseFrame(code=GOING_AWAY, reasonUtf8=b"the application stops")
    return DeferredList([one.gone for one in there])


if __name__ == "__main__":
    port, name = int(sys.argv[1]), f"{sys.argv[2]} {socket.gethostname()}"
    TCP4ServerEndpoint(reactor, port).listen(Site(Root(name.encode())))
    reactor.addSystemEventTrigger("before", "shutdown", say_goodbye)
    reactor.run()
