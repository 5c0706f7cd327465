"""Relay messages: what client and server say before a link or a stream carries anything else.

The format is gost's (go-gost/relay ``relay.go``, ``feature.go``), all numbers big endian. A message is four bytes,
``VERSION(1) COMMAND-OR-STATUS(1) LENGTH(2)``, then ``LENGTH`` bytes of features, each ``TYPE(1) LENGTH(2)`` and its data. A
:class:`Request` asks, a :class:`Response` answers; a response also stands at the head of each stream (:func:`stream_preface`).

Reading is strict: whatever is truncated, has a wrong size, comes twice or says something unknown raises :class:`RelayError`; only
features of an unknown type are skipped, so that newer peers can say more. The length field bounds a message to 65539 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import lru_cache
from hashlib import md5
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from struct import Struct
from types import MappingProxyType
from typing import Final
from uuid import UUID

from attrs import field, frozen

__all__ = [
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
HEADER: Final = 4
UDP_FLAG: Final = 0x80  # in the command: the older form of the network feature; gost sends and takes both

USER_AUTH: Final = 1
ADDRESS: Final = 2
TUNNEL: Final = 3
NETWORK: Final = 4
METADATA: Final = 5

IPV4: Final = 1
DOMAIN: Final = 3
IPV6: Final = 4

PRIVATE_FLAG: Final = 0x80
UDP_CONNECTOR_FLAG: Final = 0x01

MAX_ADDRESSES: Final = 2
MAX_PAIRS: Final = 20  # of metadata; gost's bounds
MAX_TEXT: Final = 255

_header = Struct(">BBH")
_feature = Struct(">BH")
_tunnel = Struct(">16sBHB")

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Command(IntEnum):
    """What a request asks for."""

    CONNECT = 1
    """Join this connection with a stream of the tunnel: what a visitor sends."""
    BIND = 2
    """Make this connection a link of the tunnel: what a client sends."""
    ASSOCIATE = 3
    """Relay datagrams; no part of the tunnel protocol, but a well-formed request."""


class Network(IntEnum):
    """What a tunnel carries."""

    TCP = 0
    UDP = 1
    IP = 2
    UNIX = 0x10
    SERIAL = 0x11


class Status(IntEnum):
    """How a request was answered."""

    OK = 0
    BAD_REQUEST = 1
    UNAUTHORIZED = 2
    FORBIDDEN = 3
    TIMEOUT = 4
    SERVICE_UNAVAILABLE = 5
    """No connector is attached to the tunnel."""
    HOST_UNREACHABLE = 6
    """The tunnel is not the one that the host belongs to, or a private one."""
    NETWORK_UNREACHABLE = 7
    """No ingress rule names the host."""
    INTERNAL_SERVER_ERROR = 8

    @property
    def words(self) -> str:
        """The status for humans: ``service unavailable``."""
        return self.name.lower().replace("_", " ")


class RelayError(Exception):
    """The peer sent something that is no relay message: there is nothing to go on with.

    :param reason: what is wrong, in a few words; nothing that the peer sent is repeated in it.
    :param status: what to answer, where an answer is due.
    """

    def __init__(self, reason: str, status: Status = Status.BAD_REQUEST) -> None:
        super().__init__(reason, status)
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return self.reason


@frozen
class RelayAddress:
    """A host and a port.

    :param host: an IP address or a host name, at most 255 bytes without spaces and control characters, or ``""`` for none. An IPv6
        address that only wraps an IPv4 one travels as IPv4, as gost has it.
    :param port: 0 to 65535, 0 for none.
    """

    host: str
    port: int


@frozen
class TunnelFeature:
    """The id of a tunnel (in requests) or of a connector (in the answer to BIND).

    :param id: the id itself.
    :param weight: the byte on the wire, 0 to 255; whoever binds a tunnel with 0 means 1.
    :param private: of a tunnel: only visitors that know its id are let in.
    :param udp: of a connector: it carries datagrams.
    """

    id: UUID
    weight: int = 0
    private: bool = False
    udp: bool = False


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
    metadata: Mapping[str, str] = _NOTHING

    def encode(self) -> bytes:
        """The message, byte for byte as gost would send it.

        :raises ValueError: when something does not fit into the format.
        """
        parts: list[bytes] = []
        command = int(self.command)
        if self.network is not Network.TCP:
            parts.append(_encode_feature(NETWORK, self.network.to_bytes(2, "big")))
        if self.network is Network.UDP:
            command |= UDP_FLAG
        if self.credentials is not None:
            parts.append(_encode_feature(USER_AUTH, b"".join(_short(text, "a credential") for text in self.credentials)))
        return _encode(command, parts, self.addresses, self.tunnel, self.metadata)


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
    metadata: Mapping[str, str] = _NOTHING

    def encode(self) -> bytes:
        """The message, byte for byte as gost would send it.

        :raises ValueError: when something does not fit into the format.
        """
        return _encode(int(self.status), [], self.addresses, self.tunnel, self.metadata)


def stream_preface(source: RelayAddress, destination: RelayAddress) -> bytes:
    """What the server sends at the head of each stream: the same as a :class:`Response` with two addresses.

    :param source: the visitor.
    :param destination: what the visitor asked for, the host with its port.
    :raises ValueError: when a host is too long or holds spaces or control characters.
    """
    addresses = _encode_address(source) + _encode_address(destination)
    return _header.pack(VERSION, Status.OK, len(addresses)) + addresses


def endpoint_host(tunnel: UUID) -> str:
    """The host name under which a tunnel is known when its client asks for none (go-gost/x ``handler/tunnel/bind.go``)."""
    return md5(str(tunnel).encode(), usedforsecurity=False).hexdigest()[:16]


# -- reading


def take_request(data: bytes) -> tuple[Request, int] | None:
    """Read the request at the head of what came.

    :returns: the request and how many bytes it took, None when it is not whole yet.
    :raises RelayError: as soon as it is certain that no valid request will come of it.
    """
    if len(data) > 1 and data[1] & ~UDP_FLAG not in _COMMANDS:
        _check_version(data)
        raise RelayError("unknown command")
    end = _end(data)
    if end is None:
        return None
    found = _take_features(data, end)
    network = Network.UDP if data[1] & UDP_FLAG else found.network or Network.TCP
    command = _COMMANDS[data[1] & ~UDP_FLAG]
    return Request(command, network, found.credentials, tuple(found.addresses), found.tunnel, found.metadata or _NOTHING), end


def take_response(data: bytes) -> tuple[Response, int] | None:
    """Read the response at the head of what came.

    :returns: the response and how many bytes it took, None when it is not whole yet.
    :raises RelayError: as soon as it is certain that no valid response will come of it.
    """
    if len(data) > 1 and data[1] not in _STATUSES:
        _check_version(data)
        raise RelayError("unknown status")
    end = _end(data)
    if end is None:
        return None
    found = _take_features(data, end)
    return Response(_STATUSES[data[1]], tuple(found.addresses), found.tunnel, found.metadata or _NOTHING), end


def take_preface(data: bytes) -> tuple[Response, int] | None:
    """Read the preface of a stream: :func:`take_response`, faster for what a server usually sends.

    :returns: the response, and how many bytes it took, None when it is not whole yet.
    :raises RelayError: as soon as it is certain that no valid preface will come of it.
    """
    # an IPv4 source and whatever destination, status OK
    if data[:2] == b"\x01\x00" and data[4:8] == b"\x02\x00\x07\x01" and data[14:15] == b"\x02":
        end = HEADER + int.from_bytes(data[2:4], "big")
        if len(data) >= end == 17 + int.from_bytes(data[15:17], "big"):
            return Response(Status.OK, (_read_address(data[7:14]), _read_address(data[17:end]))), end
    return take_response(data)


_COMMANDS: Final = {int(command): command for command in Command}
_NETWORKS: Final = {int(network): network for network in Network}
_STATUSES: Final = {int(status): status for status in Status}


def _check_version(data: bytes) -> None:
    if data and data[0] != VERSION:
        raise RelayError("unknown version")


def _end(data: bytes) -> int | None:
    """Where the message ends, None when it is not whole yet."""
    _check_version(data)
    if len(data) < HEADER:
        return None
    end = HEADER + int.from_bytes(data[2:HEADER], "big")
    return end if len(data) >= end else None


class _Features:
    """What the features of one message said."""

    __slots__ = ("addresses", "credentials", "metadata", "network", "tunnel")

    def __init__(self) -> None:
        self.addresses: list[RelayAddress] = []
        self.credentials: tuple[str, str] | None = None
        self.metadata: Mapping[str, str] | None = None
        self.network: Network | None = None
        self.tunnel: TunnelFeature | None = None

    def take_credentials(self, data: bytes) -> None:
        _once(self.credentials, "credentials")
        user, position = _take_text(data, 0, 1, "the user name")
        password, position = _take_text(data, position, 1, "the password")
        _whole(position == len(data), "credentials")
        self.credentials = (user, password)

    def take_address(self, data: bytes) -> None:
        if len(self.addresses) == MAX_ADDRESSES:
            raise RelayError("more than two addresses")
        self.addresses.append(_read_address(data))

    def take_tunnel(self, data: bytes) -> None:
        _once(self.tunnel, "tunnel id")
        _whole(len(data) == _tunnel.size, "tunnel id")
        raw, flags, _, weight = _tunnel.unpack(data)
        private, udp = bool(flags & PRIVATE_FLAG), bool(flags & UDP_CONNECTOR_FLAG)
        self.tunnel = TunnelFeature(UUID(bytes=raw), weight, private, udp)

    def take_network(self, data: bytes) -> None:
        _once(self.network, "network")
        _whole(len(data) == 2, "network")
        self.network = _NETWORKS.get(int.from_bytes(data, "big"))
        if self.network is None:
            raise RelayError("unknown network")

    def take_metadata(self, data: bytes) -> None:
        _once(self.metadata, "metadata")
        count, position = int.from_bytes(data[:2], "big"), 2
        if count > MAX_PAIRS:
            raise RelayError("too much metadata")
        pairs: dict[str, str] = {}
        for _ in range(count):
            key, position = _take_text(data, position, 2, "a key of the metadata")
            if key in pairs:
                raise RelayError("a key of the metadata comes twice")
            pairs[key], position = _take_text(data, position, 2, "a value of the metadata")
        _whole(position == len(data), "metadata")
        self.metadata = MappingProxyType(pairs)


_TAKERS: Final[dict[int, Callable[[_Features, bytes], None]]] = {
    USER_AUTH: _Features.take_credentials,
    ADDRESS: _Features.take_address,
    TUNNEL: _Features.take_tunnel,
    NETWORK: _Features.take_network,
    METADATA: _Features.take_metadata,
}


def _take_features(data: bytes, end: int) -> _Features:
    found = _Features()
    position = HEADER
    while position < end:
        _whole(position + _feature.size <= end, "header of a feature")
        kind, size = _feature.unpack_from(data, position)
        start = position + _feature.size
        position = start + size
        _whole(position <= end, "feature")
        take = _TAKERS.get(kind)
        if take is not None:
            take(found, data[start:position])
    return found


def _read_address(data: bytes) -> RelayAddress:
    kind = data[0] if data else 0
    raw = data[1:-2]
    if kind == IPV4:
        _whole(len(raw) == 4, "IPv4 address")
        host = str(IPv4Address(raw))
    elif kind == DOMAIN:
        _whole(len(data) >= 4 and len(raw) == 1 + raw[0], "host name")
        host = _text(raw[1:], "a host name")
        if not _plain(host):
            raise RelayError("spaces or control characters in a host name")
    elif kind == IPV6:
        _whole(len(raw) == 16, "IPv6 address")
        address = IPv6Address(raw)
        host = str(address.ipv4_mapped or address)
    else:
        raise RelayError("unknown type of address")
    return RelayAddress(host, int.from_bytes(data[-2:], "big"))


def _once(earlier: object, what: str) -> None:
    if earlier is not None:
        raise RelayError(f"{what} twice")


def _whole(fits: bool, what: str) -> None:
    if not fits:
        raise RelayError(f"wrong size of {what}")


def _take_text(data: bytes, position: int, size: int, what: str) -> tuple[str, int]:
    """Read a text that stands after its length, of ``size`` bytes; also returns where it ends."""
    start = position + size
    end = start + int.from_bytes(data[position:start], "big")
    _whole(start <= len(data) and end <= len(data) and end - start <= MAX_TEXT, what)
    return _text(data[start:end], what), end


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RelayError(f"{what} is not UTF-8") from None


def _plain(host: str) -> bool:
    """Whether a host name can be written into a log or a head as it is."""
    return host.isprintable() and " " not in host


# -- writing


def _encode(
    code: int,
    parts: list[bytes],
    addresses: tuple[RelayAddress, ...],
    tunnel: TunnelFeature | None,
    metadata: Mapping[str, str],
) -> bytes:
    """A whole message, its features in gost's order."""
    if len(addresses) > MAX_ADDRESSES:
        raise ValueError("more than two addresses")
    parts.extend(map(_encode_address, addresses))
    if tunnel is not None:
        flags = PRIVATE_FLAG * tunnel.private | UDP_CONNECTOR_FLAG * tunnel.udp
        if not 0 <= tunnel.weight <= 255:
            raise ValueError(f"the weight {tunnel.weight} does not fit into a byte")
        parts.append(_encode_feature(TUNNEL, _tunnel.pack(tunnel.id.bytes, flags, 0, tunnel.weight)))
    if metadata:
        parts.append(_encode_feature(METADATA, _encode_metadata(metadata)))
    features = b"".join(parts)
    return _header.pack(VERSION, code, len(features)) + features


