"""When a connector is avoided."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import DAY, SettingsError, seconds

__all__ = ["HealthSettings"]


@attrs.frozen(kw_only=True)
class HealthSettings:
    """When a connector is avoided as long as another one of its tunnel can serve.

    :ivar suspect_after: seconds without a sign of life of a client that has requests to answer, after which it is avoided; 0
        disables it.
    :ivar dead_after: the same, after which its link is closed and its requests go to other connectors; 0 disables it.
    :ivar passive: whether a connector whose target cannot be reached is avoided for a while.
    """

    suspect_after: float = attrs.field(default=2.0, validator=seconds(0.5, DAY, "never"))
    dead_after: float = attrs.field(default=5.0, validator=seconds(1.0, DAY, "never"))
    passive: bool = True

    def __attrs_post_init__(self) -> None:
        if self.dead_after and self.suspect_after >= self.dead_after:
            raise SettingsError(
                "dead_after", f"{self.dead_after:g}s", f"must be longer than the time until it is suspect, {self.suspect_after:g}s"
            )
