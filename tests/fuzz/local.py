"""Fuzz target for what is rewritten to look local."""

from __future__ import annotations

import re

from rtunnel.wire.http1 import (
    PASS_ALL,
    HeadError,
    LocalRewrite,
    RequestHead,
    parse_request,
    parse_response,
    write_request,
    write_response,
)
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

LOCAL = LocalRewrite("localhost:3000")


def exchange(data: bytes) -> None:
    """A head of a request, and one of its response; both stay one head of the same message."""
    asked, separator, answered = data.partition(b"\r\n\r\n")
    try:
        request = parse_request(asked + separator, PASS_ALL)
    except HeadError:
        return
    check_request(request)
    try:
        check_response(request, answered)
    except HeadError as error:
        assert error.status == 502


def check_request(request: RequestHead) -> None:
    written = parse_request(write_request(LOCAL.request(request), b""), PASS_ALL)
    for name in ("method", "target", "body", "upgrade", "expects_continue", "te_trailers"):
        assert getattr(written, name) == getattr(request, name), name
    assert written.host == "localhost", written.host
    assert written.field(b"x-forwarded-host") is None
    said = (request.field(b"x-forwarded-host") or request.authority).lower()
    origins = [(head.field(b"origin") or b"").split(b",") for head in (request, written)]
    for before, after in zip(*origins, strict=True):
        if before != after:
            host = re.split(rb"[/?#]", before.partition(b"//")[2], maxsplit=1)[0].strip().lower()
            assert host.removesuffix(b":443").removesuffix(b":80") in said, (before, after)


def check_response(request: RequestHead, data: bytes) -> None:
    response = parse_response(data, request.method)
    changed = LOCAL.response(response, request)
    assert len(changed.lines) <= len(response.lines) + response.lines.count(b"\n") * (len(request.lines) + 16)
    written = parse_response(write_response(changed, 1), request.method)
    for name in ("status", "body", "upgrade"):
        assert getattr(written, name) == getattr(response, name), name
    assert written.lines.count(b"\n") == response.lines.count(b"\n"), "a field appeared or is gone"


_FIELDS = [
    *(b"Origin: https://", b"Referer: http://", b"X-Forwarded-Host: ", b"X-Forwarded-Proto: https\r\n", b"Host: shop.test\r\n"),
    *(b"Location: http://localhost:3000/", b"Set-Cookie: a=1; ", b"Domain=localhost", b"; Secure", b"; SameSite=None"),
    *(b"Access-Control-Allow-Origin: http://localhost:3000\r\n", b"shop.test", b":443", b"[::1]:3000", b"127.0.0.1:3000"),
    *(b"//", b"\\", b"@", b"\t"),
]
TARGETS = (Target("local", exchange, ("rtunnel.wire.http1_local",), _FIELDS),)
