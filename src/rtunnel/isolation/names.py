"""Names of a cluster on this machine: which address of loopback stands for which host, and the files that say so.

Everything in 127.0.0.0/8 is loopback on Linux, so each host of the cluster gets an address of its own, the same at each start where
nothing else has it, and its services keep their ports.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from attrs import frozen

__all__ = ["Destination", "NamedHost", "addresses_for", "hosts_file", "named_hosts", "nsswitch_file"]

_NETWORK = "127.77"
_ADDRESSES = 256 * 254
"""Addresses of the network, without those that end in 0 and 255."""


@frozen
class Destination:
    """A service of the cluster.

    :ivar host: as the pod has to be asked for it.
    :ivar port: of the service.
    :ivar names: what programs may call the host, itself among them.
    """

    host: str
    port: int
    names: tuple[str, ...]


@frozen
class NamedHost:
    """A host of the cluster that has names here.

    :ivar names: all of them.
    :ivar ports: of its services, each with the host as the pod has to be asked for it.
    """

    names: tuple[str, ...]
    ports: Mapping[int, str]


def named_hosts(destinations: Iterable[Destination]) -> list[NamedHost]:
    """The hosts of some destinations: those with a name in common are one.

    Where two of one host have the same port, the first one is meant.
    """
    hosts: list[NamedHost] = []
    for destination in destinations:
        names, ports = dict.fromkeys(destination.names), {destination.port: destination.host}
        same = [host for host in hosts if not names.keys().isdisjoint(host.names)]
        for host in reversed(same):
            names, ports = {**dict.fromkeys(host.names), **names}, {**ports, **host.ports}
        merged = NamedHost(tuple(names), dict(sorted(ports.items())))
        hosts = [host for host in hosts if host not in same]
        hosts.append(merged)
    return hosts


def addresses_for(host: NamedHost, taken: Collection[str]) -> Iterator[str]:
    """The addresses that may stand for a host, the best one first.

    :param taken: those that stand for others already; looked at whenever one is taken from the iterator.
    """
    start = int.from_bytes(hashlib.sha256(max(host.names, key=len).encode()).digest()[:4], "big")
    for step in range(_ADDRESSES):
        third, fourth = divmod((start + step) % _ADDRESSES, 254)
        address = f"{_NETWORK}.{third}.{fourth + 1}"
        if address not in taken:
            yield address


def hosts_file(text: str, names: Mapping[str, Iterable[str]]) -> str:
    """A hosts file (hosts(5)) with more names; before the others, since the first line with a name counts.

    :param text: of the machine's.
    :param names: by address.
    """
    lines = [f"{address}\t{' '.join(of_address)}" for address, of_address in names.items()]
    return "\n".join(["# written by rtunnel for one command", *lines, "", text])


def nsswitch_file(text: str) -> str:
    """The order in which names are looked up (nsswitch.conf(5)), with the hosts file first: others may know it otherwise.

    :param text: of the machine's.
    """

    def files_first(found: re.Match[str]) -> str:
        others = [word for word in found[2].split() if word != "files"]
        return f"{found[1]} {' '.join(['files', *others])}"

    return re.sub(r"(?m)^(hosts:)([^#\n]*?)(?=[ \t]*(?:#|$))", files_first, text)
