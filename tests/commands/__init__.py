"""The commands, as far as they run in this process."""

from __future__ import annotations
