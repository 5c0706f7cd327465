"""What a client lets developers reach from its pod: rules for names and ports, and addresses that only a literal rule opens.

A rule is ``HOST:PORT``. ``*`` in the host is any text, the port may be a range or ``*``: ``postgres:5432``, ``*.shop.svc:80``,
``10.0.7.*:8000-8099``, ``[fd00::7]:443``. It is for TCP, or with ``/udp`` behind the port for UDP. What no rule allows is denied.
A name is compared as it is asked for: ``postgres`` and ``postgres.shop.svc`` are two. A name, and then each address that it has, is
checked again for what is never meant by a pattern: metadata services, loopback, the pod itself, the API of Kubernetes, link-local
and multicast addresses, and the ports of a node's own services. These need a rule without ``*`` that names exactly them, so that
neither a pattern nor a name in somebody else's DNS leads there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from attrs import field, frozen

from rtunnel.routing.globs import Glob

__all__ = ["ReachGate", "ReachRule", "ReachRules", "Special", "is_loopback", "normal_host", "special_address", "special_name"]

_FORM = "write HOST:PORT, with * for any text of a host, and a port, a range or *: postgres:5432, *.shop.svc:8000-8099, dns:53/udp"
_HOST = re.compile(r"[a-z0-9_*](?:[a-z0-9_.*-]{0,251}[a-z0-9_*])?", re.ASCII)
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)
_UDP: Final = "/udp"
MAX_RULES: Final = 200

Address = IPv4Address | IPv6Address


class Special(Enum):
    """What only a literal rule opens; the values are for people."""

    METADATA = "a metadata service of the cloud"
    LOOPBACK = "the loopback of the pod"
    OWN = "the pod itself"
    API = "the API of Kubernetes"
    LINK_LOCAL = "a link-local address"
    UNUSUAL = "no address of a single host"
    NODE_PORT = "a port of the node's own services"


_METADATA: Final = frozenset(
    map(
        ip_address,
        (
            *("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
            *("100.100.100.200", "192.0.0.192", "168.63.129.16"),
        ),
    )
)
"""AWS, ECS, EKS, GCP, Azure, Alibaba, Oracle."""
_METADATA_NAMES: Final = frozenset(("metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"))
_NODE_PORTS: Final = frozenset((2379, 2380, 10250, 10255, 10256, 10257, 10259))
"""etcd, the kubelet, kube-proxy, the controller manager, the scheduler."""
_API_NAME: Final = re.compile(r"kubernetes(?:\.default(?:\.svc(?:\..+)?)?)?")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def special_name(host: str) -> Special | None:
    """What a name stands for, if that is something special.

    :param host: as :func:`normal_host` writes it.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return Special.LOOPBACK
    if _API_NAME.fullmatch(host):
        return Special.API
    return Special.METADATA if host in _METADATA_NAMES else None


def is_loopback(host: str) -> bool:
    """Whether a host is the machine that asks for it, by name or by address.

    :param host: as :func:`normal_host` writes it.
    """
    address = _address(host)
    special = special_name(host) if address is None else special_address(address)
    return special is Special.LOOPBACK


