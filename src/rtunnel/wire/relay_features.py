"""The features of relay messages: addresses, tunnel ids, credentials, networks and metadata, each ``TYPE(1) LENGTH(2)`` and data.

The format is gost's (go-gost/relay ``feature.go``). Parsing is strict: a feature that is truncated, has a wrong size, is repeated
or has an unknown value raises :class:`RelayError`; only features of unknown types are skipped, for compatibility with newer peers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from struct import Struct
from types import MappingProxyType
from typing import Final
from uuid import UUID

from attrs import frozen

__all__ = [
    "NO_METADATA",
    "Features",
    "Network",
    "RelayAddress",
    "RelayError",
    "Status",
    "TunnelFeature",
    "encode_address",
    "encode_features",
    "read_address",
    "take_features",
]

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
MAX_PAIRS: Final = 20
"""Maximum number of metadata pairs, as in gost."""
MAX_TEXT: Final = 255
"""Maximum length of a host name, a credential, a metadata key or value, in bytes."""

NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})

_header = Struct(">BH")
_tunnel = Struct(">16sBHB")


class Network(IntEnum):
    """The kind of traffic of a tunnel."""

    TCP = 0
    UDP = 1
    IP = 2
    UNIX = 0x10
    SERIAL = 0x11


class Status(IntEnum):
    """The status of a response."""

    OK = 0
    BAD_REQUEST = 1
    UNAUTHORIZED = 2
    FORBIDDEN = 3
    TIMEOUT = 4
    SERVICE_UNAVAILABLE = 5
    """No connector is attached to the tunnel."""
    HOST_UNREACHABLE = 6
    """The tunnel is not the one of the host, or is private."""
    NETWORK_UNREACHABLE = 7
    """No ingress rule matches the host."""
    INTERNAL_SERVER_ERROR = 8

    @property
    def description(self) -> str:
        """The status as text, e.g. ``service unavailable``."""
        return self.name.lower().replace("_", " ")


class RelayError(Exception):
    """The peer sent an invalid relay message.

    :param reason: a short description; never contains data of the peer.
    :param status: the status to respond with, where a response is due.
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
        address that maps an IPv4 one is sent as IPv4, as in gost.
    :param port: 0 to 65535, 0 for none.
    """

    host: str
    port: int


@frozen
class TunnelFeature:
    """The ID of a tunnel (in requests) or of a connector (in the response to BIND).

    :param id: the ID.
    :param weight: the byte on the wire, 0 to 255; 0 in a BIND request means 1.
    :param private: of a tunnel: only visitors that know its ID are admitted.
    :param udp: of a connector: it carries datagrams.
    """

    id: UUID
    weight: int = 0
    private: bool = False
    udp: bool = False


class Features:
    """The features of one message; ``None`` for those that are absent."""

    __slots__ = ("addresses", "credentials", "metadata", "network", "tunnel")

    def __init__(self) -> None:
        self.addresses: list[RelayAddress] = []
        self.credentials: tuple[str, str] | None = None
        self.metadata: Mapping[str, str] | None = None
        self.network: Network | None = None
        self.tunnel: TunnelFeature | None = None


# -- reading


def take_features(data: bytes, start: int, end: int) -> Features:
    """Parse all features of a message.

    :param start: their start in ``data``.
    :param end: their end.
    :raises RelayError: when they are malformed.
    """
    found = Features()
    position = start
    while position < end:
        _check_size(position + _header.size <= end, "header of a feature")
        kind, size = _header.unpack_from(data, position)
        begin = position + _header.size
        position = begin + size
        _check_size(position <= end, "feature")
        read = _READERS.get(kind)
        if read is not None:
            read(found, data[begin:position])
    return found


def read_address(data: bytes) -> RelayAddress:
    """Parse the data of an address feature.

    :raises RelayError: when it is malformed.
    """
    kind = data[0] if data else 0
    raw = data[1:-2]
    if kind == IPV4:
        _check_size(len(raw) == 4, "IPv4 address")
        host = ".".join(map(str, raw))  # str(IPv4Address(raw)) takes several times as long
    elif kind == DOMAIN:
        _check_size(len(data) >= 4 and len(raw) == 1 + raw[0], "host name")
        host = _text(raw[1:], "a host name")
        if not _plain(host):
            raise RelayError("spaces or control characters in a host name")
    elif kind == IPV6:
        _check_size(len(raw) == 16, "IPv6 address")
        address = IPv6Address(raw)
        host = str(address.ipv4_mapped or address)
    else:
        raise RelayError("unknown type of address")
    return RelayAddress(host, int.from_bytes(data[-2:], "big"))


def _read_credentials(found: Features, data: bytes) -> None:
    _check_once(found.credentials, "credentials")
    user, position = _read_text(data, 0, 1, "the user name")
    password, position = _read_text(data, position, 1, "the password")
    _check_size(position == len(data), "credentials")
    found.credentials = (user, password)


def _read_address(found: Features, data: bytes) -> None:
    if len(found.addresses) == MAX_ADDRESSES:
        raise RelayError("more than two addresses")
    found.addresses.append(read_address(data))


def _read_tunnel(found: Features, data: bytes) -> None:
    _check_once(found.tunnel, "tunnel id")
    _check_size(len(data) == _tunnel.size, "tunnel id")
    raw, flags, _, weight = _tunnel.unpack(data)
    found.tunnel = TunnelFeature(UUID(bytes=raw), weight, bool(flags & PRIVATE_FLAG), bool(flags & UDP_CONNECTOR_FLAG))


def _read_network(found: Features, data: bytes) -> None:
    _check_once(found.network, "network")
    _check_size(len(data) == 2, "network")
    found.network = _NETWORKS.get(int.from_bytes(data, "big"))
    if found.network is None:
        raise RelayError("unknown network")


def _read_metadata(found: Features, data: bytes) -> None:
    _check_once(found.metadata, "metadata")
    _check_size(len(data) >= 2, "metadata")
    count, position = int.from_bytes(data[:2], "big"), 2
    if count > MAX_PAIRS:
        raise RelayError("too much metadata")
    pairs: dict[str, str] = {}
    for _ in range(count):
        key, position = _read_text(data, position, 2, "a key of the metadata")
        if key in pairs:
            raise RelayError("a key of the metadata is there twice")
        pairs[key], position = _read_text(data, position, 2, "a value of the metadata")
    _check_size(position == len(data), "metadata")
    found.metadata = MappingProxyType(pairs)


_NETWORKS: Final = {int(network): network for network in Network}
_READERS: Final[dict[int, Callable[[Features, bytes], None]]] = {
    USER_AUTH: _read_credentials,
    ADDRESS: _read_address,
    TUNNEL: _read_tunnel,
    NETWORK: _read_network,
    METADATA: _read_metadata,
}


def _check_once(earlier: object, what: str) -> None:
    if earlier is not None:
        raise RelayError(f"{what} twice")


def _check_size(fits: bool, what: str) -> None:
    if not fits:
        raise RelayError(f"wrong size of {what}")


def _read_text(data: bytes, position: int, size: int, what: str) -> tuple[str, int]:
    """Parse a text with a length prefix of ``size`` bytes; also returns the end of the text."""
    start = position + size
    end = start + int.from_bytes(data[position:start], "big")
    _check_size(start <= len(data) and end <= len(data) and end - start <= MAX_TEXT, what)
    return _text(data[start:end], what), end


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RelayError(f"{what} is not UTF-8") from None


def _plain(host: str) -> bool:
    """Whether a host is safe to write to a log or a head."""
    return host.isprintable() and " " not in host


# -- writing


def encode_features(
    *,
    network: Network = Network.TCP,
    credentials: tuple[str, str] | None = None,
    addresses: tuple[RelayAddress, ...] = (),
    tunnel: TunnelFeature | None = None,
    metadata: Mapping[str, str] = NO_METADATA,
) -> bytes:
    """Encode all features of a message, in gost's order.

    :raises ValueError: when a value does not fit the format.
    """
    if len(addresses) > MAX_ADDRESSES:
        raise ValueError("more than two addresses")
    parts: list[bytes] = []
    if network is not Network.TCP:
        parts.append(_feature(NETWORK, network.to_bytes(2, "big")))
    if credentials is not None:
        parts.append(_feature(USER_AUTH, b"".join(_sized(text, "a credential", 1) for text in credentials)))
    parts.extend(map(encode_address, addresses))
    if tunnel is not None:
        parts.append(_feature(TUNNEL, _encode_tunnel(tunnel)))
    if metadata:
        parts.append(_feature(METADATA, _encode_metadata(metadata)))
    return b"".join(parts)


def encode_address(address: RelayAddress) -> bytes:
    """Encode an address feature.

    :raises ValueError: when the host or port does not fit the format.
    """
    if not 0 <= address.port <= 65535:
        raise ValueError(f"the port {address.port} is not from 0 to 65535")
    return _encode_host(address.host) + address.port.to_bytes(2, "big")


@lru_cache(maxsize=1024)
def _encode_host(host: str) -> bytes:
    """An address feature up to its port; cached, since the same few hosts are used again and again."""
    data = _host_data(host)
    return _header.pack(ADDRESS, len(data) + 2) + data


def _host_data(host: str) -> bytes:
    try:
        if ":" not in host:
            return bytes((IPV4,)) + IPv4Address(host).packed
        if "%" not in host:
            address = IPv6Address(host)
            mapped = address.ipv4_mapped
            return bytes((IPV4,)) + mapped.packed if mapped else bytes((IPV6,)) + address.packed
    except AddressValueError:
        pass
    # a name, or an address with a zone, which has no binary form
    if not _plain(host):
        raise ValueError("spaces or control characters in a host name")
    return bytes((DOMAIN,)) + _sized(host, "a host name", 1)


def _encode_tunnel(tunnel: TunnelFeature) -> bytes:
    if not 0 <= tunnel.weight <= 255:
        raise ValueError(f"the weight {tunnel.weight} does not fit into a byte")
    flags = PRIVATE_FLAG * tunnel.private | UDP_CONNECTOR_FLAG * tunnel.udp
    return _tunnel.pack(tunnel.id.bytes, flags, 0, tunnel.weight)


def _encode_metadata(metadata: Mapping[str, str]) -> bytes:
    if len(metadata) > MAX_PAIRS:
        raise ValueError("too much metadata")
    pairs = b"".join(_sized(text, "metadata", 2) for pair in metadata.items() for text in pair)
    return len(metadata).to_bytes(2, "big") + pairs


def _feature(kind: int, data: bytes) -> bytes:
    return _header.pack(kind, len(data)) + data


def _sized(text: str, what: str, size: int) -> bytes:
    """A text with a length prefix of ``size`` bytes."""
    raw = text.encode()
    if len(raw) > MAX_TEXT:
        raise ValueError(f"{what} is longer than {MAX_TEXT} bytes")
    return len(raw).to_bytes(size, "big") + raw
