"""How streams share a link."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import DAY, SettingsError, seconds, whole

__all__ = ["MuxSettings"]


@attrs.frozen(kw_only=True)
class MuxSettings:
    """How streams share a link (smux; the defaults are gost's, ``handler/tunnel/metadata.go`` and ``smux/mux.go``).

    :ivar version: 2 (windows for each stream) or 1 (none); both ends must say the same.
    :ivar stream_window: bytes of one stream that we take before the consumer took any.
    :ivar frame_size: the most bytes that we put in one frame; any size is taken.
    :ivar keepalive_interval: seconds between two NOP frames, 0 sends none and never declares a link dead.
    :ivar keepalive_timeout: seconds without any frame after which a link is dead.
    :ivar receive_buffer: bytes of all streams of a link together.
    """

    version: int = attrs.field(default=2, validator=whole(1, 2))
    stream_window: int = attrs.field(default=1048576, validator=whole(4096, 2**31 - 1))
    frame_size: int = attrs.field(default=32768, validator=whole(256, 65535))
    keepalive_interval: float = attrs.field(default=10.0, validator=seconds(0.1, DAY, "no keepalive"))
    keepalive_timeout: float = attrs.field(default=30.0, validator=seconds(0.1, DAY))
    receive_buffer: int = attrs.field(default=4194304, validator=whole(4096, 2**31 - 1))

    def __attrs_post_init__(self) -> None:
        if self.keepalive_interval and self.keepalive_timeout <= self.keepalive_interval:
            raise SettingsError(
                "keepalive_timeout",
                f"{self.keepalive_timeout:g}s",
                f"must be longer than the keepalive interval, {self.keepalive_interval:g}s",
            )
        if self.receive_buffer < self.stream_window:
            raise SettingsError(
                "receive_buffer", str(self.receive_buffer), f"must be at least the stream window, {self.stream_window}"
            )
