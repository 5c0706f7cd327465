"""Client handshakes with a forward proxy: HTTP CONNECT and SOCKS5, with one interface.

An engine is used once: send :meth:`ProxyHandshake.begin`, pass received data to :meth:`ProxyHandshake.receive` and send what it
returns, until :attr:`ProxyHandshake.done`; then :attr:`ProxyHandshake.rest` are the first bytes of the other end. A failed
handshake raises :class:`ProxyError`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from enum import Enum
from ipaddress import IPv4Address, ip_address
from typing import Final, Protocol

from rtunnel.wire.http1 import HeadError, HeadLimits, head_end, parse_response

__all__ = ["HttpConnect", "ProxyError", "ProxyHandshake", "Socks5"]

LIMITS: Final = HeadLimits(head_bytes=16384, line_bytes=8192, header_count=64)
"""Maximum sizes of the head of a proxy's response."""
MAX_INTERIM: Final = 4
"""Maximum number of interim (1xx) responses before the final one."""


class ProxyError(Exception):
    """The proxy did not connect us; the text is one line that says what to do, without secrets."""


class ProxyHandshake(Protocol):
    """The common interface of the engines."""

    done: bool
    """Whether the handshake is complete."""
    rest: bytes
    """Data received after the handshake: bytes of the other end."""

    def begin(self) -> bytes:
        """The first message."""

    def receive(self, data: bytes) -> bytes:
        """Process data of the proxy; returns the data to send.

        :raises ProxyError: the proxy did not connect us.
        """


Login = tuple[str, str]
"""A user and a password."""

_MISSING = "asks for a user and password; put them into its URL, as in RTUNNEL_PROXY=http://USER:PASSWORD@HOST:PORT"
_WRONG = "refuses the user and password of its URL"


class HttpConnect:
    """HTTP CONNECT (RFC 9110 section 9.3.6) with Basic credentials (RFC 7617).

    :param host: a name, which the proxy resolves, or an IP address.
    :param login: credentials for the proxy; sent without waiting for a challenge.
    """

    def __init__(self, host: str, port: int, login: Login | None = None) -> None:
        self.done = False
        self.rest = b""
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._login = login
        self._buffer = b""
        self._interim = 0

    def begin(self) -> bytes:
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}", "User-Agent: rtunnel"]
        if self._login is not None:
            lines.append("Proxy-Authorization: Basic " + b64encode(":".join(self._login).encode()).decode())
        return "\r\n".join([*lines, "", ""]).encode()

    def receive(self, data: bytes) -> bytes:
        self._buffer += data
        while not self.done and self._read_head():
            pass
        return b""

    def _read_head(self) -> bool:
        try:
            end = head_end(self._buffer, 0, LIMITS)
            if end < 0:
                return False
            head = self._buffer[:end]
            status = parse_response(head, b"CONNECT").status
        except HeadError as error:
            raise ProxyError(f"does not answer as an HTTP proxy does ({error.reason})") from None
        self._buffer = self._buffer[end:]
        if 200 <= status < 300:
            # there is no body, whatever the head says (RFC 9110 section 9.3.6)
            self.done, self.rest, self._buffer = True, self._buffer, b""
        elif 100 <= status < 200 and status != 101 and self._interim < MAX_INTERIM:
            self._interim += 1
        else:
            raise ProxyError(self._refusal(status, head))
        return True

    def _refusal(self, status: int, head: bytes) -> str:
        if status == 407:
            schemes = _schemes(head)
            if schemes and "basic" not in schemes:
                return f"asks for {', '.join(schemes)}, and only basic is supported; put a local proxy that supports it in between"
            return _MISSING if self._login is None else _WRONG
        answer = f"(it answered {_status_text(head)})"
        if status in (401, 403, 405):
            return f"does not allow connections to {self._target} {answer}"
        if status in (502, 503, 504, 404):
            return f"cannot reach {self._target} {answer}"
        return f"does not connect to {self._target} {answer}"


_SCHEME = re.compile(rb"^proxy-authenticate:[ \t]*([A-Za-z0-9!#$%&'*+.^_`|~-]{1,32})", re.IGNORECASE | re.MULTILINE)


def _schemes(head: bytes) -> list[str]:
    """The authentication schemes that a proxy offers, in lower case (the first one of each field, as proxies send them)."""
    return [scheme.decode().lower() for scheme in _SCHEME.findall(head)]


