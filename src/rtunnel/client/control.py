"""What a client says to its server beside the requests, and hears from it: its lease, and who else is there."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from time import localtime, strftime
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from rtunnel.client.intercepting import default_name, span
from rtunnel.ids import short_id
from rtunnel.settings import ConnectorSettings
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.control import (
    VERSION,
    Asked,
    ControlError,
    ControlReader,
    Ended,
    Expires,
    Granted,
    Hello,
    Joined,
    Left,
    Member,
    Message,
    Overlaps,
    Renewed,
    Share,
    encode,
)

__all__ = ["ClientLease", "ControlSession"]

_CAUSES = {
    "expired": "its time is over (--lease here, --max-lease at the server)",
    "idle": "no request has come for so long that the server lets it go (--lease-idle)",
    "released": "it was released",
    "revoked": "it was revoked",
    "taken": "it was taken",
}


class ControlSession(Protocol):
    """The control stream of a link; owned by its link.

    :param hello: what is said first.
    :param on_message: called with each message of the server.
    """

    transport: TunnelStream
    _log = Logger()

    def __init__(self, hello: Hello, on_message: Callable[[Message], None]) -> None:
        self._hello = hello
        self._on_message = on_message
        self._reader = ControlReader()

    def connectionMade(self) -> None:
        self.transport.write(encode(self._hello))

    def say(self, message: Message) -> bool:
        """Tell the server something; returns whether it can be told."""
        if self.transport.ended:
            return False
        self.transport.write(encode(message))
        return True

    def dataReceived(self, data: bytes) -> None:
        try:
            messages = self._reader.receive(data)
        except ControlError as error:
            self._log.warn("what the server says beside the requests cannot be read: {error}", error=str(error))
            self.transport.abortConnection()
            return
        for message in messages:
            self._on_message(message)


class ClientLease:
    """The lease of a connector, as its client knows it; tells the user what happens to it.

    :param settings: of the connector.
    :param wall: the time of day: a lease goes on while the machine of its client sleeps.
    :param on_ended: called when the lease has ended: the connector must not join again by itself.
    :param on_share: called with what the server tells of the share of the requests, and of the others of the tunnel.
    :param offers: what its client offers of its pod, separated by commas.
    :param pod_token: what the streams of the server for that are known by.
    :ivar token: what the control stream of the server is known by.
    :ivar ended: why it has ended.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ConnectorSettings,
        wall: Callable[[], float],
        on_ended: Callable[[], None],
        on_share: Callable[[Member | Share], None] = lambda message: None,
        offers: str = "",
        pod_token: str = "",
    ) -> None:
        self._settings = settings
        self._offers = offers
        self._pod_token = pod_token if offers else ""
        self._wall = wall
        self._on_ended = on_ended
        self._on_share = on_share
        self._session: ControlSession | None = None
        self._until: float | None = None
        self.token = secrets.randbits(32)
        self.ended: Ended | None = None

    def accept(self, token: str) -> ControlSession | None:
        """The protocol of a stream that claims to be the control stream; None if it is not."""
        if token != f"{self.token:08x}":
            return None
        self._session = ControlSession(self._hello(), self._received)
        return self._session

    def say(self, message: Message) -> bool:
        """Tell the server something; returns whether there is one that can be told."""
        return self._session is not None and self._session.say(message)

    @property
    def name(self) -> str:
        """What we call ourselves."""
        return self._settings.name or default_name()

    @property
    def left(self) -> float | None:
        """The seconds until it ends; None without an end."""
        return None if self._until is None else max(self._until - self._wall(), 0.0)

    def _hello(self) -> Hello:
        """After a reconnect it is the rest of the lease that is asked for, also of another server."""
        left = self.left
        wanted = self._settings.lease if left is None else max(left, 1.0)
        return Hello(VERSION, self.name, self._settings.reason, wanted, self._offers, self._pod_token)

    def check(self) -> None:
        """Before an attempt to join: the lease may have ended while there was no link."""
        if self.ended is None and self.left == 0:
            self._received(Ended("expired"))

    # -- what the server says

    def _received(self, message: Message) -> None:
        handle = _HANDLERS.get(type(message))
        if handle is not None:
            handle(self, message)

    def _granted(self, message: Granted) -> None:
        self._ends_in(message.left)
        self._info("is known to others as {name}{end}", name=self.name, end=self._end(message.left))

    def _renewed(self, message: Renewed) -> None:
        self._ends_in(message.left)
        self._info("the lease was renewed{end}", end=self._end(message.left) or " and has no end")

    def _expires(self, message: Expires) -> None:
        hint = "a request keeps it" if message.idle else '"rtunnel renew" keeps it'
        self._log.warn(
            "tunnel {tunnel}: the lease ends in {span}; {hint}",
            tunnel=short_id(self._settings.tunnel),
            span=span(message.left),
            hint=hint,
        )

    def _asked(self, message: Asked) -> None:
        self._log.warn(
            "tunnel {tunnel}: {by} asks for the requests{text}; they go there unless one comes within {span}, and at once by "
            '"rtunnel release"',
            tunnel=short_id(self._settings.tunnel),
            by=message.by,
            text=f', "{message.text}"' if message.text else "",
            span=span(message.left),
        )

    def _joined(self, message: Joined) -> None:
        reason = f', "{message.reason}"' if message.reason else ""
        event = "has joined as well" if message.new else "is on it as well"
        self._info("{name} {event}, for {what}{reason}", name=message.name, event=event, what=_for(message.what), reason=reason)

    def _left(self, message: Left) -> None:
        event = f"has left ({message.cause})" if message.cause else "has lost its link"
        self._info("{name} {event}, who was there for {what}", name=message.name, event=event, what=_for(message.what))

    def _overlaps(self, message: Overlaps) -> None:
        self._log.warn(
            'tunnel {tunnel}: {name} has joined for requests with {what}; those that also match your "{own}" go to {winner}',
            tunnel=short_id(self._settings.tunnel),
            name=message.name,
            what=message.what,
            own=message.own,
            winner=message.winner,
        )

    def _share_told(self, message: Member | Share) -> None:
        self._on_share(message)

    def _end_received(self, message: Ended) -> None:
        if self.ended is not None:
            return
        self.ended = message
        by = f" by {message.by}" if message.by else ""
        text = f': "{message.text}"' if message.text else ""
        self._log.warn(
            "tunnel {tunnel}: the lease has ended: {cause}{by}{text}; no more requests come, and this client does not join again "
            "by itself",
            tunnel=short_id(self._settings.tunnel),
            cause=_CAUSES.get(message.cause, message.cause),
            by=by,
            text=text,
        )
        self._on_ended()

    def _ends_in(self, left: float) -> None:
        self._until = self._wall() + left if left else None

    def _end(self, left: float) -> str:
        if not left:
            return ""
        return f"; the lease ends in {span(left)}, at {strftime('%H:%M', localtime(self._wall() + left))}"

    def _info(self, text: str, **details: Any) -> None:
        self._log.info("tunnel {tunnel}: " + text, tunnel=short_id(self._settings.tunnel), **details)


_HANDLERS: dict[type[Message], Callable[[ClientLease, Any], None]] = {
    Granted: ClientLease._granted,
    Renewed: ClientLease._renewed,
    Expires: ClientLease._expires,
    Asked: ClientLease._asked,
    Joined: ClientLease._joined,
    Left: ClientLease._left,
    Overlaps: ClientLease._overlaps,
    Ended: ClientLease._end_received,
    Member: ClientLease._share_told,
    Share: ClientLease._share_told,
}


def _for(what: str) -> str:
    """What somebody gets: filters are requests, a weight is a share of them."""
    return what if what.startswith("weight ") else f"requests with {what}"
