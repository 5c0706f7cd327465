"""Templates: frequent kinds of heads, read with one regular expression per kind.

A client sends the same fields in the same order again and again, and so does a target; only values change. Once such a sequence was
seen often enough, a template is made of it: the names are literal, the values of end-to-end fields may be any text, those that
framing, routing or the connection depend on are literal or captured in their strict form. One match then replaces finding the end
of the head, validating and parsing it. Consecutive lines that are passed on are one group, so most heads are passed on as a single
slice of the received bytes: they are *verbatim*.

This is only a fast path: what a template matches, :func:`~rtunnel.wire.http1_request.parse_request` and
:func:`~rtunnel.wire.http1_response.parse_response` parse with the same result (a test compares them on mutated heads), and heads
that match no template are parsed by them (:mod:`rtunnel.wire.http1_reader`).

Memory is bounded, whatever untrusted peers send: kinds of heads are counted by a digest of their names, a template is made after
:data:`LEARN_AFTER` heads of a kind, only of heads of moderate size, and all are dropped when there are too many.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from rtunnel.wire.http1_authority import host_of
from rtunnel.wire.http1_fields import CHUNKED, HOP_BY_HOP
from rtunnel.wire.http1_policy import FieldPolicy
from rtunnel.wire.http1_request import IDEMPOTENT, NOTHING, RequestHead
from rtunnel.wire.http1_response import ResponseHead

__all__ = ["LEARN_AFTER", "MAX_HEAD", "RequestTemplate", "ResponseTemplate", "Templates"]

LEARN_AFTER: Final = 16
"""Number of heads of one kind before a template is made of it: making one costs as much as parsing hundreds."""
MAX_TRIED: Final = 4
"""Maximum number of templates that are tried on a head before it is parsed; most recently matched ones first."""
MAX_COUNTED: Final = 512
"""Maximum number of kinds that are counted; beyond it, counting restarts."""
MAX_TEMPLATES: Final = 64
"""Maximum number of templates; beyond it, all are dropped."""
UNSUITABLE_PAUSE: Final = 64
"""Number of heads that are not counted after an unsuitable one: there tend to be many of them."""
MAX_FIELDS: Final = 40
"""Maximum number of fields of a head that a template is made of."""
MAX_HEAD: Final = 4096
"""Maximum size of a head that a template is made of, in bytes."""

_TEXT: Final = (rb"[ -~]*+", rb"[\t -~\x80-\xff]*+")
"""Any value: of visible ASCII and spaces, as nearly all are, which is matched faster; or with other text, too."""
_is_ascii: Final = re.compile(_TEXT[0]).fullmatch
_STRIPPED: Final = (rb" *+([ -~]*+(?<! )|)", rb"[ \t]*+([\t -~\x80-\xff]*+(?<![ \t])|)")
"""The same without surrounding white space; the last alternative is an empty value with white space before it. A head with trailing
white space in a captured value matches no template."""
_LENGTH: Final = rb"[ \t]*+(0|[1-9][0-9]{0,17}+)"
_KEEP_ALIVE: Final = (b"keep-alive", b"Keep-Alive")
_BODILESS: Final = (204, 304)

Field = tuple[bytes, bytes, bytes, bool]
"""Name, lower-case name, value without surrounding white space, and whether it contains more than visible ASCII and spaces."""


class Unsuitable(Exception):
    """No template is made of heads like this."""


class _Builder:
    """Builds a template's pattern line by line, and records the indices of its groups in ``Match.groups()``."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._groups = 0
        self._open = False
        self.kept: list[int] = []
        self.captured: dict[bytes, int] = {}

    def keep(self, line: bytes, *captures: bytes) -> None:
        """Add a line that is passed on; consecutive ones share a group.

        :param captures: the names of the groups inside the line.
        """
        if not self._open:
            self.kept.append(self._groups)
            self._groups += 1
            self._parts.append(b"(")
            self._open = True
        self._parts.append(line)
        self._capture(captures)

    def drop(self, line: bytes, *captures: bytes) -> None:
        """Add a line that is not passed on."""
        if self._open:
            self._parts.append(b")")
            self._open = False
        self._parts.append(line)
        self._capture(captures)

    def _capture(self, names: tuple[bytes, ...]) -> None:
        for name in names:
            if name in self.captured:
                raise Unsuitable
            self.captured[name] = self._groups
            self._groups += 1

    def match(self) -> Callable[[bytes, int], re.Match[bytes] | None]:
        """The match method of the compiled pattern."""
        self.drop(rb"\r\n")
        return re.compile(b"".join(self._parts)).match


