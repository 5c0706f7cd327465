"""Links as the settings want them, at either end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rtunnel.outcomes import Limit
from rtunnel.tunnel.bounds import LinkBounds, uncounted
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.smux import Session

__all__ = ["LinkTerms", "open_link"]


class LinkTerms(Protocol):
    """What :class:`~rtunnel.settings.mux.MuxSettings` says about a link."""

    @property
    def version(self) -> int: ...

    @property
    def stream_window(self) -> int: ...

    @property
    def frame_size(self) -> int: ...

    @property
    def receive_buffer(self) -> int: ...

    @property
    def futile_frames(self) -> int: ...

    @property
    def keepalive_interval(self) -> float: ...

    @property
    def keepalive_timeout(self) -> float: ...

    @property
    def link_buffer(self) -> int: ...

    @property
    def hold_timeout(self) -> float: ...


def open_link(terms: LinkTerms, *, opens: bool, reactor: Any, reached: Callable[[Limit], None] = uncounted, **more: Any) -> Link:
    """Make the link of a connection whose handshake is done.

    :param terms: what the settings say.
    :param opens: whether this end opens the streams.
    :param reached: called with each bound that does not end the link.
    :param more: further arguments of :class:`~rtunnel.tunnel.link.Link`: who it is with, and what is called when.
    """
    session = Session(
        opens=opens,
        version=terms.version,
        window=terms.stream_window,
        frame_size=terms.frame_size,
        receive_buffer=terms.receive_buffer,
        max_futile=terms.futile_frames,
    )
    return Link(
        session,
        reactor=reactor,
        keepalive=Keepalive(terms.keepalive_interval, terms.keepalive_timeout),
        bounds=LinkBounds(terms.link_buffer, terms.hold_timeout, reached),
        **more,
    )
