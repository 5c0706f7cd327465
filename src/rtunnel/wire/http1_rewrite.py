"""Heads of requests written with some fields changed, by whoever passes them on to a target it knows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy

from rtunnel.wire.http1_request import RequestHead, write_request

__all__ = ["RequestRewrite"]


class RequestRewrite:
    """Changes heads of requests, always in the same way.

    Heads are to be read with :data:`~rtunnel.wire.http1_policy.PASS_ALL`: what an earlier proxy said of the visitor
    (``X-Forwarded-For`` and the like) passes as it came, like every other field.

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
        lines = head.lines
        if self._host:
            # Host stands first, see RequestHead
            request_line, _, fields = lines.split(b"\r\n", 2)
            lines = b"%b\r\n%b%b" % (request_line, self._host, fields)
        if self._unwanted is not None:
            lines = self._unwanted.sub(b"", lines)
        changed = copy(head)
        changed.lines = lines
        return write_request(changed, self._added)
