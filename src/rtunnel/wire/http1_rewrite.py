"""Heads of requests written with some fields changed, by whoever passes them on to a target it knows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rtunnel.wire.http1_request import RequestHead, write_request

__all__ = ["RequestRewrite"]

_FORWARDED: Final = {
    b"x-forwarded-for": b"X-Forwarded-For",
    b"x-forwarded-proto": b"X-Forwarded-Proto",
    b"x-forwarded-host": b"X-Forwarded-Host",
    b"x-request-id": b"X-Request-Id",
    b"via": b"Via",
}


class RequestRewrite:
    """Changes heads of requests, always in the same way.

    What an earlier proxy said of the visitor (``X-Forwarded-For`` and the like) passes as it came, like every other field.

    :param host: the new Host, None for what it was.
    :param set_fields: names and values of fields; others of these names are taken out.
    :param remove: names of fields that are taken out.

    Neither names a field that frames a message, nor Host: the caller sees to it.
    """

    __slots__ = ("_added", "_host", "_names", "_unwanted")

    def __init__(self, host: str | None = None, set_fields: Iterable[tuple[str, str]] = (), remove: Iterable[str] = ()) -> None:
        fields = [(name.encode(), value.encode()) for name, value in set_fields]
        names = {name.lower() for name, _ in fields} | {name.encode().lower() for name in remove}
        self._host = b"Host: %b\r\n" % host.encode() if host else b""
        self._added = b"".join(b"%b: %b\r\n" % field for field in fields)
        self._names = frozenset(names)
        either = b"|".join(re.escape(name) for name in sorted(names))
        self._unwanted = re.compile(rb"^(?:%b):[^\n]*\n" % either, re.IGNORECASE | re.MULTILINE) if names else None

    def write(self, head: RequestHead) -> bytes:
        """The head as the target gets it; its body follows as it came."""
        fields = head.fields
        if self._host:
            # Host stands first, see RequestHead
            fields = self._host + fields.partition(b"\r\n")[2]
        if self._unwanted is not None:
            fields = self._unwanted.sub(b"", fields)
        forwarded = [
            b"%b: %b\r\n" % (_FORWARDED[name], value) for name, value in (head.forwarded or {}).items() if name not in self._names
        ]
        changed = RequestHead(
            head.method,
            head.target,
            head.minor,
            head.authority,
            head.host,
            fields,
            body=head.body,
            upgrade=head.upgrade,
            te_trailers=head.te_trailers,
        )
        return write_request(changed, b"".join((*forwarded, self._added)))