def _split(head: bytes) -> tuple[bytes, list[Field]]:
    """The start line and the fields of a valid head."""
    start_line, *lines = head[:-4].split(b"\r\n")
    fields = []
    for line in lines:
        name, _, value = line.partition(b":")
        fields.append((name, name.lower(), value.strip(b" \t"), _is_ascii(value) is None))
    return start_line, fields


def _line(name: bytes, value: bytes) -> bytes:
    """A field with a value that matches a pattern."""
    return re.escape(name) + b":" + value + rb"\r\n"


def _literal(name: bytes, value: bytes) -> bytes:
    return _line(name, rb"[ \t]*+" + re.escape(value))


class RequestTemplate:
    """Requests with one method and one sequence of fields, Host first.

    :param policy: which fields are taken, dropped and noted.
    :param max_size: maximum size of a head, in bytes.
    """

    __slots__ = ("_idempotent", "_keep_alive", "_kept", "_length", "_match", "_max_size", "_method", "_named")

    def __init__(self, start_line: bytes, fields: list[Field], policy: FieldPolicy, max_size: int) -> None:
        method, target, version = start_line.split(b" ")
        if version != b"HTTP/1.1" or target[:1] != b"/" or not method.isalpha() or not fields or fields[0][1] != b"host":
            raise Unsuitable
        self._max_size = max_size
        builder = _Builder()
        builder.keep(re.escape(method) + rb" (/[!\"$-~]*+) HTTP/1\.1\r\n", b":target")
        self._keep_alive = True
        connections = 0
        for name, lower, value, wide in fields:
            if lower == b"host":
                builder.keep(_line(name, rb"[ \t]*+([!-~]++)"), lower)
            elif lower == b"content-length":
                builder.keep(_line(name, _LENGTH), lower)
            elif lower == b"connection" and not connections and value in _KEEP_ALIVE:
                connections += 1
                builder.keep(_literal(name, value))
            elif lower == b"connection" and not connections and value == b"close":
                connections += 1
                self._keep_alive = False
                builder.drop(_literal(name, value))
            elif lower in HOP_BY_HOP or lower == b"expect":
                raise Unsuitable
            elif lower in policy.taken:
                builder.drop(_line(name, _STRIPPED[wide]), lower)
            elif lower in policy.noted:
                builder.keep(_line(name, _STRIPPED[wide]), lower)
            elif policy.drops(lower):
                builder.drop(_line(name, _TEXT[wide]))
            else:
                builder.keep(_line(name, _TEXT[wide]))
        captured = builder.captured
        self._match = builder.match()
        self._kept = builder.kept if len(builder.kept) > 1 else None
        # 1 and 2; they stand in the first lines that are kept, which are 0
        del captured[b":target"], captured[b"host"]
        self._length = captured.pop(b"content-length", 0)
        self._method = method
        self._idempotent = method in IDEMPOTENT
        self._named = tuple(captured.items())

    def read(self, data: bytes, start: int = 0) -> tuple[RequestHead, int] | None:
        """Read a head of this kind.

        :returns: the head and the index after it.
        """
        match = self._match(data, start)
        if match is None or (end := match.end()) - start > self._max_size:
            return None
        groups = match.groups()
        kept = self._kept
        authority, host = host_of(groups[2])
        head = RequestHead(groups[1], authority, host, groups[0] if kept is None else b"".join([groups[index] for index in kept]))
        head.method = self._method
        head.named = {name: groups[index] for name, index in self._named} if self._named else NOTHING
        head.body = int(groups[self._length]) if self._length else 0
        head.idempotent = self._idempotent
        head.keep_alive = head.persistent = self._keep_alive
        head.plain = True
        return head, end


