"""HTTP at the entrypoints."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import attrs

from rtunnel.routing.policies import ServedBy
from rtunnel.routing.sticky import Sticky
from rtunnel.settings.checks import DAY, seconds, whole
from rtunnel.settings.heads import HeadSettings

__all__ = ["HttpSettings"]


@attrs.frozen(kw_only=True)
class HttpSettings(HeadSettings):
    """Limits, timeouts and trusted proxies; those of heads are in :class:`~rtunnel.settings.heads.HeadSettings`.

    :ivar head_timeout: seconds for a request head to arrive, then 408.
    :ivar idle_timeout: seconds that a keep-alive connection may wait for its next request.
    :ivar response_timeout: seconds for the target's response to begin, then 504; 0 for no limit. The Ingress before the server
        usually has one, and a lost client is found by its signs of life (:class:`~rtunnel.settings.health.HealthSettings`).
    :ivar stall_timeout: seconds that a visitor's connection may make no progress: taking nothing of a response, or not
        acknowledging what was sent; 0 for no limit.
    :ivar max_retries: how often a request, TLS connection or visit is sent again, to another connector or on another stream.
    :ivar retry_buffer_bytes: how much of a request body is kept for a retry with another connector.
    :ivar pool: whether a stream is reused for the next request to the same connector and host.
    :ivar pool_idle: seconds that an unused stream is kept.
    :ivar trusted_proxies: the networks whose ``X-Forwarded-*``, ``Forwarded`` and ``X-Request-Id`` are trusted.
    :ivar keep_forwarded_for: whether their ``X-Forwarded-For`` and ``Forwarded`` are passed on without their own addresses.
    :ivar served_by: whether responses say who served them, in ``Rtunnel-Served-By``.
    :ivar sticky: what visitors are known by that stay with one of the clients that share by weight; None for a choice with each
        request.
    :ivar write_forwarded: whether requests get a ``Forwarded`` field (RFC 7239) in addition to ``X-Forwarded-*``.
    """

    head_timeout: float = attrs.field(default=15.0, validator=seconds(0.1, DAY))
    idle_timeout: float = attrs.field(default=75.0, validator=seconds(0.1, DAY))
    response_timeout: float = attrs.field(default=0.0, validator=seconds(0.1, DAY, "no limit"))
    stall_timeout: float = attrs.field(default=60.0, validator=seconds(1.0, DAY, "no limit"))
    max_retries: int = attrs.field(default=8, validator=whole(0, 1000))
    retry_buffer_bytes: int = attrs.field(default=65536, validator=whole(0, 64 * 2**20))
    pool: bool = True
    pool_idle: float = attrs.field(default=30.0, validator=seconds(0.1, DAY))
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    keep_forwarded_for: bool = False
    served_by: ServedBy = ServedBy.NEVER
    sticky: Sticky | None = None
    write_forwarded: bool = False
