"""How far this machine comes with a server: hop by hop, then as a client does, with what its user may do there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import rtunnel
from rtunnel.asking.question import AskRefused, ask
from rtunnel.cli.exit_status import CommandError
from rtunnel.cli.hops import Hop, Route, travel
from rtunnel.doctor.findings import Finding, failed, limited, ok
from rtunnel.ops.logs import one_line
from rtunnel.settings import SECURE, ServerConnectionSettings
from rtunnel.wire.control import Allowed, Message, QueryLeases, QueryRights

__all__ = ["look_at_server", "look_at_way"]

PATIENCE = 5.0
"""Seconds for each hop, and for an answer that older servers do not give."""
CLOCK = 60.0
"""Seconds that two clocks may differ: for certificates this does not matter yet."""
_DEVELOPER = ("intercept", "env", "files", "reach")
"""What a developer needs for everything that works on one host."""


def look_at_way(settings: ServerConnectionSettings) -> Iterator[Finding]:
    """The way to the server, as a plain request goes: name, connection, TLS, and the clock of what answers.

    What answers the request itself does not matter here: it is no upgrade to a WebSocket.
    """
    if settings.proxies:
        yield ok("way", f"through {', then '.join(map(str, settings.proxies))}, which connect to the server")
        return
    server, tls = settings.server, settings.tls
    secure = settings.transport in SECURE
    plain = secure and (not tls.verify or tls.cert_file is not None or tls.server_name not in (None, "", server.host))
    route = Route(
        host=server.host,
        port=server.port,
        # what a browser cannot do either is left to the client itself
        tls=secure and not plain,
        target=settings.path,
        fields={"Host": settings.host} if settings.host else {},
        timeout=PATIENCE,
        ca_file=tls.ca_file,
    )
    for hop in travel(route, lambda _status, _body: None):
        if hop.name in ("name", "connection", "TLS"):
            yield ok(hop.name, hop.text) if hop.ok else failed(hop.name, hop.text, _HINTS[hop.name])
        if hop.date:
            yield _clock(hop, time.time())


_HINTS = {
    "name": "check the server's name, and the DNS of this network or of its VPN",
    "connection": "check the port, and firewalls on the way",
    "TLS": "check the name, and the CA of the profile (tls: ca-file) or of this system",
}


def _clock(hop: Hop, now: float) -> Finding:
    """The clock of this machine beside that of a response."""
    try:
        ahead = now - parsedate_to_datetime(hop.date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return ok("clock", "the response has no readable Date")
    if abs(ahead) <= CLOCK:
        return ok("clock", f"as that of the server, within {CLOCK:.0f} s")
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of the server"
    return limited("clock", text, "set it (NTP); certificates may seem expired, or not valid yet")


async def look_at_server(settings: ServerConnectionSettings, host: str, reactor: Any) -> list[Finding]:
    """The server itself: whether it lets the user in, what it lets them do, and how old it is.

    :param host: on which they work; ``""`` if it is not known.
    """
    question: Message = QueryRights(host) if host else QueryLeases()
    user = settings.credentials.user if settings.credentials is not None else ""
    who = f"the user {user}" if user else "a client without a user"
    try:
        listed, _ = await ask(settings, question, reactor, PATIENCE)
    except AskRefused as error:
        accepted = ok("server", f"{settings.server} lets {who} in")
        return [accepted, limited("rights", f"not told: {error}", "a server older than this rtunnel does not tell them")]
    except CommandError as error:
        return [failed("server", one_line(str(error)))]
    accepted = ok("server", f"{settings.server} lets {who} in")
    found = next((one for one in listed if isinstance(one, Allowed)), None)
    return [accepted] if found is None else [accepted, _rights(found, host), _skew(found.server)]


def _rights(found: Allowed, host: str) -> Finding:
    actions = [action for action in found.actions.split(",") if action]
    if not actions:
        hint = "ask its administrator for a line of permissions, and check host and tunnel"
        return failed("rights", f"nothing on {host}, or no rule of the server leads it to this tunnel", hint)
    missing = [action for action in _DEVELOPER if action not in actions]
    text = f"on {host}: {', '.join(actions)}"
    if missing:
        hint = "where they are needed, ask the administrator of the server for them"
        return limited("rights", f"{text}; not {', '.join(missing)}", hint)
    return ok("rights", text)


def _skew(server: str) -> Finding:
    if server == rtunnel.__version__:
        return ok("version of the server", server)
    return limited("version of the server", f"{server}, and here {rtunnel.__version__}", "use the same on both sides")
