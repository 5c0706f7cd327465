"""Limits of HTTP heads, wherever these are parsed: at entrypoints, and in clients that go by paths or change requests."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import whole

__all__ = ["HeadSettings"]


@attrs.frozen(kw_only=True)
class HeadSettings:
    """Limits of the heads of requests and responses; a base class of the settings of those that parse them.

    :ivar head_bytes: maximum size of a head; a larger request is answered with 431, a larger response with 502.
    :ivar line_bytes: maximum length of a line in a head.
    :ivar header_count: maximum number of header fields in a head.
    """

    head_bytes: int = attrs.field(default=65536, validator=whole(1024, 16 * 2**20))
    line_bytes: int = attrs.field(default=16384, validator=whole(256, 16 * 2**20))
    header_count: int = attrs.field(default=128, validator=whole(1, 10000))
