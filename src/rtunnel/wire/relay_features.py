"""The features of relay messages: addresses, tunnel ids, credentials, networks and metadata, each ``TYPE(1) LENGTH(2)`` and data.

They are gost's (go-gost/relay ``feature.go``). Reading is strict: what is truncated, has a wrong size, comes twice or says
something unknown raises :class:`RelayError`; only a feature of an unknown type is skipped, so that newer peers can say more.
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
"""Pairs of metadata, gost's bound."""
MAX_TEXT: Final = 255
"""Bytes of a host name, a credential, a key or value of the metadata."""

NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})

_header = Struct(">BH")
_tunnel = Struct(">16sBHB")


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
    """The tunnel is not the one that the host belongs to, or is a private one."""
    NETWORK_UNREACHABLE = 7
    """No ingress rule names the host."""
    INTERNAL_SERVER_ERROR = 8

    @property
    def description(self) -> str:
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


class Features:
    """What the features of one message said; ``None`` for those that were absent."""

    __slots__ = ("addresses", "credentials", "metadata", "network", "tunnel")

    def __init__(self) -> None:
        self.addresses: list[RelayAddress] = []
        self.credentials: tuple[str, str] | None = None
        self.metadata: Mapping[str, str] | None = None
        self.network: Network | None = None
        self.tunnel: TunnelFeature | None = None


# -- reading


def take_features(data: bytes, start: int, end: int) -> Features:
    """Read all features of a message.

    :param start: where they begin in ``data``.
    :param end: where they end.
    :raises RelayError: when they are malformed.
    """
    found = Features()
    position = start
    while position < end:
        _whole(position + _header.size <= end, "header of a feature")
        kind, size = _header.unpack_from(data, position)
        begin = position + _header.size
        position = begin + size
        _whole(position <= end, "feature")
        take = _READERS.get(kind)
        if take is not None:
            take(found, data[begin:position])
    return found


def read_address(data: bytes) -> RelayAddress:
    """Read the data of an address feature.

    :raises RelayError: when it is malformed.
    """
    kind = data[0] if data else 0
    raw = data[1:-2]
    if kind == IPV4:
        _whole(len(raw) == 4, "IPv4 address")
        host = ".".join(map(str, raw))  # str(IPv4Address(raw)) takes several times as long
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


def _take_credentials(found: Features, data: bytes) -> None:
    _once(found.credentials, "credentials")
    user, position = _take_text(data, 0, 1, "the user name")
    password, position = _take_text(data, position, 1, "the password")
    _whole(position == len(data), "credentials")
    found.credentials = (user, password)


def _take_address(found: Features, data: bytes) -> None:
    if len(found.addresses) == MAX_ADDRESSES:
        raise RelayError("more than two addresses")
    found.addresses.append(read_address(data))


def _take_tunnel(found: Features, data: bytes) -> None:
    _once(found.tunnel, "tunnel id")
    _whole(len(data) == _tunnel.size, "tunnel id")
    raw, flags, _, weight = _tunnel.unpack(data)
    found.tunnel = TunnelFeature(UUID(bytes=raw), weight, bool(flags & PRIVATE_FLAG), bool(flags & UDP_CONNECTOR_FLAG))


def _take_network(found: Features, data: bytes) -> None:
    _once(found.network, "network")
    _whole(len(data) == 2, "network")
    found.network = _NETWORKS.get(int.from_bytes(data, "big"))
    if found.network is None:
        raise RelayError("unknown network")


def _take_metadata(found: Features, data: bytes) -> None:
    _once(found.metadata, "metadata")
    _whole(len(data) >= 2, "metadata")
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
    found.metadata = MappingProxyType(pairs)


_NETWORKS: Final = {int(network): network for network in Network}
_READERS: Final[dict[int, Callable[[Features, bytes], None]]] = {
    USER_AUTH: _take_credentials,
    ADDRESS: _take_address,
    TUNNEL: _take_tunnel,
    NETWORK: _take_network,
    METADATA: _take_metadata,
}


def _once(earlier: object, what: str) -> None:
    if earlier is not None:
        raise RelayError(f"{what} twice")


def _whole(fits: bool, what: str) -> None:
    if not fits:
        raise RelayError(f"wrong size of {what}")


def _take_text(data: bytes, position: int, size: int, what: str) -> tuple[str, int]:
    """Read a text that stands after its length, itself of ``size`` bytes; also returns where the text ends."""
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
    """Whether a host can be written into a log or a head as it is."""
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
    """All features of a message, in gost's order.

    :raises ValueError: when something does not fit into the format.
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
    """A whole address feature.

    :raises ValueError: when the host does not fit into it.
    """
    if not 0 <= address.port <= 65535:
        raise ValueError(f"{address.port} is no port")
    return _encode_host(address.host) + address.port.to_bytes(2, "big")


@lru_cache(maxsize=1024)
def _encode_host(host: str) -> bytes:
    """An address feature up to its port; kept, since the same few hosts are visited again and again."""
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
    # a name, or an address with a zone, which only a text can carry
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
    """A text after its length, itself of ``size`` bytes."""
    raw = text.encode()
    if len(raw) > MAX_TEXT:
        raise ValueError(f"{what} is longer than {MAX_TEXT} bytes")
    return len(raw).to_bytes(size, "big") + raw
