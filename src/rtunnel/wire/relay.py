"""Relay messages: the first messages of client and server on a link or stream.

The format is gost's (go-gost/relay ``relay.go``), all numbers big endian. A message is four bytes,
``VERSION(1) COMMAND-OR-STATUS(1) LENGTH(2)``, then ``LENGTH`` bytes of features (:mod:`rtunnel.wire.relay_features`): at most 65539
bytes. A :class:`Request` gets a :class:`Response`; a response is also sent at the beginning of each stream, as its preface.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from hashlib import md5
from struct import Struct
from typing import Final
from uuid import UUID

from attrs import field, frozen

from rtunnel.wire.relay_features import (
    NO_METADATA,
    Network,
    RelayAddress,
    RelayError,
    Status,
    TunnelFeature,
    encode_address,
    encode_features,
    read_address,
    take_features,
)

__all__ = [
    "KEPT",
    "KEPT_SIZE",
    "MAX_MESSAGE",
    "NO_METADATA",
    "Command",
    "Network",
    "RelayAddress",
    "RelayError",
    "Request",
    "Response",
    "Status",
    "TunnelFeature",
    "endpoint_host",
    "stream_preface",
    "take_preface",
    "take_request",
    "take_response",
]

VERSION: Final = 1
UDP_FLAG: Final = 0x80
"""In a command: the older form of the network feature. gost sends both and obeys either."""

_header = Struct(">BBH")
HEADER: Final = _header.size

MAX_MESSAGE: Final = HEADER + 65535
"""Maximum length of a message, in bytes."""
KEPT: Final = 512
"""Messages that are remembered, so that those that repeat are not parsed and written anew each time."""
KEPT_SIZE: Final = 512
"""Bytes of a message that is remembered, at most."""


class Command(IntEnum):
    """The command of a request."""

    CONNECT = 1
    """Connect to the tunnel; sent by a visitor."""
    BIND = 2
    """Turn the connection into a link of the tunnel; sent by a client."""
    ASSOCIATE = 3
    """Relay datagrams; not part of the tunnel protocol, but a valid request."""
    INTERCEPT = 4
    """Like BIND, for the requests that match a filter (:mod:`rtunnel.wire.relay_intercepts`). gost, and servers that do not know
    filters, refuse it as an unknown command (go-gost/x ``handler/tunnel/handler.go``)."""
    CONTROL = 5
    """Ask about leases: after the response the connection carries lines of JSON (:mod:`rtunnel.wire.control`). gost and older
    servers refuse it, too."""
    POD = 6
    """Turn the connection into a link on which the sender opens streams to the pod of a host (:mod:`rtunnel.wire.pod`). gost and
    older servers refuse it, too."""


_COMMANDS: Final = {int(command): command for command in Command}
_STATUSES: Final = {int(status): status for status in Status}


@frozen
class Request:
    """A request of a client or visitor to the server; validated by :meth:`encode`.

    :param command: the command.
    :param network: the kind of traffic.
    :param credentials: user and password.
    :param addresses: the sender's own address first, then the destination (CONNECT) or the address to bind (BIND).
    :param tunnel: the tunnel ID.
    :param metadata: additional data about the sender, at most 20 pairs of at most 255 bytes; gost ignores unknown keys, and older
        versions reject metadata altogether: leave it empty unless it is needed.
    """

    command: Command
    network: Network = Network.TCP
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    addresses: tuple[RelayAddress, ...] = ()
    tunnel: TunnelFeature | None = None
    metadata: Mapping[str, str] = NO_METADATA

    def encode(self) -> bytes:
        """The message, byte for byte as gost would send it.

        :raises ValueError: when something does not fit into the format.
        """
        features = encode_features(
            network=self.network,
            credentials=self.credentials,
            addresses=self.addresses,
            tunnel=self.tunnel,
            metadata=self.metadata,
        )
        flag = UDP_FLAG if self.network is Network.UDP else 0
        return _header.pack(VERSION, self.command | flag, len(features)) + features


@frozen
class Response:
    """The response of the server; validated by :meth:`encode`.

    :param status: the status.
    :param addresses: for BIND: the endpoint, i.e. the host name of the tunnel and the requested port. In a preface: the visitor's
        address, then the requested destination.
    :param tunnel: for BIND: the ID of the new connector, with the requested weight.
    :param metadata: as in :class:`Request`.
    """

    status: Status
    addresses: tuple[RelayAddress, ...] = ()
    tunnel: TunnelFeature | None = None
    metadata: Mapping[str, str] = NO_METADATA

    def encode(self) -> bytes:
        """The message, byte for byte as gost would send it.

        :raises ValueError: when something does not fit into the format.
        """
        features = encode_features(addresses=self.addresses, tunnel=self.tunnel, metadata=self.metadata)
        return _header.pack(VERSION, self.status, len(features)) + features


def stream_preface(source: RelayAddress, destination: RelayAddress) -> bytes:
    """Encode the preface of a stream: a :class:`Response` with two addresses, encoded faster.

    :param source: the visitor.
    :param destination: the requested host and port.
    :raises ValueError: when a host is too long or contains spaces or control characters.
    """
    addresses = encode_address(source) + encode_address(destination)
    return _header.pack(VERSION, 0, len(addresses)) + addresses


def endpoint_host(tunnel: UUID) -> str:
    """The host name of a tunnel whose client requested none (go-gost/x ``handler/tunnel/bind.go``)."""
    return md5(str(tunnel).encode(), usedforsecurity=False).hexdigest()[:16]


def take_request(data: bytes) -> tuple[Request, int] | None:
    """Parse a request at the beginning of the received data.

    :returns: the request and its length in bytes, None while it is incomplete.
    :raises RelayError: as soon as it cannot become a valid request.
    """
    end = _end(data)
    if len(data) < 2:
        return None
    command = _COMMANDS.get(data[1] & ~UDP_FLAG)
    if command is None:
        raise RelayError("unknown command")
    if end is None:
        return None
    found = take_features(data, HEADER, end)
    network = Network.UDP if data[1] & UDP_FLAG else found.network or Network.TCP
    addresses, metadata = tuple(found.addresses), found.metadata or NO_METADATA
    return Request(command, network, found.credentials, addresses, found.tunnel, metadata), end


def take_response(data: bytes) -> tuple[Response, int] | None:
    """Parse a response at the beginning of the received data.

    :returns: the response and its length in bytes, None while it is incomplete.
    :raises RelayError: as soon as it cannot become a valid response.
    """
    end = _end(data)
    if len(data) < 2:
        return None
    status = _STATUSES.get(data[1])
    if status is None:
        raise RelayError("unknown status")
    if end is None:
        return None
    found = take_features(data, HEADER, end)
    return Response(status, tuple(found.addresses), found.tunnel, found.metadata or NO_METADATA), end


def take_preface(data: bytes) -> tuple[Response, int] | None:
    """Parse the preface of a stream: like :func:`take_response`, but faster in the common case.

    :returns: the response and its length in bytes, None while it is incomplete.
    :raises RelayError: as soon as it cannot become a valid preface.
    """
    # status OK, then two addresses and nothing else, the first of them IPv4
    if data[:2] == b"\x01\x00" and data[4:8] == b"\x02\x00\x07\x01" and data[14:15] == b"\x02":
        end = HEADER + int.from_bytes(data[2:4], "big")
        if len(data) >= end == 17 + int.from_bytes(data[15:17], "big"):
            return Response(Status.OK, (read_address(data[7:14]), read_address(data[17:end]))), end
    # a name, as no visitor has: of the server itself, which says the same each time
    if data[4:5] == b"\x02" and data[7:8] == b"\x03":
        end = HEADER + int.from_bytes(data[2:4], "big")
        if end <= min(len(data), KEPT_SIZE):
            return _kept_preface(data[:end]), end
    return take_response(data)


@lru_cache(KEPT)
def _kept_preface(message: bytes) -> Response:
    taken = take_response(message)
    assert taken is not None
    return taken[0]


def _end(data: bytes) -> int | None:
    """The end of the message, None while it is incomplete.

    :raises RelayError: when it has another version.
    """
    if data and data[0] != VERSION:
        raise RelayError("unknown version")
    if len(data) < HEADER:
        return None
    end = HEADER + int.from_bytes(data[2:HEADER], "big")
    return end if len(data) >= end else None
