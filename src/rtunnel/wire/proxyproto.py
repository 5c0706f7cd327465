"""The PROXY protocol: how a proxy tells, ahead of the bytes of a connection, whose connection it passes on.

The format is HAProxy's (``doc/proxy-protocol.txt``), in its versions 1, a line of text, and 2, binary. The header stands once, at
the head of a connection; :func:`take_proxy_header` reads either version, :meth:`ProxyHeader.encode` writes either. Nothing in a
header is proved: whoever takes one decides from which addresses.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Final, TypeAlias

from attrs import frozen

__all__ = ["MAX_HEADER", "ProxyAddress", "ProxyHeader", "ProxyProtocolError", "take_proxy_header"]

MAX_HEADER: Final = 4096
"""Bytes of the longest header that is taken. The format allows 65551, but what there is beside the addresses, such as the name of a
certificate, is short."""
MAX_LINE: Final = 107
"""Bytes of the longest header of version 1, with its CR LF."""

TEXT: Final = b"PROXY "
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

LOCAL: Final = 0x20
PROXY: Final = 0x21
UNSPECIFIED: Final = 0x00
INET: Final = 0x10
INET6: Final = 0x20
UNIX: Final = 0x30
STREAM: Final = 1
DATAGRAM: Final = 2

CRC32C: Final = 0x03
"""The type of the one addition that is looked at: a checksum, which has to be right when it is there."""

_prefix = Struct(">12sBBH")
PREFIX: Final = _prefix.size
_inet = Struct(">4s4sHH")
_inet6 = Struct(">16s16sHH")
_unix = Struct(">108s108s")
_addition = Struct(">BH")

_LAYOUTS: Final = {UNSPECIFIED: Struct(""), INET: _inet, INET6: _inet6, UNIX: _unix}
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)


class ProxyProtocolError(Exception):
    """What came is no header, or one that is not allowed; the words say why."""


@frozen
class ProxyAddress:
    """One end of a TCP connection (or UDP association).

    :param host: an IPv4 or IPv6 address.
    :param port: 0 to 65535.
    """

    host: str
    port: int


End: TypeAlias = ProxyAddress | bytes
"""One end of a connection; bytes are the path of a Unix socket."""


@frozen
class ProxyHeader:
    """What a header says; nothing is checked before :meth:`encode`.

    :param source: who connected to the proxy; None when the proxy speaks for itself or does not say (``LOCAL``, ``UNKNOWN``): then
        the addresses of the connection itself count.
    :param destination: to which address; None together with the source.
    :param local: whether the proxy says that the connection is its own, such as a probe of its health (version 2).
    :param datagram: whether it is about datagrams (version 2).
    :param additions: types and values of what else is said (``TLV``), in their order (version 2).
    """

    source: End | None = None
    destination: End | None = None
    local: bool = False
    datagram: bool = False
    additions: tuple[tuple[int, bytes], ...] = ()

    def encode(self, version: int) -> bytes:
        """The header, byte for byte.

        Where one end is IPv4 and the other one IPv6, the former is written as IPv6 (``::ffff:192.0.2.1``), since a header has one
        family.

        :param version: 1 or 2.
        :raises ValueError: when something does not fit into the version.
        """
        if (self.source is None) is not (self.destination is None):
            raise ValueError("a PROXY header names both ends or none")
        if version == 1:
            return self._line()
        if version == 2:
            return self._block()
        raise ValueError(f"there is no version {version} of the PROXY protocol")

    def _line(self) -> bytes:
        if self.datagram or self.additions:
            raise ValueError("version 1 of the PROXY protocol carries no datagrams and no additions")
        if self.source is None or self.destination is None:
            return b"PROXY UNKNOWN\r\n"
        if isinstance(self.source, bytes) or isinstance(self.destination, bytes):
            raise ValueError("version 1 of the PROXY protocol has no Unix sockets")
        source, destination = _one_family(self.source, self.destination)
        words = (f"TCP{source.version}", source, destination, _port(self.source), _port(self.destination))
        return f"PROXY {' '.join(map(str, words))}\r\n".encode()

    def _block(self) -> bytes:
        family, addresses = (UNSPECIFIED, b"") if self.local else self._addresses()
        body = addresses + b"".join(map(_encode_tlv, () if self.local else self.additions))
        if len(body) > 65535:
            raise ValueError("the PROXY header is longer than 65551 bytes")
        return _prefix.pack(SIGNATURE, LOCAL if self.local else PROXY, family, len(body)) + body

    def _addresses(self) -> tuple[int, bytes]:
        kind = DATAGRAM if self.datagram else STREAM
        source, destination = self.source, self.destination
        if source is None or destination is None:
            return UNSPECIFIED, b""
        if isinstance(source, bytes) and isinstance(destination, bytes):
            if max(len(source), len(destination)) > 108:
                raise ValueError("the path of a Unix socket is longer than 108 bytes")
            return UNIX | kind, _unix.pack(source, destination)
        if isinstance(source, bytes) or isinstance(destination, bytes):
            raise ValueError("a PROXY header names two addresses or two Unix sockets")
        from_address, to_address = _one_family(source, destination)
        ends = (from_address.packed, to_address.packed, _port(source), _port(destination))
        return (INET | kind, _inet.pack(*ends)) if from_address.version == 4 else (INET6 | kind, _inet6.pack(*ends))


def _one_family(
    source: ProxyAddress, destination: ProxyAddress
) -> tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]:
    """Both hosts as addresses of the same family.

    :raises ValueError: when one is not an address (but a name, say).
    """
    ours, theirs = ip_address(source.host), ip_address(destination.host)
    if isinstance(ours, IPv4Address) and isinstance(theirs, IPv4Address):
        return ours, theirs
    return _as_ipv6(ours), _as_ipv6(theirs)


def _as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    # by number, which leaves out the zone of a link-local address: it means nothing elsewhere
    return IPv6Address(int(address) | (0xFFFF << 32 if address.version == 4 else 0))


def _port(end: ProxyAddress) -> int:
    if not 0 <= end.port <= 65535:
        raise ValueError(f"the port {end.port} is not from 0 to 65535")
    return end.port


def _encode_tlv(addition: tuple[int, bytes]) -> bytes:
    kind, value = addition
    if not 0 <= kind <= 255 or len(value) > 65535:
        raise ValueError("an addition to a PROXY header has a type of one byte and a value of at most 65535")
    return _addition.pack(kind, len(value)) + value


# -- reading


def take_proxy_header(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Read the header at the head of what came, of either version.

    :returns: the header and how many bytes it took, None when it is not whole yet.
    :raises ProxyProtocolError: as soon as it is certain that no valid header will come of it.
    """
    if data[:1] == TEXT[:1]:
        if not _begins(data, TEXT):
            raise ProxyProtocolError("no PROXY header")
        return _take_line(data)
    if not _begins(data, SIGNATURE):
        raise ProxyProtocolError("no PROXY header")
    return _take_block(data)


