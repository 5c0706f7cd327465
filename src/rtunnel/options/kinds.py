"""Kinds of values: how the text of an option, a URL key or an environment variable is parsed.

A kind knows the form of a value, the settings know its bounds: ``300`` is a whole number here, and an invalid weight there. A
parser raises :class:`ValueError` with a text that follows *NAME "TEXT": ...*: what is wrong, and what to write instead.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import uuid
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import attrs

from rtunnel.ids import is_id
from rtunnel.options.endpoint_strings import is_endpoint_string, read_client_string, read_server_string
from rtunnel.options.secret_files import only_line
from rtunnel.routing.globs import Glob
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.policies import ServedBy
from rtunnel.routing.reach import ReachRules
from rtunnel.routing.sticky import Sticky
from rtunnel.settings import TRANSPORTS, WEBSOCKETS, Address, Credentials, FileRoot, SettingsError, UdpAddress

__all__ = [
    "ADDRESS",
    "AUTH",
    "AUTH_BASE64",
    "AUTH_FILE",
    "BIND",
    "CIDR",
    "DESTINATION",
    "DURATION",
    "FILE",
    "FILE_ROOTS",
    "HOST",
    "INTERCEPT",
    "JOIN",
    "LISTEN",
    "LOCAL_PORT",
    "LOG_FORMAT",
    "NAME",
    "NAME_PATTERNS",
    "NOT",
    "NUMBER",
    "OFF",
    "PATH",
    "PROXY_PROTOCOL",
    "REACH",
    "ROLE",
    "ROUTE",
    "SERVED_BY",
    "SERVER",
    "SERVER_ADDRESS",
    "SIZE",
    "SMUX",
    "STICKY",
    "SWITCH",
    "TARGET",
    "TEXT",
    "UNIT_SECONDS",
    "UNSET",
    "URL",
    "UUID",
    "WATCHED_FILE",
    "WEIGHT",
    "Kind",
    "ListenAddress",
    "udp",
]

UNSET: Any = object()
"""The result of a parser for a text that changes nothing, e.g. ``mux.keepaliveDisabled=false``."""


@attrs.frozen
class Kind:
    """One kind of value.

    :ivar metavar: the placeholder in the help; ``""`` for a switch, ``FILE`` for the name of a file.
    :ivar parse: from text to value; raises :class:`ValueError`.
    :ivar show: from value to text, as a user would write it.
    :ivar secret: whether the text must never be printed.
    :ivar unit: of a number without a unit.
    :ivar lists: whether a value may contain commas, which then do not separate values in the environment.
    :ivar lines: whether a value may also contain blanks: in the environment, each is on a line of its own.
    :ivar keys: of a map in a configuration file that says the same, with what each is for; the first one has no name in the text:
        ``{host: HOST, key: VALUE}`` is ``HOST key=VALUE``.
    """

    metavar: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    secret: bool = False
    unit: str = ""
    lists: bool = False
    lines: bool = False
    keys: Mapping[str, str] = attrs.field(factory=dict, eq=False)


# -- numbers, sizes, times, switches

# Go's time.ParseDuration
UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DIGITS = r"\d{1,12}(?:\.\d{0,12})?|\.\d{1,12}"
_BARE = re.compile(_DIGITS, re.ASCII)
_PART = re.compile(rf"({_DIGITS})(ns|us|µs|ms|s|m|h)", re.ASCII)
_PARTS = re.compile(rf"(?:(?:{_DIGITS})(?:ns|us|µs|ms|s|m|h)){{1,8}}", re.ASCII)

_SIZE = re.compile(r"(\d{1,15})(?:(k|m|g)(?:i?b)?)?", re.ASCII | re.IGNORECASE)
_SIZE_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


def _duration(text: str) -> float:
    if _BARE.fullmatch(text):
        return float(text)
    if not _PARTS.fullmatch(text):
        raise ValueError("not a time; write e.g. 15s, 1m30s, 250ms or a number of seconds")
    return sum(float(number) * UNIT_SECONDS[unit] for number, unit in _PART.findall(text))


def _show_duration(seconds: float) -> str:
    return f"{seconds:.12g}s" if seconds == 0 or seconds >= 1 else f"{seconds * 1000:.12g}ms"


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError("not a size; write a number of bytes, or e.g. 64KiB, 1MiB")
    number, unit = match.groups()
    return int(number) * _SIZE_UNITS.get((unit or "").lower(), 1)


def _show_size(size: int) -> str:
    for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,15}", text, re.ASCII):
        raise ValueError("must be a whole number")
    return int(text)


def _weight(text: str) -> int:
    try:
        return _number(text)
    except ValueError:
        raise ValueError("must be a whole number from 1 to 255") from None


_SWITCH = {
    **dict.fromkeys(("1", "t", "true", "y", "yes", "on"), True),
    **dict.fromkeys(("0", "f", "false", "n", "no", "off"), False),
}


def _switch(text: str) -> bool:
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _show_switch(value: bool) -> str:
    return "true" if value else "false"


def _smux(text: str) -> Any:
    if text.lower() != "smux":
        raise ValueError("not supported; only smux is")
    return UNSET


NUMBER = Kind("N", _number)
WEIGHT = Kind("N", _weight)
SIZE = Kind("SIZE", _size, _show_size, unit="bytes")
DURATION = Kind("TIME", _duration, _show_duration, unit="seconds")
SWITCH = Kind("", _switch, _show_switch)
NOT = Kind("", lambda text: not _switch(text), lambda value: _show_switch(not value))
"""A switch that disables its setting."""
OFF = Kind("", lambda text: 0.0 if _switch(text) else UNSET)
"""A switch that sets a time to 0."""
VERBOSE = Kind("", lambda text: "debug" if _switch(text) else UNSET, lambda level: "true" if level == "debug" else "")
QUIET = Kind("", lambda text: "warn" if _switch(text) else UNSET, lambda level: "true" if level == "warn" else "")
"""Switches that set from which level on the log is written."""
SMUX = Kind("", _smux)
"""gost's ``mux.type``, of which only smux is supported."""


