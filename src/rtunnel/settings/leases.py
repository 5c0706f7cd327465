"""How long clients may keep their leases."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import DAY, seconds, whole

__all__ = ["LeaseSettings"]


@attrs.frozen(kw_only=True)
class LeaseSettings:
    """The terms of the leases of a listener's clients.

    :ivar longest: seconds after which a lease ends at the latest; 0 for no end.
    :ivar idle: seconds without a request after which it ends; 0 for no such limit.
    :ivar hold: seconds for which it is held when its link is lost; 0 to end it at once.
    :ivar held: leases of a tunnel that are held at once; then the longest held one ends.
    """

    longest: float = attrs.field(default=0.0, validator=seconds(1.0, 366 * DAY, "no end"))
    idle: float = attrs.field(default=0.0, validator=seconds(1.0, 366 * DAY, "no limit"))
    hold: float = attrs.field(default=120.0, validator=seconds(1.0, DAY, "not at all"))
    held: int = attrs.field(default=100, validator=whole(0, 10_000_000))
