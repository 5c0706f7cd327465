"""``rtunnel status``: the command that asks and shows."""

from __future__ import annotations
