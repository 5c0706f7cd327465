"""What there is to know while ``rtunnel dev`` runs, as lines of text; looked up whenever it is asked for."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from time import time

import attrs

from rtunnel.client.connector import ConnectorClient
from rtunnel.client.intercepting import share_links
from rtunnel.client.service import ClientService
from rtunnel.ids import short_id
from rtunnel.running.session import RunSession
from rtunnel.settings import DevSettings
from rtunnel.status.tables import duration_text

__all__ = ["Line", "Overview"]

MAX_OTHERS = 5
"""Others who are named."""
MAX_DESTINATIONS = 5
"""Destinations in use that are named."""


@attrs.frozen
class Line:
    """One line.

    :ivar label: what it is about.
    :ivar text: what there is to say; printable.
    :ivar good: whether that is as it should be.
    """

    label: str
    text: str
    good: bool = True


class Overview:
    """What is known of a session; owned by its screen.

    :param settings: what is wanted.
    :param client: has the requests.
    :param command: has the link to the pod.
    """

    def __init__(self, settings: DevSettings, client: ClientService, command: RunSession) -> None:
        self._settings = settings
        self._client = client
        self._command = command

    @property
    def title(self) -> str:
        """What is worked on."""
        return f"{self._settings.pod_host} -> {', '.join(str(one.target) for one in self._settings.client.connectors)}"

    def lines(self) -> Iterator[Line]:
        """Yield all of it, the most important first."""
        for connector in self._client.members:
            yield from _connector_lines(connector)
        yield from self._pod_lines()
        if self._settings.run:
            output = f"; its output is in {self._settings.output}" if self._settings.output is not None else ""
            yield Line("command", f"{shlex.join(self._settings.run)}{output}")

    def _pod_lines(self) -> Iterator[Line]:
        command = self._command
        reach = command.reach
        if reach is None:
            yield Line("pod", "the server allows nothing with it", good=False)
            return
        if not command.link.up:
            yield Line("pod", "the link is lost; connecting again", good=False)
        for forward in reach.forwards:
            yield Line("reach", str(forward))
        if reach.proxy is not None:
            yield Line("reach", f"{reach.proxy} is a proxy to what the pod reaches")
        used = Counter(one.destination for one in reach.programs.connections if one.destination)
        if used:
            named = [f"{name} ({number})" if number > 1 else name for name, number in used.most_common(MAX_DESTINATIONS)]
            more = [f"{len(used) - MAX_DESTINATIONS} more"] if len(used) > MAX_DESTINATIONS else []
            yield Line("in use", ", ".join([*named, *more]))


def _connector_lines(connector: ConnectorClient) -> Iterator[Line]:
    settings, lease, view = connector.settings, connector.lease, connector.shares.view
    user = f", user {settings.credentials.user}" if settings.credentials is not None else ""
    yield Line("who", f"{lease.name}{user}" + (f', for "{settings.reason}"' if settings.reason else ""))
    if lease.ended is not None:
        yield Line("link", f"the lease has ended ({lease.ended.cause}); no more requests come", good=False)
        return
    if not connector.joined:
        yield Line("link", f"not joined; connecting to {connector.server}", good=False)
        return
    yield Line("link", f"tunnel {short_id(settings.tunnel)} at {connector.server} for {duration_text(time() - connector.since)}")
    yield Line("takes", view.describe())
    hosts = tuple(filter(None, view.hosts.split(", ")))
    for link in share_links(settings.session, hosts, secure=settings.transport == "wss"):
        yield Line("open", link)
    if lease.left is not None:
        yield Line("lease", f"ends in {duration_text(lease.left)}")
    if view.others:
        named = [f"{other.name} ({other.what})" for other in view.others[:MAX_OTHERS]]
        left_out = len(view.others) - MAX_OTHERS
        yield Line("others", ", ".join([*named, *([f"{left_out} more"] if left_out > 0 else [])]))
