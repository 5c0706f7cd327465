"""The URLs of gost: ``-L tunnel+ws://...``, ``-L rtcp://...``, ``-L tcp://...`` (also for UDP) and ``-F tunnel+ws://...``.

The keys, prefixes and defaults are gost's (go-gost/x ``config/cmd/cmd.go``, ``metadata/metadata.go``); the strictness is
ours: where gost takes a key that it does not know, or a value that it cannot read, for nothing, we say so and stop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from urllib.parse import unquote_plus

import attrs

from rtunnel.ids import mask_ids
from rtunnel.options import ignored_gost_keys, kinds
from rtunnel.options.layers import Layer, OptionValue, construct, parts, put
from rtunnel.options.proxies import proxy_of
from rtunnel.options.table import CLIENT, CLIENT_TLS, FORWARD, SERVER, UDP, VISITOR, Key, Option, find
from rtunnel.options.targets import udp_targets, unix_targets
from rtunnel.settings import PROXY_PORTS, TRANSPORTS, Address, ClientTls, Credentials, ProxySettings, SettingsError

__all__ = [
    "VISITOR_SCHEMES",
    "Reading",
    "Url",
    "read_listener",
    "read_proxies",
    "read_server",
    "read_target",
    "read_visitor",
    "split",
]

_TUNNEL_SCHEMES = {"tunnel": "tcp", **{f"tunnel+{transport}": transport for transport in TRANSPORTS}}
VISITOR_SCHEMES = ("tcp", "udp")
"""What ``-L`` of a visitor may begin with."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_SECRET = re.compile("pass|secret|auth|token|key|cred", re.IGNORECASE)


@attrs.frozen
class Url:
    """A URL in its parts.

    :ivar origin: the option or variable that held it.
    :ivar scheme: lower case.
    :ivar user: the part before ``@`` as it was written; a secret.
    :ivar place: host and port as they were written.
    :ivar path: the path as it was written.
    :ivar query: keys and values in their order, decoded.
    """

    origin: str
    scheme: str
    user: str | None = attrs.field(repr=False)
    place: str
    path: str
    query: tuple[tuple[str, str], ...]


@attrs.frozen
class Reading:
    """What a URL asks for.

    :ivar layer: by setting.
    :ivar warnings: what it asks for in vain, one line each.
    """

    layer: Layer
    warnings: tuple[str, ...]


def split(origin: str, text: str) -> Url:
    """Take a URL apart.

    :param origin: ``-L``, or the name of a variable: the key to blame.
    :raises SettingsError: it is none.
    """
    # a password that was not escaped can stand in any part
    shown = None if "@" in text else text
    match = _URL.fullmatch(text.strip())
    if match is None:
        raise SettingsError(origin, shown, "is not a URL; write it like tunnel+ws://HOST:PORT?key=value")
    scheme, authority, path, query, fragment = match.groups()
    if fragment is not None:
        raise SettingsError(origin, shown, 'has a "#"; write it as %23')
    user, at, place = authority.rpartition("@")
    return Url(
        origin=origin,
        scheme=scheme.lower(),
        user=user if at else None,
        place=place,
        path=path,
        query=tuple(_pairs(origin, query or "")),
    )


def _pairs(origin: str, query: str) -> Iterable[tuple[str, str]]:
    for pair in query.split("&"):
        if pair:
            key, _, value = pair.partition("=")
            name = _decoded(origin, key, key)
            yield name, _decoded(name, None if _SECRET.search(name) else value, value)


