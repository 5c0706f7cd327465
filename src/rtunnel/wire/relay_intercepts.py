"""What an INTERCEPT request and its response say, as relay metadata.

A client that wants some requests only sends :attr:`~rtunnel.wire.relay.Command.INTERCEPT` in place of BIND: a server that does not
know it refuses it, while it would ignore metadata of a BIND and give such a client all requests. The client in turn takes a
response for one to INTERCEPT only if it has the key ``rt``. docs/protocol.md lists the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

from rtunnel.wire.relay_features import MAX_TEXT, RelayError

__all__ = ["AS_POD", "InterceptAnswer", "InterceptRequest", "is_pod"]

VERSION: Final = "1"

_VERSION, _NAME, _FILTER, _CACHE = "rt", "rt.name", "rt.f.", "rt.cache"
_KEEP = "keep"
_HOSTS, _WARNING, _BY, _TAKEN, _WHY = "rt.hosts", "rt.warn", "rt.by", "rt.filter", "rt.why"
_REASON, _LEFT, _HELD = "rt.reason", "rt.left", "rt.held"
_ROLE, _POD = "rt.role", "pod"

AS_POD: Final[Mapping[str, str]] = {_VERSION: VERSION, _ROLE: _POD}
"""The metadata of a BIND whose client is the one of the service itself; servers that do not know it ignore it."""


def is_pod(metadata: Mapping[str, str]) -> bool:
    """Whether a client says that it is the one of the service itself."""
    return metadata.get(_VERSION) == VERSION and metadata.get(_ROLE) == _POD


@frozen
class InterceptRequest:
    """What a client wants.

    :ivar name: what the client calls itself, for display.
    :ivar filters: as text, at least one.
    :ivar cacheable: whether its responses may be cached as the target says.
    """

    name: str
    filters: tuple[str, ...]
    cacheable: bool = False

    def metadata(self) -> Mapping[str, str]:
        """The metadata of the request."""
        pairs = {_VERSION: VERSION, _NAME: clip(self.name)} | ({_CACHE: _KEEP} if self.cacheable else {})
        return pairs | {f"{_FILTER}{number}": text for number, text in enumerate(self.filters)}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> InterceptRequest:
        """Read the metadata of a request.

        :raises RelayError: if it is of another version or names no filter.
        """
        if metadata.get(_VERSION) != VERSION:
            raise RelayError("an intercept of another version")
        filters = tuple(value for key, value in metadata.items() if key.startswith(_FILTER))
        if not filters:
            raise RelayError("an intercept without filters")
        return cls(metadata.get(_NAME, ""), filters, metadata.get(_CACHE) == _KEEP)


@frozen
class InterceptAnswer:
    """What the server says to it; empty where it says nothing.

    :ivar hosts: of a granted one, the host patterns that lead to the tunnel.
    :ivar warning: what the client should know: other filters that match some of its requests.
    :ivar why: of a refused one, why.
    :ivar holder: who has the filter that is in its way.
    :ivar taken: that filter.
    :ivar reason: what they have it for.
    :ivar left: the seconds until they have to give it up, 0 without an end.
    :ivar held: whether their link is lost, and the filter is kept for them.
    """

    hosts: tuple[str, ...] = ()
    warning: str = ""
    why: str = ""
    holder: str = ""
    taken: str = ""
    reason: str = ""
    left: int = 0
    held: bool = False

    def metadata(self) -> Mapping[str, str]:
        """The metadata of the response."""
        pairs = {
            _VERSION: VERSION,
            _HOSTS: _joined(self.hosts),
            _WARNING: self.warning,
            _WHY: self.why,
            _BY: self.holder,
            _TAKEN: self.taken,
            _REASON: self.reason,
            _LEFT: str(self.left) if self.left else "",
            _HELD: "1" if self.held else "",
        }
        return {key: clip(value) for key, value in pairs.items() if value}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> InterceptAnswer | None:
        """Read the metadata of a response; None if it is not one to an INTERCEPT."""
        if metadata.get(_VERSION) != VERSION:
            return None
        hosts = tuple(filter(None, metadata.get(_HOSTS, "").split(",")))
        warning, why, by, taken, reason = (metadata.get(key, "") for key in (_WARNING, _WHY, _BY, _TAKEN, _REASON))
        left = metadata.get(_LEFT, "")
        seconds = int(left) if left.isascii() and left.isdecimal() and len(left) < 10 else 0
        return cls(hosts, warning, why, by, taken, reason, seconds, metadata.get(_HELD) == "1")


def clip(text: str) -> str:
    """A text that fits into a value of metadata: without its end, if it is too long."""
    return text.encode()[:MAX_TEXT].decode(errors="ignore")


def _joined(hosts: Iterable[str]) -> str:
    """As many of the hosts as fit, separated by commas."""
    text = ""
    for host in hosts:
        longer = f"{text},{host}" if text else host
        if len(longer.encode()) > MAX_TEXT:
            break
        text = longer
    return text
