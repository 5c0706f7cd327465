"""The URLs of gost: ``-L tunnel+ws://...``, ``-L rtcp://...``, ``-L tcp://...`` (also for UDP) and ``-F tunnel+ws://...``.

The keys, prefixes and defaults are gost's (go-gost/x ``config/cmd/cmd.go``, ``metadata/metadata.go``); the strictness is ours:
where gost silently ignores an unknown key or an invalid value, it is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from urllib.parse import unquote_plus

import attrs

from rtunnel.masking import SECRET_KEY, mask
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
"""The schemes of ``-L`` for a visitor."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


@attrs.frozen
class Url:
    """A URL, split into its parts.

    :ivar origin: the option or variable that it is the value of.
    :ivar scheme: in lower case.
    :ivar user: the part before ``@`` as it was written; a secret.
    :ivar address: host and port as they were written.
    :ivar path: the path as it was written.
    :ivar query: keys and values in their order, decoded.
    """

    origin: str
    scheme: str
    user: str | None = attrs.field(repr=False)
    address: str
    path: str
    query: tuple[tuple[str, str], ...]


@attrs.frozen
class Reading:
    """The options in a URL.

    :ivar layer: by setting.
    :ivar warnings: keys that are ignored, and passwords that are visible, one line each.
    """

    layer: Layer
    warnings: tuple[str, ...]


def split(origin: str, text: str) -> Url:
    """Split a URL.

    :param origin: ``-L``, or the name of a variable, for errors.
    :raises SettingsError: it is not a URL.
    """
    shown = _beginning(text)
    match = _URL.fullmatch(text.strip())
    if match is None:
        # a variable holds several, and a password with a space in it two halves
        raise SettingsError(
            origin, shown if origin.startswith("-") else None, "not a URL; write it like tunnel+ws://HOST:PORT?key=value"
        )
    scheme, authority, path, query, fragment = match.groups()
    if fragment is not None:
        raise SettingsError(origin, shown, 'contains "#"; write it as %23')
    user, at, address = authority.rpartition("@")
    return Url(
        origin=origin,
        scheme=scheme.lower(),
        user=user if at else None,
        address=address,
        path=path,
        query=tuple(_pairs(origin, query or "")),
    )


def _beginning(text: str) -> str | None:
    """A URL without its query, as an error may show it; None where it has a password, which may be in any part of it."""
    if "@" in text:
        return None
    before, query, _ = text.partition("?")
    return f"{before}?..." if query else text


def _pairs(origin: str, query: str) -> Iterable[tuple[str, str]]:
    for pair in query.split("&"):
        if pair:
            key, _, value = pair.partition("=")
            name = _decoded(origin, None, key)
            yield name, _decoded(mask(name), None, value)