def _encode_feature(kind: int, data: bytes) -> bytes:
    return _feature.pack(kind, len(data)) + data


def _encode_address(address: RelayAddress) -> bytes:
    if not 0 <= address.port <= 65535:
        raise ValueError(f"{address.port} is no port")
    return _encode_host(address.host) + address.port.to_bytes(2, "big")


@lru_cache(maxsize=1024)
def _encode_host(host: str) -> bytes:
    """An address feature up to its port; kept, since the same few hosts are visited again and again."""
    kind, raw = _host_bytes(host)
    return _feature.pack(ADDRESS, 1 + len(raw) + 2) + bytes((kind,)) + raw


def _host_bytes(host: str) -> tuple[int, bytes]:
    """The type and the bytes of a host."""
    try:
        if ":" not in host:
            return IPV4, IPv4Address(host).packed
        if "%" not in host:
            address = IPv6Address(host)
            return (IPV4, address.ipv4_mapped.packed) if address.ipv4_mapped else (IPV6, address.packed)
    except AddressValueError:
        pass
    # a name, or an address with a zone, which only a text can carry
    if not _plain(host):
        raise ValueError("spaces or control characters in a host name")
    return DOMAIN, _short(host, "a host name")


def _short(text: str, what: str) -> bytes:
    """A text after its length in one byte."""
    return _sized(text, what, 1)


def _encode_metadata(metadata: Mapping[str, str]) -> bytes:
    if len(metadata) > MAX_PAIRS:
        raise ValueError("too much metadata")
    pairs = b"".join(_sized(text, "metadata", 2) for pair in metadata.items() for text in pair)
    return len(metadata).to_bytes(2, "big") + pairs


def _sized(text: str, what: str, size: int) -> bytes:
    raw = text.encode()
    if len(raw) > MAX_TEXT:
        raise ValueError(f"{what} is longer than {MAX_TEXT} bytes")
    return len(raw).to_bytes(size, "big") + raw
