"""Detection of a visitor's protocol by the first bytes of its connection."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.entrypoint import Entrypoint, Peer, Speaker

__all__ = ["FirstBytes", "VisitorFactory", "speaker_of"]


def speaker_of(data: bytes, speakers: tuple[Speaker, ...]) -> Speaker | None:
    """Choose the speaker of a connection.

    :param data: its first bytes; not empty.
    :param speakers: the last one is the default.
    :returns: None while the bytes are an incomplete prefix.
    """
    for speaker in speakers:
        for prefix in speaker.prefixes:
            if data.startswith(prefix):
                return speaker
            if prefix.startswith(data):
                return None
    return speakers[-1]


class VisitorFactory(Factory):
    """Makes the connections of an entrypoint's port.

    :param entrypoint: what the connections belong to.
    """

    noisy = False

    def __init__(self, entrypoint: Entrypoint) -> None:
        self.entrypoint = entrypoint

    def buildProtocol(self, addr: Any) -> Protocol:
        return FirstBytes(self.entrypoint)


class FirstBytes(Protocol):
    """A visitor's connection until its protocol is known; owned by the entrypoint. Then a speaker takes it over.

    :param peer: the visitor's address if a proxy announced it; by default the peer of the connection.
    """

    transport: Any
    idle_since = 0.0
    busy = False
    read_paused = False
    deadline = NEVER

    def __init__(self, entrypoint: Entrypoint, peer: Peer | None = None) -> None:
        self._entrypoint = entrypoint
        self._peer = peer
        self._data = b""

    def connectionMade(self) -> None:
        entrypoint = self._entrypoint
        entrypoint.stats.visitors_total += 1
        entrypoint.enter(self, entrypoint.settings.head_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._entrypoint.leave(self)

    def dataReceived(self, data: bytes) -> None:
        entrypoint = self._entrypoint
        data = self._data + data if self._data else data
        speaker = speaker_of(data, entrypoint.speakers)
        if speaker is None:
            self._data = data
        elif entrypoint.leave(self):
            speaker.accept(entrypoint, self.transport, self._peer or Peer.of(self.transport), data)

    def settings_changed(self) -> None:
        """Does nothing: the speaker will read them."""

    def drain(self) -> None:
        """Wait a moment for its request."""
        self.busy = True
        self._entrypoint.hurry(self)

    def cut(self) -> None:
        """Cut the connection."""
        self.transport.abortConnection()

    def expired(self) -> None:
        """Nothing was received in time."""
        self.transport.loseConnection()