class ResponseTemplate:
    """Responses with one status line and one sequence of fields.

    :param max_size: maximum size of a head, in bytes.
    """

    __slots__ = (
        "_keep_alive",
        "_kept",
        "_length",
        "_match",
        "_max_size",
        "_no_length",
        "_says_keep_alive",
        "_status",
    )

    def __init__(self, start_line: bytes, fields: list[Field], max_size: int) -> None:
        self._max_size = max_size
        version, status = start_line.split(b" ", 2)[:2]
        self._status = int(status)
        bodiless = self._status in _BODILESS
        if version != b"HTTP/1.1" or self._status < 200 or self._status == 204 or start_line.count(b" ") < 2:
            raise Unsuitable
        self._keep_alive = True
        chunked = self._says_keep_alive = False
        builder = _Builder()
        builder.keep(re.escape(start_line) + rb"\r\n")
        seen = set()
        for name, lower, value, wide in fields:
            if lower == b"content-length":
                builder.keep(_line(name, _LENGTH), lower)
            elif lower == b"connection" and lower not in seen and value in _KEEP_ALIVE:
                self._says_keep_alive = True
                builder.keep(_literal(name, value))
            elif lower == b"connection" and lower not in seen and value == b"close":
                self._keep_alive = False
                builder.drop(_literal(name, value))
            elif lower == b"keep-alive":
                builder.drop(_line(name, _TEXT[wide]))
            elif lower == b"transfer-encoding" and lower not in seen and value == b"chunked":
                chunked = True
                builder.drop(_literal(name, value))
            elif lower in HOP_BY_HOP:
                raise Unsuitable
            else:
                builder.keep(_line(name, _TEXT[wide]))
            seen.add(lower)
        self._length = builder.captured.get(b"content-length", 0)
        if chunked == bool(self._length) or (bodiless and not self._length):
            raise Unsuitable
        if bodiless:
            self._length = 0
        self._no_length = 0 if bodiless else CHUNKED
        self._match = builder.match()
        self._kept = builder.kept if len(builder.kept) > 1 else None

    def read(self, data: bytes, method: bytes) -> tuple[ResponseHead, int] | None:
        """Read a head of this kind.

        :param method: of its request.
        :returns: the head and the index after it.
        """
        match = self._match(data, 0)
        if match is None or (end := match.end()) > self._max_size:
            return None
        groups = match.groups()
        kept = self._kept
        lines = groups[0] if kept is None else b"".join([groups[index] for index in kept])
        body = int(groups[self._length]) if self._length else self._no_length
        if method == b"HEAD":
            body = 0
        head = ResponseHead(lines, body)
        head.status = self._status
        head.keep_alive = self._keep_alive
        head.says_keep_alive = self._says_keep_alive
        return head, end


T = TypeVar("T", bound=RequestTemplate | ResponseTemplate)


class Templates(Generic[T]):
    """The templates of one reader.

    :param make: makes a template of a start line and fields.
    :ivar first: the most recently matched one, which is tried first.
    :ivar others: those that are tried after it.
    """

    __slots__ = ("_counts", "_known", "_make", "_pause", "first", "others")

    def __init__(self, make: Callable[[bytes, list[Field]], T]) -> None:
        self._make = make
        self._counts: dict[int, int] = {}
        self._pause = 0
        self._known: dict[int, T] = {}
        self.first: T | None = None
        self.others: list[T] = []

    def learn(self, head: bytes) -> None:
        """Count a head that was parsed; make a template of its kind when it is frequent."""
        if self._pause:
            self._pause -= 1
            return
        if len(head) > MAX_HEAD or head.count(b"\r\n") > MAX_FIELDS + 2:
            return
        key = _digest(*_split(head))
        template = self._known.get(key) or self._count(key, head)
        if template is not None and template is not self.first and template not in self.others:
            self.prefer(template)
        elif template is not None or self._counts[key] > LEARN_AFTER:
            # no template can be made of such heads, and there may be many more
            self._pause = UNSUITABLE_PAUSE

    def _count(self, key: int, head: bytes) -> T | None:
        """Count a head of a kind without a template; makes the template when the count is reached."""
        if len(self._counts) >= MAX_COUNTED:
            self._counts.clear()
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count != LEARN_AFTER:
            return None
        try:
            template = self._make(*_split(head))
        except Unsuitable:
            return None
        if len(self._known) >= MAX_TEMPLATES:
            self._known.clear()
            self.others.clear()
            self.first = None
        self._known[key] = template
        return template

    def tried(self) -> tuple[T, ...]:
        """The templates to try on a head, the most likely one first."""
        return () if self.first is None else (self.first, *self.others)

    def prefer(self, template: T) -> None:
        """Move a template to the front: it matched, or it is new."""
        first = self.first
        if template is first:
            return
        if template in self.others:
            self.others.remove(template)
        if first is not None:
            self.others.insert(0, first)
        self.first = template
        del self.others[MAX_TRIED - 1 :]


def _digest(start_line: bytes, fields: list[Field]) -> int:
    """The identity of a kind: method or status line, names, the values that are literal in a template, and what others may be."""
    start = start_line if start_line.startswith(b"HTTP/") else start_line.split(b" ", 1)[0]
    return hash((start, *((name, value if lower in HOP_BY_HOP else wide) for name, lower, value, wide in fields)))
