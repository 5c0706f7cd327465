"""What client and server say to each other beside the requests: messages, each a line of JSON.

On a link they use a *control stream*: a stream that the server opens to the destination :data:`CONTROL_HOST` of a client that has
offered to take one (:meth:`rtunnel.wire.smux.Session.offer_control`). As its source the preface has the number that the client sent
with the offer, so that no visitor can pass for the server. A connection that begins with the relay command
:attr:`~rtunnel.wire.relay.Command.CONTROL` carries the same lines: one message of a caller, and what the server answers.

A message is an object with a ``kind`` and the keys of one of the classes below; keys with their default are left out. Kinds and
keys that are not known are ignored, so that either end may be newer; :data:`VERSION` changes only when a key changes its meaning.
Every text is cut and made printable *as it is read*: it comes from others, and goes into logs and terminals. Times are seconds from
now, since the clocks of two machines differ. docs/protocol.md describes all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import attrs

__all__ = [
    "CONTROL_HOST",
    "KINDS",
    "MAX_LINE",
    "VERSION",
    "Allowed",
    "AskShare",
    "Asked",
    "ControlError",
    "ControlReader",
    "Done",
    "Ended",
    "Expires",
    "Granted",
    "Hello",
    "Joined",
    "Left",
    "Listed",
    "Member",
    "Message",
    "Overlaps",
    "QueryLeases",
    "QueryRights",
    "Refused",
    "ReleaseLease",
    "RenewLease",
    "Renewed",
    "RevokeLease",
    "Share",
    "TakeLease",
    "clean",
    "encode",
]

CONTROL_HOST: Final = "control.rtunnel"
"""The destination of a control stream; no target has it."""
VERSION: Final = 1
MAX_LINE: Final = 16384
"""Maximum length of a line, in bytes."""
MAX_NAME: Final = 100
"""Characters of a name that are kept."""
MAX_TEXT: Final = 200
"""Characters of a reason or another text that are kept."""
MAX_WHAT: Final = 1000
"""Characters of the filters of a connector that are kept."""
MAX_COUNT: Final = 2**31 - 1
"""The largest number."""
LONGEST: Final = 10 * 366 * 86400.0
"""The longest time, in seconds."""


class ControlError(Exception):
    """What the peer sent is not a message; the text says why, and contains nothing of it."""


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """A text of somebody else: cut, on one line, with everything that is not printable as escapes."""
    text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _text(limit: int = MAX_TEXT, *, secret: bool = False) -> Any:
    return attrs.field(default="", metadata={"limit": limit}, repr=not secret)


# -- from a client


@attrs.frozen
class Hello:
    """The first message of a client.

    :ivar version: :data:`VERSION`.
    :ivar name: what it calls itself.
    :ivar reason: what it is for.
    :ivar lease: how long it wants its lease, 0 for as long as it may.
    :ivar offers: the services of its pod that it offers (:class:`rtunnel.wire.pod.PodService`), separated by commas.
    :ivar token: what it will know the server's streams to them by; a secret between the two.
    """

    version: int = 0
    name: str = _text(MAX_NAME)
    reason: str = _text()
    lease: float = 0.0
    offers: str = _text(MAX_NAME)
    token: str = _text(MAX_NAME, secret=True)


@attrs.frozen
class AskShare:
    """Ask for the share, and for the others of the tunnel."""


# -- from the server to a client


@attrs.frozen
class Granted:
    """The client has a lease.

    :ivar left: the seconds until its end, 0 without one.
    :ivar idle: the seconds without a request after which it ends, 0 for no such limit.
    :ivar resumed: whether it is the one that the client had before its link was lost.
    """

    left: float = 0.0
    idle: float = 0.0
    resumed: bool = False


@attrs.frozen
class Renewed:
    """The lease ends later: in ``left`` seconds, 0 for never."""

    left: float = 0.0


@attrs.frozen
class Expires:
    """The lease ends soon.

    :ivar left: the seconds until then.
    :ivar idle: whether a request keeps it from ending.
    """

    left: float = 0.0
    idle: bool = False


@attrs.frozen
class Ended:
    """The lease has ended: no more requests come, and the client does not come back by itself.

    :ivar cause: a :class:`rtunnel.routing.leases.LeaseEnd`.
    :ivar by: who ended it.
    :ivar text: what they say.
    """

    cause: str = _text(MAX_NAME)
    by: str = _text(MAX_NAME)
    text: str = _text()


@attrs.frozen
class Joined:
    """Somebody else is on the tunnel.

    :ivar name: who.
    :ivar what: their filters, else their weight.
    :ivar reason: what for.
    :ivar new: whether they have just come.
    """

    name: str = _text(MAX_NAME)
    what: str = _text(MAX_WHAT)
    reason: str = _text()
    new: bool = False


@attrs.frozen
class Left:
    """Somebody has left the tunnel.

    :ivar cause: a :class:`rtunnel.routing.leases.LeaseEnd`; ``""`` as long as the lease is held for them.
    """

    name: str = _text(MAX_NAME)
    what: str = _text(MAX_WHAT)
    cause: str = _text(MAX_NAME)


@attrs.frozen
class Overlaps:
    """Somebody has joined who wants some of the same requests.

    :ivar name: who.
    :ivar what: their filter.
    :ivar own: the filter of the client that matches some of the same requests.
    :ivar winner: who gets these.
    """

    name: str = _text(MAX_NAME)
    what: str = _text(MAX_WHAT)
    own: str = _text(MAX_WHAT)
    winner: str = _text(MAX_NAME)


@attrs.frozen
class Asked:
    """Somebody wants the requests of the lease, and gets them unless a request comes within ``left`` seconds."""

    by: str = _text(MAX_NAME)
    text: str = _text()
    left: float = 0.0


@attrs.frozen
class Member:
    """Somebody else who is on the tunnel now; a number of them stands before each :class:`Share`.

    :ivar name: who: what the client calls itself, the user, else the ID of its connector.
    :ivar what: their filters, else their weight.
    :ivar weight: the weight, 0 for those with filters.
    """

    name: str = _text(MAX_NAME)
    what: str = _text(MAX_WHAT)
    weight: int = 0


@attrs.frozen
class Share:
    """Which part of the requests the client gets, as long as nobody joins or leaves.

    :ivar part: it gets so many
    :ivar whole: of so many; 0 for a client with filters.
    :ivar others: how many others there are; of a crowd not all are mentioned.
    :ivar hosts: that lead to the tunnel.
    :ivar sticky: whether whole visitors are counted rather than their requests.
    :ivar requests: of the client that have ended since its link came up.
    """

    part: int = 0
    whole: int = 0
    others: int = 0
    hosts: str = _text(MAX_WHAT)
    sticky: bool = False
    requests: int = 0


# -- from a caller, one for each connection


@attrs.frozen
class QueryLeases:
    """List the leases.

    :ivar host: only those of its tunnel; ``""`` for all that the caller may see.
    """

    host: str = _text(255)


@attrs.frozen
class QueryRights:
    """Tell what the caller may do with the tunnel of a host; servers before 0.1 do not answer that."""

    host: str = _text(255)


@attrs.frozen
class ReleaseLease:
    """End leases of one's own.

    :ivar caller: what the caller calls itself; counts only where the server has no users.
    :ivar name: of the lease, ``""`` for all of them.
    """

    caller: str = _text(MAX_NAME)
    name: str = _text(MAX_NAME)


@attrs.frozen
class RevokeLease:
    """End the leases of somebody else.

    :ivar name: of the lease, or its holder.
    :ivar because: why, for them.
    """

    name: str = _text(MAX_NAME)
    because: str = _text()


@attrs.frozen
class RenewLease:
    """Have leases of one's own end later.

    :ivar lease: how long from now, 0 for as long as at the beginning.
    """

    caller: str = _text(MAX_NAME)
    name: str = _text(MAX_NAME)
    lease: float = 0.0


@attrs.frozen
class TakeLease:
    """End the lease of somebody else, who does not need it.

    :ivar host: whose tunnel it is on.
    :ivar name: of the lease, ``""`` if there is only one.
    :ivar over: whether to take it because their link is lost; else they are asked.
    :ivar because: what for.
    """

    caller: str = _text(MAX_NAME)
    host: str = _text(255)
    name: str = _text(MAX_NAME)
    over: bool = False
    because: str = _text()


# -- the server's answer to a caller: any number of Listed or Allowed, then Done or Refused


@attrs.frozen
class Listed:
    """A lease, or a connector without one.

    :ivar lease: its ID; ``""`` without one.
    :ivar tunnel: the first characters of the tunnel's ID.
    :ivar hosts: that lead there.
    :ivar name: what the client calls itself.
    :ivar holder: whose it is: the user, or the name.
    :ivar what: the filters, else the weight.
    :ivar age: seconds since its beginning.
    :ivar left: seconds until its end, 0 without one.
    :ivar used: seconds since its last request, -1 without one.
    :ivar state: ``joined``, ``held`` (its link is lost) or ``leaving``.
    """

    lease: str = _text(MAX_NAME)
    tunnel: str = _text(MAX_NAME)
    hosts: str = _text(MAX_WHAT)
    name: str = _text(MAX_NAME)
    holder: str = _text(MAX_NAME)
    reason: str = _text()
    what: str = _text(MAX_WHAT)
    age: float = 0.0
    left: float = 0.0
    used: float = -1.0
    state: str = _text(MAX_NAME)


@attrs.frozen
class Allowed:
    """What the caller may do.

    :ivar user: who it is, ``""`` where the server has no users.
    :ivar actions: what it may (:class:`rtunnel.routing.permissions.Action`), separated by commas; ``""`` also where there is no
        such host.
    :ivar server: the version of the server.
    """

    user: str = _text(255)
    actions: str = _text()
    server: str = _text(MAX_NAME)


@attrs.frozen
class Done:
    """It was done.

    :ivar text: what.
    :ivar count: for how many leases.
    """

    text: str = _text(MAX_WHAT)
    count: int = 0


@attrs.frozen
class Refused:
    """It was not done; the text says why, and what to do."""

    text: str = _text(MAX_WHAT)


Message = (
    Hello
    | AskShare
    | Granted
    | Renewed
    | Expires
    | Ended
    | Joined
    | Left
    | Overlaps
    | Asked
    | Member
    | Share
    | QueryLeases
    | QueryRights
    | ReleaseLease
    | RevokeLease
    | RenewLease
    | TakeLease
    | Listed
    | Allowed
    | Done
    | Refused
)

KINDS: Final[Mapping[str, type[Message]]] = {
    "hello": Hello,
    "ask-share": AskShare,
    "granted": Granted,
    "renewed": Renewed,
    "expires": Expires,
    "ended": Ended,
    "joined": Joined,
    "left": Left,
    "overlaps": Overlaps,
    "asked": Asked,
    "member": Member,
    "share": Share,
    "list": QueryLeases,
    "rights": QueryRights,
    "release": ReleaseLease,
    "revoke": RevokeLease,
    "renew": RenewLease,
    "take": TakeLease,
    "lease": Listed,
    "may": Allowed,
    "done": Done,
    "refused": Refused,
}
"""The messages by the name of their kind."""
_NAMES: Final = {model: kind for kind, model in KINDS.items()}


def encode(message: Message) -> bytes:
    """A message as a line, with texts that are too long cut."""
    pairs: dict[str, Any] = {"kind": _NAMES[type(message)]}
    for field in attrs.fields(type(message)):
        value = getattr(message, field.name)
        if value != field.default:
            pairs[field.name] = clean(value, field.metadata["limit"]) if isinstance(value, str) else value
    return json.dumps(pairs, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


class ControlReader:
    """Reads the messages of a peer."""

    def __init__(self) -> None:
        self._rest = b""

    def receive(self, data: bytes) -> list[Message]:
        """The messages that are complete, without those of unknown kinds.

        :raises ControlError: when a line is too long, or is not a message; then nothing more can be read.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
            raise ControlError("a line is too long")
        messages = (_decode(line) for line in lines)
        return [message for message in messages if message is not None]


