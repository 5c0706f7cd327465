"""IP addresses as they are counted and compared: one address, however it is spelled."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["counted_as", "parse_address", "plain_address"]


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a text means; None if it is none.

    Without the zone of a link-local one, and an IPv4 address that is mapped into IPv6 (``::ffff:192.0.2.1``, RFC 4291 2.5.5.2, in
    whatever spelling) is an IPv4 address: a dual-stack socket shows it so.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def plain_address(text: str) -> str:
    """The usual spelling of an address; what is none stays as it is, and so does a zone (``fe80::1%eth0``)."""
    if ":" not in text:
        # IPv4 has one spelling
        return text
    if text.startswith("::ffff:") and "." in text:
        # as a dual-stack socket shows it
        return text[7:]
    address = parse_address(text)
    return text if address is None else f"{address}{''.join(text.partition('%')[1:])}"


def counted_as(text: str) -> str:
    """An address as it is counted: for IPv6 its /64, all of which usually belongs to one host."""
    if ":" not in text:
        return text
    address = parse_address(text)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64" if isinstance(address, IPv6Address) else str(address or text)