def _decoded(key: str, shown: str | None, text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise SettingsError(key, shown, 'has a "%" without two hex digits after it; write a plain "%" as %25')
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise SettingsError(key, shown, "is not UTF-8 when its %-escapes are resolved") from None


# -- the three kinds of URL


def read_listener(origin: str, text: str) -> Reading:
    """``-L`` of a server: where clients attach, with entrypoint and rules.

    :raises SettingsError: something in it cannot be had.
    """
    url = split(origin, text)
    transport = _transport(url, "client")
    layer = _placed(url, "listen", kinds.ADDRESS, transport)
    _no_path(url)
    _take_user(url, layer)
    warnings = _read_query(url, layer, SERVER, ignored_gost_keys.OF_SERVER, ("handler.", "listener.", "service."), closed=True)
    return Reading(layer, warnings + _seen_by_all(layer, origin, "--users, --auth-file or RTUNNEL_AUTH"))


def read_server(origin: str, text: str) -> Reading:
    """``-F`` of a client: the server and the tunnel.

    :raises SettingsError: something in it cannot be had.
    """
    url = split(origin, text)
    transport = _transport(url, "server")
    layer = _placed(url, "server", kinds.TARGET, transport)
    _no_path(url)
    _take_user(url, layer)
    prefixes = ("connector.", "dialer.", "node.", "hop.")
    rows = tuple(option for option in CLIENT if option not in (*FORWARD, *UDP))
    warnings = _read_query(url, layer, rows, ignored_gost_keys.OF_CLIENT, prefixes, closed=False)
    return Reading(layer, warnings + _seen_by_all(layer, origin, "--auth-file or RTUNNEL_AUTH"))


def read_proxies(urls: Iterable[tuple[str, str]]) -> Reading:
    """``-F`` of a client before its last one: the proxies on the way to the server, the nearest first.

    :param urls: each with the option or variable that held it.
    :raises SettingsError: something in one of them cannot be had.
    """
    proxies: list[ProxySettings] = []
    warnings: tuple[str, ...] = ()
    origin = ""
    for origin, text in urls:
        proxy, more = _read_proxy(split(origin, text))
        proxies.append(proxy)
        warnings += more
        if proxy.credentials is not None and origin.startswith("-"):
            warnings += (f"{origin} holds a password that everybody can read in the process list; use RTUNNEL_F",)
    return Reading({"proxies": OptionValue(origin, None, tuple(proxies))}, warnings)


def _read_proxy(url: Url) -> tuple[ProxySettings, tuple[str, ...]]:
    if url.scheme in _TUNNEL_SCHEMES:
        hint = "is a server, and only the last -F is one; those before it are proxies: http://, https:// or socks5://"
        raise SettingsError(f"{url.origin} scheme", url.scheme, hint)
    try:
        proxy = proxy_of(url.scheme, url.user, url.place)
    except ValueError as error:
        raise SettingsError(url.origin, None if url.user else f"{url.scheme}://{url.place}", str(error)) from None
    layer: Layer = {}
    rows = CLIENT_TLS if proxy.scheme == "https" else ()
    warnings = _read_query(url, layer, rows, ignored_gost_keys.OF_CLIENT, ("connector.", "dialer.", "node.", "hop."), closed=False)
    return attrs.evolve(proxy, tls=construct(ClientTls, layer, "tls")), warnings


def read_target(origin: str, text: str) -> Reading:
    """``-L`` of a client: ``rtcp://BIND/TARGET,TARGET``, ``rudp`` for UDP, or ``runix://BIND/PATH`` for unix sockets.

    gost takes the slash before a PATH away and looks for it in the directory in which it was started; here a PATH is absolute. And
    where gost sees no BIND before it, it has no target at all.

    :raises SettingsError: something in it cannot be had.
    """
    url = split(origin, text)
    if url.scheme not in ("rtcp", "rudp", "runix"):
        hint = "is not supported; a client takes rtcp://:0/HOST:PORT, rudp://:0/HOST:PORT and runix:///PATH"
        raise SettingsError(f"{origin} scheme", url.scheme, hint)
    if url.user is not None:
        raise SettingsError(origin, None, "holds a user and password, but they belong to the server; write them in -F")
    layer: Layer = {}
    put(layer, find(CLIENT, "bind"), origin, url.place)
    target = url.path.removeprefix("/")
    if not target:
        start = f"{url.scheme}://:0/"
        raise SettingsError(origin, text, f"has no target; write {start}HOST:PORT, or {start}:PORT for localhost")
    written = {"rudp": udp_targets, "runix": unix_targets}.get(url.scheme, str)
    put(layer, find(CLIENT, "target"), origin, written(target))
    rows = (*FORWARD, *UDP) if url.scheme == "rudp" else FORWARD
    warnings = _read_query(url, layer, rows, ignored_gost_keys.OF_TARGET, ("handler.", "listener.", "service."), closed=True)
    return Reading(layer, warnings)


def read_visitor(origin: str, text: str) -> Reading:
    """``-L`` of a visitor: ``tcp://LISTEN/DESTINATION``, or ``udp``.

    :raises SettingsError: something in it cannot be had.
    """
    url = split(origin, text)
    if url.scheme not in VISITOR_SCHEMES:
        hint = 'belongs to "rtunnel client"; a visitor' if url.scheme in ("rtcp", "rudp") else "is not supported; a visitor"
        raise SettingsError(f"{origin} scheme", url.scheme, f"{hint} takes tcp://:2222/HOST and udp://:5353/HOST")
    if url.user is not None:
        raise SettingsError(origin, None, "holds a user and password, but they belong to the server; write them in -F")
    layer: Layer = {}
    put(layer, find(VISITOR, "listen"), origin, f"udp://{url.place}" if url.scheme == "udp" else url.place)
    to = url.path.removeprefix("/")
    if not to:
        raise SettingsError(origin, text, f"has no destination; write {url.scheme}://:2222/HOST, a host of the server's rules")
    if "," in to:
        raise SettingsError(origin, text, f"has several destinations; give one {origin} for each")
    put(layer, find(VISITOR, "to"), origin, to)
    rows = UDP if url.scheme == "udp" else ()
    warnings = _read_query(url, layer, rows, ignored_gost_keys.OF_VISITOR, ("handler.", "listener.", "service."), closed=True)
    return Reading(layer, warnings)


def _transport(url: Url, other: str) -> str:
    transport = _TUNNEL_SCHEMES.get(url.scheme)
    if transport is not None:
        return transport
    if url.scheme == "rtcp" and other == "client":
        hint = 'belongs to "rtunnel client"; a server takes tunnel+ws://, tunnel+wss://, tunnel+tcp:// or tunnel+tls://'
    elif other == "server" and url.scheme in PROXY_PORTS:
        hint = "is a proxy; the server comes behind it, in a -F of its own: -F tunnel+wss://HOST:PORT"
    else:
        hint = "is not supported; tunnel+ws://, tunnel+wss://, tunnel+tcp:// and tunnel+tls:// are"
    raise SettingsError(f"{url.origin} scheme", url.scheme, hint)


def _take_user(url: Url, layer: Layer) -> None:
    if url.user is not None:
        layer["credentials"] = OptionValue(url.origin, None, _credentials(url.origin, url.user))


def _seen_by_all(layer: Layer, origin: str, instead: str) -> tuple[str, ...]:
    """The warning of a password on a command line."""
    if "credentials" not in layer or not origin.startswith("-"):
        return ()
    return (f"{origin} holds a password that everybody can read in the process list; use {instead}",)


def _credentials(origin: str, user: str) -> Credentials:
    name, _, password = user.partition(":")
    try:
        # a "+" stands for itself in this part of a URL
        return Credentials(*(_decoded(origin, None, part.replace("+", "%2B")) for part in (name, password)))
    except SettingsError as error:
        key = f"{origin} {error.key}" if error.key in ("user", "password") else error.key
        raise error.about(key, None) from None


def _placed(url: Url, field: str, kind: kinds.Kind, transport: str) -> Layer:
    if "," in url.place:
        raise SettingsError(url.origin, url.place, f"names several addresses; {url.origin} takes one HOST:PORT")
    try:
        address: Address = kind.parse(url.place)
    except ValueError as error:
        raise SettingsError(url.origin, url.place, str(error)) from None
    return {
        field: OptionValue(url.origin, url.place, address),
        "transport": OptionValue(url.origin, url.scheme, transport),
    }


def _no_path(url: Url) -> None:
    if url.path not in ("", "/"):
        raise SettingsError(url.origin, url.path, f"a path stands in the query here; write ?path={mask_ids(url.path)}")


_NO_ACCESS_RULE = (
    "names an access rule of gost's configuration, which does not exist here; --users, --permissions and user:pass@ do"
    " (docs/users.md), so leave it out only if they are enough"
)


# -- the query


def _read_query(
    url: Url, layer: Layer, rows: tuple[Option, ...], others: frozenset[str], prefixes: tuple[str, ...], *, closed: bool
) -> tuple[str, ...]:
    """Add the keys of a URL to a layer; returns the warnings.

    :param rows: the options that have keys.
    :param others: the keys to warn of.
    :param prefixes: what may stand before a key.
    :param closed: whether access rules are refused.
    """
    known = {name.lower(): (option, key) for option in rows for key in option.keys for name in key.names}
    unsupported = {name.lower() for name in others}
    asked: dict[tuple[str, ...], tuple[str, str]] = {}
    warnings: list[str] = []
    for typed, text in url.query:
        name = _without_prefix(typed.lower(), prefixes)
        if name in known:
            option, key = known[name]
            if key.names in asked and not option.many:
                raise SettingsError(typed, _shown(typed, text), "is given twice; give it once")
            _, before = asked.get(key.names, ("", ""))
            asked[key.names] = (typed, f"{before},{text}" if before else text)
        elif name in ignored_gost_keys.ACCESS and closed:
            raise SettingsError(typed, None, _NO_ACCESS_RULE)
        elif name in unsupported or name in ignored_gost_keys.ACCESS:
            warnings.append(f'{url.origin}: "{typed}" is a key of gost that does not exist here; it is left out')
        else:
            raise SettingsError(typed, _shown(typed, text), f"is no known key{_nearest(name, known, others)}")
    for option in rows:
        for key in option.keys:
            if key.names in asked:
                typed, text = asked[key.names]
                for part in parts(text) if option.many else [text]:
                    put(layer, option, typed, part, key.kind)
    return tuple(warnings)


def _without_prefix(name: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _shown(key: str, text: str) -> str | None:
    return None if _SECRET.search(key) else text


def _nearest(name: str, known: dict[str, tuple[Option, Key]], others: frozenset[str]) -> str:
    spellings = {spelling.lower(): spelling for _, key in known.values() for spelling in key.names}
    spellings |= {other.lower(): other for other in others}
    ours = get_close_matches(name, known, 1)
    close = ours or get_close_matches(name, spellings, 1)
    return f'; did you mean "{spellings[close[0]]}"?' if close else "; docs/options.md lists them all"
