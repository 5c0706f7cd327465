"""How many connections, links and streams a server takes."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import Validator, whole

__all__ = ["LimitSettings"]

MOST = 10_000_000


def _optional() -> Validator:
    return attrs.validators.optional(whole(1, MOST))


@attrs.frozen(kw_only=True)
class LimitSettings:
    """The limits of a server process.

    ``None`` is what follows from the descriptors that the system allows (:class:`rtunnel.ops.descriptors.Shares`).

    :ivar connections: of visitors, at all entrypoints.
    :ivar connections_per_address: the same of one address; by default half of them.
    :ivar tunnel_connections: at all tunnel listeners: links, visits, and handshakes that are not finished.
    :ivar handshakes: those that are not finished; by default half of the connections there, at most 2048.
    :ivar handshakes_per_address: the same of one address; by default half of them.
    :ivar links_per_address: links and visits of one address; by default half of the connections there.
    :ivar links_per_tunnel: links of one tunnel; by default half of the connections there.
    :ivar streams_per_link: open streams of one link.
    """

    connections: int | None = attrs.field(default=None, validator=_optional())
    connections_per_address: int | None = attrs.field(default=None, validator=_optional())
    tunnel_connections: int | None = attrs.field(default=None, validator=_optional())
    handshakes: int | None = attrs.field(default=None, validator=_optional())
    handshakes_per_address: int | None = attrs.field(default=None, validator=_optional())
    links_per_address: int | None = attrs.field(default=None, validator=_optional())
    links_per_tunnel: int | None = attrs.field(default=None, validator=_optional())
    streams_per_link: int = attrs.field(default=16384, validator=whole(1, MOST))
