"""One line per request or connection: what is in it, and how it is written.

The lines are made when an exchange or connection ends; :mod:`rtunnel.ops.access_file` writes them. docs/access-log.md tells
users what they mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from time import localtime, perf_counter, strftime, time
from uuid import UUID

import attrs

from rtunnel.ids import short_id

__all__ = ["FORMATS", "Access", "AccessLog"]

Write = Callable[[str], None]


@attrs.define(kw_only=True, eq=False)
class Access:
    """A request or connection under way, and the line that will tell of it; owned by whoever serves it, who ends it once.

    Everything but the times is filled in as it becomes known.

    :ivar kind: ``http``, or what else the connection speaks: ``tls``, ``relay`` (a visit of a private tunnel), ``udp`` (the
        same, of datagrams).
    :ivar visitor: the visitor's IP address.
    :ivar user: who the visitor is, if it was asked.
    :ivar method: of a request.
    :ivar host: what was asked for: the Host of a request, the server name of a TLS connection, the destination that a
        relay visitor names.
    :ivar target: of a request, with its query; the log decides what of it is shown.
    :ivar protocol: as HTTP writes it, e.g. ``HTTP/1.1``.
    :ivar status: of the answer, None when there was none.
    :ivar outcome: how it ended, in the words of the metrics.
    :ivar tunnel: where it was routed to.
    :ivar connector: the last connector that was chosen.
    :ivar first_byte: seconds until the answer began, None when it did not.
    :ivar received: bytes from the visitor, without the head of a request.
    :ivar sent: bytes to the visitor, without the head of the answer.
    :ivar retries: how often it was sent again to another stream or connector.
    :ivar request_id: as in X-Request-Id.
    """

    log: AccessLog
    kind: str
    visitor: str
    began: float
    clock: float
    user: str = ""
    method: str = ""
    host: str = ""
    target: str = ""
    protocol: str = ""
    status: int | None = None
    outcome: str = ""
    tunnel: UUID | None = None
    connector: UUID | None = None
    first_byte: float | None = None
    total: float = 0.0
    received: int = 0
    sent: int = 0
    retries: int = 0
    request_id: str = ""

    def answered(self) -> None:
        """The first byte of the answer came; the later ones do not count."""
        if self.first_byte is None:
            self.first_byte = self.log.clock() - self.clock

    def end(self, outcome: str) -> None:
        """It is over: its line is made and written."""
        self.outcome = outcome
        self.total = self.log.clock() - self.clock
        self.log.record(self)


class AccessLog:
    """Makes the lines; owned by the service.

    :param write: takes each line, with its end.
    :param line: how a line looks, one of :data:`FORMATS`.
    :param query: whether the query of a request is shown.
    :param wall: gives seconds of the epoch.
    :param clock: gives seconds that never jump.
    """

    __slots__ = ("_line", "_query", "_wall", "_write", "clock")

    def __init__(
        self,
        write: Write,
        line: Callable[[Access], str],
        *,
        query: bool = False,
        wall: Callable[[], float] = time,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._write = write
        self._line = line
        self._query = query
        self._wall = wall
        self.clock = clock

    def begin(self, kind: str, visitor: str) -> Access:
        """A request or connection begins."""
        return Access(log=self, kind=kind, visitor=visitor, began=self._wall(), clock=self.clock())

    def record(self, access: Access) -> None:
        """Write the line of what is over."""
        if not self._query:
            path, sign, _ = access.target.partition("?")
            if sign:
                access.target = path + "?..."
        self._write(self._line(access))


# -- text


_UNSAFE = re.compile(r'[^\x21-\x7e]|["\\]')


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{character}" if character in '"\\' else character.encode("unicode_escape").decode() if character != " " else "\\x20"


def _safe(text: str) -> str:
    """A text that cannot end its place in a line, or the line."""
    return _UNSAFE.sub(_escaped, text) or "-"


class _Moment:
    """The time as the Common Log Format writes it, made once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, seconds: float) -> str:
        second = int(seconds)
        if second != self._second:
            self._second = second
            moment = localtime(second)
            self._text = f"{moment.tm_mday:02}/{_MONTHS[moment.tm_mon - 1]}/{strftime('%Y:%H:%M:%S %z', moment)}"
        return self._text


# not strftime's, which follow the locale
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_moment = _Moment()


def _text(access: Access) -> str:
    """The Common Log Format, which every tool reads, then ``key=value`` for the rest."""
    asked = " ".join(map(_safe, (access.method, access.target, access.protocol))) if access.method else access.kind.upper()
    first = "-" if access.first_byte is None else f"{access.first_byte:.6f}"
    return (
        f'{_safe(access.visitor)} - {_safe(access.user)} [{_moment(access.began)}] "{asked}" {access.status or "-"} {access.sent}'
        f" host={_safe(access.host)} outcome={access.outcome} tunnel={_short(access.tunnel) or '-'}"
        f" connector={_short(access.connector) or '-'} first={first} total={access.total:.6f} received={access.received}"
        f" retries={access.retries} id={_safe(access.request_id)}\n"
    )


# -- JSON


def _json(access: Access) -> str:
    first = access.first_byte
    return (
        json.dumps(
            {
                "time": datetime.fromtimestamp(access.began, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "kind": access.kind,
                "visitor": access.visitor,
                "user": access.user or None,
                "method": access.method or None,
                "host": access.host or None,
                "target": access.target or None,
                "protocol": access.protocol or None,
                "status": access.status,
                "outcome": access.outcome,
                "tunnel": _short(access.tunnel),
                "connector": _short(access.connector),
                "first_byte": None if first is None else round(first, 6),
                "total": round(access.total, 6),
                "received_bytes": access.received,
                "sent_bytes": access.sent,
                "retries": access.retries,
                "request_id": access.request_id or None,
            },
            separators=(",", ":"),
        )
        + "\n"
    )


def _short(whole: UUID | None) -> str | None:
    return None if whole is None else short_id(whole)


FORMATS: dict[str, Callable[[Access], str]] = {"text": _text, "json": _json}
"""How a line can look, by the value of ``--access-log-format``."""