# -- names, addresses, rules


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or int(text) > 65535:
        raise ValueError("invalid port; write a number from 1 to 65535")
    return int(text)


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if text.isdecimal():
        raise ValueError(f'no colon; write ":{text}" for that port, or HOST:{text}')
    if not colon or not port or (host.startswith("[") and not host.endswith("]")):
        raise ValueError("no port; write HOST:PORT, or :PORT")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("ambiguous; put brackets around an IPv6 address, as in [::1]:80")
    try:
        return Address(host.removeprefix("[").removesuffix("]"), _port(port))
    except SettingsError as error:
        raise ValueError(error.hint) from None


def _connectable(text: str) -> Address:
    address = _address(text)
    if not address.port:
        raise ValueError("no port to connect to; write HOST:PORT")
    return address if address.host else Address("localhost", address.port)


def _target(text: str) -> Address:
    """An address to connect to; also as a browser shows it, ``http://localhost:3000/``."""
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        return _connectable(text)
    if scheme.lower() == "https":
        raise ValueError("speaks TLS; targets are reached without: write HOST:PORT of the port that speaks HTTP")
    if scheme.lower() != "http" or rest.partition("/")[2]:
        raise ValueError("is a URL; write HOST:PORT, or :PORT")
    return _connectable(_with_port(rest.rstrip("/"), 80))


def udp(parse: Callable[[str], Address]) -> Callable[[str], Address]:
    """The same parser, also for ``udp://`` addresses."""

    def parse_either(text: str) -> Address:
        if not text.lower().startswith("udp://"):
            return parse(text)
        address = parse(text[len("udp://") :])
        return UdpAddress(address.host, address.port)

    return parse_either


