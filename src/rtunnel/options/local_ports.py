"""Ports of this machine that lead to what a pod reaches, as users write them: on loopback, and nowhere else."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address

from rtunnel.options.kinds import ADDRESS, Kind
from rtunnel.settings import Address, LocalForward

__all__ = ["FORWARD", "LOOPBACK"]


def _loopback(text: str) -> Address:
    if "://" in text:
        hint = "a local address is ADDRESS:PORT; a proxy on the way to the server is given with --proxy-file or RTUNNEL_PROXY"
        raise ValueError(hint)
    address: Address = ADDRESS.parse(text)
    if not _is_loopback(address.host):
        raise ValueError("is not on loopback, where only this machine connects; write 127.0.0.1:PORT")
    return address


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _forward(text: str) -> LocalForward:
    rest, colon, port = text.rpartition(":")
    local, host = _split_host(rest)
    if not colon or not host or not _is_port(port) or host.isdecimal():
        raise ValueError("is no forward; write [[ADDRESS:]PORT:]HOST:PORT, e.g. 5432:postgres:5432")
    if not local:
        local = port
    return LocalForward(_loopback(f"127.0.0.1:{local}" if local.isdecimal() else local), host, int(port))


def _split_host(text: str) -> tuple[str, str]:
    """What precedes a host, without the colon, and the host, without brackets."""
    if text.endswith("]"):
        before, _, host = text[:-1].rpartition("[")
        return before.removesuffix(":"), host
    before, _, host = text.rpartition(":")
    return before, host


def _is_port(text: str) -> bool:
    return text.isdecimal() and text.isascii() and 0 < int(text) < 65536


LOOPBACK = Kind("ADDRESS:PORT", _loopback)
FORWARD = Kind("[[ADDRESS:]PORT:]HOST:PORT", _forward)
