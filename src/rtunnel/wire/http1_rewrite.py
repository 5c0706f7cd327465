"""Rewriting of request heads for a particular target."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rtunnel.wire.http1_request import RequestHead, write_request

__all__ = ["RequestRewrite"]


class RequestRewrite:
    """Rewrites request heads, always in the same way.

    Heads must be read with :data:`~rtunnel.wire.http1_policy.PASS_ALL`: the forwarding fields of an earlier proxy
    (``X-Forwarded-For`` etc.) are passed on unchanged, like every other field.

    :param host: the new Host, None to keep it.
    :param set_fields: names and values of fields to set; existing fields of these names are removed.
    :param remove: names of fields to remove.

    The caller ensures that neither contains Host or a field for message framing.
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
        """Write the head for the target; the body is passed on unchanged."""
        lines = head.lines
        if self._host:
            # Host stands first, see RequestHead
            request_line, _, fields = lines.split(b"\r\n", 2)
            lines = b"%b\r\n%b%b" % (request_line, self._host, fields)
        if self._unwanted is not None:
            lines = self._unwanted.sub(b"", lines)
        return write_request(head.with_lines(lines), self._added)