def _bind(text: str) -> Address:
    return _address(text if ":" in text else f"{text}:0")


def _destination(text: str) -> Address:
    address = _address(text if ":" in text else f"{text}:0")
    if not address.host:
        raise ValueError("no host; write one of the server's rules, e.g. ssh.svc")
    return address


def _uuid(text: str) -> uuid.UUID:
    # only this form: UUID() also accepts braces, urn: and hyphens anywhere
    if not is_id(text):
        raise ValueError("not a UUID; write it like 10bc451e-59dc-4c70-999e-91a30813ac78")
    return uuid.UUID(text)


def _cidr(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
        mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) and network.prefixlen >= 96 else None
        # as the addresses that are compared with it
        return network if mapped is None else IPv4Network((mapped, network.prefixlen - 96))
    except ValueError as error:
        if "has host bits" in str(error):
            raise ValueError(f"an address inside its network; write {ip_network(text, strict=False)}") from None
        raise ValueError("not a network; write e.g. 10.0.0.0/8, fd00::/8 or 192.168.1.1") from None


def _served_by(text: str) -> ServedBy:
    try:
        return ServedBy(text)
    except ValueError:
        raise ValueError("must be never, on-request or always") from None


def _proxy_protocol(text: str) -> Any:
    if text == "0":
        return UNSET
    if text in ("1", "2"):
        raise ValueError(
            "would trust the PROXY header of every visitor; write the networks of your proxies instead, "
            "e.g. entrypoint.ProxyProtocol=10.0.0.0/8 (both versions are accepted)"
        )
    return _cidr(text)


@attrs.frozen
class ListenAddress:
    """A host and port, with a transport and a path if they are given: the value of ``--listen`` and ``--server``.

    :ivar files: names of files by setting, from an endpoint string.
    """

    address: Address
    transport: str | None = None
    path: str | None = None
    files: tuple[tuple[str, str], ...] = ()


_WEB_SCHEMES = {"http": "ws", "https": "wss"}
"""What is copied from a browser means the WebSocket there."""


def _file_roots(text: str) -> tuple[FileRoot, ...]:
    return tuple(FileRoot.parse(part) for part in text.split(",") if part.strip())


