"""Datagrams of SOCKS5: each has its destination in front, those of a program as well as the answers (RFC 1928 section 7)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

__all__ = ["DOMAIN", "IPV4", "IPV6", "read_name", "take_datagram", "wrap_datagram"]

IPV4, DOMAIN, IPV6 = 1, 3, 4
"""Kinds of addresses."""
_HEAD: Final = 4


def read_name(raw: bytes) -> str | None:
    """A name as a program sends it; None if it is none."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return None
    return name if name and " " not in name and name.isprintable() else None


def take_datagram(data: bytes) -> tuple[str, int, bytes] | None:
    """Read a datagram of a program.

    :returns: host and port of its destination, and what is to be sent there; None for one that is malformed or a fragment: these
        are dropped.
    """
    if len(data) <= _HEAD or data[:3] != b"\0\0\0":
        return None
    kind, first = data[3], data[4]
    end = {IPV4: 10, IPV6: 22, DOMAIN: 7 + first}.get(kind, 0)
    if not end or len(data) < end:
        return None
    raw, port = data[_HEAD : end - 2], int.from_bytes(data[end - 2 : end])
    host = read_name(raw[1:]) if kind == DOMAIN else str(IPv4Address(raw) if kind == IPV4 else IPv6Address(raw))
    return (host, port, data[end:]) if host and port else None


def wrap_datagram(host: str, port: int, datagram: bytes) -> bytes:
    """An answer for a program.

    :param host: where it is from, as the program has called it.
    :param port: of it.
    """
    return bytes(3) + _address(host) + port.to_bytes(2) + datagram


def _address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode()
        return bytes((DOMAIN, len(name))) + name
    return bytes((IPV4 if address.version == 4 else IPV6,)) + address.packed
