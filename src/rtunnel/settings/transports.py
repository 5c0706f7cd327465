"""The byte streams that a link can run over."""

from __future__ import annotations

__all__ = ["TRANSPORTS"]

TRANSPORTS = ("ws", "tcp")