def _begins(data: bytes, mark: bytes) -> bool:
    """Whether data begins with a mark, as far as it has come."""
    return mark.startswith(data[: len(mark)])


def _take_line(data: bytes) -> tuple[ProxyHeader, int] | None:
    end = data.find(b"\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise ProxyProtocolError(f"the line is longer than {MAX_LINE} bytes")
        return None
    line = data[len(TEXT) : end - 1]
    if data[end - 1 : end] != b"\r":
        raise ProxyProtocolError("malformed line")
    # whatever follows UNKNOWN is to be ignored
    if line == b"UNKNOWN" or line.startswith(b"UNKNOWN "):
        return ProxyHeader(), end + 1
    words = line.decode("ascii", "replace").split(" ")
    if len(words) != 5 or words[0] not in ("TCP4", "TCP6"):
        raise ProxyProtocolError("malformed line")
    source, destination = (_read_end(words[0], *words[index::2]) for index in (1, 2))
    return ProxyHeader(source, destination), end + 1


def _read_end(family: str, host: str, port: str) -> ProxyAddress:
    try:
        # the zone of an IPv6 address ("%eth0") means something on the proxy only, and the format has none
        address = IPv4Address(host) if family == "TCP4" else IPv6Address("" if "%" in host else host)
    except ValueError:
        raise ProxyProtocolError(f"malformed address for {family}") from None
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ProxyProtocolError("malformed port")
    return ProxyAddress(_plain(address), int(port))


def _plain(address: IPv4Address | IPv6Address) -> str:
    """An address as text; IPv4 that was written as IPv6 is IPv4."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _take_block(data: bytes) -> tuple[ProxyHeader, int] | None:
    command = data[12] if len(data) > 12 else PROXY
    if command not in (LOCAL, PROXY):
        raise ProxyProtocolError("unknown version or command")
    if len(data) < PREFIX:
        return None
    family = data[13]
    end = PREFIX + int.from_bytes(data[14:PREFIX], "big")
    if end > MAX_HEADER:
        raise ProxyProtocolError(f"the header is longer than {MAX_HEADER} bytes")
    layout = _LAYOUTS.get(family & 0xF0)
    if command == PROXY and (layout is None or family & 0x0F > DATAGRAM or bool(family & 0xF0) is not bool(family & 0x0F)):
        raise ProxyProtocolError("unknown family or protocol")
    if len(data) < end:
        return None
    if command == LOCAL or layout is None or family == UNSPECIFIED:
        # a receiver must use the addresses of the connection, whatever else is said
        return ProxyHeader(local=command == LOCAL), end
    body = PREFIX + layout.size
    if body > end:
        raise ProxyProtocolError("the header is too short for its addresses")
    source, destination = _read_ends(family, layout, data)
    additions = tuple(_read_additions(data[:end], body))
    return ProxyHeader(source, destination, False, family & 0x0F == DATAGRAM, additions), end


def _read_ends(family: int, layout: Struct, data: bytes) -> tuple[End, End]:
    if layout is _unix:
        source, destination = layout.unpack_from(data, PREFIX)
        return source.rstrip(b"\0"), destination.rstrip(b"\0")
    source, destination, source_port, destination_port = layout.unpack_from(data, PREFIX)
    return ProxyAddress(_plain(ip_address(source)), source_port), ProxyAddress(_plain(ip_address(destination)), destination_port)


def _read_additions(header: bytes, position: int) -> list[tuple[int, bytes]]:
    """Take apart what stands after the addresses.

    :param header: all of the header: a checksum is over all of it.
    """
    found = []
    while position < len(header):
        start = position + _addition.size
        if start > len(header):
            raise ProxyProtocolError("truncated addition")
        kind, length = _addition.unpack_from(header, position)
        position = start + length
        if position > len(header):
            raise ProxyProtocolError("truncated addition")
        value = header[start:position]
        if kind == CRC32C and value != _checksum(header[:start] + bytes(length) + header[position:]):
            raise ProxyProtocolError("the checksum is wrong")
        found.append((kind, value))
    return found


def _checksum(header: bytes) -> bytes:
    """CRC-32C (RFC 3720 appendix B.4) of a header in which the checksum's own bytes are zero."""
    crc = 0xFFFFFFFF
    for byte in header:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "big")


def _crc_row(row: int) -> int:
    for _ in range(8):
        row = (row >> 1) ^ (0x82F63B78 if row & 1 else 0)
    return row


_CRC: Final = tuple(map(_crc_row, range(256)))
