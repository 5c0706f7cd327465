"""Running it: how a start fails, what the log looks like, metrics, health, the word to systemd."""

from __future__ import annotations
