"""How proxies are written, and which one the environment asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import quote, unquote

from rtunnel.options import kinds
from rtunnel.options.kinds import Kind
from rtunnel.settings import PROXY_PORTS, Address, Credentials, ProxySettings, SettingsError

__all__ = ["PROXY", "PROXY_FILE", "from_environment", "proxy_of"]

_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:([^/?#]*)@)?([^/?#@]*)/?", re.DOTALL)
_SCHEMES = {**{scheme: scheme for scheme in PROXY_PORTS}, "socks5h": "socks5", "socks": "socks5"}
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


def proxy_of(scheme: str, user: str | None, place: str) -> ProxySettings:
    """A proxy out of the parts of its URL.

    :param user: what stands before the ``@``, as it was written.
    :raises ValueError: it is none; the words never repeat the password.
    """
    known = _SCHEMES.get(scheme.lower())
    if known is None:
        raise ValueError("is no proxy that can be used; http://, https:// and socks5:// can")
    address = kinds.SERVER_ADDRESS.parse(place if _has_port(place) else f"{place}:{PROXY_PORTS[known]}")
    try:
        return ProxySettings(scheme=known, address=address, credentials=_credentials(user) if user else None)
    except SettingsError as error:
        raise ValueError(f"holds a {error.key} that {error.hint}") from None


def _has_port(place: str) -> bool:
    return ":" in (place.rpartition("]")[2] if place.startswith("[") else place)


def _credentials(user: str) -> Credentials:
    if _BROKEN_ESCAPE.search(user):
        raise ValueError('has a "%" without two hex digits after it; write a plain "%" as %25')
    name, colon, password = user.partition(":")
    if not colon:
        raise ValueError("has a user without a password; write USER:PASSWORD@HOST:PORT")
    try:
        return Credentials(unquote(name, errors="strict"), unquote(password, errors="strict"))
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 when its %-escapes are resolved") from None


def _proxy(text: str) -> ProxySettings | None:
    if text.lower() == "direct":
        return None
    match = _URL.fullmatch(text.strip())
    if match is None or not match[3]:
        raise ValueError("is not the URL of a proxy; write e.g. http://HOST:3128 or socks5://HOST:1080, or direct")
    return proxy_of(match[1] or "http", match[2], match[3])


def _proxy_file(path: str) -> ProxySettings | None:
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(4097).splitlines()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise ValueError("is not a text file with the URL of a proxy") from None
    if len(lines) != 1:
        raise ValueError("must hold one line, the URL of a proxy")
    try:
        return _proxy(lines[0])
    except ValueError as error:
        raise ValueError(f"holds what {error}") from None


def _show(proxy: ProxySettings | None) -> str:
    if proxy is None:
        return "direct"
    user = proxy.credentials
    before = f"{quote(user.user, safe='')}:{quote(user.password, safe='')}@" if user is not None else ""
    return f"{proxy.scheme}://{before}{proxy.address}"


PROXY = Kind("URL", _proxy, _show, secret=True, lists=True)
PROXY_FILE = Kind("FILE", _proxy_file)


# -- the environment


def from_environment(environ: Mapping[str, str], transport: str, server: Address) -> tuple[ProxySettings, ...]:
    """The proxy that the usual variables name for a server.

    ``wss`` and ``tls`` look at ``HTTPS_PROXY``, ``ws`` at ``HTTP_PROXY``; each of them, and ``tcp``, at ``ALL_PROXY`` then. Each is
    looked for in lower case first. ``NO_PROXY`` names what is reached directly; this machine always is.

    :raises SettingsError: the variable names no proxy that can be used.
    """
    names = {"wss": ("https_proxy",), "tls": ("https_proxy",), "ws": ("http_proxy",)}.get(transport, ())
    for name in (*names, "all_proxy"):
        for variable in (name, name.upper()):
            text = environ.get(variable, "").strip()
            if text:
                return () if _direct(environ, server) else _named(variable, text)
    return ()


def _named(variable: str, text: str) -> tuple[ProxySettings, ...]:
    try:
        proxy = _proxy(text)
    except ValueError as error:
        raise SettingsError(variable, None, f"{error}; NO_PROXY or --proxy direct does without") from None
    return () if proxy is None else (proxy,)


def _direct(environ: Mapping[str, str], server: Address) -> bool:
    host = server.host.lower().rstrip(".")
    if not host or host == "localhost" or host.endswith(".localhost") or _is_loopback(host):
        return True
    listed = environ.get("no_proxy", "").strip() or environ.get("NO_PROXY", "")
    return any(_matches(entry, host, server.port) for entry in _entries(listed))


def _entries(listed: str) -> Iterator[str]:
    yield from (entry.lower() for entry in listed.replace(",", " ").split())


def _matches(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY means a server: ``*``, a name and all below it, an address, a network, perhaps with a port."""
    if entry == "*":
        return True
    name, colon, only = entry.rpartition(":")
    if colon and only.isdecimal() and ("]" in name or ":" not in name):
        if int(only) != port:
            return False
        entry = name
    entry = entry.removeprefix("[").removesuffix("]")
    try:
        address = ip_address(host)
    except ValueError:
        domain = entry.removeprefix("*").removeprefix(".").rstrip(".")
        return bool(domain) and (host == domain or host.endswith("." + domain))
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
