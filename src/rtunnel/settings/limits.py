"""How many connections, links and streams a server takes, and how much it buffers."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import Validator, check, whole

__all__ = ["LimitSettings"]

MOST = 10_000_000


def _optional() -> Validator:
    return attrs.validators.optional(whole(1, MOST))


@attrs.frozen(kw_only=True)
class LimitSettings:
    """The limits of a server process.

    ``None`` is what follows from the system: from the descriptors that it allows (:class:`rtunnel.ops.descriptors.Shares`), or from
    its memory.

    :ivar connections: of visitors, at all entrypoints.
    :ivar connections_per_address: the same of one address; by default half of them.
    :ivar tunnel_connections: at all tunnel listeners: links, visits, and handshakes that are not finished.
    :ivar handshakes: those that are not finished; by default half of the connections there, at most 2048.
    :ivar handshakes_per_address: the same of one address; by default half of them.
    :ivar links_per_address: links and visits of one address; by default half of the connections there.
    :ivar links_per_tunnel: links of one tunnel; by default half of the connections there.
    :ivar streams_per_link: open streams of one link.
    :ivar streams_per_tunnel: open streams of all links of one tunnel.
    :ivar buffered: bytes that wait for all visitors and clients together, before new requests are refused; 0 for no limit, by
        default a quarter of the memory.
    """

    connections: int | None = attrs.field(default=None, validator=_optional())
    connections_per_address: int | None = attrs.field(default=None, validator=_optional())
    tunnel_connections: int | None = attrs.field(default=None, validator=_optional())
    handshakes: int | None = attrs.field(default=None, validator=_optional())
    handshakes_per_address: int | None = attrs.field(default=None, validator=_optional())
    links_per_address: int | None = attrs.field(default=None, validator=_optional())
    links_per_tunnel: int | None = attrs.field(default=None, validator=_optional())
    streams_per_link: int = attrs.field(default=16384, validator=whole(1, MOST))
    streams_per_tunnel: int = attrs.field(default=32768, validator=whole(1, MOST))
    buffered: int | None = attrs.field(
        default=None,
        validator=check(lambda value: not value or value >= 1048576, "must be at least 1MiB, or 0 for no limit"),
    )
