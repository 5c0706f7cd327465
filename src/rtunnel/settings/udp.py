"""Limits of UDP associations, the datagrams between one visitor's address and a target."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import DAY, seconds, whole

__all__ = ["UdpSettings"]


@attrs.frozen(kw_only=True)
class UdpSettings:
    """Limits of associations. UDP has no end of a connection, so an association ends after a while without datagrams.

    :ivar idle: seconds without datagrams after which an association ends.
    :ivar associations: maximum number for a local port of a visitor; a new one replaces the one that was idle longest.
    """

    idle: float = attrs.field(default=60.0, validator=seconds(0.1, DAY))
    associations: int = attrs.field(default=1024, validator=whole(1, 65536))