def _decoded(key: str, shown: str | None, text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise SettingsError(key, shown, 'contains "%" without two hex digits after it; write a literal "%" as %25')
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise SettingsError(key, shown, "not UTF-8 once its %-escapes are decoded") from None


# -- the kinds of URLs


def read_listener(origin: str, text: str) -> Reading:
    """``-L`` of a server: where clients connect, with entrypoints and rules.

    :raises SettingsError: something in it is invalid.
    """
    url = split(origin, text)
    transport = _transport(url, "client")
    layer = _address(url, "listen", kinds.ADDRESS, transport)
    _refuse_path(url)
    _put_user(url, layer)
    warnings = _LISTENER_KEYS.read(url, layer)
    return Reading(layer, warnings + _password_warning(layer, origin, "--users, --auth-file or RTUNNEL_AUTH"))


def read_server(origin: str, text: str) -> Reading:
    """``-F`` of a client: the server and the tunnel.

    :raises SettingsError: something in it is invalid.
    """
    url = split(origin, text)
    transport = _transport(url, "server")
    layer = _address(url, "server", kinds.TARGET, transport)
    _refuse_path(url)
    _put_user(url, layer)
    warnings = _SERVER_KEYS.read(url, layer)
    return Reading(layer, warnings + _password_warning(layer, origin, "--auth-file or RTUNNEL_AUTH"))


def read_proxies(urls: Iterable[tuple[str, str]]) -> Reading:
    """``-F`` of a client before its last one: the proxies on the path to the server, the nearest first.

    :param urls: each with the option or variable that it is the value of.
    :raises SettingsError: something in one of them is invalid.
    """
    proxies: list[ProxySettings] = []
    warnings: tuple[str, ...] = ()
    origin = ""
    for origin, text in urls:
        proxy, more = _read_proxy(split(origin, text))
        proxies.append(proxy)
        warnings += more
        if proxy.credentials is not None and origin.startswith("-"):
            warnings += (f"{origin} contains a password, which is visible in the process list; use RTUNNEL_F",)
    return Reading({"proxies": OptionValue(origin, None, tuple(proxies))}, warnings)


def _read_proxy(url: Url) -> tuple[ProxySettings, tuple[str, ...]]:
    if url.scheme in _TUNNEL_SCHEMES:
        hint = "a server must be the last -F; those before it are proxies: http://, https:// or socks5://"
        raise SettingsError(f"{url.origin} scheme", url.scheme, hint)
    try:
        proxy = proxy_of(url.scheme, url.user, url.address)
    except ValueError as error:
        raise SettingsError(url.origin, None if url.user is not None else f"{url.scheme}://{url.address}", str(error)) from None
    layer: Layer = {}
    warnings = (_TLS_PROXY_KEYS if proxy.scheme == "https" else _PROXY_KEYS).read(url, layer)
    return attrs.evolve(proxy, tls=construct(ClientTls, layer, "tls")), warnings


def read_target(origin: str, text: str) -> Reading:
    """``-L`` of a client: ``rtcp://BIND/TARGET,TARGET``, ``rudp`` for UDP, or ``runix://BIND/PATH`` for unix sockets.

    gost removes the slash before a PATH, which is then relative to its working directory; here a PATH is absolute. Without a BIND,
    gost has no target at all.

    :raises SettingsError: something in it is invalid.
    """
    url = split(origin, text)
    if url.scheme not in ("rtcp", "rudp", "runix"):
        hint = "not supported; a client accepts rtcp://:0/HOST:PORT, rudp://:0/HOST:PORT and runix:///PATH"
        raise SettingsError(f"{origin} scheme", url.scheme, hint)
    if url.user is not None:
        raise SettingsError(origin, None, "contains a user and password, which belong to the server; write them in -F")
    layer: Layer = {}
    put(layer, find(CLIENT, "bind"), origin, url.address)
    target = url.path.removeprefix("/")
    if not target:
        start = f"{url.scheme}://:0/"
        raise SettingsError(origin, _beginning(text), f"no target; write {start}HOST:PORT, or {start}:PORT for localhost")
    written = {"rudp": udp_targets, "runix": unix_targets}.get(url.scheme, str)
    put(layer, find(CLIENT, "target"), origin, written(target))
    warnings = (_UDP_TARGET_KEYS if url.scheme == "rudp" else _TARGET_KEYS).read(url, layer)
    return Reading(layer, warnings)


def read_visitor(origin: str, text: str) -> Reading:
    """``-L`` of a visitor: ``tcp://LISTEN/DESTINATION``, or ``udp``.

    :raises SettingsError: something in it is invalid.
    """
    url = split(origin, text)
    if url.scheme not in VISITOR_SCHEMES:
        what = 'only for "rtunnel client"' if url.scheme in ("rtcp", "rudp") else "not supported"
        raise SettingsError(f"{origin} scheme", url.scheme, f"{what}; a visitor accepts tcp://:2222/HOST and udp://:5353/HOST")
    if url.user is not None:
        raise SettingsError(origin, None, "contains a user and password, which belong to the server; write them in -F")
    layer: Layer = {}
    put(layer, find(VISITOR, "listen"), origin, f"udp://{url.address}" if url.scheme == "udp" else url.address)
    to = url.path.removeprefix("/")
    if not to:
        raise SettingsError(
            origin, _beginning(text), f"no destination; write {url.scheme}://:2222/HOST with a host in the server's rules"
        )
    if "," in to:
        raise SettingsError(origin, _beginning(text), f"several destinations; write one {origin} for each")
    put(layer, find(VISITOR, "to"), origin, to)
    warnings = (_UDP_VISITOR_KEYS if url.scheme == "udp" else _VISITOR_KEYS).read(url, layer)
    return Reading(layer, warnings)


def _transport(url: Url, peer: str) -> str:
    transport = _TUNNEL_SCHEMES.get(url.scheme)
    if transport is not None:
        return transport
    if url.scheme == "rtcp" and peer == "client":
        hint = 'only for "rtunnel client"; a server accepts tunnel+ws://, tunnel+wss://, tunnel+tcp:// and tunnel+tls://'
    elif peer == "server" and url.scheme in PROXY_PORTS:
        hint = "a proxy; the server must follow in another -F: -F tunnel+wss://HOST:PORT"
    else:
        hint = "not supported; use tunnel+ws://, tunnel+wss://, tunnel+tcp:// or tunnel+tls://"
    raise SettingsError(f"{url.origin} scheme", url.scheme, hint)


def _put_user(url: Url, layer: Layer) -> None:
    if url.user is not None:
        layer["credentials"] = OptionValue(url.origin, None, _credentials(url.origin, url.user))


def _password_warning(layer: Layer, origin: str, instead: str) -> tuple[str, ...]:
    """The warning about a password on a command line, if there is one."""
    if "credentials" not in layer or not origin.startswith("-"):
        return ()
    return (f"{origin} contains a password, which is visible in the process list; use {instead}",)


def _credentials(origin: str, user: str) -> Credentials:
    name, _, password = user.partition(":")
    try:
        # a "+" is not a space in this part of a URL
        return Credentials(*(_decoded(origin, None, part.replace("+", "%2B")) for part in (name, password)))
    except SettingsError as error:
        key = f"{origin} {error.key}" if error.key in ("user", "password") else error.key
        raise error.about(key, None) from None


def _address(url: Url, field: str, kind: kinds.Kind, transport: str) -> Layer:
    # where an "@" in a password is not escaped, its end may look like a host
    shown = None if "@" in (url.user or "") else url.address
    if "," in url.address:
        raise SettingsError(url.origin, shown, f"several addresses; {url.origin} takes one HOST:PORT")
    try:
        address: Address = kind.parse(url.address)
    except ValueError as error:
        raise SettingsError(url.origin, shown, str(error)) from None
    return {
        field: OptionValue(url.origin, url.address, address),
        "transport": OptionValue(url.origin, url.scheme, transport),
    }


def _refuse_path(url: Url) -> None:
    if url.path not in ("", "/"):
        raise SettingsError(url.origin, url.path, f"the path must be in the query; write ?path={mask(url.path)}")


_NO_ACCESS_RULE = (
    "refers to access rules of gost, which do not exist here; use --users, --permissions or user:pass@ (docs/users.md),"
    " and remove it only if they are enough"
)


# -- the query


@attrs.frozen
class _Keys:
    """The keys that the query of one kind of URL can have.

    :ivar rows: the options whose keys are known.
    :ivar ignored: gost's keys that do not exist here.
    :ivar prefixes: what a key may begin with.
    :ivar access_rules_refused: whether access rules are an error; else they are ignored.
    """

    rows: tuple[Option, ...]
    ignored: frozenset[str]
    prefixes: tuple[str, ...]
    access_rules_refused: bool

    def read(self, url: Url, layer: Layer) -> tuple[str, ...]:
        """Add the keys of a URL to a layer; returns the warnings.

        :raises SettingsError: a key is unknown, given twice or an access rule, or its value is invalid.
        """
        values, warnings = self._values(url)
        for option in self.rows:
            for key in option.keys:
                if key.names in values:
                    spelling, text = values[key.names]
                    for part in parts(text) if option.many else [text]:
                        put(layer, option, spelling, part, key.kind)
        return tuple(warnings)

    def _values(self, url: Url) -> tuple[dict[tuple[str, ...], tuple[str, str]], list[str]]:
        """The spelling and the text of each known key, by its names; and the warnings about the others."""
        known = {name.lower(): (option, key) for option in self.rows for key in option.keys for name in key.names}
        values: dict[tuple[str, ...], tuple[str, str]] = {}
        warnings: list[str] = []
        for spelling, text in url.query:
            name = self._without_prefix(spelling.lower())
            if name in known:
                option, key = known[name]
                if key.names in values and not option.many:
                    raise SettingsError(spelling, _shown(spelling, text), "given twice; give it once")
                _, earlier = values.get(key.names, ("", ""))
                values[key.names] = (spelling, f"{earlier},{text}" if earlier else text)
            elif self._is_ignored(name):
                warnings.append(f'{url.origin}: the key "{spelling}" of gost does not exist here and is ignored')
            elif name in ignored_gost_keys.ACCESS:
                raise SettingsError(spelling, None, _NO_ACCESS_RULE)
            else:
                raise self._unknown(url, spelling, name, known)
        return values, warnings

    def _unknown(self, url: Url, spelling: str, name: str, known: dict[str, tuple[Option, Key]]) -> SettingsError:
        """The error of an unknown key. Its value is not shown, since it may be a password under a name that was mistyped.

        What comes after a password may be its end, where an "&" in it is not escaped.
        """
        keys = [key for key, _ in url.query]
        secret = url.user is not None or any(SECRET_KEY.search(key) for key in keys[: keys.index(spelling) + 1])
        hint = f"unknown key; {self._suggestion(name, known)}"
        if secret and not hint.startswith("unknown key; did"):
            return SettingsError(
                url.origin, None, 'a key in the query is unknown; write an "&" in a password as %26, see docs/options.md'
            )
        return SettingsError(mask(spelling), None, hint)

    def _without_prefix(self, name: str) -> str:
        for prefix in self.prefixes:
            if name.startswith(prefix):
                return name.removeprefix(prefix)
        return name

    def _is_ignored(self, name: str) -> bool:
        if name in ignored_gost_keys.ACCESS:
            return not self.access_rules_refused
        return name in {ignored.lower() for ignored in self.ignored}

    def _suggestion(self, name: str, known: dict[str, tuple[Option, Key]]) -> str:
        spellings = {spelling.lower(): spelling for _, key in known.values() for spelling in key.names}
        spellings |= {spelling.lower(): spelling for spelling in self.ignored}
        close = get_close_matches(name, known, 1) or get_close_matches(name, spellings, 1)
        return f'did you mean "{spellings[close[0]]}"?' if close else "see docs/options.md"


def _shown(key: str, text: str) -> str | None:
    return None if SECRET_KEY.search(key) else text


def _service_keys(rows: tuple[Option, ...], ignored: frozenset[str]) -> _Keys:
    """The keys of ``-L``, a service of gost."""
    return _Keys(rows, ignored, ("handler.", "listener.", "service."), access_rules_refused=True)


def _node_keys(rows: tuple[Option, ...]) -> _Keys:
    """The keys of ``-F``, a node of gost."""
    return _Keys(rows, ignored_gost_keys.OF_CLIENT, ("connector.", "dialer.", "node.", "hop."), access_rules_refused=False)


_LISTENER_KEYS = _service_keys(SERVER, ignored_gost_keys.OF_SERVER)
_TARGET_KEYS = _service_keys(FORWARD, ignored_gost_keys.OF_TARGET)
_UDP_TARGET_KEYS = _service_keys((*FORWARD, *UDP), ignored_gost_keys.OF_TARGET)
_VISITOR_KEYS = _service_keys((), ignored_gost_keys.OF_VISITOR)
_UDP_VISITOR_KEYS = _service_keys(UDP, ignored_gost_keys.OF_VISITOR)
_SERVER_KEYS = _node_keys(tuple(option for option in CLIENT if option not in (*FORWARD, *UDP)))
_PROXY_KEYS = _node_keys(())
_TLS_PROXY_KEYS = _node_keys(CLIENT_TLS)
