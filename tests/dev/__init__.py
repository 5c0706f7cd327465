"""``rtunnel dev``, piece by piece; all of it runs in tests/process."""

from __future__ import annotations
