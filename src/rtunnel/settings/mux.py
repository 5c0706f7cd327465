"""How streams share a link."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import DAY, SettingsError, seconds, whole

__all__ = ["MuxSettings"]


@attrs.frozen(kw_only=True)
class MuxSettings:
    """How streams share a link (smux; the defaults are gost's, ``handler/tunnel/metadata.go`` and ``smux/mux.go``).

    :ivar version: 2 (a window for each stream) or 1 (none); the same at both ends.
    :ivar stream_window: receive window of a stream, in bytes.
    :ivar frame_size: maximum size of the frames that are sent; those of any size are accepted.
    :ivar keepalive_interval: seconds between two keepalives (NOP frames); 0 sends none, and never closes a link for being silent.
    :ivar keepalive_timeout: seconds without traffic after which a link is closed.
    :ivar receive_buffer: receive buffer of a link for all its streams, in bytes.
    :ivar link_buffer: bytes that may wait for the other end of a link. With more, new requests go to other links, and a link whose
        other end takes nothing is dropped.
    :ivar stall_timeout: seconds in which the other end of a link may take nothing of what was sent; 0 for no limit.
    :ivar hold_timeout: seconds that one stream may hold back all others of a link of version 1; 0 for no limit.
    :ivar futile_frames: frames that change nothing, which the other end may send in a second.
    :ivar control_frames: pings and other control frames, and empty messages, that it may send in a second on a WebSocket.
    """

    version: int = attrs.field(default=2, validator=whole(1, 2))
    stream_window: int = attrs.field(default=1048576, validator=whole(4096, 2**31 - 1))
    frame_size: int = attrs.field(default=32768, validator=whole(256, 65535))
    keepalive_interval: float = attrs.field(default=10.0, validator=seconds(0.1, DAY, "no keepalives"))
    keepalive_timeout: float = attrs.field(default=30.0, validator=seconds(0.1, DAY))
    receive_buffer: int = attrs.field(default=4194304, validator=whole(4096, 2**31 - 1))
    link_buffer: int = attrs.field(default=8388608, validator=whole(1048576, 2**40))
    stall_timeout: float = attrs.field(default=60.0, validator=seconds(1.0, DAY, "no limit"))
    hold_timeout: float = attrs.field(default=10.0, validator=seconds(0.1, DAY, "no limit"))

    futile_frames: int = attrs.field(default=20_000, validator=whole(1000, 10_000_000))
    control_frames: int = attrs.field(default=100, validator=whole(10, 10_000_000))

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
