"""The room ops: counts, their exposition, the admin endpoint, the word to systemd."""

from __future__ import annotations
