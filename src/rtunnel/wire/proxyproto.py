"""The PROXY protocol: a header in which a proxy announces the addresses of a connection that it forwards.

The format is HAProxy's (``doc/proxy-protocol.txt``), in its versions 1, a line of text, and 2, binary. The header is sent once, at
the beginning of a connection; :func:`take_proxy_header` parses either version, :meth:`ProxyHeader.encode` writes either. A header
is not authenticated: the receiver has to decide from which addresses it accepts one.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Final, TypeAlias

from attrs import frozen

__all__ = ["MAX_HEADER", "ProxyAddress", "ProxyHeader", "ProxyProtocolError", "take_proxy_header"]

MAX_HEADER: Final = 4096
"""Maximum length of an accepted header, in bytes. The format allows 65551, but what is sent besides the addresses, such as the name
of a certificate, is short."""
MAX_LINE: Final = 107
"""Maximum length of a header of version 1, in bytes, including CR LF."""

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
"""The type of the only TLV that is evaluated: a checksum, which must be correct if present."""

_prefix = Struct(">12sBBH")
PREFIX: Final = _prefix.size
_inet = Struct(">4s4sHH")
_inet6 = Struct(">16s16sHH")
_unix = Struct(">108s108s")
_addition = Struct(">BH")

_LAYOUTS: Final = {UNSPECIFIED: Struct(""), INET: _inet, INET6: _inet6, UNIX: _unix}
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)


class ProxyProtocolError(Exception):
    """The received data is not a header, or not an accepted one; the text says why."""


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
    """The fields of a header; validated by :meth:`encode`.

    :param source: the peer of the proxy; None if the proxy does not announce it (``LOCAL``, ``UNKNOWN``): then the addresses of the
        connection itself apply.
    :param destination: the address that it connected to; None together with the source.
    :param local: whether the connection is the proxy's own, e.g. a health check (version 2).
    :param datagram: whether it is about datagrams (version 2).
    :param additions: types and values of further fields (``TLV``), in order (version 2).
    """

    source: End | None = None
    destination: End | None = None
    local: bool = False
    datagram: bool = False
    additions: tuple[tuple[int, bytes], ...] = ()

    def encode(self, version: int) -> bytes:
        """Encode the header.

        If one end is IPv4 and the other one IPv6, the former is written as IPv6 (``::ffff:192.0.2.1``), since a header has one
        address family.

        :param version: 1 or 2.
        :raises ValueError: when a value does not fit the version.
        """
        if (self.source is None) is not (self.destination is None):
            raise ValueError("a PROXY header names both ends or none")
        if version == 1:
            return self._line()
        if version == 2:
            return self._block()
        raise ValueError(f"unknown version {version} of the PROXY protocol")

    def _line(self) -> bytes:
        if self.datagram or self.additions:
            raise ValueError("version 1 of the PROXY protocol carries no datagrams and no additions")
        if self.source is None or self.destination is None:
            return b"PROXY UNKNOWN\r\n"
        if isinstance(self.source, bytes) or isinstance(self.destination, bytes):
            raise ValueError("version 1 of the PROXY protocol has no Unix sockets")
        source, destination = _one_family(self.source, self.destination)
        ends = (_text(source), _text(destination))
        words = (f"TCP{source.version}", *ends, _port(self.source), _port(self.destination))
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

    :raises ValueError: when one is not an IP address.
    """
    ours, theirs = ip_address(source.host), ip_address(destination.host)
    if isinstance(ours, IPv4Address) and isinstance(theirs, IPv4Address):
        return ours, theirs
    return _as_ipv6(ours), _as_ipv6(theirs)


def _as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    # by integer value, which drops the zone of a link-local address: it is only valid locally
    return IPv6Address(int(address) | (0xFFFF << 32 if address.version == 4 else 0))


def _text(address: IPv4Address | IPv6Address) -> str:
    """An address as version 1 has it: IPv6 in hexadecimal digits alone, where Python 3.13 would write ``::ffff:192.0.2.1``."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address) if mapped is None else f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}"


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
    """Parse a header of either version at the beginning of the received data.

    :returns: the header and its length in bytes, None while it is incomplete.
    :raises ProxyProtocolError: as soon as it cannot become a valid header.
    """
    if data[:1] == TEXT[:1]:
        if not _begins(data, TEXT):
            raise ProxyProtocolError("no PROXY header")
        return _read_line(data)
    if not _begins(data, SIGNATURE):
        raise ProxyProtocolError("no PROXY header")
    return _read_block(data)


def _begins(data: bytes, mark: bytes) -> bool:
    """Whether data begins with a signature or a part of it."""
    return mark.startswith(data[: len(mark)])


def _read_line(data: bytes) -> tuple[ProxyHeader, int] | None:
    end = data.find(b"\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise ProxyProtocolError(f"the line is longer than {MAX_LINE} bytes")
        return None
    line = data[len(TEXT) : end - 1]
    if data[end - 1 : end] != b"\r":
        raise ProxyProtocolError("malformed line")
    # what follows UNKNOWN is ignored
    if line == b"UNKNOWN" or line.startswith(b"UNKNOWN "):
        return ProxyHeader(), end + 1
    words = line.decode("ascii", "replace").split(" ")
    if len(words) != 5 or words[0] not in ("TCP4", "TCP6"):
        raise ProxyProtocolError("malformed line")
    source, destination = (_read_end(words[0], *words[index::2]) for index in (1, 2))
    return ProxyHeader(source, destination), end + 1


def _read_end(family: str, host: str, port: str) -> ProxyAddress:
    try:
        # the zone of an IPv6 address ("%eth0") is only valid on the proxy, and not part of the format
        address = IPv4Address(host) if family == "TCP4" else IPv6Address("" if "%" in host else host)
    except ValueError:
        raise ProxyProtocolError(f"malformed address for {family}") from None
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ProxyProtocolError("malformed port")
    return ProxyAddress(_plain(address), int(port))


def _plain(address: IPv4Address | IPv6Address) -> str:
    """An address as text; IPv4-mapped IPv6 addresses as IPv4."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _read_block(data: bytes) -> tuple[ProxyHeader, int] | None:
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
        # the receiver must use the addresses of the connection, and ignore the rest
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
    """Parse the TLVs after the addresses.

    :param header: the whole header, for the checksum.
    """
    found: list[tuple[int, bytes]] = []
    while position < len(header):
        start = position + _addition.size
        if start > len(header):
            raise ProxyProtocolError("truncated addition")
        kind, length = _addition.unpack_from(header, position)
        position = start + length
        if position > len(header):
            raise ProxyProtocolError("truncated addition")
        value = header[start:position]
        if kind == CRC32C and any(kind == CRC32C for kind, _ in found):
            # each costs a pass over the whole header
            raise ProxyProtocolError("two checksums")
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
