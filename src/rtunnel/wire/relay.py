"""Relay messages: what client and server say before a link or a stream carries anything else.

The format is gost's (go-gost/relay ``relay.go``), all numbers big endian. A message is four bytes,
``VERSION(1) COMMAND-OR-STATUS(1) LENGTH(2)``, then ``LENGTH`` bytes of features (:mod:`rtunnel.wire.relay_features`): at most 65539
bytes. A :class:`Request` asks, a :class:`Response` answers; a response also stands at the head of each stream, where it is called
the stream's preface.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
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
    "MAX_MESSAGE",
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
"""Bytes of the longest message."""


class Command(IntEnum):
    """What a request asks for."""

    CONNECT = 1
    """Join this connection with a stream of the tunnel: what a visitor sends."""
    BIND = 2
    """Make this connection a link of the tunnel: what a client sends."""
    ASSOCIATE = 3
    """Relay datagrams; no part of the tunnel protocol, but a well-formed request."""


_COMMANDS: Final = {int(command): command for command in Command}
_STATUSES: Final = {int(status): status for status in Status}


@frozen
class Request:
    """What a client or a visitor asks of the server; nothing is checked before :meth:`encode`.

    :param command: what is asked.
    :param network: what is to be carried.
    :param credentials: user and password.
    :param addresses: the sender's own address first, then the destination (CONNECT) or the address to bind (BIND).
    :param tunnel: which tunnel.
    :param metadata: more that is known about the sender, at most 20 pairs of at most 255 bytes; a gost ignores keys that it does
        not know, and an older one refuses metadata altogether: leave it empty when there is nothing to say.
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
    """How the server answered; nothing is checked before :meth:`encode`.

    :param status: whether it worked.
    :param addresses: to BIND: the endpoint, that is the host name of the tunnel and the port that was asked for. In a preface: the
        visitor's address, then the destination that the visitor asked for.
    :param tunnel: to BIND: the id of the new connector, with the weight that was asked for.
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
    """What the server sends at the head of each stream: a :class:`Response` with two addresses, made faster.

    :param source: the visitor.
    :param destination: what the visitor asked for, the host with its port.
    :raises ValueError: when a host is too long or holds spaces or control characters.
    """
    addresses = encode_address(source) + encode_address(destination)
    return _header.pack(VERSION, 0, len(addresses)) + addresses


def endpoint_host(tunnel: UUID) -> str:
    """The host name under which a server knows a tunnel whose client asked for none (go-gost/x ``handler/tunnel/bind.go``)."""
    return md5(str(tunnel).encode(), usedforsecurity=False).hexdigest()[:16]


def take_request(data: bytes) -> tuple[Request, int] | None:
    """Read the request at the head of what came.

    :returns: the request and how many bytes it took, None when it is not whole yet.
    :raises RelayError: as soon as it is certain that no valid request will come of it.
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
    """Read the response at the head of what came.

    :returns: the response and how many bytes it took, None when it is not whole yet.
    :raises RelayError: as soon as it is certain that no valid response will come of it.
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
    """Read the preface of a stream: :func:`take_response`, faster for what servers send to most.

    :returns: the response and how many bytes it took, None when it is not whole yet.
    :raises RelayError: as soon as it is certain that no valid preface will come of it.
    """
    # status OK, then two addresses and nothing else, the first of them IPv4
    if data[:2] == b"\x01\x00" and data[4:8] == b"\x02\x00\x07\x01" and data[14:15] == b"\x02":
        end = HEADER + int.from_bytes(data[2:4], "big")
        if len(data) >= end == 17 + int.from_bytes(data[15:17], "big"):
            return Response(Status.OK, (read_address(data[7:14]), read_address(data[17:end]))), end
    return take_response(data)


def _end(data: bytes) -> int | None:
    """Where the message ends, None when it is not whole yet.

    :raises RelayError: when it is of another version.
    """
    if data and data[0] != VERSION:
        raise RelayError("unknown version")
    if len(data) < HEADER:
        return None
    end = HEADER + int.from_bytes(data[2:HEADER], "big")
    return end if len(data) >= end else None