def _status_text(head: bytes) -> str:
    """Status and reason, safe for a log."""
    text = head.partition(b"\r\n")[0].partition(b" ")[2][:60].decode("ascii", "replace").strip()
    return "".join(character if character.isprintable() else "?" for character in text)


# -- SOCKS5

VERSION: Final = 5
AUTH_VERSION: Final = 1
NO_AUTH, USER_PASSWORD, NO_METHOD = 0, 2, 255
CONNECT: Final = 1
IPV4, DOMAIN, IPV6 = 1, 3, 4

_REPLIES = {
    1: "failed to connect to {}",
    2: "does not allow connections to {}",
    3: "cannot reach the network of {}",
    4: "cannot reach {} (host unreachable)",
    5: "cannot reach {} (connection refused)",
    6: "cannot reach {} (it took too many hops)",
    7: "does not connect anywhere (command not supported)",
    8: "cannot connect to {} (kind of address not supported)",
}


class _Step(Enum):
    METHOD = "method"
    LOGIN = "login"
    REPLY = "reply"


class Socks5:
    """SOCKS version 5 (RFC 1928), optionally with user and password (RFC 1929).

    :param host: a name, which the proxy resolves, or an IP address.
    :param login: offered in addition to no authentication; the proxy chooses.
    """

    def __init__(self, host: str, port: int, login: Login | None = None) -> None:
        self.done = False
        self.rest = b""
        self._host = host
        self._port = port
        self._login = login
        self._step = _Step.METHOD
        self._buffer = b""

    def begin(self) -> bytes:
        methods = (NO_AUTH,) if self._login is None else (NO_AUTH, USER_PASSWORD)
        return bytes((VERSION, len(methods), *methods))

    def receive(self, data: bytes) -> bytes:
        self._buffer += data
        answer = b""
        while not self.done:
            reply = self._read_message()
            if reply is None:
                break
            answer += reply
        return answer

    def _read_message(self) -> bytes | None:
        """Parse the next message; returns the data to send, None while it is incomplete."""
        buffer = self._buffer
        if not buffer:
            return None
        expected = AUTH_VERSION if self._step is _Step.LOGIN else VERSION
        if buffer[0] != expected:
            raise ProxyError("does not answer as a SOCKS5 proxy does")
        if self._step is _Step.REPLY:
            return self._read_reply(buffer)
        if len(buffer) < 2:
            return None
        self._buffer = buffer[2:]
        return self._choose(buffer[1]) if self._step is _Step.METHOD else self._logged_in(buffer[1])

    def _choose(self, method: int) -> bytes:
        if method == NO_AUTH:
            return self._request()
        if method == USER_PASSWORD and self._login is not None:
            self._step = _Step.LOGIN
            user, password = (part.encode() for part in self._login)
            return bytes((AUTH_VERSION, len(user))) + user + bytes((len(password),)) + password
        if self._login is None and method in (NO_METHOD, USER_PASSWORD):
            raise ProxyError(_MISSING.replace("http:", "socks5:"))
        raise ProxyError("accepts none of the supported authentication methods (none; user and password)")

    def _logged_in(self, status: int) -> bytes:
        if status:
            raise ProxyError(_WRONG)
        return self._request()

    def _request(self) -> bytes:
        self._step = _Step.REPLY
        return bytes((VERSION, CONNECT, 0)) + _address(self._host) + self._port.to_bytes(2)

    def _read_reply(self, buffer: bytes) -> bytes | None:
        if len(buffer) < 2:
            return None
        if buffer[1]:
            text = _REPLIES.get(buffer[1], f"refuses to connect to {{}} (SOCKS5 reply {buffer[1]})")
            raise ProxyError(text.format(f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"))
        if len(buffer) < 5:
            return None
        sizes = {IPV4: 4, IPV6: 16, DOMAIN: 1 + buffer[4]}
        if buffer[3] not in sizes:
            raise ProxyError("does not answer as a SOCKS5 proxy does")
        end = 4 + sizes[buffer[3]] + 2
        if len(buffer) < end:
            return None
        self.done, self.rest, self._buffer = True, buffer[end:], b""
        return b""


def _address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode()
        if not 0 < len(name) < 256:
            raise ProxyError("accepts host names of 1 to 255 bytes only") from None
        return bytes((DOMAIN, len(name))) + name
    return bytes((IPV4 if isinstance(address, IPv4Address) else IPV6,)) + address.packed
