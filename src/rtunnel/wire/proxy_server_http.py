"""Requests of HTTP to a proxy: CONNECT, and plain ones with an absolute URL (RFC 9112 section 3.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from rtunnel.wire.http1_authority import host_of
from rtunnel.wire.http1_body import ChunkedBody
from rtunnel.wire.http1_fields import CHUNKED
from rtunnel.wire.http1_head import HeadError, HeadLimits, goes_on, head_end, skip_empty_lines
from rtunnel.wire.http1_policy import PASS_ALL
from rtunnel.wire.http1_request import RequestHead, parse_request, write_request
from rtunnel.wire.pod import Cause

__all__ = ["ClosingResponse", "HttpRefused", "ProxiedRequest", "http_refusal", "take_http"]

LIMITS: Final = HeadLimits()

_CONNECT: Final = re.compile(rb"CONNECT ([!-~]{1,300}) HTTP/1\.[01]\r\n")
_TARGET: Final = re.compile(rb"[A-Z-]{1,32} ([a-zA-Z]{1,10})://([^/?# ]{0,300})[/?# ]")
_RESPONSE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n")
_CONNECTION: Final = re.compile(rb"^connection:[^\r]*\r\n", re.IGNORECASE | re.MULTILINE)

_ERRORS: Final[Mapping[Cause, str]] = {
    Cause.NOT_ALLOWED: "destination_ip_prohibited",
    Cause.NO_NAME: "dns_error",
    Cause.NO_DNS: "dns_timeout",
    Cause.REFUSED: "connection_refused",
    Cause.UNREACHABLE: "destination_ip_unroutable",
    Cause.TIMED_OUT: "connection_timeout",
    Cause.BUSY: "connection_limit_reached",
    Cause.NO_POD: "destination_unavailable",
    Cause.FAILED: "proxy_internal_error",
}
"""The errors of Proxy-Status (RFC 9209 section 2.3)."""


class HttpRefused(Exception):
    """A request that is not for a proxy, or that a web page may have made; the text says why.

    :ivar status: of the answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ProxiedRequest:
    """A plain request as its destination gets it: one on a connection, which is closed after the response.

    :ivar head: in origin-form.
    """

    def __init__(self, request: RequestHead) -> None:
        request.lines = _CONNECTION.sub(b"", request.lines)
        self.head = write_request(request, b"" if request.upgrade else b"Connection: close\r\n")
        self._all = bool(request.upgrade)
        self._left = 0 if request.body == CHUNKED else request.body
        self._chunks = ChunkedBody() if request.body == CHUNKED else None

    def pass_on(self, data: bytes) -> bytes:
        """What of further bytes belongs to the request; a second request, which may be for another host, does not."""
        if self._all:
            return data
        if self._chunks is not None:
            try:
                end = self._chunks.feed(data)
            except HeadError:
                end = 0
                self._chunks, self._left = None, 0
            else:
                if self._chunks.done:
                    self._chunks = None
            return data[:end]
        end = min(self._left, len(data))
        self._left -= end
        return data[:end]


class ClosingResponse:
    """The response to a plain request as the program gets it: it says that the connection is closed after it.

    Its server was told to close, and should say that it does (RFC 9112 section 9.6). Not all do, and then the program may send
    its next request while the connection is being closed. What is no response of HTTP/1 is passed on as it is.
    """

    def __init__(self) -> None:
        self._head: bytes | None = b""
        """What was received of a head; None from the end of the last one on."""

    def receive(self, data: bytes) -> bytes:
        """What the program gets of what was received."""
        if self._head is None:
            return data
        begun, self._head = self._head, self._head + data
        if goes_on(begun, data, LIMITS):
            return b""
        return b"".join(self._heads())

    def _heads(self) -> Iterator[bytes]:
        """The heads that are complete, and what follows the last one."""
        while self._head is not None:
            received = self._head
            try:
                end = head_end(received, 0, LIMITS)
            except HeadError:
                end = 0
            if end < 0:
                return
            head, rest = received[:end], received[end:]
            response = _RESPONSE.fullmatch(head)
            status = int(response[1]) if response is not None else 0
            if 100 <= status < 200 and status != 101:
                self._head = rest
                yield head
                continue
            self._head = None
            if status >= 200:
                head = _CONNECTION.sub(b"", head)[:-2] + b"Connection: close\r\n\r\n"
            yield head + rest


def take_http(data: bytes) -> tuple[str, int, ProxiedRequest | None, int] | None:
    """Read a request.

    :returns: host and port of its destination; the request, None for CONNECT; and the size of its head. None while it is not
        complete.
    :raises HttpRefused: it is not for a proxy.
    :raises HeadError: it is not valid.
    """
    start = skip_empty_lines(data)
    end = head_end(data, start, LIMITS)
    if end < 0:
        return None
    head = data[start:end]
    connect = _CONNECT.match(head)
    if connect is not None:
        _check_connect(head)
        authority, host = host_of(connect[1])
        return host, _port(authority, 0), None, end
    target = _TARGET.match(head)
    if target is None:
        text = "this is the proxy of rtunnel reach: configure it as the proxy of a program, and do not open it itself"
        raise HttpRefused(400, text)
    if target[1].lower() != b"http":
        raise HttpRefused(400, "a proxy is asked for other URLs than http:// by CONNECT")
    authority, host = host_of(target[2])
    request = parse_request(head, PASS_ALL)
    _check_page(head, request, authority)
    return host, _port(authority, 80), ProxiedRequest(request), end


def _check_connect(head: bytes) -> None:
    """Check the fields of a CONNECT, of which none matters.

    :raises HeadError: they are not valid.
    """
    try:
        HttpRequestParser(None).feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError:
        raise HeadError(400, "malformed fields") from None


def _check_page(head: bytes, request: RequestHead, authority: bytes) -> None:
    """Refuse what a page of another host has made.

    :raises HttpRefused: it is to be refused.
    """
    hosts = re.findall(rb"(?im)^host:[ \t]*([^\r]*?)[ \t]*\r$", head)
    if any(_same(host) != _same(authority) for host in hosts):
        raise HttpRefused(400, "Host and URL name different hosts")
    origin = request.field(b"origin")
    if origin is not None and _same(origin.lower().removeprefix(b"http://")) != _same(authority):
        raise HttpRefused(403, "the request comes from a web page of another host (Origin)")
    if request.field(b"sec-fetch-site") == b"cross-site" and request.field(b"sec-fetch-mode") != b"navigate":
        raise HttpRefused(403, "the request comes from a web page of another host (Sec-Fetch-Site)")


def _same(authority: bytes) -> bytes:
    """An authority as others are compared with it."""
    return authority.lower().removesuffix(b":80")


def _port(authority: bytes, default: int) -> int:
    """The port of an authority.

    :raises HeadError: it has none, or 0.
    """
    port = authority.rpartition(b":")[2] if not authority.endswith(b"]") and b":" in authority else b""
    found = int(port) if port else default
    if not found:
        raise HeadError(400, "no port")
    return found


def http_refusal(status: int, why: str, cause: Cause | None = None) -> bytes:
    """A response that says why; no page of another host may read it."""
    body = f"rtunnel reach: {why}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {cause or HTTPStatus(status).phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        *([f"Proxy-Status: rtunnel; error={_ERRORS[cause]}"] if cause else []),
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body