def _decode(line: bytes) -> Message | None:
    try:
        pairs = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ControlError("a line is not JSON") from None
    if not isinstance(pairs, dict) or not isinstance(pairs.get("kind"), str):
        raise ControlError("a line is not a message")
    model = KINDS.get(pairs["kind"])
    if model is None:
        return None
    fields = attrs.fields_dict(model)
    values = {name: _value(field, pairs[name]) for name, field in fields.items() if name in pairs}
    return model(**values)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _value(field: attrs.Attribute[Any], value: Any) -> Any:
    """The value of a key.

    :raises ControlError: it is of another type, or out of bounds.
    """
    return _CHECKS[type(field.default)](field, value)


def _read_text(field: attrs.Attribute[Any], value: Any) -> str:
    if not isinstance(value, str):
        raise ControlError(f"{field.name} is not a text")
    return clean(value, field.metadata["limit"])


def _read_number(field: attrs.Attribute[Any], value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= LONGEST:
        raise ControlError(f"{field.name} is not a time")
    return float(value)


def _read_count(field: attrs.Attribute[Any], value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise ControlError(f"{field.name} is not a number")
    return value


def _read_switch(field: attrs.Attribute[Any], value: Any) -> bool:
    if not isinstance(value, bool):
        raise ControlError(f"{field.name} is neither true nor false")
    return value


_CHECKS: Final[Mapping[type, Callable[[attrs.Attribute[Any], Any], Any]]] = {
    str: _read_text,
    float: _read_number,
    int: _read_count,
    bool: _read_switch,
}
