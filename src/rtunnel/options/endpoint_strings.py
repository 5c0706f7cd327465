"""Twisted's endpoint strings, which ``--listen`` and ``--server`` accept beside addresses and URLs.

For example ``tcp:8421:interface=127.0.0.1``, ``ssl:8443:privateKey=key.pem:certKey=cert.pem``, ``ssl:shop.example.org:443``.
They say the same as the options for addresses and certificates, under the names that :mod:`twisted.internet.endpoints` gives
them (``serverFromString``, ``clientFromString``). ``ssl`` and ``tls`` are WebSockets over TLS, as ``wss://`` is. A key that
would have no effect here is an error that says what has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

__all__ = ["EndpointString", "is_endpoint_string", "read_client_string", "read_server_string"]

_PREFIX: Final = re.compile(r"(tcp|tcp4|tcp6|ssl|tls):(?!//)", re.IGNORECASE)
_PART: Final = re.compile(r"(?:[^:\\]|\\.)*", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_KEY: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)=")

_TLS: Final = ("ssl", "tls")


@attrs.frozen
class EndpointString:
    """What an endpoint string says.

    :ivar address: host and port as ``HOST:PORT``.
    :ivar transport: ``wss``, or ``None`` for one without TLS.
    :ivar files: names of files by setting, e.g. ``tls.cert_file``.
    """

    address: str
    transport: str | None = None
    files: tuple[tuple[str, str], ...] = ()


def is_endpoint_string(text: str) -> bool:
    """Whether a text is an endpoint string rather than an address or a URL.

    A host that is called like a kind of them, ``tcp:80``, has to be written as a URL: ``ws://tcp:80``.
    """
    return _PREFIX.match(text) is not None


def read_server_string(text: str) -> EndpointString:
    """Where to listen.

    :raises ValueError: it is malformed, or has a key without effect here.
    """
    kind, positional, keys = _split(text)
    if kind == "tls":
        raise ValueError("is an endpoint string of clients; a server's is ssl:PORT:privateKey=FILE:certKey=FILE")
    port = _take(positional, keys, "port", "a port, e.g. ssl:8443:privateKey=key.pem:certKey=cert.pem")
    host = keys.pop("interface", "0.0.0.0" if kind == "tcp4" else "::" if kind == "tcp6" else "")
    files: tuple[tuple[str, str], ...] = ()
    if kind == "ssl":
        key = keys.pop("privateKey", None)
        if key is None:
            raise ValueError("no privateKey; write ssl:PORT:privateKey=FILE:certKey=FILE")
        certificate = keys.pop("certKey", key)
        files = (("tls.cert_file", certificate), *([("tls.key_file", key)] if key != certificate else []))
    _refuse_others(positional, keys, _SERVER_HINTS)
    return EndpointString(_joined(host, port), "wss" if kind == "ssl" else None, files)


def read_client_string(text: str) -> EndpointString:
    """Where to connect to.

    :raises ValueError: it is malformed, or has a key without effect here.
    """
    kind, positional, keys = _split(text)
    usual = f"{kind}:HOST:PORT"
    host = _take(positional, keys, "host", f"a host; write {usual}")
    port = _take(positional, keys, "port", f"a port; write {usual}")
    files = []
    if kind in _TLS:
        certificate, key = keys.pop("certKey" if kind == "ssl" else "certificate", None), keys.pop("privateKey", None)
        files = [(field, name) for field, name in (("tls.cert_file", certificate), ("tls.key_file", key)) if name is not None]
    _refuse_others(positional, keys, _CLIENT_HINTS)
    return EndpointString(_joined(host, port), "wss" if kind in _TLS else None, tuple(files))


_SERVER_HINTS: Final[Mapping[str, str]] = {
    "extraCertChain": "append the chain to the file of certKey",
    "sslmethod": "TLS 1.2 and later are spoken, as it should be",
    "dhParameters": "no such ciphers are used",
    "backlog": "the system's own limit applies",
}
_CLIENT_HINTS: Final[Mapping[str, str]] = {
    "caCertsDir": "name a file of certificates with --ca-file",
    "trustRoots": "name a file of certificates with --ca-file",
    "endpoint": "name a proxy with --proxy",
    "timeout": "see --handshake-timeout",
    "bindAddress": "the system chooses the address",
}


def _split(text: str) -> tuple[str, list[str], dict[str, str]]:
    """The kind, the arguments by position and those by name."""
    parts: list[str] = []
    position = 0
    while position <= len(text):
        match = _PART.match(text, position)
        assert match is not None  # it matches nothing, too
        parts.append(match[0])
        if match.end() < len(text) and text[match.end()] != ":":
            raise ValueError('ends with a "\\", which escapes the character behind it')
        position = match.end() + 1
    kind, *arguments = parts
    positional: list[str] = []
    keys: dict[str, str] = {}
    for argument in arguments:
        named = _KEY.match(argument)
        if named is None:
            positional.append(_unescaped(argument))
        elif named[1] in keys:
            raise ValueError(f'"{named[1]}" is given twice; give it once')
        else:
            keys[named[1]] = _unescaped(argument[named.end() :])
    return kind.lower(), positional, keys


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text)


def _take(positional: list[str], keys: dict[str, str], name: str, wanted: str) -> str:
    if name in keys:
        return keys.pop(name)
    if not positional or not positional[0]:
        raise ValueError(f"without {wanted}")
    return positional.pop(0)


def _refuse_others(positional: list[str], keys: Mapping[str, str], hints: Mapping[str, str]) -> None:
    if positional:
        raise ValueError(f'"{positional[0]}" is one value too many; put a "\\" before a ":" that belongs to a value')
    for key in keys:
        raise ValueError(f'"{key}" has no effect here; {hints.get(key, "leave it out")}')


def _joined(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