def _name_patterns(text: str) -> tuple[Glob, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not all(name.isprintable() and "=" not in name and " " not in name for name in names):
        raise ValueError("not names of variables; write e.g. DB_*,LOG_LEVEL, where * is any text")
    return tuple(map(Glob, names))


_DEFAULT_PORTS = {"ws": 80, "wss": 443}


def _with_port(authority: str, port: int) -> str:
    """An authority with a port, if it has none."""
    return f"{authority}:{port}" if authority and ":" not in authority.rpartition("]")[2] else authority


def _listen_address(parse: Callable[[str], Address], *, connects: bool = False) -> Callable[[str], ListenAddress]:
    """A parser.

    :param connects: whether the port may be left out, then it is that of the scheme, and the scheme be one of the web.
    """
    schemes = [*TRANSPORTS, *(_WEB_SCHEMES if connects else ())]
    # a host of this name has a port behind its colon
    half_a_url = re.compile(rf"({'|'.join(schemes)})(?://|:(?!\d))", re.IGNORECASE).match

    def parse_listen(text: str) -> ListenAddress:
        if is_endpoint_string(text):
            found = read_client_string(text) if connects else read_server_string(text)
            return ListenAddress(parse(found.address), found.transport, files=found.files)
        scheme, slashes, rest = text.rpartition("://")
        transport = None
        if slashes:
            transport = scheme.lower()
            if connects:
                transport = _WEB_SCHEMES.get(transport, transport)
            if transport not in TRANSPORTS:
                raise ValueError("unknown scheme; write ws:// or wss://HOST:PORT/PATH, tcp:// or tls://HOST:PORT")
        elif half_written := half_a_url(text):
            raise ValueError(f'no "://" behind {half_written[1]}; write {half_written[1]}://...')
        authority, slash, path = rest.partition("/")
        if "@" in authority:
            raise ValueError("must not contain a password; give it with --auth-file or RTUNNEL_AUTH")
        if slash and transport is not None and transport not in WEBSOCKETS:
            raise ValueError(f"{transport}:// has no path; leave it out")
        if connects and transport in _DEFAULT_PORTS:
            authority = _with_port(authority, _DEFAULT_PORTS[transport])
        return ListenAddress(parse(authority), transport, f"/{path}" if path else None)

    return parse_listen


ADDRESS = Kind("[HOST]:PORT", _address)
SERVER_ADDRESS = Kind("HOST:PORT", _connectable)
LOCAL_PORT = Kind("[udp://][HOST]:PORT", udp(_address))
TARGET = Kind("[HOST]:PORT", _target)
BIND = Kind("HOST[:PORT]", _bind, lambda address: "" if address == Address("", 0) else str(address))
DESTINATION = Kind("HOST[:PORT]", _destination, lambda address: address.host if not address.port else str(address))
LISTEN = Kind("[ws://|wss://|tcp://|tls://][HOST]:PORT[/PATH]", _listen_address(_address))
SERVER = Kind("[ws://|wss://|tcp://|tls://]HOST[:PORT][/PATH]", _listen_address(_connectable, connects=True))
UUID = Kind("UUID", _uuid)
ROUTE = Kind("HOST=UUID", IngressRule.parse)
INTERCEPT = Kind("FILTER", InterceptFilter.parse, lines=True)
FILE_ROOTS = Kind("PATH[=DIRECTORY][,...]", _file_roots, lambda roots: ",".join(map(str, roots)), lists=True)
NAME_PATTERNS = Kind("NAME[,...]", _name_patterns, lambda globs: ",".join("*".join(glob.pieces) for glob in globs), lists=True)
REACH = Kind("HOST:PORT[,...]", ReachRules.parse, lists=True)
CIDR = Kind("CIDR", _cidr)
PROXY_PROTOCOL = Kind("CIDR", _proxy_protocol)
"""gost's ``entrypoint.ProxyProtocol``, with networks in place of the version."""
FILE = Kind("FILE", str)
WATCHED_FILE = Kind("FILE", os.path.abspath)
"""A file that is read later, when the working directory may be another one."""
PATH = Kind("PATH", str)
HOST = Kind("HOST", str)
NAME = Kind("NAME", str)
TEXT = Kind("TEXT", str, lines=True)
LOG_FORMAT = Kind("text|json", str)
SERVED_BY = Kind("never|on-request|always", _served_by)
ROLE = Kind("pod|laptop", str)
JOIN = Kind("one|all", str)
STICKY = Kind("cookie|header:NAME|address", Sticky.parse)
URL = Kind("URL", str)


# -- secrets


def _auth(text: str) -> Credentials:
    user, colon, password = text.partition(":")
    if not colon:
        raise ValueError("must be user:password")
    try:
        return Credentials(user, password)
    except SettingsError as error:
        raise ValueError(f"the {error.key} {error.hint}") from None


def _auth_base64(text: str) -> Credentials:
    try:
        # "-_" and missing padding: gost accepts both alphabets (config/cmd/cmd.go, parseAuthFromCmd)
        raw = base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4), validate=True)
        return _auth(raw.decode())
    except (binascii.Error, UnicodeError):
        raise ValueError("must be user:password in base64") from None


def _auth_file(path: str) -> Credentials:
    return _auth(only_line(path, "user:password"))


AUTH = Kind("USER:PASSWORD", _auth, lambda credentials: f"{credentials.user}:{credentials.password}", secret=True)
AUTH_BASE64 = Kind("BASE64", _auth_base64, secret=True)
AUTH_FILE = Kind("FILE", _auth_file)