def special_address(address: Address) -> Special | None:
    """What an address is, if that is something special; also one of IPv4 inside of one of IPv6."""
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return special_address(inner)
    if address in _METADATA:
        return Special.METADATA
    if address.is_loopback or address.is_unspecified or (address.version == 4 and address.packed[0] == 0):
        return Special.LOOPBACK
    if address.is_link_local:
        return Special.LINK_LOCAL
    unusual = address.is_multicast or (address.version == 4 and address.packed[0] >= 240)
    return Special.UNUSUAL if unusual else None


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The address of IPv4 that one of IPv6 leads to: mapped, of NAT64, 6to4 or Teredo, or in the old notation ``::a.b.c.d``."""
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if address in _NAT64 or 1 < int(address) < 1 << 32:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def normal_host(host: str) -> str:
    """A host as rules are compared with it: in lower case, without a trailing dot, an address in its usual spelling."""
    host = host.lower()
    address = _address(host)
    if address is not None:
        return str(address)
    return host.removesuffix(".")


def _address(host: str) -> Address | None:
    """The address that a host is; None for a name."""
    if "%" in host or not (":" in host or host[-1:].isdigit()):
        return None
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


@frozen
class ReachRule:
    """One rule.

    :ivar host: the pattern of the host, as :func:`normal_host` writes it.
    :ivar first: the first port.
    :ivar last: the last one.
    :ivar udp: whether it is for datagrams, and not for connections.
    """

    host: str
    first: int
    last: int
    udp: bool = False
    _glob: Glob = field(init=False, repr=False, eq=False)

    @_glob.default
    def _make_glob(self) -> Glob:
        return Glob(self.host)

    @classmethod
    def parse(cls, text: str) -> ReachRule:
        """Read a rule.

        :raises ValueError: what is wrong with it, and how to write it.
        """
        host, colon, ports = text.strip().rpartition(":")
        if not colon or not host:
            raise ValueError(f'"{text.strip()}" has no port; {_FORM}')
        if host.startswith("[") and host.endswith("]"):
            address = _address(host[1:-1])
            if address is None:
                raise ValueError(f'"{host}" is no address of IPv6; {_FORM}')
            host = str(address)
        else:
            host = normal_host(host)
            if not _HOST.fullmatch(host):
                raise ValueError(f'"{host}" is no host; {_FORM}')
        udp = ports.endswith(_UDP)
        return cls(host, *_read_ports(ports.removesuffix(_UDP)), udp)

    @property
    def is_literal(self) -> bool:
        """Whether it names one host."""
        return "*" not in self.host

    def names(self, host: str, port: int, *, udp: bool) -> bool:
        """Whether it is for a host, as :func:`normal_host` writes it, and a port."""
        return self.udp is udp and self.first <= port <= self.last and self._glob.matches(host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        ports = f"{self.first}" + (f"-{self.last}" if self.last != self.first else "")
        return f"{host}:{'*' if (self.first, self.last) == (1, 65535) else ports}" + (_UDP if self.udp else "")


def _read_ports(text: str) -> tuple[int, int]:
    if text == "*":
        return 1, 65535
    found = _PORTS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise ValueError(f'"{text}" is no port from 1 to 65535, and no range of them; {_FORM}')
    return first, last


@frozen
class ReachRules:
    """The rules of a client; without any, nothing may be reached."""

    rules: tuple[ReachRule, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ReachRules:
        """Read rules, separated by commas.

        :raises ValueError: one of them is none, or there are too many.
        """
        rules = tuple(ReachRule.parse(part) for part in text.split(",") if part.strip())
        if not rules:
            raise ValueError(f"no rule; {_FORM}")
        if len(rules) > MAX_RULES:
            raise ValueError(f"more than {MAX_RULES} rules; use patterns")
        return cls(rules)

    def __bool__(self) -> bool:
        return bool(self.rules)

    def __str__(self) -> str:
        return ",".join(map(str, self.rules))


class ReachGate:
    """Decides what may be reached; owned by the client that has the rules.

    :param rules: of the client.
    :param api: the addresses of the API of Kubernetes.
    :param is_own: whether an address is one of the pod's own.
    """

    def __init__(
        self, rules: Iterable[ReachRule], api: Collection[Address] = (), is_own: Callable[[Address], bool] = lambda address: False
    ) -> None:
        self._rules = tuple(rules)
        self._literal = tuple(rule for rule in self._rules if rule.is_literal)
        self._api = frozenset(api)
        self._is_own = is_own

    def refuses_name(self, host: str, port: int, *, udp: bool = False) -> str | None:
        """Why a host and port may not even be looked up; None if they may.

        :param host: as it was asked for.
        :param udp: whether datagrams are to be sent there.
        """
        host = normal_host(host)
        if not any(rule.names(host, port, udp=udp) for rule in self._rules):
            return f"no rule of the client in the pod (--reach) is for {_shown(host, port, udp)}"
        special = special_name(host)
        if special is not None and not self._literally(host, port, udp):
            return _needs_literal(_shown(host, port, udp), special)
        if port in _NODE_PORTS and not self._literally(host, port, udp, one_port=True):
            return _needs_literal(_shown(host, port, udp), Special.NODE_PORT)
        return None

    def refuses_address(self, host: str, port: int, address: Address, *, udp: bool = False) -> str | None:
        """Why an address that a host has may not be connected to; None if it may.

        :param host: as it was asked for; :meth:`refuses_name` has let it pass.
        :param udp: whether datagrams are to be sent there.
        """
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        special = special_address(address)
        if special is None and address in self._api:
            special = Special.API
        if special is None and self._is_own(address):
            special = Special.OWN
        if special is None or self._literally(str(address), port, udp):
            return None
        host = normal_host(host)
        if special is special_name(host) and self._literally(host, port, udp):
            return None
        what = _shown(str(address), port, udp)
        return _needs_literal(what if host == str(address) else f"{_shown(host, port, udp)} is at {address}, which", special)

    def _literally(self, host: str, port: int, udp: bool, *, one_port: bool = False) -> bool:
        """Whether a rule names exactly this host.

        :param one_port: whether the rule has to name exactly the port, too.
        """
        return any(rule.names(host, port, udp=udp) and (not one_port or rule.first == rule.last) for rule in self._literal)


def _shown(host: str, port: int, udp: bool) -> str:
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}") + (_UDP if udp else "")


def _needs_literal(what: str, special: Special) -> str:
    return f"{what} is {special.value}: the client in the pod needs a rule (--reach) that names exactly it"
