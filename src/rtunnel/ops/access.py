"""One line per request or connection: what is in it, and how it is written.

It is recorded when an exchange or connection ends; :mod:`rtunnel.ops.access_file` makes the lines, many at a time, and writes
them. docs/access-log.md tells users what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from time import gmtime, localtime, perf_counter, strftime, time

__all__ = ["FORMATS", "Access", "AccessLog"]


class Access:
    """A request or connection in progress, as the access log records it; owned by what serves it, which ends it once.

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
    :ivar tunnel: where it was routed to: its ID as it is shown.
    :ivar connector: the last connector that was chosen: the same.
    :ivar holder: whose intercept took the request, if one did.
    :ivar intercept: the filters of that intercept.
    :ivar first_byte: seconds until the answer began, None when it did not.
    :ivar received: bytes from the visitor, without the head of a request.
    :ivar sent: bytes to the visitor, without the head of the answer.
    :ivar retries: how often it was sent again to another stream or connector.
    :ivar request_id: as in X-Request-Id; it has nothing that would have to be escaped.
    """

    __slots__ = (
        "began",
        "clock",
        "connector",
        "first_byte",
        "holder",
        "host",
        "intercept",
        "kind",
        "log",
        "method",
        "outcome",
        "protocol",
        "received",
        "request_id",
        "retries",
        "sent",
        "status",
        "target",
        "total",
        "tunnel",
        "user",
        "visitor",
    )

    def __init__(self, log: AccessLog, kind: str, visitor: str) -> None:
        self.log = log
        self.kind = kind
        self.visitor = visitor
        self.user = self.method = self.host = self.target = self.protocol = self.request_id = ""
        self.tunnel = self.connector = self.holder = self.intercept = ""
        self.status: int | None = None
        self.first_byte: float | None = None
        self.received = self.sent = self.retries = 0
        self.began = log.wall()
        self.clock = log.clock()

    def answered(self) -> None:
        """The first byte of the answer came; the later ones do not count."""
        if self.first_byte is None:
            self.first_byte = self.log.clock() - self.clock

    def end(self, outcome: str) -> None:
        """It is over: it is written, and does not change any more. Now there are an outcome and the seconds in total, too."""
        log = self.log
        self.outcome = outcome
        self.total = log.clock() - self.clock
        if not log.query and "?" in self.target:
            self.target = self.target.partition("?")[0] + "?..."
        log.write(self)


class AccessLog:
    """What all that is logged shares; owned by the service.

    :param write: takes each request or connection when it is over; one of :data:`FORMATS` makes a line of it.
    :param query: whether the query of a request is shown.
    :param wall: gives seconds of the epoch.
    :param clock: gives seconds that never jump.
    """

    __slots__ = ("clock", "query", "wall", "write")

    def __init__(
        self,
        write: Callable[[Access], None],
        *,
        query: bool = False,
        wall: Callable[[], float] = time,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.write = write
        self.query = query
        self.wall = wall
        self.clock = clock

    def begin(self, kind: str, visitor: str) -> Access:
        """A request or connection begins."""
        return Access(self, kind, visitor)


# Numbers are formatted by format(): in compiled code it is faster than the same in braces.

# -- text


_UNSAFE = re.compile(r'[^\x21-\x7e]|["\\]')


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{character}" if character in '"\\' else character.encode("unicode_escape").decode() if character != " " else "\\x20"


_is_safe = re.compile(r"[!#-\[\]-~]+").fullmatch


def _safe(text: str) -> str:
    """A text that cannot end its place in a line, or the line."""
    return text if _is_safe(text) else _UNSAFE.sub(_escaped, text) or "-"


_known_safe = lru_cache(maxsize=1024)(_safe)
"""The same for texts that come again and again: hosts, addresses, methods."""


class _Second:
    """A text for a time, made once a second."""

    __slots__ = ("_make", "_second", "_text")

    def __init__(self, make: Callable[[int], str]) -> None:
        self._make = make
        self._second = -1
        self._text = ""

    def __call__(self, seconds: float) -> str:
        second = int(seconds)
        if second != self._second:
            self._second = second
            self._text = self._make(second)
        return self._text


def _clf(second: int) -> str:
    moment = localtime(second)
    return f"{moment.tm_mday:02}/{_MONTHS[moment.tm_mon - 1]}/{strftime('%Y:%H:%M:%S %z', moment)}"


# not strftime's, which follow the locale
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_clf_time = _Second(_clf)
_iso_time = _Second(lambda second: strftime("%Y-%m-%dT%H:%M:%S", gmtime(second)))


def _text(access: Access) -> str:
    """The Common Log Format, which every tool reads, then ``key=value`` for the rest."""
    asked = f"{_known_safe(access.method)} {_safe(access.target)} {access.protocol}" if access.method else access.kind.upper()
    return (
        f"{_known_safe(access.visitor)} - {_known_safe(access.user)} [{_clf_time(access.began)}]"
        f' "{asked}" {access.status or "-"} {access.sent}'
        f" host={_known_safe(access.host)} outcome={access.outcome} tunnel={access.tunnel or '-'}"
        f" connector={access.connector or '-'}"
        f" first={'-' if access.first_byte is None else format(access.first_byte, '.6f')} total={format(access.total, '.6f')}"
        f" received={access.received} retries={access.retries} id={access.request_id or '-'}"
        f"{f' holder={_known_safe(access.holder)} intercept={_known_safe(access.intercept)}' if access.holder else ''}\n"
    )


# -- JSON

_NO_INTERCEPT = ',"holder":null,"intercept":null'


def _or_null(text: str) -> str:
    return quoted(text) if text else "null"


_known = lru_cache(maxsize=1024)(_or_null)
"""The same for texts that come again and again."""


def _json(access: Access) -> str:
    """An object in one line. Only the strings need a library: a dictionary made for each line would cost more than all the rest."""
    first = access.first_byte
    began = access.began
    return (
        f'{{"time":"{_iso_time(began)}.{format(int(began % 1 * 1000), "03")}Z","kind":"{access.kind}"'
        f',"visitor":{_known(access.visitor)}'
        f',"user":{_known(access.user)},"method":{_known(access.method)},"host":{_known(access.host)}'
        f',"target":{_or_null(access.target)},"protocol":{_known(access.protocol)}'
        f',"status":{access.status or "null"},"outcome":"{access.outcome}"'
        f',"tunnel":{_known(access.tunnel)},"connector":{_known(access.connector)}'
        f"{_intercept(access) if access.holder else _NO_INTERCEPT}"
        f',"first_byte":{"null" if first is None else format(first, ".6f")},"total":{format(access.total, ".6f")}'
        f',"received_bytes":{access.received},"sent_bytes":{access.sent},"retries":{access.retries}'
        f',"request_id":{_or_null(access.request_id)}}}\n'
    )


def _intercept(access: Access) -> str:
    return f',"holder":{quoted(access.holder)},"intercept":{quoted(access.intercept)}'


FORMATS: dict[str, Callable[[Access], str]] = {"text": _text, "json": _json}
"""How a line looks, with its end, by the value of ``--access-log-format``."""
