"""Records: what the shared registry knows of a server, a connector and its lease, and how they are written down.

A record is a JSON object with short keys. What has its default is left out, and keys that are unknown are ignored, so that servers
of one version and of the next understand each other. What would be misunderstood gets a new :data:`VERSION`, which is part of the
names of all keys in Redis: servers of different versions of the records do not see each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import isfinite
from typing import Any, Final, TypeVar
from uuid import UUID

import attrs

__all__ = [
    "MAX_RECORD",
    "VERSION",
    "ConnectorRecord",
    "LeaseRecord",
    "RecordError",
    "ServerRecord",
]

VERSION: Final = 1
"""Of the records and of the keys in Redis."""
MAX_RECORD: Final = 65536
"""Bytes of a record at most: more than its largest possible fields take."""

R = TypeVar("R")


class RecordError(ValueError):
    """Bytes that are no record."""


@attrs.frozen(kw_only=True)
class ServerRecord:
    """A server process, from its start to its end.

    :ivar id: its own, a new one with each start.
    :ivar name: of its machine or pod, for display.
    :ivar address: where other servers reach it, ``HOST:PORT``; empty if they do not.
    :ivar software: its version, for display.
    :ivar since: when it started, in seconds since the epoch, for display.
    :ivar leaving: whether it is about to stop, and gets no new streams.
    """

    id: UUID
    name: str = ""
    address: str = ""
    software: str = ""
    since: float = 0.0
    leaving: bool = False

    def encode(self) -> bytes:
        """Return it as bytes."""
        return _write(self, _SERVER)

    @classmethod
    def decode(cls, data: bytes) -> ServerRecord:
        """Read it.

        :raises RecordError: when it is none.
        """
        return _read(cls, _object(data), _SERVER)


@attrs.frozen(kw_only=True)
class LeaseRecord:
    """The lease of a connector. All moments are in seconds since the epoch.

    :ivar id: its own.
    :ivar holder: whose it is.
    :ivar name: what its client calls itself.
    :ivar reason: what it is for.
    :ivar what: the filters as text, else the weight.
    :ivar since: when it began.
    :ivar until: when it ends; 0 without an end.
    :ivar length: the seconds of its whole time; 0 without an end.
    :ivar used: when it was used last, to some seconds; 0 if it never was.
    :ivar held_until: until when it is held for a client whose link is lost; 0 if the link is up.
    """

    id: str
    holder: str = ""
    name: str = ""
    reason: str = ""
    what: str = ""
    since: float = 0.0
    until: float = 0.0
    length: float = 0.0
    used: float = 0.0
    held_until: float = 0.0


@attrs.frozen(kw_only=True)
class ConnectorRecord:
    """A connector, or what is left of one: a lease that is held.

    :ivar id: the connector's own ID.
    :ivar server: that its client is attached to.
    :ivar tunnel: that it belongs to.
    :ivar weight: its share, 1 to 255.
    :ivar datagrams: whether it accepts datagram streams, and only those.
    :ivar name: what its client calls itself.
    :ivar user: the authenticated user, if any.
    :ivar peer: the address of the client.
    :ivar filters: what it intercepts, as text.
    :ivar cacheable: whether its responses may be cached as its target says.
    :ivar instance: what its client calls itself on each of its links, if it does.
    :ivar since: when its link came up, in seconds since the epoch.
    :ivar avoided: whether its server chooses it only when no other one is left.
    :ivar pod: whether its client says that it is the one of the service itself.
    :ivar lease: its lease, if it has one.
    """

    id: UUID
    server: UUID
    tunnel: UUID
    weight: int = attrs.field(default=1, validator=[attrs.validators.ge(1), attrs.validators.le(255)])
    datagrams: bool = False
    name: str = ""
    user: str = ""
    peer: str = ""
    filters: tuple[str, ...] = ()
    cacheable: bool = False
    instance: bytes = b""
    since: float = 0.0
    avoided: bool = False
    pod: bool = False
    lease: LeaseRecord | None = None

    @property
    def holder(self) -> str:
        """Who it belongs to: the authenticated user, or else whom it claims to be."""
        return self.user or self.name or self.peer

    @property
    def held(self) -> bool:
        """Whether its link is lost, and only its lease is left: then nothing can be sent to it."""
        return self.lease is not None and self.lease.held_until > 0

    def encode(self) -> bytes:
        """Return it as bytes."""
        return _write(self, _CONNECTOR)

    @classmethod
    def decode(cls, data: bytes) -> ConnectorRecord:
        """Read it.

        :raises RecordError: when it is none.
        """
        return _read(cls, _object(data), _CONNECTOR)


# -- how they are written down


@attrs.frozen
class _Form:
    """How one attribute is written.

    :ivar key: in the JSON object.
    :ivar kinds: of the JSON value.
    :ivar read: makes the attribute of it; raises ValueError.
    :ivar write: makes it of the attribute.
    """

    key: str
    kinds: tuple[type, ...]
    read: Callable[[Any], Any] | None = None
    write: Callable[[Any], Any] | None = None


_TEXT = (str,)
_NUMBER = (int, float)


def _texts(values: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("not all of them are texts")
    return tuple(map(_whole, values))


def _whole(text: str) -> str:
    # half of a pair of surrogates is no text
    text.encode()
    return text


def _moment(seconds: float) -> float:
    if not isfinite(seconds):
        raise ValueError("not a number")
    return round(float(seconds), 3)


def _text(key: str) -> _Form:
    return _Form(key, _TEXT, _whole)


def _uuid(key: str) -> _Form:
    return _Form(key, _TEXT, UUID, str)


@lru_cache(65536)
def _shared_uuid(text: str) -> UUID:
    """An ID that many records have, once in memory."""
    return UUID(text)


def _frequent_uuid(key: str) -> _Form:
    return _Form(key, _TEXT, _shared_uuid, str)


def _time(key: str) -> _Form:
    return _Form(key, _NUMBER, _moment, _moment)


_SERVER: Final = {
    "id": _uuid("i"),
    "name": _text("n"),
    "address": _text("a"),
    "software": _text("v"),
    "since": _time("t"),
    "leaving": _Form("q", (bool,)),
}
_LEASE: Final = {
    "id": _text("i"),
    "holder": _text("h"),
    "name": _text("n"),
    "reason": _text("r"),
    "what": _text("f"),
    "since": _time("t"),
    "until": _time("e"),
    "length": _time("l"),
    "used": _time("u"),
    "held_until": _time("k"),
}
_CONNECTOR: Final = {
    "id": _uuid("i"),
    "server": _frequent_uuid("s"),
    "tunnel": _frequent_uuid("c"),
    "weight": _Form("w", (int,)),
    "datagrams": _Form("d", (bool,)),
    "name": _text("n"),
    "user": _text("u"),
    "peer": _text("p"),
    "filters": _Form("f", (list,), _texts, list),
    "cacheable": _Form("b", (bool,)),
    "instance": _Form("j", _TEXT, bytes.fromhex, bytes.hex),
    "since": _time("t"),
    "avoided": _Form("x", (bool,)),
    "pod": _Form("o", (bool,)),
    "lease": _Form(
        "l",
        (dict,),
        lambda fields: _read(LeaseRecord, fields, _LEASE),
        lambda lease: _fields(lease, _LEASE),
    ),
}
_DEFAULTS: Final = {
    record: {attribute.name: attribute.default for attribute in attrs.fields(record)}
    for record in (ServerRecord, LeaseRecord, ConnectorRecord)
}
_NAMES: Final[dict[type, dict[str, str]]] = {
    record: {form.key: name for name, form in forms.items()}
    for record, forms in ((ServerRecord, _SERVER), (LeaseRecord, _LEASE), (ConnectorRecord, _CONNECTOR))
}
"""The attributes by their keys."""


def _fields(record: Any, forms: Mapping[str, _Form]) -> dict[str, Any]:
    defaults = _DEFAULTS[type(record)]
    fields = {}
    for name, form in forms.items():
        value = getattr(record, name)
        if value != defaults[name]:
            fields[form.key] = value if form.write is None else form.write(value)
    return fields


def _write(record: Any, forms: Mapping[str, _Form]) -> bytes:
    return json.dumps(_fields(record, forms), ensure_ascii=False, separators=(",", ":")).encode()


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_RECORD:
        raise RecordError(f"a record of {len(data)} bytes; it may have {MAX_RECORD}")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"a record that is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise RecordError("a record that is no JSON object")
    return fields


def _read(record: type[R], fields: Mapping[str, Any], forms: Mapping[str, _Form]) -> R:
    names = _NAMES[record]
    values: dict[str, Any] = {}
    for key, value in fields.items():
        name = names.get(key)
        if name is None:
            continue
        form = forms[name]
        # exactly: a bool is an int for Python
        if type(value) not in form.kinds:
            raise RecordError(f'the key "{key}" of a record is of the wrong kind')
        try:
            values[name] = value if form.read is None else form.read(value)
        except RecordError:
            raise
        except (ValueError, OverflowError) as error:
            raise RecordError(f'the key "{key}" of a record: {error}') from None
    try:
        return record(**values)
    except (TypeError, ValueError) as error:
        raise RecordError(f"a record that lacks something, or is out of bounds: {error}") from None
