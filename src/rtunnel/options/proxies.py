"""Proxies as users write them, and those that the environment names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import quote, unquote

from rtunnel.options import kinds
from rtunnel.options.kinds import Kind
from rtunnel.options.secret_files import only_line
from rtunnel.settings import PROXY_PORTS, Address, Credentials, ProxySettings, SettingsError

__all__ = ["PROXY", "PROXY_FILE", "from_environment", "proxy_of"]

_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:([^/?#]*)@)?([^/?#@]*)/?", re.DOTALL)
_SCHEMES = {**{scheme: scheme for scheme in PROXY_PORTS}, "socks5h": "socks5", "socks": "socks5"}
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


def proxy_of(scheme: str, user: str | None, address: str) -> ProxySettings:
    """A proxy from the parts of its URL.

    :param user: the part before the ``@``, as it was written.
    :raises ValueError: the URL is invalid; the text never contains the password.
    """
    known = _SCHEMES.get(scheme.lower())
    if known is None:
        raise ValueError("unsupported proxy; use http://, https:// or socks5://")
    parsed = kinds.SERVER_ADDRESS.parse(address if _has_port(address) else f"{address}:{PROXY_PORTS[known]}")
    try:
        return ProxySettings(scheme=known, address=parsed, credentials=_credentials(user) if user else None)
    except SettingsError as error:
        raise ValueError(f"the {error.key} {error.hint}") from None


def _has_port(address: str) -> bool:
    return ":" in (address.rpartition("]")[2] if address.startswith("[") else address)


def _credentials(user: str) -> Credentials:
    if _BROKEN_ESCAPE.search(user):
        raise ValueError('contains "%" without two hex digits after it; write a literal "%" as %25')
    name, colon, password = user.partition(":")
    if not colon:
        raise ValueError("user without a password; write USER:PASSWORD@HOST:PORT")
    try:
        return Credentials(unquote(name, errors="strict"), unquote(password, errors="strict"))
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 once its %-escapes are decoded") from None


def _proxy(text: str) -> ProxySettings | None:
    if text.lower() == "direct":
        return None
    match = _URL.fullmatch(text.strip())
    if match is None or not match[3]:
        raise ValueError("not a proxy URL; write e.g. http://HOST:3128 or socks5://HOST:1080, or direct")
    return proxy_of(match[1] or "http", match[2], match[3])


def _proxy_file(path: str) -> ProxySettings | None:
    line = only_line(path, "the URL of a proxy")
    try:
        return _proxy(line)
    except ValueError as error:
        raise ValueError(f"in the file: {error}") from None


def _show(proxy: ProxySettings | None) -> str:
    if proxy is None:
        return "direct"
    user = proxy.credentials
    userinfo = f"{quote(user.user, safe='')}:{quote(user.password, safe='')}@" if user is not None else ""
    return f"{proxy.scheme}://{userinfo}{proxy.address}"


PROXY = Kind("URL", _proxy, _show, secret=True, lists=True)
PROXY_FILE = Kind("FILE", _proxy_file)


# -- the environment


def from_environment(environ: Mapping[str, str], transport: str, server: Address) -> tuple[ProxySettings, ...]:
    """The proxy for a server according to the usual variables.

    ``wss`` and ``tls`` use ``HTTPS_PROXY``, ``ws`` uses ``HTTP_PROXY``; without it, and for ``tcp``, ``ALL_PROXY``. Lower case
    comes first. ``NO_PROXY`` lists the servers that are reached directly; this machine always is.

    :raises SettingsError: the variable is not the URL of a supported proxy.
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
        raise SettingsError(variable, None, f"{error}; to connect without a proxy, use NO_PROXY or --proxy direct") from None
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
    """Whether an entry of NO_PROXY (``*``, a domain with its subdomains, an address, a network; with or without a port) matches."""
    if entry == "*":
        return True
    name, colon, entry_port = entry.rpartition(":")
    if colon and entry_port.isdecimal() and ("]" in name or ":" not in name):
        if int(entry_port) != port:
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
