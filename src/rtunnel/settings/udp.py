"""What is asked of associations: the datagrams between one visitor's address and a target."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import DAY, seconds, whole

__all__ = ["UdpSettings"]


@attrs.frozen(kw_only=True)
class UdpSettings:
    """Limits of associations. UDP has no end, so an association ends when nothing was sent either way for a while.

    :ivar idle: the seconds of silence after which an association is over.
    :ivar associations: how many a local port of a visitor has at once; a new one takes the place of the most silent.
    """

    idle: float = attrs.field(default=60.0, validator=seconds(0.1, DAY))
    associations: int = attrs.field(default=1024, validator=whole(1, 65536))
