"""The limits and habits of the HTTP entrypoint."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import attrs

from rtunnel.settings.checks import DAY, seconds, whole

__all__ = ["HttpSettings"]


@attrs.frozen(kw_only=True)
class HttpSettings:
    """The limits and habits of the HTTP entrypoint.

    :ivar head_bytes: the largest request or response head; a larger one is 431.
    :ivar line_bytes: the longest line in a head.
    :ivar header_count: the most header fields in a head.
    :ivar head_timeout: seconds that a request head may take to arrive, then 408.
    :ivar idle_timeout: seconds that a kept-alive visitor connection may wait for its next request.
    :ivar response_timeout: seconds until the answer of the target must begin, then 504; 0 waits for ever.
    :ivar retry_buffer_bytes: how much of a request body is kept so that another connector can be tried.
    :ivar pool: whether a stream is kept for the next request to the same connector and host.
    :ivar pool_idle: seconds that a free stream is kept.
    :ivar trusted_proxies: whose ``X-Forwarded-*``, ``Forwarded`` and ``X-Request-Id`` are trusted.
    :ivar write_forwarded: whether requests get a ``Forwarded`` field (RFC 7239) beside ``X-Forwarded-*``.
    """

    head_bytes: int = attrs.field(default=65536, validator=whole(1024, 16 * 2**20))
    line_bytes: int = attrs.field(default=16384, validator=whole(256, 16 * 2**20))
    header_count: int = attrs.field(default=128, validator=whole(1, 10000))
    head_timeout: float = attrs.field(default=15.0, validator=seconds(0.1, DAY))
    idle_timeout: float = attrs.field(default=75.0, validator=seconds(0.1, DAY))
    response_timeout: float = attrs.field(default=15.0, validator=seconds(0.1, DAY, "no limit"))
    retry_buffer_bytes: int = attrs.field(default=65536, validator=whole(0, 64 * 2**20))
    pool: bool = True
    pool_idle: float = attrs.field(default=30.0, validator=seconds(0.1, DAY))
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    write_forwarded: bool = False
